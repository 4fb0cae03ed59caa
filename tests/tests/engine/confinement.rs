//! What confines a container's processes, the first one and those that come later.

use anyhow::{Context, Result, ensure};
use corten_tests::engine::Engine;
use corten_tests::http::{self, Body};
use serde_json::{Value, json};

use crate::case::{cases, shell, with};

cases![
    Both a_profile_holds_for_the_program_and_for_execs,
    CortenOnly a_profile_holds_for_execs_of_the_next_daemon,
];

/// Making directories fails with `EMULTIHOP`, which nothing else fails with.
const NO_MKDIR: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
    {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":72}]}"#;
const REFUSED: &str = "Multihop attempted";

fn confined(script: &str) -> Value {
    let option = format!("seccomp={NO_MKDIR}");
    with(shell(script), json!({ "HostConfig": { "SecurityOpt": [option] } }))
}

/// What a script in a running container writes.
fn exec(e: &Engine, container: &str, script: &str) -> Result<String> {
    let body = json!({ "Cmd": ["sh", "-c", script], "AttachStdout": true, "AttachStderr": true });
    let made = e.post_json(&format!("/containers/{container}/exec"), body)?.expect(201)?.json()?;
    let id = made["Id"].as_str().context("no Id")?;
    let body = Body::Json(json!({ "Detach": false, "Tty": false }));
    let mut stream = http::hijack(&e.socket(), &format!("/exec/{id}/start"), body, true)?;
    let (out, err) = http::demultiplex(&stream.read_to_end()?)?;
    Ok(String::from_utf8_lossy(&[out, err].concat()).into_owned())
}

fn a_profile_holds_for_the_program_and_for_execs(e: &mut Engine) -> Result<()> {
    let id = e.run("", confined("mkdir /a 2>&1; exec sleep 1000"))?;
    let later = exec(e, &id, "mkdir /b")?;
    ensure!(later.contains(REFUSED), "exec: {later}");
    let (first, _) = e.logs(&id)?;
    ensure!(first.contains(REFUSED), "program: {first}");
    e.remove(&id)
}

fn a_profile_holds_for_execs_of_the_next_daemon(e: &mut Engine) -> Result<()> {
    let id = e.run("", confined("exec sleep 1000"))?;
    e.kill_and_restart()?;
    let later = exec(e, &id, "mkdir /b")?;
    ensure!(later.contains(REFUSED), "{later}");
    e.remove(&id)
}
