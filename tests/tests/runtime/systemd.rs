//! Cgroups that systemd makes: scopes of the engine's containers and of the runtime's.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bundle::{Bundle, line};
use crate::unified::{body, cgroup, engine};
use crate::{Case, Outcome, is_unified};

pub const CASES: &[Case] = &[
    ("systemd_makes_the_engine_s_cgroups", engine_scopes),
    ("systemd_makes_the_runtime_s_cgroups", runtime_scopes),
];

const NEEDS: Outcome = Outcome::Skipped("systemd is not process 1 here, or cgroup v2 is not alone");

fn is_there() -> bool {
    is_unified() && Path::new("/run/systemd/system").exists()
}

/// A property of a unit, as systemd itself tells it.
fn property(unit: &str, name: &str) -> Result<String> {
    let output = Command::new("systemctl").args(["show", "--value", "--property", name, unit]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn engine_scopes() -> Result<Outcome> {
    if !is_there() {
        return Ok(NEEDS);
    }
    for (option, driver) in [("systemd", "systemd"), ("cgroupfs", "cgroupfs")] {
        let e = engine(&["--exec-opt", &format!("native.cgroupdriver={option}")])?;
        let info = e.get("/info")?.expect(200)?.json()?;
        ensure!(info["CgroupDriver"] == driver, "{}", info["CgroupDriver"]);
    }
    // Nothing is said: it is systemd's machine.
    let e = engine(&[])?;
    let info = e.get("/info")?.expect(200)?.json()?;
    ensure!(info["CgroupDriver"] == "systemd" && info["CgroupVersion"] == "2", "{}", info["CgroupDriver"]);
    let host = json!({ "Memory": 64 << 20, "PidsLimit": 50 });
    let id = e.run("", body("sleep 1000", host))?;
    let unit = format!("docker-{id}.scope");
    let directory = cgroup(&e, &id)?;
    ensure!(directory == Path::new("/sys/fs/cgroup/system.slice").join(&unit), "{}", directory.display());
    for (name, wanted) in
        [("ActiveState", "active"), ("MemoryMax", "67108864"), ("TasksMax", "50"), ("Delegate", "yes")]
    {
        let value = property(&unit, name)?;
        ensure!(value == wanted, "{name}: {value}");
    }
    e.post_json(&format!("/containers/{id}/update"), json!({ "Memory": 128 << 20, "MemorySwap": -1 }))?
        .expect(200)?;
    ensure!(property(&unit, "MemoryMax")? == "134217728");
    // It reads all units again, and sets what it thinks their limits are.
    Command::new("systemctl").arg("daemon-reload").status()?;
    ensure!(line(directory.join("memory.max"))? == "134217728");
    let bad = e.post_json("/containers/create", body("true", json!({ "CgroupParent": "/not-a-slice" })))?;
    bad.refuses(400, "should be a valid slice")?;
    e.post(&format!("/containers/{id}/restart?t=0"))?.expect(204)?;
    ensure!(property(&unit, "ActiveState")? == "active");
    e.remove(&id)?;
    e.until("the scope is gone", || Ok((property(&unit, "ActiveState")? == "inactive").then_some(())))?;
    Ok(Outcome::Held)
}

fn runtime_scopes() -> Result<Outcome> {
    if !is_there() {
        return Ok(NEEDS);
    }
    let cpu = json!({ "quota": 50_000, "period": 100_000 });
    let more = json!({ "linux": {
        "cgroupsPath": "corten-tests.slice:runtime:one", "resources": { "cpu": cpu, "memory": { "limit": 32 << 20 } },
    } });
    let bundle = Bundle::new("scope", "sleep 1000", &more)?;
    let systemd: &[&str] = &["--systemd-cgroup"];
    bundle.start(systemd)?;
    let state: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])?)?;
    let pid = state["pid"].as_i64().context("a process")?;
    let membership = line(format!("/proc/{pid}/cgroup"))?;
    ensure!(membership == "0::/corten.slice/corten-tests.slice/runtime-one.scope", "{membership}");
    ensure!(property("runtime-one.scope", "MemoryMax")? == "33554432");
    ensure!(property("runtime-one.scope", "CPUQuotaPerSecUSec")? == "500ms");
    bundle.ok(&["--systemd-cgroup", "update", "--cpu-quota", "20000", &bundle.id])?;
    ensure!(property("runtime-one.scope", "CPUQuotaPerSecUSec")? == "200ms");
    bundle.ok(&["delete", "--force", &bundle.id])?;
    ensure!(property("runtime-one.scope", "ActiveState")? == "inactive");
    Ok(Outcome::Held)
}
