//! `ps`

use std::collections::BTreeMap;
use std::rc::Rc;

use corten_client::Request;
use corten_types::Reference;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::text::{Port, ellipsis, local_time, ports, quote, short_id};
use crate::format::units::{ago, short_size};
use crate::format::{Record, Titles, is_table, render};
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::template::{self, Mode, Value};
use crate::{filters, output};

static FLAGS: &[Flag] = &[
    switch("all", "Show every container, not only those that run").short('a'),
    flag("filter", Kind::Filter, "Show only what meets a condition").short('f'),
    flag("format", Kind::Text, FORMAT_HELP),
    flag("last", Kind::Int, "Show the n newest, whatever they do").short('n').default("-1"),
    switch("latest", "Show the newest, whatever it does").short('l'),
    switch("no-trunc", "Do not shorten anything"),
    switch("quiet", "Show only IDs").short('q'),
    switch("size", "Show sizes too").short('s'),
];

/// What help says of `--format` of a list.
pub const FORMAT_HELP: &str = "How to print: 'table', 'table TEMPLATE', 'json', or a Go TEMPLATE";

/// The command.
pub static LS: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "List containers",
    spellings: &["container ls", "container list", "container ps", "ps"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// A container as lists have it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Summary {
    /// The full id.
    pub id: String,
    /// Names with a slash before them.
    pub names: Vec<String>,
    /// The image as it was given.
    pub image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Vec<Port>,
    /// Bytes of its own.
    pub size_rw: i64,
    size_root_fs: i64,
    labels: Option<BTreeMap<String, String>>,
    /// One word.
    pub state: String,
    status: String,
    network_settings: Networks,
    mounts: Vec<Mount>,
    image_manifest_descriptor: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Networks {
    networks: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    name: String,
    source: String,
    driver: String,
}

impl Summary {
    /// Without the size of what the image has.
    #[must_use]
    pub fn without_image_size(self) -> Self {
        Self { size_root_fs: 0, ..self }
    }
}

/// The columns' titles.
pub const TITLES: Titles = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

async fn run(session: &Session, m: &Matches) -> Outcome {
    let given = match m.text("format") {
        "" if m.on("quiet") => "",
        "" => session.config.text("psFormat"),
        given => given,
    };
    let mut format = match given {
        "" | "table" if m.on("quiet") => "{{.ID}}".to_owned(),
        "" | "table" => {
            "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
                .to_owned()
        }
        "raw" => RAW.to_owned(),
        other => other.to_owned(),
    };
    if !matches!(given, "" | "table" | "json" | "raw") {
        check(given)?;
    }
    let whole = format.replace(' ', "").contains("{{json.}}");
    let sizes = m.on("size") || format.contains(".Size") || whole;
    if m.on("size") && is_table(&format) && !format.contains(".Size") {
        format.push_str("\t{{.Size}}");
    }
    let last = if m.on("latest") { 1 } else { m.int("last").unwrap_or(-1) };
    let request = Request::get("/containers/json")
        .query_if("all", m.on("all"))
        .query_some("limit", (last > 0).then(|| last.to_string()))
        .query_if("size", sizes)
        .query_some("filters", filters::encoded(m));
    let found: Vec<Summary> = session.client()?.json(request).await?;
    let short = !m.on("no-trunc");
    let rows = found.iter().map(|container| record(container, short)).collect();
    output::put(&render(&format, TITLES, rows)?);
    Ok(())
}

/// Tells a mistake in a format before the daemon is asked.
fn check(format: &str) -> Outcome {
    let template = template::parse(format)
        .map_err(|error| Failure::new(format!("failed to parse template: {error}")))?;
    let empty = Value::Row(Rc::new(record(&Summary::default(), true)));
    template::execute(&template, &empty, Mode::Row)
        .map_err(|error| Failure::new(format!("failed to execute template: {error}")))?;
    Ok(())
}

const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
                   state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n\
                   labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

/// A container's row.
pub fn record(c: &Summary, short: bool) -> Record {
    let names: Vec<&str> = c.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name)).collect();
    let names = match names.iter().find(|name| !name.contains('/')) {
        Some(own) if short => (*own).to_owned(),
        _ => names.join(","),
    };
    let command = if short { ellipsis(&c.command, 20) } else { c.command.clone() };
    let mounts: Vec<String> = c
        .mounts
        .iter()
        .map(|mount| if mount.name.is_empty() { &mount.source } else { &mount.name })
        .map(|name| if short { ellipsis(name, 15) } else { name.clone() })
        .collect();
    let networks: Vec<&str> =
        c.network_settings.networks.iter().flat_map(|all| all.keys()).map(String::as_str).collect();
    let mut size = short_size(c.size_rw as f64);
    if c.size_root_fs > 0 {
        size = format!("{size} (virtual {})", short_size(c.size_root_fs as f64));
    }
    let local = c.mounts.iter().filter(|mount| mount.driver == "local").count();
    let platform = c.image_manifest_descriptor.as_ref().and_then(|descriptor| descriptor.get("platform"));
    let created = c.created;
    Record::new("formatter.ContainerContext")
        .with("Command", quote(&command))
        .later("CreatedAt", move || local_time(created))
        .with("ID", if short { short_id(&c.id) } else { &c.id })
        .with("Image", image(c, short))
        .labels(c.labels.as_ref().unwrap_or(&BTreeMap::new()))
        .with("LocalVolumes", local.to_string())
        .with("Mounts", mounts.join(","))
        .with("Names", names)
        .with("Networks", networks.join(","))
        .with("Platform", platform.map_or(Value::NilPointer, Value::from_json))
        .with("Ports", ports(&c.ports))
        .with("RunningFor", ago(c.created))
        .with("Size", size)
        .with("State", c.state.as_str())
        .with("Status", c.status.as_str())
}

fn image(c: &Summary, short: bool) -> String {
    if c.image.is_empty() {
        return "<no image>".to_owned();
    }
    if !short {
        return c.image.clone();
    }
    if short_id(&c.image_id) == short_id(&c.image) {
        return short_id(&c.image_id).to_owned();
    }
    match c.image.parse::<Reference>() {
        Ok(reference) => match reference.tag().map(|tag| reference.repository().with_tag(tag)) {
            Some(Ok(tagged)) => tagged.familiar(),
            _ => reference.repository().familiar(),
        },
        Err(_) => c.image.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_docker_s() {
        let container: Summary = serde_json::from_value(serde_json::json!({
            "Id": "843465a963463638a90c500631bc4d8acf266bc5e36275e26868a103c27bb3f2",
            "Names": ["/c1", "/other/alias"], "Image": "busybox", "ImageID": "sha256:b6cc8694fc2f",
            "Command": "sleep 1000000000000000", "Created": jiff::Timestamp::now().as_second() - 90,
            "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
            "State": "running", "Status": "Up About a minute", "Labels": {"a": "b"}, "Mounts": []
        }))
        .unwrap();
        let format =
            "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
        assert_eq!(
            render(format, TITLES, vec![record(&container, true)]).unwrap(),
            "CONTAINER ID   IMAGE     COMMAND                  CREATED              STATUS              PORTS                  NAMES\n\
             843465a96346   busybox   \"sleep 1000000000000…\"   About a minute ago   Up About a minute   0.0.0.0:8080->80/tcp   c1\n"
        );
    }
}
