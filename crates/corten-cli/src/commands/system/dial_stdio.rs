//! `system dial-stdio`: the engine's socket on standard input and output, for clients that come over ssh.

use corten_client::Endpoint;
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::UnixStream;

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::parse::{Matches, Order};
use crate::session::Session;

/// The command.
pub static DIAL_STDIO: Command = Command {
    usage: "",
    usage_also: None,
    about: "Pass standard input and output on to the engine's socket",
    spellings: &[],
    flags: &[],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, _: &Matches) -> Outcome {
    let Endpoint::Unix(path) = session.client()?.endpoint() else {
        return Err(Failure::new("dial-stdio works only with a socket of this machine"));
    };
    let stream = UnixStream::connect(path)
        .await
        .map_err(|error| Failure::new(format!("cannot connect to {}: {error}", path.display())))?;
    let (mut reader, mut writer) = stream.into_split();
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    let inward = async {
        copy(&mut stdin, &mut writer).await?;
        writer.shutdown().await?;
        std::future::pending::<std::io::Result<()>>().await
    };
    let outward = async {
        copy(&mut reader, &mut stdout).await?;
        stdout.flush().await
    };
    tokio::select! {
        result = outward => Ok(result?),
        result = inward => Ok(result?),
    }
}
