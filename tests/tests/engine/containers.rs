use anyhow::{Context, Result, ensure};
use corten_tests::archive;
use corten_tests::engine::Engine;
use serde_json::json;

use crate::case::{array, cases, encode, output, shell, with};

cases![
    Both a_vendors_device_is_given_by_name,
    Both shareable_memory_is_shared,
    Both a_wait_ends_with_each_exit,
    Both exit_codes_and_output_are_the_programs,
    Both a_program_that_is_missing_gives_127_and_one_that_cannot_run_126,
    Both a_signal_gives_128_and_its_number,
    Both the_environment_is_the_images_and_the_requests,
    Both the_default_walls_stand,
    Both a_user_is_looked_up_in_the_image,
    Both limits_reach_the_kernel,
    Both running_out_of_memory_is_told,
    Both stop_start_restart_and_kill,
    Both pause_and_unpause,
    Both rename_and_conflicts_of_names,
    Both wait_answers_each_condition,
    Both list_filters,
    Both inspect_says_what_was_asked_for,
    Both update_changes_a_running_container,
    Both top_shows_processes_and_stats_counts,
    Both a_restart_policy_is_followed,
    Both auto_remove_removes,
    Both health_checks_are_run,
    Both files_are_copied_in_and_out,
    Both changes_and_export_show_the_writable_layer,
    Both shares_of_the_processors_have_a_least_and_a_most,
    Both a_limit_of_processes_is_shown_as_it_was_asked_for,
    CortenOnly processes_are_limited_where_nobody_says,
    Both an_export_of_a_running_container_has_nothing_that_is_mounted,
    Both a_read_only_root_and_tmpfs,
    Both an_init_reaps,
    Both prune_removes_what_has_ended,
    Both namespaces_are_shared_on_request,
];

fn exit_codes_and_output_are_the_programs(e: &mut Engine) -> Result<()> {
    let (code, out, err) = output(e, shell("echo out; echo err >&2; exit 7"))?;
    ensure!((code, out.as_str(), err.as_str()) == (7, "out\n", "err\n"), "{code} {out:?} {err:?}");
    Ok(())
}

fn a_program_that_is_missing_gives_127_and_one_that_cannot_run_126(e: &mut Engine) -> Result<()> {
    for (program, code, text) in [
        ("nothing-of-that-name", 127, "exec: \"nothing-of-that-name\": executable file not found in $PATH"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
    ] {
        let id = e.create("", json!({ "Image": "busybox", "Cmd": [program] }))?;
        e.post(&format!("/containers/{id}/start"))?.refuses(400, text)?;
        let state = e.get(&format!("/containers/{id}/json"))?.json()?["State"].clone();
        ensure!(state["ExitCode"] == code && state["Status"] == "created", "{state}");
        ensure!(state["Error"].as_str().is_some_and(|error| error.contains(text)), "{state}");
        e.remove(&id)?;
    }
    Ok(())
}

fn a_signal_gives_128_and_its_number(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("exec sleep 100"))?;
    e.post(&format!("/containers/{id}/kill?signal=KILL"))?.expect(204)?;
    ensure!(e.wait(&id)? == 137);
    e.post(&format!("/containers/{id}/kill"))?.refuses(409, "is not running")?;
    e.remove(&id)
}

fn the_environment_is_the_images_and_the_requests(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("echo $HOSTNAME $HOME $A; pwd; hostname"),
        json!({ "Env": ["A=b c"], "WorkingDir": "/made/here", "Hostname": "steel" }),
    );
    let (code, out, _) = output(e, body)?;
    ensure!(code == 0 && out == "steel /root b c\n/made/here\nsteel\n", "{out:?}");
    Ok(())
}

fn the_default_walls_stand(e: &mut Engine) -> Result<()> {
    let script = "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|Seccomp|NoNewPrivs):' /proc/self/status; \
                  echo 1 > /proc/sys/kernel/core_pattern; mount -t tmpfs x /tmp; cat /proc/kcore; ls /proc/1/fd; mount | grep -c .";
    let (_, out, err) = output(e, shell(script))?;
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "Seccomp:\t2",
        "NoNewPrivs:\t0",
    ] {
        ensure!(out.contains(line), "no {line:?} in {out}");
    }
    ensure!(err.contains("core_pattern: Read-only file system"), "{err}");
    ensure!(err.contains("permission denied") && !err.contains("kcore: No such file"), "{err}");
    ensure!(out.contains("\n0\n1\n2\n"), "descriptors of pid 1: {out}");
    Ok(())
}

fn a_user_is_looked_up_in_the_image(e: &mut Engine) -> Result<()> {
    for (user, wanted) in [
        ("web", "uid=1000(web) gid=1000(web) groups=1000(web),2000(extra)"),
        ("1000", "uid=1000(web) gid=1000(web) groups=1000(web),2000(extra)"),
        ("web:extra", "uid=1000(web) gid=2000(extra) groups=2000(extra)"),
        ("4321:4322", "uid=4321 gid=4322 groups=4322"),
    ] {
        let (code, out, err) = output(e, with(shell("id"), json!({ "User": user })))?;
        ensure!(code == 0 && out.trim() == wanted, "{user}: {out:?} {err:?}");
    }
    let id = e.create("", with(shell("id"), json!({ "User": "nobody-here" })))?;
    let answer = e.post(&format!("/containers/{id}/start"))?;
    ensure!(
        answer.message().contains("unable to find user nobody-here: no matching entries in passwd file"),
        "{}",
        answer.message()
    );
    ensure!(answer.status >= 400, "{}", answer.status);
    e.remove(&id)
}

fn limits_reach_the_kernel(e: &mut Engine) -> Result<()> {
    let body = with(
        shell(
            "cd /sys/fs/cgroup; if [ -e memory.max ]; then cat memory.max; cut -d ' ' -f 1 cpu.max; cat pids.max; \
               else cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max; fi; \
               ulimit -n; cat /proc/sys/net/ipv4/ip_forward; df -k /dev/shm | tail -n 1",
        ),
        json!({ "HostConfig": {
            "Memory": 64 << 20, "NanoCpus": 500_000_000, "PidsLimit": 50, "ShmSize": 8 << 20,
            "Ulimits": [{ "Name": "nofile", "Soft": 512, "Hard": 1024 }], "Sysctls": { "net.ipv4.ip_forward": "0" },
        } }),
    );
    let (code, out, err) = output(e, body)?;
    ensure!(code == 0 && out.starts_with("67108864\n50000\n50\n512\n0\n"), "{out:?} {err:?}");
    ensure!(out.contains(" 8192 "), "{out:?}");
    Ok(())
}

fn running_out_of_memory_is_told(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("x=a; while true; do x=$x$x; done"),
        json!({ "HostConfig": { "Memory": 16 << 20, "MemorySwap": 16 << 20 } }),
    );
    let id = e.run("", body)?;
    ensure!(e.wait(&id)? == 137);
    let state = e.get(&format!("/containers/{id}/json"))?.json()?["State"].clone();
    ensure!(state["OOMKilled"] == true && state["ExitCode"] == 137, "{state}");
    e.remove(&id)
}

fn stop_start_restart_and_kill(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("trap 'exit 5' TERM; echo up; while true; do sleep 0.05; done"))?;
    e.until("it is up", || Ok(e.logs(&id)?.0.contains("up").then_some(())))?;
    e.post(&format!("/containers/{id}/start"))?.expect(304)?;
    e.post(&format!("/containers/{id}/stop?t=20"))?.expect(204)?;
    e.post(&format!("/containers/{id}/stop"))?.expect(304)?;
    ensure!(e.get(&format!("/containers/{id}/json"))?.json()?["State"]["ExitCode"] == 5);
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    e.until("it is up again", || Ok((e.logs(&id)?.0 == "up\nup\n").then_some(())))?;
    e.post(&format!("/containers/{id}/restart?t=0"))?.expect(204)?;
    ensure!(e.get(&format!("/containers/{id}/json"))?.json()?["State"]["Running"] == true);
    e.delete(&format!("/containers/{id}"))?
        .refuses(409, "container is running: stop the container before removing or force remove")?;
    e.remove(&id)?;
    e.get(&format!("/containers/{id}/json"))?.refuses(404, &format!("No such container: {id}"))
}

fn pause_and_unpause(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("exec sleep 100"))?;
    e.post(&format!("/containers/{id}/pause"))?.expect(204)?;
    let state = e.get(&format!("/containers/{id}/json"))?.json()?["State"].clone();
    ensure!(state["Status"] == "paused" && state["Paused"] == true && state["Running"] == true, "{state}");
    e.post(&format!("/containers/{id}/pause"))?.refuses(409, "is already paused")?;
    e.post(&format!("/containers/{id}/unpause"))?.expect(204)?;
    let answer = e.post(&format!("/containers/{id}/unpause"))?;
    ensure!(answer.message().contains("is not paused"), "{}", answer.message());
    e.remove(&id)
}

fn rename_and_conflicts_of_names(e: &mut Engine) -> Result<()> {
    let id = e.create("rust-a", shell("true"))?;
    let taken = format!(
        "Conflict. The container name \"/rust-a\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    );
    e.post_json("/containers/create?name=rust-a", shell("true"))?.refuses(409, &taken)?;
    e.post(&format!("/containers/{id}/rename?name=rust-b"))?.expect(204)?;
    e.get("/containers/rust-a/json")?.expect(404)?;
    ensure!(e.get("/containers/rust-b/json")?.expect(200)?.json()?["Name"] == "/rust-b");
    e.get(&format!("/containers/{}/json", &id[..12]))?.expect(200)?;
    e.remove("rust-b")
}

fn wait_answers_each_condition(e: &mut Engine) -> Result<()> {
    let id = e.create("", with(shell("exit 4"), json!({ "HostConfig": { "AutoRemove": true } })))?;
    let socket = e.socket();
    let path = format!("/containers/{id}/wait?condition=removed");
    let waiter = std::thread::spawn(move || {
        corten_tests::http::request(&socket, "POST", &path, corten_tests::http::Body::None)
    });
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    let answer = waiter.join().map_err(|_| anyhow::anyhow!("waiter panicked"))??.expect(200)?.json()?;
    ensure!(answer["StatusCode"] == 4, "{answer}");
    e.post("/containers/none-such/wait")?.refuses(404, "No such container: none-such")
}

fn list_filters(e: &mut Engine) -> Result<()> {
    let a = e.run("filter-a", with(shell("exec sleep 100"), json!({ "Labels": { "kind": "a" } })))?;
    let b = e.create("filter-b", with(shell("true"), json!({ "Labels": { "kind": "b" } })))?;
    let names = |filters: &str| -> Result<Vec<String>> {
        let list = array(
            e.get(&format!("/containers/json?all=1&filters={}", encode(filters)))?.expect(200)?.json()?,
        );
        Ok(list.iter().filter_map(|c| c["Names"][0].as_str().map(str::to_owned)).collect())
    };
    ensure!(names(r#"{"label":["kind=a"]}"#)? == ["/filter-a"]);
    ensure!(names(r#"{"name":["filter-"],"status":["created"]}"#)? == ["/filter-b"]);
    ensure!(names(r#"{"name":{"^/filter-":true}}"#)? == ["/filter-b", "/filter-a"]);
    ensure!(names(r#"{"ancestor":["busybox"],"status":["running"],"label":["kind"]}"#)? == ["/filter-a"]);
    e.get("/containers/json?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D")?
        .refuses(400, "invalid filter 'bogus'")?;
    let entry = array(e.get("/containers/json")?.json()?)
        .into_iter()
        .find(|c| c["Id"] == a.as_str())
        .context("not listed")?;
    ensure!(
        entry["State"] == "running" && entry["Status"].as_str().is_some_and(|s| s.starts_with("Up ")),
        "{entry}"
    );
    ensure!(entry["Command"] == "sh -c 'exec sleep 100'" && entry["Image"] == "busybox:latest", "{entry}");
    e.remove(&a)?;
    e.remove(&b)
}

fn inspect_says_what_was_asked_for(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("true"),
        json!({ "Labels": { "a": "b" }, "ExposedPorts": { "80/tcp": {} }, "HostConfig": { "CapAdd": ["NET_ADMIN"], "Binds": ["/tmp:/mnt:ro"] } }),
    );
    let id = e.create("looked-at", body)?;
    let c = e.get("/containers/looked-at/json?size=1")?.expect(200)?.json()?;
    ensure!(
        c["Id"] == id.as_str()
            && c["Config"]["Labels"]["a"] == "b"
            && c["Config"]["ExposedPorts"]["80/tcp"].is_object()
    );
    ensure!(c["HostConfig"]["CapAdd"] == json!(["NET_ADMIN"]), "{}", c["HostConfig"]["CapAdd"]);
    let mount = &c["Mounts"][0];
    ensure!(
        mount["Type"] == "bind"
            && mount["Source"] == "/tmp"
            && mount["Destination"] == "/mnt"
            && mount["RW"] == false,
        "{mount}"
    );
    ensure!(
        c["State"]["Status"] == "created" && c["RestartCount"] == 0 && c["Driver"] == "overlayfs",
        "{}",
        c["Driver"]
    );
    ensure!(c["HostConfig"]["MaskedPaths"].as_array().is_some_and(|p| p.contains(&json!("/proc/kcore"))));
    ensure!(
        c["NetworkSettings"]["Networks"]["bridge"].is_object()
            && c["SizeRootFs"].is_i64()
            && c["SizeRw"].is_i64()
    );
    ensure!(c["Image"] == e.get("/images/busybox/json")?.json()?["Id"]);
    e.remove(&id)
}

fn update_changes_a_running_container(e: &mut Engine) -> Result<()> {
    let id = e.run("", with(shell("exec sleep 100"), json!({ "HostConfig": { "Memory": 64 << 20 } })))?;
    let body = json!({ "Memory": 128 << 20, "MemorySwap": 256 << 20, "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 2 } });
    e.post_json(&format!("/containers/{id}/update"), body)?.expect(200)?;
    let config = e.get(&format!("/containers/{id}/json"))?.json()?["HostConfig"].clone();
    ensure!(config["Memory"] == 128 << 20 && config["RestartPolicy"]["Name"] == "on-failure", "{config}");
    let stats = e.get(&format!("/containers/{id}/stats?stream=0&one-shot=1"))?.expect(200)?.json()?;
    ensure!(stats["memory_stats"]["limit"] == 128 << 20, "{}", stats["memory_stats"]);
    e.remove(&id)
}

fn top_shows_processes_and_stats_counts(e: &mut Engine) -> Result<()> {
    let id = e.run("watched", shell("exec sleep 100"))?;
    let top = e.get(&format!("/containers/{id}/top"))?.expect(200)?.json()?;
    ensure!(top["Titles"] == json!(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]), "{top}");
    ensure!(top["Processes"][0][7] == "sleep 100", "{top}");
    let stats = e.get(&format!("/containers/{id}/stats?stream=0"))?.expect(200)?.json()?;
    ensure!(
        stats["id"] == id.as_str() && stats["name"] == "/watched" && stats["pids_stats"]["current"] == 1,
        "{stats}"
    );
    ensure!(stats["cpu_stats"]["cpu_usage"]["total_usage"].as_u64().is_some_and(|n| n > 0), "{stats}");
    ensure!(stats["networks"]["eth0"]["rx_bytes"].is_u64(), "{stats}");
    e.remove(&id)
}

fn a_restart_policy_is_followed(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("exit 1"),
        json!({ "HostConfig": { "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 2 } } }),
    );
    let id = e.run("", body)?;
    e.until("it has been tried three times", || {
        let c = e.get(&format!("/containers/{id}/json"))?.json()?;
        Ok((c["RestartCount"] == 2 && c["State"]["Status"] == "exited").then_some(()))
    })?;
    e.remove(&id)
}

fn auto_remove_removes(e: &mut Engine) -> Result<()> {
    let id = e.run("", with(shell("true"), json!({ "HostConfig": { "AutoRemove": true } })))?;
    e.until("it is gone", || Ok((e.get(&format!("/containers/{id}/json"))?.status == 404).then_some(())))
}

fn health_checks_are_run(e: &mut Engine) -> Result<()> {
    let check = |test: &str| json!({ "Healthcheck": { "Test": ["CMD-SHELL", test], "Interval": 200_000_000_i64, "Retries": 2 } });
    let good = e.run("", with(shell("exec sleep 100"), check("echo fine")))?;
    let bad = e.run("", with(shell("exec sleep 100"), check("echo broken; exit 1")))?;
    for (id, status, text) in [(&good, "healthy", "fine\n"), (&bad, "unhealthy", "broken\n")] {
        let health = e.until(status, || {
            let health = e.get(&format!("/containers/{id}/json"))?.json()?["State"]["Health"].clone();
            Ok((health["Status"] == status).then_some(health))
        })?;
        ensure!(health["Log"][0]["Output"] == text, "{health}");
        e.remove(id)?;
    }
    Ok(())
}

fn files_are_copied_in_and_out(e: &mut Engine) -> Result<()> {
    for running in [false, true] {
        let id = e.create("", shell("exec sleep 100"))?;
        if running {
            e.post(&format!("/containers/{id}/start"))?.expect(204)?;
        }
        e.put_tar(
            &format!("/containers/{id}/archive?path=/tmp"),
            &archive::files(&[("dir/note", "hello")])?,
        )?
        .expect(200)?;
        let answer = e.get(&format!("/containers/{id}/archive?path=/tmp/dir/note"))?.expect(200)?;
        ensure!(answer.header("x-docker-container-path-stat").is_some());
        ensure!(archive::read(&answer.body)? == [("note".to_owned(), b"hello".to_vec())]);
        e.head(&format!("/containers/{id}/archive?path=/tmp/dir"))?.expect(200)?;
        e.get(&format!("/containers/{id}/archive?path=/none"))?
            .refuses(404, "Could not find the file /none in container")?;
        e.put_tar(&format!("/containers/{id}/archive?path=/etc/passwd"), &archive::files(&[("x", "y")])?)?
            .expect(400)?;
        e.remove(&id)?;
    }
    Ok(())
}

fn an_export_of_a_running_container_has_nothing_that_is_mounted(e: &mut Engine) -> Result<()> {
    let id =
        e.run("", with(shell("exec sleep 1000"), json!({ "HostConfig": { "Binds": ["kept:/kept"] } })))?;
    let files = archive::read(&e.get(&format!("/containers/{id}/export"))?.expect(200)?.body)?;
    let within = |folder: &str| files.iter().filter(|(name, _)| name.starts_with(folder)).count();
    ensure!(within("proc/") == 0 && within("sys/") == 0, "{} files of the kernel's", within("proc/"));
    ensure!(within("bin/busybox") == 1 && within("etc/passwd") == 1);
    let hosts = files.iter().find(|(name, _)| name == "etc/hosts");
    ensure!(hosts.is_none_or(|(_, content)| content.is_empty()), "{hosts:?}");
    e.remove(&id)?;
    e.delete("/volumes/kept")?.expect(204)?;
    Ok(())
}

fn shares_of_the_processors_have_a_least_and_a_most(e: &mut Engine) -> Result<()> {
    let shares = |n: i64| with(shell("exec sleep 1000"), json!({ "HostConfig": { "CpuShares": n } }));
    let answer = e.post_json("/containers/create", shares(-1))?;
    ensure!(
        answer.text().contains("invalid CPU shares (-1): value must be a positive integer"),
        "{}",
        answer.text()
    );
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        // The newer cgroups have a weight instead.
        return Ok(());
    }
    for (n, text) in
        [(1, "the minimum allowed cpu-shares is 2"), (300_000, "the maximum allowed cpu-shares is 262144")]
    {
        let id = e.create("", shares(n))?;
        let answer = e.post(&format!("/containers/{id}/start"))?;
        ensure!(matches!(answer.status, 400 | 500), "{}", answer.status);
        let whole = format!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error setting cgroup config for procHooks process: {text}"
        );
        ensure!(answer.json()?["message"] == whole, "{}", answer.text());
        let found = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
        ensure!(found["State"]["ExitCode"] == 128, "{}", found["State"]);
        e.remove(&id)?;
    }
    let id = e.run("", shares(100))?;
    let answer = e.post_json(&format!("/containers/{id}/update"), json!({ "CpuShares": 1 }))?;
    let whole = format!(
        "Cannot update container {id}: runc did not terminate successfully: exit status 1: the minimum allowed cpu-shares is 2\n"
    );
    ensure!(answer.json()?["message"] == whole, "{}", answer.text());
    let found = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    ensure!(found["HostConfig"]["CpuShares"] == 100);
    e.remove(&id)
}

fn a_limit_of_processes_is_shown_as_it_was_asked_for(e: &mut Engine) -> Result<()> {
    for (asked, shown) in [
        (json!(null), json!(null)),
        (json!(0), json!(null)),
        (json!(-1), json!(null)),
        (json!(77), json!(77)),
    ] {
        let id = e.create("", with(shell("true"), json!({ "HostConfig": { "PidsLimit": asked } })))?;
        let found = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
        ensure!(found["HostConfig"]["PidsLimit"] == shown, "{asked}: {}", found["HostConfig"]["PidsLimit"]);
        e.remove(&id)?;
    }
    Ok(())
}

fn processes_are_limited_where_nobody_says(e: &mut Engine) -> Result<()> {
    let other = e.beside("pids-limit", &json!({ "default-pids-limit": 50 }))?;
    crate::case::prepare(&other)?;
    let limit = |id: &str| -> Result<serde_json::Value> {
        let stats = other.get(&format!("/containers/{id}/stats?stream=0&one-shot=1"))?.expect(200)?.json()?;
        Ok(stats["pids_stats"]["limit"].clone())
    };
    let run = |asked: serde_json::Value| {
        other.run("", with(shell("exec sleep 1000"), json!({ "HostConfig": { "PidsLimit": asked } })))
    };
    let none = json!(u64::MAX);
    for (asked, expected) in
        [(json!(null), json!(50)), (json!(0), json!(50)), (json!(-1), none.clone()), (json!(77), json!(77))]
    {
        let id = run(asked.clone())?;
        ensure!(limit(&id)? == expected, "{asked}: {}", limit(&id)?);
        other.remove(&id)?;
    }
    let id = run(json!(null))?;
    other.post_json(&format!("/containers/{id}/update"), json!({ "PidsLimit": -1 }))?.expect(200)?;
    ensure!(limit(&id)? == none, "{}", limit(&id)?);
    other.post(&format!("/containers/{id}/restart?t=0"))?.expect(204)?;
    ensure!(limit(&id)? == none, "after a restart: {}", limit(&id)?);
    other.remove(&id)
}

fn changes_and_export_show_the_writable_layer(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("echo x > /new; rm /etc/group; echo more >> /etc/passwd"))?;
    e.wait(&id)?;
    let changes = e.get(&format!("/containers/{id}/changes"))?.expect(200)?.json()?;
    for (path, kind) in [("/new", 1), ("/etc/group", 2), ("/etc/passwd", 0), ("/etc", 0)] {
        ensure!(array(changes.clone()).contains(&json!({ "Path": path, "Kind": kind })), "{path}: {changes}");
    }
    let files = archive::read(&e.get(&format!("/containers/{id}/export"))?.expect(200)?.body)?;
    ensure!(files.iter().any(|(name, content)| name == "new" && content == b"x\n"));
    ensure!(!files.iter().any(|(name, _)| name == "etc/group"));
    e.remove(&id)
}

fn a_read_only_root_and_tmpfs(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("touch /x; touch /tmp/y && echo written; mount | grep ' /tmp '"),
        json!({ "HostConfig": { "ReadonlyRootfs": true, "Tmpfs": { "/tmp": "size=1m,mode=1777" } } }),
    );
    let (_, out, err) = output(e, body)?;
    ensure!(err.contains("/x: Read-only file system"), "{err}");
    ensure!(out.starts_with("written\n") && out.contains("size=1024k") && out.contains("noexec"), "{out}");
    Ok(())
}

fn an_init_reaps(e: &mut Engine) -> Result<()> {
    let body =
        with(shell("cat /proc/1/cmdline | tr '\\0' ' '; exit 3"), json!({ "HostConfig": { "Init": true } }));
    let (code, out, _) = output(e, body)?;
    ensure!(code == 3 && out.starts_with("/sbin/docker-init -- sh -c"), "{code} {out}");
    Ok(())
}

fn prune_removes_what_has_ended(e: &mut Engine) -> Result<()> {
    let ended = e.run("", with(shell("true"), json!({ "Labels": { "prune": "me" } })))?;
    e.wait(&ended)?;
    let answer = e
        .post(&format!("/containers/prune?filters={}", encode(r#"{"label":["prune=me"]}"#)))?
        .expect(200)?
        .json()?;
    ensure!(answer["ContainersDeleted"] == json!([ended]), "{answer}");
    Ok(())
}

fn namespaces_are_shared_on_request(e: &mut Engine) -> Result<()> {
    let first =
        e.run("", with(shell("exec sleep 100"), json!({ "HostConfig": { "IpcMode": "shareable" } })))?;
    let script = "ps | grep -c 'sleep 10[0]'; for n in ipc net; do for p in 1 self; do readlink /proc/$p/ns/$n; done; done | sort -u | grep -c .";
    let mode = format!("container:{first}");
    let body = with(
        shell(script),
        json!({ "HostConfig": { "PidMode": mode, "IpcMode": mode, "NetworkMode": mode } }),
    );
    let (_, out, err) = output(e, body)?;
    ensure!(out == "1\n2\n", "{out:?} {err:?}");
    e.remove(&first)
}

fn shareable_memory_is_shared(e: &mut Engine) -> Result<()> {
    let body = json!({ "HostConfig": { "IpcMode": "shareable", "ShmSize": 1 << 20 } });
    let donor = e.run("donor", with(shell("echo shared > /dev/shm/file; sleep 600"), body))?;
    let joined = json!({ "HostConfig": { "IpcMode": "container:donor" } });
    let script = "until [ -s /dev/shm/file ]; do :; done; cat /dev/shm/file; df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    let (_, out, err) = output(e, with(shell(script), joined))?;
    ensure!(out == "shared\n1024\n", "{out:?} {err:?}");
    // Each run has memory of its own.
    e.post(&format!("/containers/{donor}/restart?t=0"))?.expect(204)?;
    e.remove(&donor)?;
    let (_, out, _) =
        output(e, with(shell("ls /dev/shm"), json!({ "HostConfig": { "IpcMode": "shareable" } })))?;
    ensure!(out.is_empty(), "{out:?}");
    Ok(())
}

fn a_wait_ends_with_each_exit(e: &mut Engine) -> Result<()> {
    let policy = json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } });
    let id = e.run("", with(shell("sleep 0.2; exit 3"), policy))?;
    ensure!(e.wait(&id)? == 3);
    e.remove(&id)
}

/// A specification of a made-up vendor where engines look for them, as long as this lives.
struct Vendor(std::path::PathBuf);

impl Vendor {
    fn register() -> Result<Self> {
        let folder = std::path::Path::new("/var/run/cdi");
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("corten-tests-{}.json", std::process::id()));
        let device = json!({ "name": "one", "containerEdits": {
            "env": ["GADGET=one"],
            "deviceNodes": [{ "path": "/dev/gadget", "hostPath": "/dev/null" }],
            "mounts": [{ "hostPath": "/proc/version", "containerPath": "/gadget", "options": ["ro", "bind"] }],
        } });
        let specification =
            json!({ "cdiVersion": "0.5.0", "kind": "corten.test/gadget", "devices": [device] });
        std::fs::write(&path, specification.to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        // Only if it is empty, as it was not there before.
        let _ = std::fs::remove_dir("/var/run/cdi");
    }
}

fn a_vendors_device_is_given_by_name(e: &mut Engine) -> Result<()> {
    let _vendor = Vendor::register()?;
    let device = |name: &str| json!({ "HostConfig": { "DeviceRequests": [{ "Driver": "cdi", "DeviceIDs": [name] }] } });
    let script = "echo $GADGET; echo x > /dev/gadget && stat -c %t:%T /dev/gadget; cut -c 1-5 /gadget";
    // Docker notices new specifications a moment later.
    let (out, err) = e.until("the vendor is known", || {
        let (_, out, err) = match output(e, with(shell(script), device("corten.test/gadget=one"))) {
            Ok(result) => result,
            Err(error) if error.to_string().contains("unresolvable CDI devices") => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some((out, err)))
    })?;
    ensure!(out == "one\n1:3\nLinux\n", "{out:?} {err:?}");
    let id = e.create("", with(shell("true"), device("corten.test/gadget=none")))?;
    let answer = e.post(&format!("/containers/{id}/start"))?;
    let text = "CDI device injection failed: unresolvable CDI devices corten.test/gadget=none";
    ensure!(answer.status >= 400 && answer.message().contains(text), "{}", answer.text());
    e.remove(&id)
}
