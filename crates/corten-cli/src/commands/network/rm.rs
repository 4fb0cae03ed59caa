//! `network rm`

use corten_client::{Request, encode_component};

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::{Persona, Session};

static FLAGS: &[Flag] = &[switch("force", "Do not mind where a network does not exist").short('f')];

/// The command.
pub static RM: Command = Command {
    usage: "NETWORK [NETWORK...]",
    usage_also: None,
    about: "Remove one or more networks",
    spellings: &["network rm", "network remove"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let client = session.client()?;
    let mut failed = false;
    for name in &m.args {
        match client.done(Request::delete(format!("/networks/{}", encode_component(name)))).await {
            Ok(()) => output::line(name),
            Err(error) if m.on("force") && error.is_not_found() => {}
            Err(error) => {
                output::error_line(&error.to_string());
                failed = true;
            }
        }
    }
    match (failed, session.persona) {
        (false, _) => Ok(()),
        // Docker's own client says its exit status too.
        (true, Persona::Docker) => Err(Failure::new("exit status 1")),
        (true, Persona::Corten) => Err(Failure::status(1)),
    }
}
