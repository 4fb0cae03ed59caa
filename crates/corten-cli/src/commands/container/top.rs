//! `top`

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::Outcome;
use crate::format::columns;
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

/// The command.
pub static TOP: Command = Command {
    usage: "CONTAINER [ps OPTIONS]",
    usage_also: None,
    about: "Display the running processes of a container",
    spellings: &["container top", "top"],
    flags: &[],
    arity: Arity::AtLeast(1),
    order: Order::BeforeArguments,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Processes {
    titles: Vec<String>,
    processes: Option<Vec<Vec<String>>>,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let arguments = m.args[1..].join(" ");
    let request = Request::get(container(&m.args[0], "/top"))
        .query_some("ps_args", Some(&arguments).filter(|text| !text.is_empty()));
    let found: Processes = session.client()?.json(request).await?;
    let mut text = found.titles.join("\t");
    text.push('\n');
    for process in found.processes.iter().flatten() {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    output::put(&columns(&text, 20, 3));
    Ok(())
}
