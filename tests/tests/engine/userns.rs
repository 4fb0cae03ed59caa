//! User namespaces: the daemon's `userns-remap` as on Docker, and ranges of containers' own.

use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context, Result, ensure};
use corten_tests::engine::{Engine, Which};
use corten_tests::http::{self, Body};
use serde_json::{Value, json};

use crate::case::{cases, output, prepare, remove_all, shell, with};

cases![
    Both a_remapped_daemon_maps_every_container,
    Both a_remapped_daemon_refuses_what_docker_refuses,
    CortenOnly each_container_has_a_range_of_its_own,
    CortenOnly ids_on_the_disk_are_the_containers,
    CortenOnly copies_show_the_ids_that_the_container_sees,
    CortenOnly processes_join_the_namespace,
    CortenOnly ranges_survive_the_daemon_and_are_given_back,
    CortenOnly namespaces_of_others_are_joined_or_refused,
    CortenOnly without_a_pool_and_with_odd_words_it_is_refused,
];

/// The remapped user is one that every machine has; the pool has room for three ranges.
const IDS: &str = "nobody:300000:65536\ncontainers:400000:196608\n";

fn remapped(e: &Engine, folder: &str) -> Result<Option<Engine>> {
    if !std::path::Path::new("/etc/subuid").exists() {
        println!("notice: no /etc/subuid on this machine: cases of user namespaces are skipped");
        return Ok(None);
    }
    let other = e.beside_with_ids(folder, &json!({ "userns-remap": "nobody:nogroup" }), Some(IDS))?;
    prepare(&other)?;
    Ok(Some(other))
}

fn with_pool(e: &Engine, folder: &str) -> Result<Option<Engine>> {
    if !std::path::Path::new("/etc/subuid").exists() {
        println!("notice: no /etc/subuid on this machine: cases of user namespaces are skipped");
        return Ok(None);
    }
    let other = e.beside_with_ids(folder, &json!({ "live-restore": true }), Some(IDS))?;
    prepare(&other)?;
    Ok(Some(other))
}

fn own(body: Value) -> Value {
    with(body, json!({ "HostConfig": { "UsernsMode": "auto" } }))
}

/// Where the ids of a running container begin on the host.
fn first_id(e: &Engine, id: &str) -> Result<u32> {
    let shown = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", shown["State"]["Pid"]))?;
    map.split_whitespace().nth(1).context("no map")?.parse().context("not a number")
}

fn exec(e: &Engine, id: &str, body: Value) -> Result<(i64, String)> {
    let made = e.post_json(&format!("/containers/{id}/exec"), body)?.expect(201)?.json()?;
    let exec = made["Id"].as_str().context("no Id")?.to_owned();
    let start = Body::Json(json!({ "Detach": false, "Tty": false }));
    let bytes = http::hijack(&e.socket(), &format!("/exec/{exec}/start"), start, true)?.read_to_end()?;
    let code = e.get(&format!("/exec/{exec}/json"))?.expect(200)?.json()?["ExitCode"].as_i64();
    let (out, err) = http::demultiplex(&bytes)?;
    Ok((code.context("no ExitCode")?, String::from_utf8_lossy(&[out, err].concat()).into_owned()))
}

fn a_remapped_daemon_maps_every_container(e: &mut Engine) -> Result<()> {
    let Some(other) = remapped(e, "userns-remap")? else { return Ok(()) };
    let info = other.get("/info")?.expect(200)?.json()?;
    let root = info["DockerRootDir"].as_str().context("no DockerRootDir")?;
    ensure!(root.ends_with("/data/300000.300000"), "{root}");
    ensure!(
        info["SecurityOptions"].as_array().is_some_and(|list| list.contains(&json!("name=userns"))),
        "{}",
        info["SecurityOptions"]
    );
    let script = "cat /proc/self/uid_map; touch /new; stat -c '%u %g' /new /bin; id -u";
    let (code, out, err) = output(&other, shell(script))?;
    let words: Vec<&str> = out.split_whitespace().collect();
    ensure!(code == 0 && words == ["0", "300000", "65536", "0", "0", "0", "0", "0"], "{code} {out} {err}");

    // A bind shows the host's ids as they are: the host's root is nobody in there.
    let folder = other.dir.join("shared");
    std::fs::create_dir(&folder)?;
    let bind = json!({ "HostConfig": { "Binds": [format!("{}:/shared", folder.display())] } });
    let (_, out, _) = output(&other, with(shell("stat -c %u /shared; touch /shared/x 2>&1"), bind))?;
    ensure!(out.starts_with("65534\n") && out.contains("ermission denied"), "{out}");

    let volume = json!({ "HostConfig": { "Binds": ["kept:/kept"] } });
    let (code, out, _) = output(&other, with(shell("touch /kept/x && stat -c %u /kept/x"), volume))?;
    ensure!(code == 0 && out == "0\n", "{out}");

    let host = json!({ "HostConfig": { "UsernsMode": "host" } });
    let (code, out, _) = output(&other, with(shell("cat /proc/self/uid_map"), host))?;
    ensure!(code == 0 && out.split_whitespace().eq(["0", "0", "4294967295"]), "{out}");
    remove_all(&other)
}

fn a_remapped_daemon_refuses_what_docker_refuses(e: &mut Engine) -> Result<()> {
    let Some(other) = remapped(e, "userns-refuses")? else { return Ok(()) };
    for (host, text) in [
        (
            json!({ "Privileged": true }),
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        ),
        (
            json!({ "NetworkMode": "host" }),
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            json!({ "PidMode": "host" }),
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    ] {
        let answer =
            other.post_json("/containers/create", with(shell("true"), json!({ "HostConfig": host })))?;
        ensure!(answer.json()?["message"] == text, "{}", answer.text());
        let wanted = if other.which == Which::Docker { 500 } else { 400 };
        ensure!(matches!(answer.status, 400 | 500) && answer.status <= wanted, "{}", answer.status);
        let free = with(json!({ "UsernsMode": "host" }), host);
        let (code, _, err) = output(&other, with(shell("true"), json!({ "HostConfig": free })))?;
        ensure!(code == 0, "{err}");
    }
    remove_all(&other)
}

fn each_container_has_a_range_of_its_own(e: &mut Engine) -> Result<()> {
    let Some(other) = with_pool(e, "userns-own")? else { return Ok(()) };
    let sleeper = || own(shell("exec sleep 1000"));
    let ids = [other.run("", sleeper())?, other.run("", sleeper())?, other.run("", sleeper())?];
    let mut firsts = Vec::new();
    for id in &ids {
        firsts.push(first_id(&other, id)?);
        let shown = other.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
        ensure!(shown["HostConfig"]["UsernsMode"] == "auto");
    }
    ensure!(firsts == [400_000, 465_536, 531_072], "{firsts:?}");
    let fourth = other.create("", sleeper())?;
    let answer = other.post(&format!("/containers/{fourth}/start"))?;
    ensure!(
        answer.status == 409 && answer.text().contains("no free range of 65536 ids"),
        "{}",
        answer.text()
    );
    other.post(&format!("/containers/{}/kill", ids[1]))?.expect(204)?;
    other.wait(&ids[1])?;
    other.post(&format!("/containers/{fourth}/start"))?.expect(204)?;
    ensure!(first_id(&other, &fourth)? == 465_536, "the range of the ended one was not given on");
    remove_all(&other)?;
    let small =
        with(shell("cat /proc/self/uid_map"), json!({ "HostConfig": { "UsernsMode": "auto:size=1000" } }));
    let (code, out, _) = output(&other, small)?;
    ensure!(code == 0 && out.split_whitespace().eq(["0", "400000", "1000"]), "{out}");
    Ok(())
}

fn ids_on_the_disk_are_the_containers(e: &mut Engine) -> Result<()> {
    let Some(other) = with_pool(e, "userns-disk")? else { return Ok(()) };
    let folder = other.dir.join("shared");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("mine"), "")?;
    let binds = json!({ "HostConfig": { "Binds": [format!("{}:/shared", folder.display()), "kept:/kept"] } });
    let script = "stat -c %u /shared/mine; touch /shared/new /kept/new; chown 7:8 /shared/new /kept/new; \
                  mkdir /owned; chown 7:8 /owned; echo x >> /etc/hosts; stat -c '%u %g' /kept/new";
    let id = other.run("", own(with(shell(script), binds)))?;
    ensure!(other.wait(&id)? == 0, "{:?}", other.logs(&id)?);
    ensure!(other.logs(&id)?.0 == "0\n7 8\n", "{:?}", other.logs(&id)?);
    let owner = |path: &std::path::Path| -> Result<(u32, u32)> {
        let metadata = std::fs::metadata(path)?;
        Ok((metadata.uid(), metadata.gid()))
    };
    ensure!(owner(&folder.join("new"))? == (7, 8), "the bind");
    let volume = other.get("/volumes/kept")?.expect(200)?.json()?;
    let volume = std::path::PathBuf::from(volume["Mountpoint"].as_str().context("no Mountpoint")?);
    ensure!(owner(&volume.join("new"))? == (7, 8), "the volume");
    // An image of it runs with other ids, or none, and its files are whose they were.
    let answer = other.post(&format!("/commit?container={id}&repo=mapped"))?.expect(201)?;
    drop(answer);
    let changes = other.get(&format!("/containers/{id}/changes"))?.expect(200)?.json()?;
    ensure!(changes.to_string().contains("/owned"), "{changes}");
    for mode in ["host", "auto"] {
        let body = with(
            shell("stat -c '%u %g' /owned"),
            json!({ "Image": "mapped", "HostConfig": { "UsernsMode": mode } }),
        );
        let (code, out, _) = output(&other, body)?;
        ensure!(code == 0 && out == "7 8\n", "{mode}: {out}");
    }
    // The kernel's own file systems cannot map ids.
    let proc = json!({ "HostConfig": { "Binds": ["/proc:/far"] } });
    let id = other.create("", own(with(shell("true"), proc)))?;
    let answer = other.post(&format!("/containers/{id}/start"))?;
    ensure!(
        answer.status == 400 && answer.text().contains("its file system cannot map user and group ids"),
        "{} {}",
        answer.status,
        answer.text()
    );
    remove_all(&other)
}

fn copies_show_the_ids_that_the_container_sees(e: &mut Engine) -> Result<()> {
    let Some(other) = with_pool(e, "userns-copies")? else { return Ok(()) };
    let id = other.run("", own(shell("mkdir /d; echo x > /d/f; chown 7:8 /d/f; exec sleep 1000")))?;
    let owner_in = |bytes: &[u8], name: &str| -> Result<(u64, u64)> {
        let mut archive = tar::Archive::new(bytes);
        for entry in archive.entries()? {
            let entry = entry?;
            if entry.path()?.to_string_lossy().trim_start_matches("./") == name {
                return Ok((entry.header().uid()?, entry.header().gid()?));
            }
        }
        anyhow::bail!("{name} is not in the archive")
    };
    other.until("the file is there", || {
        let answer = other.get(&format!("/containers/{id}/archive?path=/d/f"))?;
        Ok((answer.status == 200).then_some(()))
    })?;
    other.until("it has its owner", || {
        let copied = other.get(&format!("/containers/{id}/archive?path=/d"))?.expect(200)?.body;
        Ok((owner_in(&copied, "d/f")? == (7, 8)).then_some(()))
    })?;
    let exported = other.get(&format!("/containers/{id}/export"))?.expect(200)?.body;
    ensure!(owner_in(&exported, "d/f")? == (7, 8) && owner_in(&exported, "bin/busybox")? == (0, 0));

    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(11);
    header.set_gid(12);
    builder.append_data(&mut header, "put", std::io::empty())?;
    other.put_tar(&format!("/containers/{id}/archive?path=/d"), &builder.into_inner()?)?.expect(200)?;
    let (code, out) =
        exec(&other, &id, json!({ "Cmd": ["stat", "-c", "%u %g", "/d/put"], "AttachStdout": true }))?;
    ensure!(code == 0 && out == "11 12\n", "{out}");
    other.post(&format!("/containers/{id}/kill"))?.expect(204)?;
    other.wait(&id)?;
    let copied = other.get(&format!("/containers/{id}/archive?path=/d"))?.expect(200)?.body;
    ensure!(owner_in(&copied, "d/put")? == (11, 12));
    remove_all(&other)
}

fn processes_join_the_namespace(e: &mut Engine) -> Result<()> {
    let Some(other) = with_pool(e, "userns-exec")? else { return Ok(()) };
    let check = json!({ "Healthcheck": { "Test": ["CMD-SHELL", "test $(id -u) = 0"], "Interval": 100_000_000, "Retries": 1 } });
    let id = other.run("", own(with(shell("echo up; echo up > /dev/stdout; exec sleep 1000"), check)))?;
    let first = first_id(&other, &id)?.to_string();
    let script = json!({ "Cmd": ["cat", "/proc/self/uid_map"], "AttachStdout": true, "AttachStderr": true });
    let (code, out) = exec(&other, &id, script)?;
    ensure!(code == 0 && out.split_whitespace().eq(["0", &first, "65536"]), "{out}");
    let script = json!({ "Cmd": ["sh", "-c", "id -u; echo x > /dev/stdout"], "User": "1000", "AttachStdout": true, "AttachStderr": true });
    let (code, out) = exec(&other, &id, script)?;
    ensure!(code == 0 && out == "1000\nx\n", "{code} {out}");
    other.until("it is healthy", || {
        let shown = other.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
        Ok((shown["State"]["Health"]["Status"] == "healthy").then_some(()))
    })?;
    ensure!(other.logs(&id)?.0 == "up\nup\n", "{:?}", other.logs(&id)?);
    let stats = other.get(&format!("/containers/{id}/stats?stream=0&one-shot=1"))?.expect(200)?.json()?;
    ensure!(stats["networks"]["eth0"].is_object(), "{}", stats["networks"]);
    let top = other.get(&format!("/containers/{id}/top"))?.expect(200)?.json()?;
    ensure!(!top["Processes"].as_array().context("no Processes")?.is_empty());
    // What a container's root may do to its own network, it may do here too; to the machine, nothing.
    let script = json!({ "Cmd": ["sh", "-c", "mount -t tmpfs x /tmp 2>&1; cat /proc/kcore 2>&1; ls /sys/class/net"], "AttachStdout": true });
    let (_, out) = exec(&other, &id, script)?;
    ensure!(out.contains("ermission denied") && out.contains("eth0"), "{out}");
    remove_all(&other)
}

fn ranges_survive_the_daemon_and_are_given_back(e: &mut Engine) -> Result<()> {
    let Some(mut other) = with_pool(e, "userns-restart")? else { return Ok(()) };
    let sleeper = || own(shell("exec sleep 1000"));
    let first = other.run("", sleeper())?;
    let gone = other.run("", sleeper())?;
    ensure!(first_id(&other, &gone)? == 465_536);
    other.remove(&gone)?;
    other.kill_and_restart()?;
    let second = other.run("", sleeper())?;
    ensure!(
        first_id(&other, &first)? == 400_000 && first_id(&other, &second)? == 465_536,
        "a range was lost or kept"
    );
    let (code, out) = exec(&other, &first, json!({ "Cmd": ["id", "-u"], "AttachStdout": true }))?;
    ensure!(code == 0 && out == "0\n", "{out}");
    remove_all(&other)
}

fn namespaces_of_others_are_joined_or_refused(e: &mut Engine) -> Result<()> {
    let Some(other) = with_pool(e, "userns-join")? else { return Ok(()) };
    let donor = other.run("donor", own(shell("exec sleep 1000")))?;
    let plain = other.run("plain", shell("exec sleep 1000"))?;
    let joined = json!({ "HostConfig": { "NetworkMode": "container:donor", "PidMode": "container:donor" } });
    let (code, out, err) =
        output(&other, own(with(shell("cat /proc/self/uid_map; ls /sys/class/net; ps"), joined)))?;
    ensure!(
        code == 0 && out.contains(" 400000 ") && out.contains("eth0") && out.contains("sleep 1000"),
        "{code} {out} {err}"
    );

    let refused = json!({ "HostConfig": { "NetworkMode": "container:plain" } });
    let id = other.create("", own(with(shell("true"), refused)))?;
    let answer = other.post(&format!("/containers/{id}/start"))?;
    ensure!(answer.status == 409 && answer.text().contains("it has no user namespace"), "{}", answer.text());

    let lesser = json!({ "HostConfig": { "NetworkMode": "container:donor" } });
    let (code, out, _) = output(&other, with(shell("ls /sys/class/net"), lesser))?;
    ensure!(code == 0 && out.contains("eth0"), "{out}");
    drop((donor, plain));
    remove_all(&other)
}

fn without_a_pool_and_with_odd_words_it_is_refused(e: &mut Engine) -> Result<()> {
    let odd = with(shell("true"), json!({ "HostConfig": { "UsernsMode": "keep-id" } }));
    let answer = e.post_json("/containers/create", odd)?;
    ensure!(
        answer.status == 400 && answer.text().contains("invalid user namespace mode: keep-id"),
        "{}",
        answer.text()
    );
    let other = e.beside_with_ids("userns-none", &json!({}), Some(""))?;
    prepare(&other)?;
    let answer = other.post_json("/containers/create", own(shell("true")))?;
    ensure!(answer.status == 400 && answer.text().contains("/etc/subuid"), "{}", answer.text());
    Ok(())
}
