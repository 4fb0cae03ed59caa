//! `network prune`

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::commands::container::prune::FLAGS;
use crate::error::Outcome;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::{filters, output};

/// The command.
pub static PRUNE: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Remove all unused networks",
    spellings: &["network prune"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Report {
    networks_deleted: Option<Vec<String>>,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let question = "WARNING! This will remove all custom networks not used by at least one container.\n\
                    Are you sure you want to continue? [y/N] ";
    if !m.on("force") && !output::confirm(question) {
        return Ok(());
    }
    output::put(&prune(session, m).await?);
    Ok(())
}

/// Removes, and tells what was removed.
pub async fn prune(session: &Session, m: &Matches) -> Outcome<String> {
    let request = Request::post("/networks/prune").query_some("filters", filters::encoded(m));
    let report: Report = session.client()?.json(request).await?;
    Ok(match report.networks_deleted.filter(|names| !names.is_empty()) {
        Some(names) => format!("Deleted Networks:\n{}\n\n", names.join("\n")),
        None => String::new(),
    })
}
