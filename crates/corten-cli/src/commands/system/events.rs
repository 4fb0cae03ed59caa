//! `events`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use corten_client::Request;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag};
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::template::{self, Mode, Value, shape};
use crate::{filters, moment, output};

static FLAGS: &[Flag] = &[
    flag("filter", Kind::Filter, "Show only what meets a condition").short('f'),
    flag("format", Kind::Text, "How to print: 'json' or a Go TEMPLATE"),
    flag("since", Kind::Text, "Begin with the events since a moment"),
    flag("until", Kind::Text, "End at a moment"),
];

/// The command.
pub static EVENTS: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Get real time events from the server",
    spellings: &["system events", "events"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: BTreeMap<String, String>,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let wrong =
        |error: template::TemplateError| Failure::new(format!("Error parsing format: {error}")).with_code(64);
    let template = match m.text("format") {
        "" => None,
        "json" => Some(template::parse("{{json .}}").map_err(wrong)?),
        text => {
            let template = template::parse(text).map_err(wrong)?;
            // A field that no event has is told before the first event comes.
            let empty = shape::typed(&serde_json::json!({}), "events.Message");
            template::execute(&template, &Value::Pointer(Rc::new(empty)), Mode::Row).map_err(wrong)?;
            Some(template)
        }
    };
    let time = |flag: &str| -> Outcome<Option<String>> {
        match m.text(flag) {
            "" => Ok(None),
            text => moment::unix(text).map(Some).map_err(Failure::from),
        }
    };
    let request = Request::get("/events")
        .query_some("since", time("since")?)
        .query_some("until", time("until")?)
        .query_some("filters", filters::encoded(m));
    let mut events = session.client()?.stream::<Json>(request).await?;
    while let Some(json) = events.next().await? {
        match &template {
            Some(template) => {
                let event = shape::typed(&json, "events.Message");
                output::line(
                    &template::execute(template, &event, Mode::Row)
                        .map_err(|error| Failure::new(error.to_string()))?,
                );
            }
            None => {
                let event = Event::deserialize(&json).unwrap_or_default();
                output::line(&text(&event));
            }
        }
    }
    Ok(())
}

fn text(event: &Event) -> String {
    let moment = match event.time_nano {
        0 => jiff::Timestamp::from_second(event.time),
        nanos => jiff::Timestamp::from_nanosecond(nanos.into()),
    };
    let moment = moment.map(|moment| moment.to_zoned(jiff::tz::TimeZone::system())).map(|zoned| {
        let zone = zoned.strftime("%:z").to_string();
        let zone = if zone == "+00:00" { "Z".to_owned() } else { zone };
        format!("{}.{:09}{zone}", zoned.strftime("%Y-%m-%dT%H:%M:%S"), zoned.subsec_nanosecond())
    });
    let mut out =
        format!("{} {} {} {}", moment.unwrap_or_default(), event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let pairs: Vec<String> =
            event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = write!(out, " ({})", pairs.join(", "));
    }
    out
}
