//! AppArmor: the default profile is there, and confines what it should.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::unified::{body, engine, output};
use crate::{Case, Outcome};

pub const CASES: &[Case] = &[("containers_are_confined_by_the_default_profile", confined)];

fn confined() -> Result<Outcome> {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.trim() != "Y" {
        return Ok(Outcome::Skipped("this kernel has no AppArmor"));
    }
    let e = engine(&[])?;
    let info = e.get("/info")?.expect(200)?.json()?;
    ensure!(info["SecurityOptions"].to_string().contains("name=apparmor"), "{}", info["SecurityOptions"]);
    let label = "cat /proc/self/attr/current";
    let (code, out) = output(&e, body(label, json!({})))?;
    ensure!(code == 0 && out.trim() == "docker-default (enforce)", "{code} {out:?}");
    for host in [json!({ "SecurityOpt": ["apparmor=unconfined"] }), json!({ "Privileged": true })] {
        let (code, out) = output(&e, body(label, host))?;
        ensure!(code == 0 && out.trim() == "unconfined", "{code} {out:?}");
    }
    // With the capability alone a mount would be allowed.
    let mount = "mount -t tmpfs none /tmp 2>&1; cat /proc/self/attr/current";
    let host = json!({ "CapAdd": ["SYS_ADMIN"], "SecurityOpt": ["seccomp=unconfined"] });
    let (_, out) = output(&e, body(mount, host))?;
    ensure!(out.contains("denied") && out.contains("docker-default"), "{out:?}");
    // What joins a container is confined as its first process is.
    let id = e.run("", body("sleep 1000", json!({})))?;
    let exec = json!({ "AttachStdout": true, "Cmd": ["cat", "/proc/self/attr/current"] });
    let exec = e.post_json(&format!("/containers/{id}/exec"), exec)?.expect(201)?.json()?["Id"].clone();
    let path = format!("/exec/{}/start", exec.as_str().context("an id")?);
    let answer = e.post_json(&path, json!({ "Detach": false }))?;
    ensure!(answer.text().contains("docker-default (enforce)"), "{}", answer.text());
    let profile = e.get(&format!("/containers/{id}/json"))?.json()?["AppArmorProfile"].clone();
    ensure!(profile == "docker-default", "{profile}");
    e.remove(&id)?;
    let missing = e.create("", body("true", json!({ "SecurityOpt": ["apparmor=no-such-profile"] })))?;
    let answer = e.post(&format!("/containers/{missing}/start"))?;
    ensure!(answer.status >= 400, "a profile that is not there was accepted");
    e.remove(&missing)?;
    Ok(Outcome::Held)
}
