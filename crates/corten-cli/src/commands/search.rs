//! `search`

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::commands::container::ls::FORMAT_HELP;
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::text::ellipsis;
use crate::format::{Record, Titles, render};
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::{filters, output};

static FLAGS: &[Flag] = &[
    flag("filter", Kind::Filter, "Show only what meets a condition").short('f'),
    flag("format", Kind::Text, FORMAT_HELP),
    flag("limit", Kind::Int, "Show so many at most"),
    switch("no-trunc", "Do not shorten anything"),
];

/// The command.
pub static SEARCH: Command = Command {
    usage: "[OPTIONS] TERM",
    usage_also: None,
    about: "Search Docker Hub for images",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

const TITLES: Titles =
    &[("Name", "NAME"), ("Description", "DESCRIPTION"), ("StarCount", "STARS"), ("IsOfficial", "OFFICIAL")];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Hit {
    name: String,
    description: String,
    star_count: i64,
    is_official: bool,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let request = Request::get("/images/search")
        .query("term", &m.args[0])
        .query_some("limit", m.given("limit"))
        .query_some("filters", filters::encoded(m));
    let hits: Vec<Hit> = session.client()?.json(request).await?;
    let format = match m.text("format") {
        "" | "table" => "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
        other => other,
    };
    let rows = hits
        .iter()
        .map(|hit| {
            let text = hit.description.replace(['\n', '\r'], " ");
            Record::new("registry.searchContext")
                .with("Description", if m.on("no-trunc") { text } else { ellipsis(&text, 45) })
                .with("IsOfficial", if hit.is_official { "[OK]" } else { "" })
                .with("Name", hit.name.as_str())
                .with("StarCount", hit.star_count.to_string())
        })
        .collect();
    output::put(&render(format, TITLES, rows)?);
    Ok(())
}
