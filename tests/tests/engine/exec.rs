use anyhow::{Context, Result, ensure};
use corten_tests::engine::Engine;
use corten_tests::http::{self, Body};
use serde_json::{Value, json};

use crate::case::{cases, shell, with};

cases![
    Both the_start_of_an_exec_decides_about_frames,
    CortenOnly a_pause_never_catches_a_process_that_is_being_made,
    Both output_comes_in_frames_over_an_upgrade,
    Both the_old_form_without_upgrade_answers_200,
    Both input_is_read_and_its_end_is_seen,
    Both a_terminal_is_raw_and_has_a_size,
    Both exit_codes_are_kept,
    Both user_environment_and_directory_are_the_requests,
    Both a_missing_program_is_told,
    Both only_a_running_container_takes_one,
    Both an_unknown_one_is_not_found,
];

fn make(e: &Engine, container: &str, body: Value) -> Result<String> {
    let answer = e.post_json(&format!("/containers/{container}/exec"), body)?.expect(201)?.json()?;
    Ok(answer["Id"].as_str().context("no Id")?.to_owned())
}

fn start(e: &Engine, exec: &str, tty: bool, upgrade: bool) -> Result<http::Hijacked> {
    http::hijack(
        &e.socket(),
        &format!("/exec/{exec}/start"),
        Body::Json(json!({ "Detach": false, "Tty": tty })),
        upgrade,
    )
}

fn inside(e: &Engine, body: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let id = e.run("", shell("exec sleep 1000"))?;
    let result = body(&id);
    e.remove(&id)?;
    result
}

fn script(text: &str) -> Value {
    json!({ "Cmd": ["sh", "-c", text], "AttachStdout": true, "AttachStderr": true })
}

fn output_comes_in_frames_over_an_upgrade(e: &mut Engine) -> Result<()> {
    inside(e, |id| {
        let exec = make(e, id, script("echo out; echo err >&2"))?;
        let mut stream = start(e, &exec, false, true)?;
        ensure!(stream.status == 101, "{}", stream.status);
        let kind = stream.headers.iter().find(|(n, _)| n == "content-type").map(|(_, v)| v.clone());
        ensure!(kind.as_deref() == Some("application/vnd.docker.multiplexed-stream"), "{kind:?}");
        let (out, err) = http::demultiplex(&stream.read_to_end()?)?;
        ensure!(out == b"out\n" && err == b"err\n");
        Ok(())
    })
}

fn the_old_form_without_upgrade_answers_200(e: &mut Engine) -> Result<()> {
    inside(e, |id| {
        let exec = make(e, id, script("echo plain"))?;
        let mut stream = start(e, &exec, false, false)?;
        ensure!(stream.status == 200, "{}", stream.status);
        ensure!(http::demultiplex(&stream.read_to_end()?)?.0 == b"plain\n");
        Ok(())
    })
}

fn input_is_read_and_its_end_is_seen(e: &mut Engine) -> Result<()> {
    inside(e, |id| {
        let exec = make(e, id, with(script("cat; echo end"), json!({ "AttachStdin": true })))?;
        let mut stream = start(e, &exec, false, true)?;
        stream.write(b"one\ntwo\n")?;
        stream.close_input()?;
        ensure!(http::demultiplex(&stream.read_to_end()?)?.0 == b"one\ntwo\nend\n");
        Ok(())
    })
}

fn a_terminal_is_raw_and_has_a_size(e: &mut Engine) -> Result<()> {
    inside(e, |id| {
        let body = with(
            script("stty size; read x; stty size; echo got $x"),
            json!({ "AttachStdin": true, "Tty": true, "ConsoleSize": [33, 77] }),
        );
        let exec = make(e, id, body)?;
        let start = json!({ "Detach": false, "Tty": true, "ConsoleSize": [33, 77] });
        let mut stream = http::hijack(&e.socket(), &format!("/exec/{exec}/start"), Body::Json(start), true)?;
        stream.read_until("33 77\r\n")?;
        e.post(&format!("/exec/{exec}/resize?h=40&w=100"))?.expect(200)?;
        stream.write(b"input\n")?;
        let rest = stream.read_until("got input\r\n")?;
        ensure!(rest.contains("40 100\r\n"), "{rest:?}");
        Ok(())
    })
}

fn exit_codes_are_kept(e: &mut Engine) -> Result<()> {
    inside(e, |id| {
        let exec = make(e, id, script("exit 9"))?;
        start(e, &exec, false, true)?.read_to_end()?;
        let state = e.until("it has ended", || {
            let state = e.get(&format!("/exec/{exec}/json"))?.expect(200)?.json()?;
            Ok((state["Running"] == false).then_some(state))
        })?;
        ensure!(
            state["ExitCode"] == 9
                && state["ContainerID"] == id
                && state["ProcessConfig"]["entrypoint"] == "sh",
            "{state}"
        );
        let again = e.post_json(&format!("/exec/{exec}/start"), json!({}))?;
        ensure!(again.text().contains("has already run"), "{}", again.text());
        Ok(())
    })
}

fn user_environment_and_directory_are_the_requests(e: &mut Engine) -> Result<()> {
    inside(e, |id| {
        let body = with(
            script("id -u; pwd; echo $A $HOME; grep CapEff /proc/self/status"),
            json!({ "User": "web", "WorkingDir": "/tmp", "Env": ["A=b"] }),
        );
        let exec = make(e, id, body)?;
        let (out, err) = http::demultiplex(&start(e, &exec, false, true)?.read_to_end()?)?;
        let out = String::from_utf8_lossy(&out).into_owned();
        ensure!(
            out == "1000\n/tmp\nb /home\nCapEff:\t0000000000000000\n",
            "{out:?} {:?}",
            String::from_utf8_lossy(&err)
        );
        Ok(())
    })
}

fn a_missing_program_is_told(e: &mut Engine) -> Result<()> {
    inside(e, |id| {
        let exec = make(e, id, json!({ "Cmd": ["none-such"], "AttachStdout": true, "AttachStderr": true }))?;
        let text = String::from_utf8_lossy(&start(e, &exec, false, false)?.read_to_end()?).into_owned();
        ensure!(text.contains("executable file not found in $PATH"), "{text:?}");
        ensure!(e.get(&format!("/exec/{exec}/json"))?.json()?["ExitCode"] == 127);
        Ok(())
    })
}

fn only_a_running_container_takes_one(e: &mut Engine) -> Result<()> {
    let id = e.create("", shell("true"))?;
    e.post_json(&format!("/containers/{id}/exec"), script("true"))?
        .refuses(409, &format!("container {id} is not running"))?;
    e.post_json("/containers/none-such/exec", script("true"))?
        .refuses(404, "No such container: none-such")?;
    e.remove(&id)
}

fn an_unknown_one_is_not_found(e: &mut Engine) -> Result<()> {
    e.get("/exec/none-such/json")?.refuses(404, "No such exec instance: none-such")
}

fn the_start_of_an_exec_decides_about_frames(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("sleep 600"))?;
    let body = json!({ "Cmd": ["echo", "x"], "Tty": true, "AttachStdout": true, "AttachStderr": true });
    for (tty, expected) in [(false, &b"\x01\0\0\0\0\0\0\x03x\r\n"[..]), (true, b"x\r\n")] {
        let exec = e.post_json(&format!("/containers/{id}/exec"), body.clone())?.expect(201)?.json()?;
        let path = format!("/exec/{}/start", exec["Id"].as_str().unwrap_or_default());
        let start = json!({ "Detach": false, "Tty": tty });
        let out = http::hijack(&e.socket(), &path, Body::Json(start), true)?.read_to_end()?;
        ensure!(out == expected, "{tty}: {:?}", String::from_utf8_lossy(&out));
    }
    e.remove(&id)
}

/// A process that was frozen while it was made held up its monitor, and with it every verb of the container.
fn a_pause_never_catches_a_process_that_is_being_made(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("sleep 600"))?;
    let body = json!({ "Cmd": ["true"] });
    let engine: &Engine = e;
    std::thread::scope(|scope| -> Result<()> {
        let execs: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    for _ in 0..25 {
                        let made = engine.post_json(&format!("/containers/{id}/exec"), body.clone())?;
                        if made.status != 201 {
                            continue;
                        }
                        let path = format!("/exec/{}/start", made.json()?["Id"].as_str().unwrap_or_default());
                        let started = engine.post_json(&path, json!({ "Detach": true }))?;
                        ensure!(matches!(started.status, 200 | 409), "{}", started.text());
                    }
                    Ok(())
                })
            })
            .collect();
        for _ in 0..60 {
            engine.post(&format!("/containers/{id}/pause"))?.expect(204)?;
            engine.post(&format!("/containers/{id}/unpause"))?.expect(204)?;
        }
        execs
            .into_iter()
            .try_for_each(|exec| exec.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })?;
    e.remove(&id)
}
