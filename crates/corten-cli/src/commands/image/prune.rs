//! `image prune`

use corten_client::Request;
use serde::Deserialize;

use super::rm::Deleted;
use crate::command::{Arity, Command};
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::units::human_size;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::{filters, output};

static FLAGS: &[Flag] = &[
    switch("all", "Remove every unused image, not only those without a name").short('a'),
    flag("filter", Kind::Filter, "Keep or choose by condition (e.g. \"until=<timestamp>\")"),
    switch("force", "Do not ask").short('f'),
];

/// The command.
pub static PRUNE: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Remove unused images",
    spellings: &["image prune"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Report {
    images_deleted: Option<Vec<Deleted>>,
    space_reclaimed: u64,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let what = if m.on("all") {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let question = format!("WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ");
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
    let dangling = if m.on("all") { "false" } else { "true" };
    let request =
        Request::post("/images/prune").query("filters", filters::encoded_with(m, &[("dangling", dangling)]));
    let report: Report = session.client()?.json(request).await?;
    let mut text = String::new();
    if let Some(deleted) = report.images_deleted.filter(|deleted| !deleted.is_empty()) {
        text.push_str("Deleted Images:\n");
        for one in deleted {
            let word = if one.untagged.is_empty() { "deleted" } else { "untagged" };
            let name = if one.untagged.is_empty() { &one.deleted } else { &one.untagged };
            text.push_str(&format!("{word}: {name}\n"));
        }
        text.push('\n');
    }
    Ok((text, report.space_reclaimed))
}
