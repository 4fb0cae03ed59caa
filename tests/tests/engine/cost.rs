//! What a container costs the engine, where it can be counted and not only timed.

use std::fs;

use anyhow::{Context, Result, ensure};
use corten_tests::engine::Engine;
use corten_tests::execs::Execs;
use serde_json::json;

use crate::case::{IMAGE, cases};

cases![
    CortenOnly a_run_executes_the_monitor_and_the_program,
    CortenOnly an_idle_monitor_has_little_memory_of_its_own,
];

/// The most that an idle monitor holds alone, KiB: 52 are needed.
const MONITOR: u64 = 100;

fn a_run_executes_the_monitor_and_the_program(e: &mut Engine) -> Result<()> {
    let Some(trace) = Execs::of(e.pid())? else { return Ok(()) };
    let id = e.run(
        "counted",
        json!({
            "Image": IMAGE,
            "Cmd": ["sleep", "1000"],
            "ExposedPorts": { "80/tcp": {} },
            "HostConfig": {
                "Memory": 64 << 20,
                "Binds": ["counted:/data"],
                "PortBindings": { "80/tcp": [{ "HostPort": "" }] },
            },
        }),
    )?;
    // The start was answered, so the program was executed.
    let run = trace.seen()?;
    ensure!(run.len() == 2 && run[1] == "/bin/sleep", "{run:?}");

    let exec = e
        .post_json(&format!("/containers/{id}/exec"), json!({ "Cmd": ["true"], "AttachStdout": true }))?
        .expect(201)?
        .json()?;
    let exec = exec["Id"].as_str().unwrap_or_default().to_owned();
    e.post_json(&format!("/exec/{exec}/start"), json!({ "Detach": false }))?;
    let after = trace.seen()?;
    ensure!(after.len() == 3 && after[2] == "/bin/true", "{after:?}");

    e.post(&format!("/containers/{id}/stop?t=0"))?.expect(204)?;
    e.remove(&id)?;
    e.delete("/volumes/counted")?.expect(204)?;
    let all = trace.seen()?;
    ensure!(all.len() == 3, "stop and removal executed {:?}", &all[3..]);
    Ok(())
}

/// What it alone has written to, so that neither the number of containers nor other programs change it.
fn an_idle_monitor_has_little_memory_of_its_own(e: &mut Engine) -> Result<()> {
    let id = e.run("idle", json!({ "Image": IMAGE, "Cmd": ["sleep", "1000"] }))?;
    let inspected = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    let init = inspected["State"]["Pid"].as_u64().context("no Pid")?;
    let stat = fs::read_to_string(format!("/proc/{init}/stat"))?;
    let monitor = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).context("no parent")?;
    if fs::read_to_string(format!("/proc/{monitor}/maps"))?.contains(".so") {
        println!("notice: the monitor is not linked statically; its memory is not looked at");
        return e.remove(&id);
    }
    let path = format!("/proc/{monitor}/smaps_rollup");
    // It gives back what it used a moment after its last request.
    e.until("the monitor gives its memory back", || {
        let text = fs::read_to_string(&path)?;
        let own = text.lines().find(|line| line.starts_with("Anonymous:"));
        let size = own.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(size.filter(|size| *size <= MONITOR))
    })?;
    e.remove(&id)
}
