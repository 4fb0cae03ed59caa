//! `volume ls`

use std::collections::BTreeMap;

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::commands::container::ls::FORMAT_HELP;
use crate::commands::network::ls::natural;
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::units::human_size;
use crate::format::{Record, Titles, render};
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::{filters, output};

static FLAGS: &[Flag] = &[
    flag("filter", Kind::Filter, "Show only what meets a condition (e.g. \"dangling=true\")").short('f'),
    flag("format", Kind::Text, FORMAT_HELP),
    switch("quiet", "Show only names").short('q'),
];

/// The command.
pub static LS: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "List volumes",
    spellings: &["volume ls", "volume list"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// The columns' titles.
pub const TITLES: Titles = &[
    ("ID", "ID"),
    ("Name", "VOLUME NAME"),
    ("Group", "GROUP"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];

/// A volume as lists have it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    name: String,
    driver: String,
    scope: String,
    mountpoint: String,
    labels: Option<BTreeMap<String, String>>,
    /// What was counted, where somebody counted.
    pub usage_data: Option<Usage>,
}

/// How a volume is used.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Usage {
    /// Containers.
    pub ref_count: i64,
    /// Bytes; -1 where nobody knows.
    pub size: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listed {
    volumes: Option<Vec<Volume>>,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let request = Request::get("/volumes").query_some("filters", filters::encoded(m));
    let listed: Listed = session.client()?.json(request).await?;
    let mut found = listed.volumes.unwrap_or_default();
    found.sort_by(|a, b| natural(&a.name, &b.name));
    let format = match m.text("format") {
        "" if m.on("quiet") => "{{.Name}}",
        "" => match session.config.text("volumesFormat") {
            "" => TABLE,
            format => format,
        },
        "table" if m.on("quiet") => "{{.Name}}",
        "table" => TABLE,
        other => other,
    };
    let rows = found.iter().map(record).collect();
    output::put(&render(format, TITLES, rows)?);
    Ok(())
}

const TABLE: &str = "table {{.Driver}}\t{{.Name}}";

/// A volume's row.
pub fn record(volume: &Volume) -> Record {
    let (links, size) = match volume.usage_data {
        Some(usage) => (
            usage.ref_count.to_string(),
            if usage.size < 0 { "N/A".to_owned() } else { human_size(usage.size as f64) },
        ),
        None => ("N/A".to_owned(), "N/A".to_owned()),
    };
    Record::new("formatter.volumeContext")
        .with("Availability", "N/A")
        .with("Driver", volume.driver.as_str())
        .with("Group", "N/A")
        .labels(volume.labels.as_ref().unwrap_or(&BTreeMap::new()))
        .with("Links", links)
        .with("Mountpoint", volume.mountpoint.as_str())
        .with("Name", volume.name.as_str())
        .with("Scope", volume.scope.as_str())
        .with("Size", size)
        .with("Status", "N/A")
}
