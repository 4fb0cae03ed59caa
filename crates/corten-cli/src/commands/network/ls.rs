//! `network ls`

use std::collections::BTreeMap;

use corten_client::Request;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::commands::container::ls::FORMAT_HELP;
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::text::short_id;
use crate::format::{Record, Titles, render};
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::template::shape;
use crate::{filters, output};

static FLAGS: &[Flag] = &[
    flag("filter", Kind::Filter, "Show only what meets a condition (e.g. \"driver=bridge\")").short('f'),
    flag("format", Kind::Text, FORMAT_HELP),
    switch("no-trunc", "Do not shorten anything"),
    switch("quiet", "Show only IDs").short('q'),
];

/// The command.
pub static LS: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "List networks",
    spellings: &["network ls", "network list"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

const TITLES: Titles = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    id: String,
    name: String,
    driver: String,
    scope: String,
    created: String,
    #[serde(rename = "EnableIPv4")]
    ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    ipv6: bool,
    internal: bool,
    labels: Option<BTreeMap<String, String>>,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let request = Request::get("/networks").query_some("filters", filters::encoded(m));
    let mut found: Vec<Network> = session.client()?.json(request).await?;
    found.sort_by(|a, b| natural(&a.name, &b.name));
    let format = match m.text("format") {
        "" if m.on("quiet") => "{{.ID}}",
        "" => match session.config.text("networksFormat") {
            "" => TABLE,
            format => format,
        },
        "table" if m.on("quiet") => "{{.ID}}",
        "table" => TABLE,
        other => other,
    };
    let short = !m.on("no-trunc");
    let rows = found
        .iter()
        .map(|network| {
            Record::new("network.networkContext")
                .with("CreatedAt", shape::go_time(&network.created))
                .with("Driver", network.driver.as_str())
                .with("ID", if short { short_id(&network.id) } else { &network.id })
                .with("IPv4", network.ipv4.to_string())
                .with("IPv6", network.ipv6.to_string())
                .with("Internal", network.internal.to_string())
                .labels(network.labels.as_ref().unwrap_or(&BTreeMap::new()))
                .with("Name", network.name.as_str())
                .with("Scope", network.scope.as_str())
        })
        .collect();
    output::put(&render(format, TITLES, rows)?);
    Ok(())
}

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";

/// The order of names in which numbers count as numbers: `a2` before `a10`.
pub fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a.chars().peekable(), b.chars().peekable());
    loop {
        let (Some(x), Some(y)) = (a.peek().copied(), b.peek().copied()) else {
            return a.peek().is_some().cmp(&b.peek().is_some());
        };
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
                let mut digits = String::new();
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                digits.trim_start_matches('0').to_owned()
            };
            let (x, y) = (number(&mut a), number(&mut b));
            x.len().cmp(&y.len()).then_with(|| x.cmp(&y))
        } else {
            a.next();
            b.next();
            x.cmp(&y)
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_in_names_count() {
        let mut names = ["n10", "n2", "bridge", "n1", "n"];
        names.sort_by(|a, b| super::natural(a, b));
        assert_eq!(names, ["bridge", "n", "n1", "n2", "n10"]);
    }
}
