//! `builder prune`

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::units::human_size;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::{filters, output};

static FLAGS: &[Flag] = &[
    switch("all", "Remove everything that is not in use").short('a'),
    flag("filter", Kind::Filter, "Keep or choose by condition (e.g. \"until=24h\")"),
    switch("force", "Do not ask").short('f'),
    flag("keep-storage", Kind::Bytes, "Keep so much of the cache"),
];

/// The command.
pub static PRUNE: Command = Command {
    usage: "",
    usage_also: None,
    about: "Remove build cache",
    spellings: &["builder prune"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Report {
    caches_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let what = if m.on("all") { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {what}. Are you sure you want to continue? [y/N] ");
    if !m.on("force") && !output::confirm(&question) {
        return Ok(());
    }
    let (text, space) = prune(session, m).await?;
    output::put(&text);
    output::line(&format!("Total:\t{}", human_size(space as f64)));
    Ok(())
}

/// Removes, and tells what was removed and how much room that makes.
pub async fn prune(session: &Session, m: &Matches) -> Outcome<(String, u64)> {
    let request = Request::post("/build/prune")
        .query_if("all", m.on("all"))
        .query_some("keep-storage", m.bytes("keep-storage").map(|bytes| bytes.to_string()))
        .query_some("filters", filters::encoded(m));
    let report: Report = session.client()?.json(request).await?;
    let mut text = String::new();
    if let Some(names) = report.caches_deleted.filter(|names| !names.is_empty()) {
        text = format!("Deleted build cache objects:\n{}\n\n", names.join("\n"));
    }
    Ok((text, report.space_reclaimed))
}
