//! The daemon dies at the worst moments.

use anyhow::{Context, Result, ensure};
use corten_tests::engine::Engine;
use corten_tests::{archive, http, leak};
use serde_json::json;

use crate::case::{cases, shell, with};

cases![
    CortenOnly containers_outlive_a_killed_daemon,
    CortenOnly what_ended_meanwhile_is_known,
    CortenOnly a_killed_monitor_ends_its_container,
    CortenOnly what_was_acknowledged_is_there_after_a_kill,
    CortenOnly a_step_that_its_daemon_left_is_swept,
];

fn monitor_of(id: &str) -> Result<rustix::process::Pid> {
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.starts_with(b"corten-shim") && String::from_utf8_lossy(&command).contains(id) {
            let pid = entry.file_name().to_string_lossy().parse()?;
            return rustix::process::Pid::from_raw(pid).context("pid 0");
        }
    }
    anyhow::bail!("no monitor of {id}")
}

fn containers_outlive_a_killed_daemon(e: &mut Engine) -> Result<()> {
    let script = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.01; done";
    let id = e.run(
        "survivor",
        with(shell(script), json!({ "ExposedPorts": { "80/tcp": {} }, "HostConfig": { "PortBindings": { "80/tcp": [{ "HostPort": "" }] } } })),
    )?;
    let before = e.get(&format!("/containers/{id}/json"))?.json()?;
    e.kill_and_restart()?;
    let after = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    ensure!(
        after["State"]["Pid"] == before["State"]["Pid"] && after["State"]["Running"] == true,
        "{}",
        after["State"]
    );
    ensure!(
        after["NetworkSettings"]["Ports"] == before["NetworkSettings"]["Ports"],
        "{}",
        after["NetworkSettings"]
    );
    let seen = e.logs(&id)?.0.lines().count();
    e.until("it goes on writing", || Ok((e.logs(&id)?.0.lines().count() > seen + 10).then_some(())))?;
    for (n, line) in e.logs(&id)?.0.lines().enumerate() {
        ensure!(line == format!("line {}", n + 1), "line {} is {line:?}", n + 1);
    }
    e.post(&format!("/containers/{id}/stop?t=0"))?.expect(204)?;
    ensure!(e.get(&format!("/containers/{id}/json"))?.json()?["State"]["ExitCode"] == 137);
    e.remove(&id)
}

fn what_ended_meanwhile_is_known(e: &mut Engine) -> Result<()> {
    let fifo = e.dir.join("gate");
    std::fs::create_dir_all(&fifo)?;
    let body = with(
        shell("while [ ! -e /gate/open ]; do sleep 0.01; done; echo last words; exit 42"),
        json!({ "HostConfig": { "Binds": [format!("{}:/gate", fifo.display())] } }),
    );
    let id = e.run("", body)?;
    std::fs::write(fifo.join("open"), "")?;
    e.kill_and_restart()?;
    ensure!(e.wait(&id)? == 42);
    ensure!(e.logs(&id)?.0 == "last words\n");
    e.remove(&id)
}

fn a_killed_monitor_ends_its_container(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("exec sleep 1000"),
        json!({ "HostConfig": { "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 1 } } }),
    );
    let id = e.run("", body)?;
    let first = e.get(&format!("/containers/{id}/json"))?.json()?["State"]["Pid"].clone();
    rustix::process::kill_process(monitor_of(&id)?, rustix::process::Signal::KILL)?;
    e.until("it is started again", || {
        let c = e.get(&format!("/containers/{id}/json"))?.json()?;
        Ok((c["RestartCount"] == 1 && c["State"]["Running"] == true && c["State"]["Pid"] != first)
            .then_some(()))
    })?;
    ensure!(!std::path::Path::new(&format!("/proc/{first}/root")).exists(), "the old init lives");
    rustix::process::kill_process(monitor_of(&id)?, rustix::process::Signal::KILL)?;
    let state = e.until("it has ended", || {
        let state = e.get(&format!("/containers/{id}/json"))?.json()?["State"].clone();
        Ok((state["Status"] == "exited").then_some(state))
    })?;
    ensure!(state["ExitCode"] == 137, "{state}");
    e.remove(&id)
}

fn what_was_acknowledged_is_there_after_a_kill(e: &mut Engine) -> Result<()> {
    let id = e.create("acknowledged", shell("true"))?;
    e.post_json("/volumes/create", json!({ "Name": "acknowledged" }))?.expect(201)?;
    e.post_json("/networks/create", json!({ "Name": "acknowledged" }))?.expect(201)?;
    let gone = e.create("gone", shell("true"))?;
    e.remove(&gone)?;
    e.kill_and_restart()?;
    ensure!(e.get("/containers/acknowledged/json")?.expect(200)?.json()?["Id"] == id.as_str());
    e.get("/volumes/acknowledged")?.expect(200)?;
    e.get("/networks/acknowledged")?.expect(200)?;
    e.get("/containers/gone/json")?.expect(404)?;
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    ensure!(e.wait(&id)? == 0);
    e.remove(&id)?;
    e.delete("/volumes/acknowledged")?.expect(204)?;
    e.delete("/networks/acknowledged")?.expect(204)?;
    Ok(())
}

fn a_step_that_its_daemon_left_is_swept(e: &mut Engine) -> Result<()> {
    let before = leak::photograph(e)?;
    let tar = archive::files(&[("Dockerfile", "FROM busybox\nRUN exec sleep 1000\n")])?;
    let socket = e.socket();
    let build = std::thread::spawn(move || {
        http::request(&socket, "POST", "/build", http::Body::Bytes("application/x-tar", &tar))
            .map(|answer| answer.text())
    });
    let dir = e.dir.to_string_lossy().into_owned();
    let id = e.until("the step runs", || {
        let now = leak::photograph(e)?;
        let mut monitors = now.difference(&before).filter(|line| line.starts_with("process"));
        let monitor = monitors.find(|line| line.contains("corten-shim") && line.contains(&dir));
        Ok(monitor.and_then(|line| line.split(' ').nth(3).map(str::to_owned)))
    })?;
    e.kill_and_restart()?;
    // The daemon died under it: whatever it got is right.
    let _ = build.join();
    e.until("nothing of the step is left", || {
        Ok((!leak::photograph(e)?.iter().any(|line| line.contains(&id))).then_some(()))
    })
}
