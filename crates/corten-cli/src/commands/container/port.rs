//! `port`

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

/// The command.
pub static PORT: Command = Command {
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    usage_also: None,
    about: "List port mappings or a specific mapping for the container",
    spellings: &["container port", "port"],
    flags: &[],
    arity: Arity::Between(1, 2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inspected {
    network_settings: Settings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_ip: String,
    host_port: String,
}

impl Binding {
    fn address(&self) -> String {
        if self.host_ip.contains(':') {
            format!("[{}]:{}", self.host_ip, self.host_port)
        } else {
            format!("{}:{}", self.host_ip, self.host_port)
        }
    }
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let name = &m.args[0];
    let found: Inspected = session.client()?.get(container(name, "/json")).await?;
    let ports = found.network_settings.ports.unwrap_or_default();
    match m.args.get(1) {
        Some(wanted) => {
            let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
            if port.parse::<u16>().is_err() {
                return Err(Failure::new(format!(
                    "Error: invalid port ({port}): strconv.ParseUint: parsing {port:?}: invalid syntax"
                )));
            }
            let bindings = ports.get(&format!("{port}/{protocol}")).and_then(Option::as_ref);
            let Some(bindings) = bindings.filter(|bindings| !bindings.is_empty()) else {
                return Err(Failure::new(format!("Error: No public port '{wanted}' published for {name}")));
            };
            for binding in bindings {
                output::line(&binding.address());
            }
        }
        None => {
            let mut lines: Vec<(u16, String)> = Vec::new();
            for (port, bindings) in &ports {
                let number = port.split('/').next().and_then(|port| port.parse().ok()).unwrap_or(0);
                for binding in bindings.iter().flatten() {
                    lines.push((number, format!("{port} -> {}", binding.address())));
                }
            }
            lines.sort_by_key(|(number, _)| *number);
            for (_, line) in lines {
                output::line(&line);
            }
        }
    }
    Ok(())
}
