//! Other OCI runtimes: those that are there (runc, crun beside dockerd), and our own by its command line.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use corten_tests::engine::{Engine, Which, corten_binary, docker_binary};
use corten_tests::http::{self, Body};
use serde_json::{Value, json};

use crate::case::{cases, output, prepare, remove_all, shell, with};

cases![
    Both a_registered_runtime_makes_and_runs_containers,
    Both further_processes_are_made_by_it_too,
    Both a_program_that_cannot_run_is_told_by_its_code,
    CortenOnly containers_of_it_outlive_the_daemon,
    Both names_are_refused_and_reloaded_as_in_docker,
    CortenOnly a_shim_that_cannot_be_driven_is_refused_by_name,
];

/// The runtimes to try on this engine: their names and what registers them.
fn runtimes(e: &Engine) -> Result<Vec<(&'static str, Value)>> {
    let mut all = Vec::new();
    // crun refuses a machine whose controllers are divided between the two cgroup versions.
    let whole = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for name in ["crun", "runc"].into_iter().filter(|name| whole || *name != "crun") {
        let path = docker_binary().map(|docker| docker.with_file_name(name)).filter(|path| path.exists());
        let registered = if name == "runc" { "other" } else { name };
        all.extend(path.map(|path: PathBuf| (registered, json!({ "path": path }))));
    }
    if e.which == Which::Corten {
        let by_type = json!({ "runtimeType": "io.containerd.runc.v2" });
        all.push(("own", json!({ "path": corten_binary()?, "runtimeArgs": ["runtime"] })));
        all.push(("typed", by_type));
    }
    Ok(all)
}

fn settings(e: &Engine) -> Result<Value> {
    let all: serde_json::Map<String, Value> =
        runtimes(e)?.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(json!({ "runtimes": all, "live-restore": true }))
}

/// Runs `body` for each runtime on an engine that knows them all.
fn each(e: &Engine, folder: &str, body: impl Fn(&mut Engine, &str) -> Result<()>) -> Result<()> {
    let mut other = e.beside(folder, &settings(e)?)?;
    prepare(&other)?;
    for (name, _) in runtimes(e)? {
        body(&mut other, name).with_context(|| format!("runtime {name}"))?;
    }
    remove_all(&other)
}

fn of(name: &str, body: Value) -> Value {
    with(body, json!({ "HostConfig": { "Runtime": name } }))
}

fn exec(e: &Engine, id: &str, body: Value) -> Result<(i64, Vec<u8>)> {
    let made = e.post_json(&format!("/containers/{id}/exec"), body.clone())?.expect(201)?.json()?;
    let exec = made["Id"].as_str().context("no Id")?.to_owned();
    let tty = body["Tty"] == json!(true);
    let start = Body::Json(json!({ "Detach": false, "Tty": tty }));
    let mut stream = http::hijack(&e.socket(), &format!("/exec/{exec}/start"), start, true)?;
    let bytes = stream.read_to_end()?;
    let code = e.get(&format!("/exec/{exec}/json"))?.expect(200)?.json()?["ExitCode"].as_i64();
    Ok((code.context("no ExitCode")?, bytes))
}

fn a_registered_runtime_makes_and_runs_containers(e: &mut Engine) -> Result<()> {
    each(e, "runtimes", |e, name| {
        let (code, out, err) = output(e, of(name, shell("echo out; echo err >&2; exit 7")))?;
        ensure!((code, &*out, &*err) == (7, "out\n", "err\n"), "{code} {out:?} {err:?}");

        let id = e.create(
            "",
            of(
                name,
                with(
                    shell("test -t 1 && stty size"),
                    json!({ "Tty": true, "HostConfig": { "ConsoleSize": [31, 97] } }),
                ),
            ),
        )?;
        e.post(&format!("/containers/{id}/start"))?.expect(204)?;
        ensure!(e.wait(&id)? == 0, "no terminal");
        let log = e.get(&format!("/containers/{id}/logs?stdout=1"))?.expect(200)?;
        ensure!(log.text() == "31 97\r\n", "{:?}", log.text());
        e.remove(&id)?;

        let id = e.run("", of(name, shell("trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done")))?;
        let shown = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
        ensure!(shown["HostConfig"]["Runtime"] == name, "{}", shown["HostConfig"]["Runtime"]);
        e.post(&format!("/containers/{id}/pause"))?.expect(204)?;
        let shown = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
        ensure!(shown["State"]["Status"] == "paused");
        e.post(&format!("/containers/{id}/unpause"))?.expect(204)?;
        e.post_json(
            &format!("/containers/{id}/update"),
            json!({ "Memory": 64 << 20, "MemorySwap": 128 << 20 }),
        )?
        .expect(200)?;
        let stats = e.get(&format!("/containers/{id}/stats?stream=0&one-shot=1"))?.expect(200)?.json()?;
        ensure!(stats["memory_stats"]["limit"] == 64 << 20, "{}", stats["memory_stats"]);
        let top = e.get(&format!("/containers/{id}/top"))?.expect(200)?.json()?;
        ensure!(!top["Processes"].as_array().context("no Processes")?.is_empty());
        e.post(&format!("/containers/{id}/stop"))?.expect(204)?;
        let shown = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
        ensure!(shown["State"]["ExitCode"] == 3, "{}", shown["State"]);
        ensure!(e.logs(&id)?.0 == "bye\n");
        e.post(&format!("/containers/{id}/restart"))?.expect(204)?;
        e.post(&format!("/containers/{id}/kill"))?.expect(204)?;
        ensure!(e.wait(&id)? == 137);
        e.remove(&id)
    })
}

fn further_processes_are_made_by_it_too(e: &mut Engine) -> Result<()> {
    each(e, "runtimes-exec", |e, name| {
        let check = json!({ "Healthcheck": { "Test": ["CMD-SHELL", "test -e /tmp/well"], "Interval": 100_000_000, "Retries": 1 } });
        let id =
            e.run("", of(name, with(shell("mkdir -p /tmp; touch /tmp/well; exec sleep 1000"), check)))?;
        let script =
            json!({ "Cmd": ["sh", "-c", "echo $X; cd; exit 9"], "Env": ["X=y"], "AttachStdout": true });
        let (code, bytes) = exec(e, &id, script)?;
        ensure!(code == 9 && http::demultiplex(&bytes)?.0 == b"y\n", "{code} {bytes:?}");
        let script =
            json!({ "Cmd": ["sh", "-c", "test -t 0 && echo tty"], "Tty": true, "AttachStdout": true });
        let (code, bytes) = exec(e, &id, script)?;
        ensure!(code == 0 && bytes == b"tty\r\n", "{code} {bytes:?}");
        e.until("it is healthy", || {
            let shown = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
            Ok((shown["State"]["Health"]["Status"] == "healthy").then_some(()))
        })?;
        e.remove(&id)
    })
}

fn a_program_that_cannot_run_is_told_by_its_code(e: &mut Engine) -> Result<()> {
    each(e, "runtimes-failure", |e, name| {
        let id = e.create("", of(name, json!({ "Image": "busybox", "Cmd": ["no-such-program"] })))?;
        let answer = e.post(&format!("/containers/{id}/start"))?;
        ensure!(answer.status == 400, "{} {}", answer.status, answer.text());
        let text = answer.text().to_lowercase();
        ensure!(
            text.contains(
                "failed to create task for container: failed to create shim task: oci runtime create failed: "
            ) && text.contains("not found in $path"),
            "{text}"
        );
        let shown = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
        ensure!(shown["State"]["ExitCode"] == 127, "{}", shown["State"]);
        e.remove(&id)
    })
}

fn containers_of_it_outlive_the_daemon(e: &mut Engine) -> Result<()> {
    each(e, "runtimes-restart", |e, name| {
        let script = "trap 'exit 5' TERM; echo one; while :; do sleep 0.05; done";
        let id = e.run("", of(name, shell(script)))?;
        e.kill_and_restart()?;
        let (code, bytes) = exec(e, &id, json!({ "Cmd": ["echo", "still"], "AttachStdout": true }))?;
        ensure!(code == 0 && http::demultiplex(&bytes)?.0 == b"still\n");
        e.post(&format!("/containers/{id}/stop"))?.expect(204)?;
        ensure!(e.wait(&id)? == 5);
        ensure!(e.logs(&id)?.0 == "one\n");
        e.remove(&id)
    })
}

fn names_are_refused_and_reloaded_as_in_docker(e: &mut Engine) -> Result<()> {
    let answer = e.post_json("/containers/create", of("odd", shell("true")))?;
    ensure!(answer.status == 400, "{}", answer.status);
    ensure!(answer.text().contains("unknown or invalid runtime name: odd"), "{}", answer.text());
    for own in ["runc", "io.containerd.runc.v2"] {
        let (code, out, _) = output(e, of(own, shell("echo $0")))?;
        ensure!(code == 0 && out == "sh\n", "{own}");
    }

    let other = e.beside("runtimes-reload", &json!({ "runtimes": { "absent": { "path": "/no/such" } } }))?;
    prepare(&other)?;
    let info = other.get("/info")?.expect(200)?.json()?;
    ensure!(info["Runtimes"]["absent"]["path"] == "/no/such" && info["DefaultRuntime"] == "runc");
    let id = other.create("", of("absent", shell("true")))?;
    let answer = other.post(&format!("/containers/{id}/start"))?;
    ensure!(answer.status == 400 && answer.text().contains("no such file or directory"), "{}", answer.text());
    let shown = other.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    ensure!(shown["State"]["ExitCode"] == 127, "{}", shown["State"]);
    other.remove(&id)?;

    let mut settings =
        json!({ "runtimes": { "later": { "path": "/no/later" } }, "default-runtime": "later" });
    if other.which == Which::Docker {
        settings["features"] = json!({ "containerd-snapshotter": true });
    }
    other.reload(&settings)?;
    other.until("the runtimes are reloaded", || {
        let info = other.get("/info")?.expect(200)?.json()?;
        Ok((info["DefaultRuntime"] == "later").then_some(()))
    })?;
    let id = other.create("", shell("true"))?;
    let shown = other.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    ensure!(shown["HostConfig"]["Runtime"] == "later", "{}", shown["HostConfig"]["Runtime"]);
    let answer = other.post_json("/containers/create", of("absent", shell("true")))?;
    ensure!(answer.status == 400, "{}", answer.text());
    other.remove(&id)
}

fn a_shim_that_cannot_be_driven_is_refused_by_name(e: &mut Engine) -> Result<()> {
    let answer = e.post_json("/containers/create", of("io.containerd.runsc.v1", shell("true")))?;
    ensure!(answer.status == 501 && answer.text().contains("io.containerd.runsc.v1"), "{}", answer.text());
    Ok(())
}
