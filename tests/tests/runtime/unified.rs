//! The engine and the runtime on cgroup v2 alone: limits as the kernel has them, and what only v2 has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use corten_tests::archive;
use corten_tests::engine::Engine;
use serde_json::{Value, json};

use crate::bundle::{Bundle, line};
use crate::{Case, Outcome, is_unified};

pub const CASES: &[Case] = &[
    ("limits_are_in_the_files_of_v2", limits),
    ("running_out_of_memory_kills_and_is_told", out_of_memory),
    ("processes_are_counted_and_limited", processes),
    ("a_paused_container_is_frozen", frozen),
    ("figures_come_from_v2", figures),
    ("limits_of_a_running_container_change", update),
    ("a_container_may_divide_its_cgroup_and_be_joined", divided),
    ("the_runtime_sets_limits_of_v2_and_its_own_map", runtime_limits),
    ("the_runtime_tells_events_of_memory", runtime_events),
];

const NEEDS: Outcome = Outcome::Skipped("this machine has the older cgroup hierarchies");

/// Starts our engine and imports the base image.
pub fn engine(more: &[&str]) -> Result<Engine> {
    let engine = Engine::corten_with(more)?;
    let path = "/images/create?fromSrc=-&repo=busybox&tag=latest&changes=CMD%20%5B%22sh%22%5D";
    let answer = engine.post_tar(path, &archive::base()?)?.expect(200)?;
    ensure!(!answer.text().contains("error"), "import: {}", answer.text());
    Ok(engine)
}

/// A container that runs `script` with the fields of `host` in its `HostConfig`.
pub fn body(script: &str, host: Value) -> Value {
    json!({ "Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host })
}

/// A container's output and exit code.
pub fn output(engine: &Engine, body: Value) -> Result<(i64, String)> {
    let id = engine.run("", body)?;
    let code = engine.wait(&id)?;
    let (out, err) = engine.logs(&id)?;
    engine.remove(&id)?;
    Ok((code, out + &err))
}

/// The directory of the cgroup that a running container's init is in.
pub fn cgroup(engine: &Engine, id: &str) -> Result<PathBuf> {
    let pid = engine.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?["State"]["Pid"].clone();
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/")).context("a cgroup of v2")?;
    Ok(Path::new("/sys/fs/cgroup").join(path))
}

fn limits() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let e = engine(&[])?;
    let script = "cd /sys/fs/cgroup; cat memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus";
    let host = json!({
        "Memory": 64 << 20, "MemorySwap": 96 << 20, "MemoryReservation": 32 << 20, "CpuPeriod": 50_000, "CpuQuota": 25_000,
        "CpuShares": 2048, "PidsLimit": 50, "CpusetCpus": "0",
    });
    let (code, out) = output(&e, body(script, host))?;
    ensure!(code == 0 && out == "67108864\n33554432\n33554432\n25000 50000\n79\n50\n0\n", "{code} {out:?}");
    Ok(Outcome::Held)
}

fn out_of_memory() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let e = engine(&[])?;
    let host = json!({ "Memory": 16 << 20, "MemorySwap": 16 << 20 });
    let id = e.run("", body("x=a; while true; do x=$x$x; done", host))?;
    ensure!(e.wait(&id)? == 137);
    let state = e.get(&format!("/containers/{id}/json"))?.json()?["State"].clone();
    ensure!(state["OOMKilled"] == true, "{state}");
    e.remove(&id)?;
    Ok(Outcome::Held)
}

fn processes() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let e = engine(&[])?;
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; cat /sys/fs/cgroup/pids.current";
    let (code, out) = output(&e, body(script, json!({ "PidsLimit": 5 })))?;
    ensure!(code != 0 && out.contains("can't fork"), "{code} {out:?}");
    Ok(Outcome::Held)
}

fn frozen() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let e = engine(&[])?;
    let id = e.run("", body("while true; do :; done", json!({})))?;
    let events = cgroup(&e, &id)?.join("cgroup.events");
    let is_frozen = || Ok::<_, anyhow::Error>(std::fs::read_to_string(&events)?.contains("frozen 1"));
    ensure!(!is_frozen()?);
    e.post(&format!("/containers/{id}/pause"))?.expect(204)?;
    ensure!(is_frozen()?);
    e.post(&format!("/containers/{id}/unpause"))?.expect(204)?;
    ensure!(!is_frozen()?);
    e.post(&format!("/containers/{id}/pause"))?.expect(204)?;
    // A frozen container ends by SIGKILL alike.
    e.remove(&id)?;
    Ok(Outcome::Held)
}

fn figures() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let e = engine(&[])?;
    let id = e.run("", body("while true; do :; done", json!({ "Memory": 64 << 20 })))?;
    let stats = e.until("it has used the CPU", || {
        let path = format!("/containers/{id}/stats?stream=false&one-shot=true");
        let stats = e.get(&path)?.expect(200)?.json()?;
        let used = stats["cpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap_or(0);
        Ok((used > 0).then_some(stats))
    })?;
    ensure!(stats["memory_stats"]["limit"] == 64 << 20, "{stats}");
    ensure!(stats["memory_stats"]["usage"].as_u64() > Some(0), "{stats}");
    ensure!(stats["memory_stats"]["stats"]["anon"].is_u64(), "{stats}");
    ensure!(stats["pids_stats"]["current"] == 1, "{stats}");
    e.remove(&id)?;
    Ok(Outcome::Held)
}

fn update() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let e = engine(&[])?;
    let id = e.run("", body("sleep 1000", json!({ "Memory": 64 << 20 })))?;
    let directory = cgroup(&e, &id)?;
    let change = json!({ "Memory": 128 << 20, "MemorySwap": 192 << 20, "CpuQuota": 20_000, "PidsLimit": 9 });
    e.post_json(&format!("/containers/{id}/update"), change)?.expect(200)?;
    for (file, wanted) in [
        ("memory.max", "134217728"),
        ("memory.swap.max", "67108864"),
        ("cpu.max", "20000 100000"),
        ("pids.max", "9"),
    ] {
        let value = line(directory.join(file))?;
        ensure!(value == wanted, "{file}: {value}");
    }
    e.remove(&id)?;
    Ok(Outcome::Held)
}

/// What an init like systemd does: it moves into a cgroup below and turns controllers on, after which the container's
/// own cgroup takes no process any more.
fn divided() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let e = engine(&[])?;
    let script = "cd /sys/fs/cgroup && mkdir below && echo 1 > below/cgroup.procs && echo +memory > cgroup.subtree_control && \
                  echo divided && exec sleep 1000";
    let id = e.run("", body(script, json!({ "SecurityOpt": ["writable-cgroups=true"] })))?;
    e.until("it is divided", || Ok(e.logs(&id)?.0.contains("divided").then_some(())))?;
    let exec = json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": ["cat", "/proc/self/cgroup"] });
    let exec = e.post_json(&format!("/containers/{id}/exec"), exec)?.expect(201)?.json()?["Id"].clone();
    let path = format!("/exec/{}/start", exec.as_str().context("an id")?);
    let answer = e.post_json(&path, json!({ "Detach": false }))?;
    ensure!(answer.text().contains("0::/below"), "{}", answer.text());
    e.remove(&id)?;
    Ok(Outcome::Held)
}

fn runtime_limits() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let resources = json!({ "memory": { "limit": 32 << 20 }, "pids": { "limit": 7 }, "unified": { "memory.high": "16777216" } });
    let more = json!({ "linux": { "resources": resources } });
    let bundle = Bundle::new("limits", "cd /sys/fs/cgroup; cat memory.max pids.max memory.high", &more)?;
    let out = bundle.ok(&["run", "--bundle", bundle.path()?, &bundle.id])?;
    ensure!(out == "33554432\n7\n16777216\n", "{out:?}");
    Ok(Outcome::Held)
}

fn runtime_events() -> Result<Outcome> {
    if !is_unified() {
        return Ok(NEEDS);
    }
    let more = json!({ "linux": { "resources": { "memory": { "limit": 16 << 20, "swap": 16 << 20 } } } });
    let bundle = Bundle::new("events", "read go < /go; x=a; while true; do x=$x$x; done", &more)?;
    let gate = bundle.dir.join("rootfs/go");
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    bundle.start(&[])?;
    let stats = bundle.ok(&["events", "--stats", &bundle.id])?;
    ensure!(stats.starts_with(r#"{"type":"stats","id":"#), "{stats}");
    let events = bundle.command(&["events", &bundle.id]).stdout(std::process::Stdio::piped()).spawn()?;
    std::fs::write(&gate, "go\n")?;
    let output = events.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains(&format!(r#"{{"type":"oom","id":"{}"}}"#, bundle.id)), "{text}");
    Ok(Outcome::Held)
}
