//! `system check`: Corten's own.

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[switch("repair", "Mend what can be mended")];

/// The command.
pub static CHECK: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Check images and layers for damage\n\nReads everything that is stored. A damaged blob that is mended comes back with the next pull of its image.",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Report {
    blobs: usize,
    layers: usize,
    unchecked: usize,
    damaged: Vec<Damage>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Damage {
    kind: String,
    #[serde(rename = "ID")]
    id: String,
    reason: String,
    repaired: bool,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let mut request = Request::post("/system/check");
    if m.on("repair") {
        request = request.query("repair", "1");
    }
    let report: Report = session.client()?.json(request).await?;
    for damage in &report.damaged {
        let mended = if damage.repaired { " (mended)" } else { "" };
        output::line(&format!("{} {}: {}{mended}", damage.kind, damage.id, damage.reason));
    }
    output::line(&summary(&report));
    match report.damaged.iter().filter(|damage| !damage.repaired).count() {
        0 => Ok(()),
        1 => Err(Failure::new("1 thing is damaged")),
        count => Err(Failure::new(format!("{count} things are damaged"))),
    }
}

fn summary(report: &Report) -> String {
    let mut text = format!("Checked {} blobs and {} layers", report.blobs, report.layers);
    if report.unchecked > 0 {
        text.push_str(&format!("; {} layers have no blob to compare them with", report.unchecked));
    }
    if report.damaged.is_empty() {
        text.push_str(": nothing is damaged");
    }
    text
}
