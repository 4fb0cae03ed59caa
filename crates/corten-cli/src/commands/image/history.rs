//! `history`

use corten_client::Request;
use serde::Deserialize;

use super::push::platform_json;
use crate::command::{Arity, Command};
use crate::commands::container::ls::FORMAT_HELP;
use crate::each::image;
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::text::{ellipsis, short_id};
use crate::format::units::{ago, short_size};
use crate::format::{Record, Titles, render};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    flag("format", Kind::Text, FORMAT_HELP),
    switch("human", "Show sizes and dates for people").short('H').default("true"),
    switch("no-trunc", "Do not shorten anything"),
    flag("platform", Kind::Text, "Show this platform's image (os[/arch[/variant]])"),
    switch("quiet", "Show only IDs").short('q'),
];

/// The command.
pub static HISTORY: Command = Command {
    usage: "[OPTIONS] IMAGE",
    usage_also: None,
    about: "Show the history of an image",
    spellings: &["image history", "history"],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

const TITLES: Titles = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Step {
    id: String,
    created: i64,
    created_by: String,
    size: i64,
    comment: String,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let human = m.on("human");
    let format = match m.text("format") {
        "" | "table" if m.on("quiet") => "{{.ID}}",
        "" | "table" if human => "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        "" | "table" => "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        other => other,
    };
    let request = Request::get(image(&m.args[0], "/history"))
        .query_some("platform", m.given("platform").map(platform_json));
    let steps: Vec<Step> = session.client()?.json(request).await?;
    let short = !m.on("no-trunc");
    let rows = steps.iter().map(|step| record(step, short, human)).collect();
    output::put(&render(format, TITLES, rows)?);
    Ok(())
}

fn record(step: &Step, short: bool, human: bool) -> Record {
    let created = step.created;
    let by = step.created_by.replace('\t', " ");
    // A step whose moment nobody recorded has none to show.
    let since = if step.created <= 0 { String::new() } else { ago(step.created) };
    Record::new("image.historyContext")
        .with("Comment", step.comment.as_str())
        .later("CreatedAt", move || zoned(created))
        .with("CreatedBy", if short { ellipsis(&by, 45) } else { by })
        .with("CreatedSince", if human { since } else { zoned(created) })
        .with("ID", if short { short_id(&step.id) } else { &step.id })
        .with("Size", if human { short_size(step.size as f64) } else { step.size.to_string() })
}

fn zoned(seconds: i64) -> String {
    let Ok(moment) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    let text = moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    text.replace("+00:00", "Z")
}
