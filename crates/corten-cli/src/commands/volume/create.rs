//! `volume create`

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag};
use crate::options::{key_values, label_map};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    flag("driver", Kind::Text, "Driver of the volume").short('d').default("local"),
    flag("label", Kind::List, "Set a label"),
    flag("name", Kind::Text, "Name of the volume").hidden(),
    flag("opt", Kind::Map, "Options of the driver").short('o').default("map[]"),
];

/// The command.
pub static CREATE: Command = Command {
    usage: "[OPTIONS] [VOLUME]",
    usage_also: None,
    about: "Create a volume",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::AtMost(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    name: String,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let name = match (m.args.first(), m.given("name")) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
            ));
        }
        (Some(name), None) => name.as_str(),
        (None, name) => name.unwrap_or_default(),
    };
    let options: Map<String, Value> = m
        .list("opt")
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let body = json!({
        "Driver": m.text("driver"),
        "DriverOpts": options,
        "Labels": label_map(&key_values(std::iter::empty(), m.list("label"))?),
        "Name": name,
    });
    let created: Created = session.client()?.post("/volumes/create", &body).await?;
    output::line(&created.name);
    Ok(())
}
