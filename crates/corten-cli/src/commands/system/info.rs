//! `info`

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::version::OWN;
use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag};
use crate::format::units::binary_size;
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::template::{self, Mode, shape};

static FLAGS: &[Flag] = &[flag("format", Kind::Text, "How to print: 'json' or a Go TEMPLATE").short('f')];

/// The command.
pub static INFO: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Display system-wide information",
    spellings: &["system info", "info"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let wrong = |error: template::TemplateError| {
        Failure::new(format!("template parsing error: {error}")).with_code(64)
    };
    let template = match m.text("format") {
        "" => None,
        "json" => Some(template::parse("{{json .}}").map_err(wrong)?),
        text => Some(template::parse(text).map_err(wrong)?),
    };
    let answer = session.client()?.get::<Json>("/info").await;
    let mine = json!({
        "Debug": session.debug(),
        "Version": OWN,
        "Os": std::env::consts::OS,
        "Arch": std::env::consts::ARCH,
        "Context": session.current_context(),
        "Plugins": [],
        "Warnings": null,
    });
    let mut whole = answer.as_ref().ok().cloned().unwrap_or_else(|| json!({}));
    whole["ClientInfo"] = mine;
    if let Err(error) = &answer {
        whole["ServerErrors"] = json!([error.to_string()]);
    }
    if let Some(template) = template {
        let value = shape::typed(&whole, "cli.Info");
        output::line(&template::execute(&template, &value, Mode::Row).map_err(wrong)?);
        return answer.map(drop).map_err(Failure::from);
    }
    let client = &whole["ClientInfo"];
    output::put(&format!(
        "Client:\n Version:    {OWN}\n Context:    {}\n Debug Mode: {}\n\nServer:\n",
        client["Context"].as_str().unwrap_or_default(),
        client["Debug"]
    ));
    match answer {
        Ok(info) => {
            output::put(&server(&info));
            for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Json::as_str) {
                output::error_line(warning);
            }
            Ok(())
        }
        Err(error) => {
            output::error_line(&format!("ERROR: {error}"));
            Err(Failure::new("errors pretty printing info"))
        }
    }
}

struct Lines<'a> {
    info: &'a Json,
    out: String,
}

impl Lines<'_> {
    fn text(&self, key: &str) -> String {
        match &self.info[key] {
            Json::String(text) => text.clone(),
            Json::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// A line that is always there.
    fn line(&mut self, title: &str, key: &str) {
        let text = self.text(key);
        let _ = writeln!(self.out, " {title}: {text}");
    }

    /// A line that is there where it says something.
    fn some(&mut self, title: &str, key: &str) {
        if !self.text(key).is_empty() {
            self.line(title, key);
        }
    }

    fn list(&mut self, title: &str, key: &str) {
        let items: Vec<&str> =
            self.info[key].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        if !items.is_empty() {
            let _ = writeln!(self.out, " {title}:\n  {}", items.join("\n  "));
        }
    }
}

fn server(info: &Json) -> String {
    let mut l = Lines { info, out: String::new() };
    l.line("Containers", "Containers");
    l.line(" Running", "ContainersRunning");
    l.line(" Paused", "ContainersPaused");
    l.line(" Stopped", "ContainersStopped");
    l.line("Images", "Images");
    l.some("Server Version", "ServerVersion");
    l.some("Storage Driver", "Driver");
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        let _ = writeln!(
            l.out,
            "  {}: {}",
            pair[0].as_str().unwrap_or_default(),
            pair[1].as_str().unwrap_or_default()
        );
    }
    l.some("Logging Driver", "LoggingDriver");
    l.some("Cgroup Driver", "CgroupDriver");
    l.some("Cgroup Version", "CgroupVersion");
    l.out.push_str(" Plugins:\n");
    for kind in ["Volume", "Network", "Authorization", "Log"] {
        let names: Vec<&str> =
            info["Plugins"][kind].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        if kind != "Authorization" || !names.is_empty() {
            let _ = writeln!(l.out, "  {kind}: {}", names.join(" "));
        }
    }
    l.list("CDI spec directories", "CDISpecDirs");
    let _ = writeln!(l.out, " Swarm: {}", info["Swarm"]["LocalNodeState"].as_str().unwrap_or_default());
    if let Some(runtimes) = info["Runtimes"].as_object().filter(|runtimes| !runtimes.is_empty()) {
        let names: Vec<&str> = runtimes.keys().map(String::as_str).collect();
        let _ = writeln!(l.out, " Runtimes: {}", names.join(" "));
        l.line("Default Runtime", "DefaultRuntime");
    }
    l.line("Init Binary", "InitBinary");
    for (title, key) in [
        ("containerd version", "ContainerdCommit"),
        ("runc version", "RuncCommit"),
        ("init version", "InitCommit"),
    ] {
        let _ = writeln!(l.out, " {title}: {}", info[key]["ID"].as_str().unwrap_or_default());
    }
    security(info, &mut l.out);
    l.some("Kernel Version", "KernelVersion");
    l.some("Operating System", "OperatingSystem");
    l.some("OSType", "OSType");
    l.some("Architecture", "Architecture");
    l.line("CPUs", "NCPU");
    let _ = writeln!(l.out, " Total Memory: {}", binary_size(info["MemTotal"].as_f64().unwrap_or(0.0)));
    l.some("Name", "Name");
    l.some("ID", "ID");
    l.line("Docker Root Dir", "DockerRootDir");
    l.line("Debug Mode", "Debug");
    if info["Debug"].as_bool() == Some(true) {
        l.line(" File Descriptors", "NFd");
        l.line(" Goroutines", "NGoroutines");
        l.line(" System Time", "SystemTime");
        l.line(" EventsListeners", "NEventsListener");
    }
    l.some("HTTP Proxy", "HttpProxy");
    l.some("HTTPS Proxy", "HttpsProxy");
    l.some("No Proxy", "NoProxy");
    l.list("Labels", "Labels");
    l.line("Experimental", "ExperimentalBuild");
    registries(info, &mut l.out);
    l.line("Live Restore Enabled", "LiveRestoreEnabled");
    l.some("Product License", "ProductLicense");
    let pools: Vec<&Json> = info["DefaultAddressPools"].as_array().into_iter().flatten().collect();
    if !pools.is_empty() {
        l.out.push_str(" Default Address Pools:\n");
        for pool in pools {
            let _ = writeln!(
                l.out,
                "   Base: {}, Size: {}",
                pool["Base"].as_str().unwrap_or_default(),
                pool["Size"]
            );
        }
    }
    l.out.push('\n');
    l.out
}

fn security(info: &Json, out: &mut String) {
    let options: Vec<&str> =
        info["SecurityOptions"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    if options.is_empty() {
        return;
    }
    out.push_str(" Security Options:\n");
    for option in options {
        for (i, part) in option.split(',').enumerate() {
            let (key, value) = part.split_once('=').unwrap_or(("name", part));
            match (key, i) {
                ("name", 0) => {
                    let _ = writeln!(out, "  {value}");
                }
                ("profile", _) => {
                    let _ = writeln!(out, "   Profile: {value}");
                }
                _ => {}
            }
        }
    }
}

fn registries(info: &Json, out: &mut String) {
    let config = &info["RegistryConfig"];
    let networks: Vec<&str> =
        config["InsecureRegistryCIDRs"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let hosts = config["IndexConfigs"].as_object();
    if !networks.is_empty() || hosts.is_some_and(|hosts| !hosts.is_empty()) {
        out.push_str(" Insecure Registries:\n");
        for host in hosts.into_iter().flat_map(|hosts| hosts.values()) {
            if host["Secure"].as_bool() == Some(false) {
                let _ = writeln!(out, "  {}", host["Name"].as_str().unwrap_or_default());
            }
        }
        for network in networks {
            let _ = writeln!(out, "  {network}");
        }
    }
    let mirrors: Vec<&str> =
        config["Mirrors"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    if !mirrors.is_empty() {
        let _ = writeln!(out, " Registry Mirrors:\n  {}", mirrors.join("\n  "));
    }
}
