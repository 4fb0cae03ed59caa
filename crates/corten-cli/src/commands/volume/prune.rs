//! `volume prune`

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::units::human_size;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::{filters, output};

static FLAGS: &[Flag] = &[
    switch("all", "Remove named volumes too, not only anonymous ones").short('a'),
    flag("filter", Kind::Filter, "Keep or choose by condition (e.g. \"label=<label>\")"),
    switch("force", "Do not ask").short('f'),
];

/// The command.
pub static PRUNE: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Remove unused local volumes",
    spellings: &["volume prune"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Report {
    volumes_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    if m.on("all") && m.list("filter").any(|filter| filter.starts_with("all=")) {
        return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
    }
    let what = if m.on("all") { "all" } else { "anonymous" };
    let question = format!(
        "WARNING! This will remove {what} local volumes not used by at least one container.\n\
         Are you sure you want to continue? [y/N] "
    );
    if !m.on("force") && !output::confirm(&question) {
        return Ok(());
    }
    let (text, space) = prune(session, m).await?;
    output::put(&text);
    output::line(&format!("Total reclaimed space: {}", human_size(space as f64)));
    Ok(())
}

/// Removes, and tells what was removed and how much room that makes.
pub async fn prune(session: &Session, m: &Matches) -> Outcome<(String, u64)> {
    if m.on("all") {
        return removed(session, Some(filters::encoded_with(m, &[("all", "1")]))).await;
    }
    prune_anonymous(session, m).await
}

/// The same, but for volumes that somebody named.
pub async fn prune_anonymous(session: &Session, m: &Matches) -> Outcome<(String, u64)> {
    removed(session, filters::encoded(m)).await
}

async fn removed(session: &Session, filters: Option<String>) -> Outcome<(String, u64)> {
    let request = Request::post("/volumes/prune").query_some("filters", filters);
    let report: Report = session.client()?.json(request).await?;
    let mut text = String::new();
    if let Some(names) = report.volumes_deleted.filter(|names| !names.is_empty()) {
        text = format!("Deleted Volumes:\n{}\n\n", names.join("\n"));
    }
    Ok((text, report.space_reclaimed))
}
