//! What a container costs the engine, where it can be counted and not only timed.

use anyhow::{Result, ensure};
use corten_tests::engine::Engine;
use corten_tests::execs::Execs;
use serde_json::json;

use crate::case::{IMAGE, cases};

cases![CortenOnly a_run_executes_the_monitor_and_the_program];

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
