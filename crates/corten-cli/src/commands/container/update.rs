//! `update`

use corten_client::Request;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::command::{Arity, Command};
use crate::each::{container, together};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag};
use crate::options::restart_policy;
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    flag("blkio-weight", Kind::Uint16, "Relative weight of block IO, 10 to 1000; 0 turns it off")
        .default("0"),
    flag("cpu-period", Kind::Int, "Period of the CPU quota in microseconds"),
    flag("cpu-quota", Kind::Int, "CPU time per period in microseconds"),
    flag("cpu-rt-period", Kind::Int, "Period of real-time CPU in microseconds"),
    flag("cpu-rt-runtime", Kind::Int, "Real-time CPU per period in microseconds"),
    flag("cpu-shares", Kind::Int, "Relative weight of CPU").short('c'),
    flag("cpus", Kind::Decimal, "Number of CPUs"),
    flag("cpuset-cpus", Kind::Text, "CPUs to run on (0-3, 0,1)"),
    flag("cpuset-mems", Kind::Text, "Memory nodes to use (0-3, 0,1)"),
    flag("kernel-memory", Kind::Bytes, "Limit of kernel memory").hidden(),
    flag("memory", Kind::Bytes, "Limit of memory").short('m'),
    flag("memory-reservation", Kind::Bytes, "Soft limit of memory"),
    flag("memory-swap", Kind::Bytes, "Limit of memory and swap together: -1 for unlimited swap"),
    flag("pids-limit", Kind::Int, "Limit of processes (-1 for none)"),
    flag("restart", Kind::Text, "When to start it again after its exit"),
];

/// The command.
pub static UPDATE: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    usage_also: None,
    about: "Update configuration of one or more containers",
    spellings: &["container update", "update"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Updated {
    warnings: Option<Vec<String>>,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let body = body(m)?;
    if body.is_empty() {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let client = session.client()?;
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    for name in &m.args {
        match client.json::<Updated>(Request::post(container(name, "/update")).json(&body)).await {
            Ok(updated) => {
                output::line(name);
                warnings.extend(updated.warnings.into_iter().flatten());
            }
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    if !warnings.is_empty() {
        output::line(&warnings.join("\n"));
    }
    together(mistakes)
}

/// Only what was given: what is absent stays as it is.
fn body(m: &Matches) -> Result<Map<String, Value>, String> {
    let mut body = Map::new();
    for (flag, key) in [
        ("blkio-weight", "BlkioWeight"),
        ("cpu-period", "CpuPeriod"),
        ("cpu-quota", "CpuQuota"),
        ("cpu-rt-period", "CpuRealtimePeriod"),
        ("cpu-rt-runtime", "CpuRealtimeRuntime"),
        ("cpu-shares", "CpuShares"),
        ("pids-limit", "PidsLimit"),
    ] {
        if let Some(value) = m.int(flag) {
            body.insert(key.into(), value.into());
        }
    }
    for (flag, key) in [
        ("memory", "Memory"),
        ("memory-reservation", "MemoryReservation"),
        ("memory-swap", "MemorySwap"),
        ("kernel-memory", "KernelMemory"),
    ] {
        if let Some(value) = m.bytes(flag) {
            body.insert(key.into(), value.into());
        }
    }
    for (flag, key) in [("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems")] {
        if let Some(value) = m.given(flag) {
            body.insert(key.into(), value.into());
        }
    }
    if let Some(text) = m.given("cpus") {
        body.insert("NanoCpus".into(), crate::value::nano_cpus(text)?.into());
    }
    if let Some(text) = m.given("restart") {
        body.insert("RestartPolicy".into(), restart_policy(text)?);
    }
    Ok(body)
}
