//! `version`

use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::template::{self, Mode, shape};

static FLAGS: &[Flag] = &[flag("format", Kind::Text, "How to print: 'json' or a Go TEMPLATE").short('f')];

/// The command.
pub static VERSION: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Show the version of client and engine",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// The version of this program.
pub const OWN: &str = env!("CARGO_PKG_VERSION");

async fn run(session: &Session, m: &Matches) -> Outcome {
    let wrong = |error: template::TemplateError| {
        Failure::new(format!("template parsing error: {error}")).with_code(64)
    };
    let template = match m.text("format") {
        "" => None,
        "json" => Some(template::parse("{{json .}}").map_err(wrong)?),
        text => Some(template::parse(text).map_err(wrong)?),
    };
    let client = session.client()?;
    let server = client.get::<Json>("/version").await;
    let mut whole = json!({
        "Client": {
            "Version": OWN,
            "ApiVersion": client.version(),
            "DefaultAPIVersion": corten_client::NEWEST_API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": std::env::consts::OS,
            "Arch": architecture(),
            "BuildTime": "",
            "Context": session.current_context(),
        },
        "Server": server.as_ref().ok(),
    });
    for component in
        whole.pointer_mut("/Server/Components").and_then(Json::as_array_mut).into_iter().flatten()
    {
        let Some(built) = component.pointer_mut("/Details/BuildTime") else { continue };
        if let Some(moment) = built.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
            *built =
                moment.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string().into();
        }
    }
    match template {
        Some(template) => {
            let value = shape::typed(&whole, "cli.VersionInfo");
            output::line(&template::execute(&template, &value, Mode::Row).map_err(wrong)?);
        }
        None => output::put(&pretty(&whole)),
    }
    server.map(drop).map_err(Failure::from)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn pretty(whole: &Json) -> String {
    let text = |json: &Json, key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let client = &whole["Client"];
    let mut out = String::from("Client:\n");
    let _ = writeln!(out, " Version:           {}", text(client, "Version"));
    let _ = writeln!(out, " API version:       {}", text(client, "ApiVersion"));
    let _ = writeln!(out, " OS/Arch:           {}/{}", text(client, "Os"), text(client, "Arch"));
    let _ = writeln!(out, " Context:           {}", text(client, "Context"));
    let server = &whole["Server"];
    if server.is_null() {
        return out;
    }
    match text(&server["Platform"], "Name").as_str() {
        "" => out.push_str("\nServer:\n"),
        name => {
            let _ = write!(out, "\nServer: {name}\n");
        }
    }
    for component in server["Components"].as_array().into_iter().flatten() {
        let _ = writeln!(out, " {}:", text(component, "Name"));
        let details = &component["Details"];
        let _ = writeln!(out, "  Version:          {}", text(component, "Version"));
        if !text(details, "ApiVersion").is_empty() {
            let minimum = match text(details, "MinAPIVersion").as_str() {
                "" => String::new(),
                minimum => format!(" (minimum version {minimum})"),
            };
            let _ = writeln!(out, "  API version:      {}{minimum}", text(details, "ApiVersion"));
            let built = text(details, "BuildTime");
            for (name, value) in [
                ("Go version:       ", text(details, "GoVersion")),
                ("Git commit:       ", text(details, "GitCommit")),
                ("Built:            ", built),
                ("OS/Arch:          ", format!("{}/{}", text(details, "Os"), text(details, "Arch"))),
                ("Experimental:     ", text(details, "Experimental")),
            ] {
                let _ = writeln!(out, "  {name}{value}");
            }
        } else if let Some(details) = details.as_object() {
            for (name, value) in details {
                let _ = writeln!(out, "  {:<18}{}", format!("{name}:"), value.as_str().unwrap_or_default());
            }
        }
    }
    out
}
