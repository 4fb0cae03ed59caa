//! `logs`

use corten_client::Request;
use corten_client::stdcopy::Demultiplexer;

use super::start::Attachable;
use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::moment;
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::streams::write_frames;

static FLAGS: &[Flag] = &[
    switch("details", "Show what was set for the log"),
    switch("follow", "Go on as more is written").short('f'),
    flag("since", Kind::Text, "Begin at a moment (\"2013-01-02T13:23:37Z\") or so long ago (\"42m\")"),
    flag("tail", Kind::Text, "Number of lines from the end").short('n').default("all"),
    switch("timestamps", "Show when each line was written").short('t'),
    flag("until", Kind::Text, "End at a moment (\"2013-01-02T13:23:37Z\") or so long ago (\"42m\")"),
];

/// The command.
pub static LOGS: Command = Command {
    usage: "[OPTIONS] CONTAINER",
    usage_also: None,
    about: "Fetch the logs of a container",
    spellings: &["container logs", "logs"],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let client = session.client()?;
    let found: Attachable = client.get(container(&m.args[0], "/json")).await?;
    let time = |flag: &str| -> Outcome<Option<String>> {
        match m.text(flag) {
            "" => Ok(None),
            text => moment::unix(text)
                .map(Some)
                .map_err(|error| Failure::new(format!("invalid value for \"{flag}\": {error}"))),
        }
    };
    let request = Request::get(container(&found.id, "/logs"))
        .query("stdout", "1")
        .query("stderr", "1")
        .query_if("details", m.on("details"))
        .query_if("follow", m.on("follow"))
        .query_if("timestamps", m.on("timestamps"))
        .query("tail", m.text("tail"))
        .query_some("since", time("since")?)
        .query_some("until", time("until")?);
    let mut response = client.send(request).await?;
    let mut frames = Demultiplexer::default();
    while let Some(chunk) = response.chunk().await? {
        if found.config.tty {
            output::bytes(&chunk);
        } else {
            frames.push(&chunk);
            write_frames(&mut frames)?;
        }
    }
    Ok(())
}
