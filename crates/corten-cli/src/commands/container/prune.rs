//! `container prune`

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::units::human_size;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::{filters, output};

/// The flags of every `prune`.
pub static FLAGS: &[Flag] = &[
    flag("filter", Kind::Filter, "Keep or choose by condition (e.g. \"until=<timestamp>\")"),
    switch("force", "Do not ask").short('f'),
];

/// The command.
pub static PRUNE: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Remove all stopped containers",
    spellings: &["container prune"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Report {
    containers_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let question =
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
    if !m.on("force") && !output::confirm(question) {
        return Ok(());
    }
    let (text, space) = prune(session, m).await?;
    output::put(&text);
    output::line(&format!("Total reclaimed space: {}", human_size(space as f64)));
    Ok(())
}

/// Removes, and tells what was removed and how much room that makes.
pub async fn prune(session: &Session, m: &Matches) -> Outcome<(String, u64)> {
    let request = Request::post("/containers/prune").query_some("filters", filters::encoded(m));
    let report: Report = session.client()?.json(request).await?;
    let mut text = String::new();
    if let Some(names) = report.containers_deleted.filter(|names| !names.is_empty()) {
        text = format!("Deleted Containers:\n{}\n\n", names.join("\n"));
    }
    Ok((text, report.space_reclaimed))
}
