//! `stats`: what containers use, once a second.

use std::collections::HashMap;
use std::time::Duration;

use corten_client::Request;
use futures_util::future::join_all;
use serde::Deserialize;

use super::ls::{FORMAT_HELP, Summary};
use crate::command::{Arity, Command};
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::text::short_id;
use crate::format::units::{binary_size, short_size};
use crate::format::{Record, Titles, is_table, render};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("all", "Show every container, not only those that run").short('a'),
    flag("format", Kind::Text, FORMAT_HELP),
    switch("no-stream", "Show the first result and leave"),
    switch("no-trunc", "Do not shorten anything"),
];

/// The command.
pub static STATS: Command = Command {
    usage: "[OPTIONS] [CONTAINER...]",
    usage_also: None,
    about: "Display a live stream of container(s) resource usage statistics",
    spellings: &["container stats", "stats"],
    flags: &[FLAGS],
    arity: Arity::Any,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

const TITLES: Titles = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Sample {
    id: String,
    name: String,
    cpu_stats: Cpu,
    precpu_stats: Cpu,
    memory_stats: Memory,
    pids_stats: Pids,
    blkio_stats: Block,
    networks: Option<HashMap<String, Interface>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    cpu_usage: CpuUsage,
    system_cpu_usage: u64,
    online_cpus: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct CpuUsage {
    total_usage: u64,
    percpu_usage: Option<Vec<u64>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Memory {
    usage: u64,
    limit: u64,
    stats: HashMap<String, u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Pids {
    current: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Block {
    io_service_bytes_recursive: Option<Vec<BlockEntry>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct BlockEntry {
    op: String,
    value: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Interface {
    rx_bytes: u64,
    tx_bytes: u64,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let format = match m.text("format") {
        "" => session.config.text("statsFormat"),
        given => given,
    };
    let format = match format {
        "" | "table" => {
            "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
        }
        other => other,
    };
    let short = !m.on("no-trunc");
    let mut first = true;
    loop {
        let names = names(session, m).await?;
        if names.is_empty() && !m.on("no-stream") {
            // Nothing to wait for; a container may start at any time.
            tokio::time::sleep(PAUSE).await;
        }
        let samples = join_all(names.iter().map(|name| sample(session, name))).await;
        let mut rows = Vec::new();
        for (name, sample) in names.iter().zip(samples) {
            match sample {
                Ok(sample) => rows.push(record(name, Some(&sample), short)),
                // A name that was asked for must be there; one that was found may have gone.
                Err(failure) if first && m.args.contains(name) => return Err(failure),
                Err(_) if m.args.contains(name) => rows.push(record(name, None, short)),
                Err(_) => {}
            }
        }
        first = false;
        let text = render(format, TITLES, rows)?;
        if m.on("no-stream") {
            output::put(&text);
            return Ok(());
        }
        if is_table(format) {
            // To the top left, each line cleared to its end, and what is below it too.
            output::put(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")));
        } else {
            output::put(&text);
        }
    }
}

async fn names(session: &Session, m: &Matches) -> Outcome<Vec<String>> {
    if !m.args.is_empty() {
        return Ok(m.args.clone());
    }
    let request = Request::get("/containers/json").query_if("all", m.on("all"));
    let found: Vec<Summary> = session.client()?.json(request).await?;
    Ok(found.into_iter().map(|container| container.id).collect())
}

/// One sample; the daemon takes a second for it, and tells the CPU time from before that second too.
async fn sample(session: &Session, name: &str) -> Outcome<Sample> {
    let request = Request::get(container(name, "/stats")).query("stream", "0");
    session.client()?.json(request).await.map_err(Failure::from)
}

fn record(name: &str, sample: Option<&Sample>, short: bool) -> Record {
    let shown = |id: &str| if short { short_id(id).to_owned() } else { id.to_owned() };
    let Some(now) = sample else {
        return Record::new("container.statsContext")
            .with("BlockIO", "--")
            .with("CPUPerc", "--")
            .with("Container", name)
            .with("ID", "")
            .with("MemPerc", "--")
            .with("MemUsage", "-- / --")
            .with("Name", "--")
            .with("NetIO", "--")
            .with("PIDs", "--");
    };
    let memory = now.memory();
    let share =
        if now.memory_stats.limit == 0 { 0.0 } else { memory / now.memory_stats.limit as f64 * 100.0 };
    let (received, sent) = now
        .networks
        .iter()
        .flat_map(HashMap::values)
        .fold((0, 0), |(rx, tx), interface| (rx + interface.rx_bytes, tx + interface.tx_bytes));
    let blocks = |op: &str| -> f64 {
        let entries = now.blkio_stats.io_service_bytes_recursive.iter().flatten();
        entries.filter(|entry| entry.op.eq_ignore_ascii_case(op)).map(|entry| entry.value as f64).sum()
    };
    Record::new("container.statsContext")
        .with("BlockIO", format!("{} / {}", short_size(blocks("read")), short_size(blocks("write"))))
        .with("CPUPerc", format!("{:.2}%", now.cpu()))
        .with("Container", name)
        .with("ID", shown(&now.id))
        .with("MemPerc", format!("{share:.2}%"))
        .with("MemUsage", format!("{} / {}", binary_size(memory), binary_size(now.memory_stats.limit as f64)))
        .with("Name", now.name.trim_start_matches('/'))
        .with("NetIO", format!("{} / {}", short_size(received as f64), short_size(sent as f64)))
        .with("PIDs", now.pids_stats.current.to_string())
}

impl Sample {
    /// Bytes without the page cache that nobody uses.
    fn memory(&self) -> f64 {
        let usage = self.memory_stats.usage;
        let cache = ["total_inactive_file", "inactive_file"]
            .iter()
            .find_map(|key| self.memory_stats.stats.get(*key).copied().filter(|cache| *cache < usage));
        (usage - cache.unwrap_or(0)) as f64
    }

    /// Per cent of one CPU in the second of the sample.
    fn cpu(&self) -> f64 {
        let (now, before) = (&self.cpu_stats, &self.precpu_stats);
        let used = now.cpu_usage.total_usage.saturating_sub(before.cpu_usage.total_usage) as f64;
        let system = now.system_cpu_usage.saturating_sub(before.system_cpu_usage) as f64;
        let cpus = match self.cpu_stats.online_cpus {
            0 => self.cpu_stats.cpu_usage.percpu_usage.as_ref().map_or(1, Vec::len) as f64,
            cpus => cpus as f64,
        };
        if used > 0.0 && system > 0.0 { used / system * cpus * 100.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_computed_as_docker_does() {
        let cpu = |total: u64, system: u64| serde_json::json!({"cpu_usage": {"total_usage": total}, "system_cpu_usage": system, "online_cpus": 2});
        let sample: Sample = serde_json::from_value(serde_json::json!({
            "id": "843465a963463638", "name": "/c1", "cpu_stats": cpu(300, 2000), "precpu_stats": cpu(100, 1000),
            "memory_stats": {"usage": 3_000_000, "limit": 10_485_760, "stats": {"inactive_file": 378_560}},
            "pids_stats": {"current": 3}, "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2000}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 4096}]}
        }))
        .unwrap();
        let row = record("c1", Some(&sample), true);
        let format =
            "{{.ID}} {{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.BlockIO}} {{.PIDs}}";
        assert_eq!(
            render(format, TITLES, vec![row]).unwrap(),
            "843465a96346 c1 40.00% 2.5MiB / 10MiB 25.00% 1kB / 2kB 4.1kB / 0B 3\n"
        );
    }
}
