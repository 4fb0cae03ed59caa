//! Images from daemon to daemon: only what is missing travels, and nothing is taken on trust.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use corten_tests::archive;
use corten_tests::engine::{Engine, corten_binary};
use corten_tests::http::{self, Body};
use serde_json::json;

use crate::case::{cases, output, with};

cases![
    CortenOnly a_copy_brings_only_what_is_missing,
    CortenOnly a_copy_goes_through_ssh,
    CortenOnly what_is_not_whole_or_not_itself_is_refused,
];

/// Runs `corten image copy` against `e`; standard output, or the error.
fn copy(e: &Engine, image: &str, to: &str) -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = e.within(|| {
        Command::new(corten_binary()?)
            .args(["image", "copy", image, to])
            .env("DOCKER_HOST", format!("unix://{}", e.socket().display()))
            .env("PATH", format!("{}:{path}", e.dir.join("far").display()))
            .env("HOME", &e.dir)
            .stdin(Stdio::null())
            .output()
            .map_err(anyhow::Error::from)
    })??;
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "image copy: {err}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn id_of(e: &Engine, name: &str) -> Result<String> {
    let image = e.get(&format!("/images/{name}/json"))?.expect(200)?.json()?;
    Ok(image["Id"].as_str().context("no Id")?.to_owned())
}

fn build(e: &Engine, tag: &str, line: &str) -> Result<()> {
    let context = archive::files(&[("Dockerfile", &format!("FROM busybox\nRUN {line}\n"))])?;
    e.post_tar(&format!("/build?t={tag}"), &context)?.expect(200)?;
    Ok(())
}

fn a_copy_brings_only_what_is_missing(e: &mut Engine) -> Result<()> {
    let other = Engine::another()?;
    let to = format!("unix://{}", other.socket().display());
    build(e, "travels:1", "echo carried > /carried")?;
    let first = copy(e, "busybox", &to)?;
    ensure!(first.contains(": Copied\n") && first.ends_with("\nbusybox:latest\n"), "{first}");
    ensure!(id_of(e, "busybox")? == id_of(&other, "busybox")?, "the ids differ");

    let second = copy(e, "travels:1", &to)?;
    let count = |word: &str| second.lines().filter(|line| line.ends_with(word)).count();
    ensure!(count(": Already exists") == 1, "the layer of busybox travelled again: {second}");
    ensure!(count(": Copied") == 3, "manifest, config and layer travel: {second}");
    ensure!(id_of(e, "travels:1")? == id_of(&other, "travels:1")?, "the ids differ");
    let third = copy(e, "travels:1", &to)?;
    ensure!(!third.contains("Copied"), "nothing travels twice: {third}");

    let (code, out, _) =
        output(&other, with(json!({ "Image": "travels:1" }), json!({ "Cmd": ["cat", "/carried"] })))?;
    ensure!(code == 0 && out == "carried\n", "{code} {out}");
    let unknown = copy(e, "nowhere:1", &to).expect_err("there is no such image").to_string();
    ensure!(unknown.contains("No such image: nowhere:1"), "{unknown}");
    e.delete("/images/travels:1")?.expect(200)?;
    Ok(())
}

fn a_copy_goes_through_ssh(e: &mut Engine) -> Result<()> {
    let other = Engine::another()?;
    let far = e.dir.join("far");
    std::fs::create_dir_all(&far)?;
    // What sshd does with the last word: the login shell runs it.
    let ssh = far.join("ssh");
    std::fs::write(&ssh, "#!/bin/sh\nfor last; do :; done\nunset DOCKER_HOST\nexec sh -c \"$last\"\n")?;
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755))?;
    let corten = far.join("corten");
    if !corten.exists() {
        std::os::unix::fs::symlink(corten_binary()?, &corten)?;
    }
    copy(e, "busybox", &format!("ssh://me@far:22{}", other.socket().display()))?;
    ensure!(id_of(e, "busybox")? == id_of(&other, "busybox")?, "the ids differ");
    Ok(())
}

fn what_is_not_whole_or_not_itself_is_refused(e: &mut Engine) -> Result<()> {
    let content = e.get("/corten/images/busybox/content")?.expect(200)?.json()?;
    let manifest = content["Content"][0]["digest"].as_str().context("no content")?.to_owned();
    ensure!(content["Target"]["digest"] == manifest.as_str(), "the target comes first: {content}");
    let blob = e.get(&format!("/corten/content/{manifest}"))?.expect(200)?.body;

    let other = Engine::another()?;
    let begin = || -> Result<String> {
        let begun = other.post_json("/corten/transfers", json!({ "Content": [manifest] }))?;
        let begun = begun.expect(201)?.json()?;
        ensure!(begun["Missing"] == json!([manifest]), "{begun}");
        Ok(begun["Id"].as_str().context("no Id")?.to_owned())
    };
    let commit = |id: &str| {
        let body = json!({ "Name": "lost:1", "Target": content["Target"] });
        other.post_json(&format!("/corten/transfers/{id}/commit"), body)
    };
    let put = |id: &str, bytes: &[u8]| {
        let path = format!("/corten/transfers/{id}/{manifest}");
        http::request(&other.socket(), "PUT", &path, Body::Bytes("application/octet-stream", bytes))
    };
    let id = begin()?;
    commit(&id)?.refuses(400, &format!("the image is not whole: {manifest} is missing"))?;
    put(&id, b"something else")?.expect(400)?;
    put(&id, &blob)?.expect(201)?;
    let refusal = commit(&id)?.expect(400)?.text();
    ensure!(refusal.contains("is missing"), "{refusal}");
    other.delete(&format!("/corten/transfers/{id}"))?.expect(204)?;
    commit(&id)?.refuses(404, &format!("no such transfer: {id}"))?;
    other.get("/images/lost:1/json")?.expect(404)?;
    other.get(&format!("/corten/content/{manifest}"))?.expect(404)?;
    ensure!(begin()? != id, "and it is missing still");
    Ok(())
}
