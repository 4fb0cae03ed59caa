//! Others that use our runtime as theirs: Docker, podman, containerd. Each is found in `$CORTEN_PEERS/bin` or PATH.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_tests::engine::{Engine, corten_binary};
use corten_tests::{archive, namespace};
use serde_json::{Value, json};

use crate::unified::output;
use crate::{Case, Outcome};

pub const CASES: &[Case] = &[
    ("docker_runs_containers_by_our_runtime", docker),
    ("podman_runs_containers_by_our_runtime", podman),
    ("containerd_runs_containers_by_our_runtime", containerd),
];

const DEADLINE: Duration = Duration::from_secs(60);

/// A program of a peer.
fn find(name: &str) -> Option<PathBuf> {
    let peers = std::env::var_os("CORTEN_PEERS").map(|dir| PathBuf::from(dir).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    peers.into_iter().chain(std::env::split_paths(&path)).map(|dir| dir.join(name)).find(|p| p.exists())
}

/// A folder of the case's own, with our runtime under the name that others give runtimes.
struct Place {
    dir: PathBuf,
    runtime: String,
}

impl Place {
    fn new(name: &str) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("corten-tests-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        // Called by this name, the program is the runtime.
        let runtime = dir.join("runc");
        std::os::unix::fs::symlink(corten_binary()?, &runtime)?;
        Ok(Self { runtime: runtime.to_str().context("text")?.to_owned(), dir })
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let targets = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
        let mut own: Vec<_> = targets.filter(|target| target.starts_with(&self.dir)).collect();
        own.reverse();
        for target in own {
            let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn docker() -> Result<Outcome> {
    let place = Place::new("docker-runtime")?;
    let runtimes = json!({ "corten": { "path": place.runtime } });
    let Some(e) = Engine::docker_with(&json!({ "runtimes": runtimes, "default-runtime": "corten" }))? else {
        return Ok(Outcome::Skipped("no dockerd"));
    };
    let path = "/images/create?fromSrc=-&repo=busybox&tag=latest&changes=CMD%20%5B%22sh%22%5D";
    e.post_tar(path, &archive::base()?)?.expect(200)?;
    let body = |script: &str, host: Value| json!({ "Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host });
    let (code, out) = output(&e, body("echo by $(id -u); exit 7", json!({})))?;
    ensure!(code == 7 && out == "by 0\n", "{code} {out:?}");
    let id =
        e.run("", body("trap 'exit 3' TERM; while true; do sleep 0.1; done", json!({ "PidsLimit": 40 })))?;
    let inspect = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    ensure!(inspect["HostConfig"]["Runtime"] == "corten", "{}", inspect["HostConfig"]["Runtime"]);
    let exec = json!({ "AttachStdout": true, "Cmd": ["echo", "joined"] });
    let exec = e.post_json(&format!("/containers/{id}/exec"), exec)?.expect(201)?.json()?["Id"].clone();
    let path = format!("/exec/{}/start", exec.as_str().context("an id")?);
    let answer = e.post_json(&path, json!({ "Detach": false }))?;
    ensure!(answer.text().contains("joined"), "{}", answer.text());
    e.post(&format!("/containers/{id}/pause"))?.expect(204)?;
    e.post(&format!("/containers/{id}/unpause"))?.expect(204)?;
    e.post_json(&format!("/containers/{id}/update"), json!({ "PidsLimit": 50 }))?.expect(200)?;
    e.post(&format!("/containers/{id}/stop"))?.expect(204)?;
    ensure!(e.wait(&id)? == 3);
    e.remove(&id)?;
    let id = e.create("", json!({ "Image": "busybox", "Cmd": ["no-such-program"] }))?;
    let answer = e.post(&format!("/containers/{id}/start"))?;
    ensure!(answer.message().contains("executable file not found in $PATH"), "{}", answer.message());
    e.remove(&id)?;
    Ok(Outcome::Held)
}

fn podman() -> Result<Outcome> {
    let (Some(podman), Some(conmon)) = (find("podman"), find("conmon")) else {
        return Ok(Outcome::Skipped("no podman with conmon"));
    };
    let place = Place::new("podman-runtime")?;
    let conf = place.path("containers.conf");
    let helpers = podman.parent().context("a folder")?;
    fs::write(
        &conf,
        format!(
            "[engine]\nconmon_path = [{conmon:?}]\nhelper_binaries_dir = [{helpers:?}]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n"
        ),
    )?;
    let home = place.dir.join(".config/containers");
    fs::create_dir_all(&home)?;
    fs::write(home.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)?;
    fs::write(place.path("base.tar"), archive::base()?)?;
    let call = |args: &[&str]| -> Result<Output> {
        let mut command = Command::new(&podman);
        command
            .env("HOME", &place.dir)
            .env_remove("XDG_CONFIG_HOME")
            .env("CONTAINERS_CONF", &conf)
            .env("CONTAINERS_STORAGE_CONF", "/dev/null")
            .args([
                "--root",
                &place.path("root"),
                "--runroot",
                &place.path("run"),
                "--tmpdir",
                &place.path("tmp"),
            ])
            .args(["--storage-driver", "vfs", "--runtime", &place.runtime])
            .args(args)
            .stdin(Stdio::null());
        Ok(command.output()?)
    };
    let ok = |args: &[&str]| -> Result<String> {
        let output = call(args)?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    ok(&["import", &place.path("base.tar"), "localhost/base"])?;
    let common = ["--network", "none", "--cgroups", "enabled"];
    let run = |more: &[&str]| call(&[&["run", "--rm"], &common[..], more].concat());
    let output = run(&["localhost/base", "sh", "-c", "echo by podman; exit 7"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.code() == Some(7) && text == "by podman\n",
        "{} {text:?} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    ok(&[&["run", "-d", "--name", "one"], &common[..], &["localhost/base", "sleep", "1000"]].concat())?;
    let joined = ok(&["exec", "one", "echo", "joined"])?;
    ensure!(joined == "joined\n", "{joined:?}");
    ok(&["rm", "-f", "-t", "0", "one"])?;
    Ok(Outcome::Held)
}

/// A daemon that ends with the case.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

fn containerd() -> Result<Outcome> {
    let (Some(containerd), Some(ctr)) = (find("containerd"), find("ctr")) else {
        return Ok(Outcome::Skipped("no containerd with ctr"));
    };
    let place = Place::new("containerd-runtime")?;
    let socket = place.path("s");
    let peers = containerd.parent().context("a folder")?.display().to_string();
    let path = format!("{peers}:{}", std::env::var("PATH").unwrap_or_default());
    namespace::make(&place.dir.join("netns"))?;
    let log = fs::File::create(place.dir.join("log"))?;
    let mut command = Command::new(&containerd);
    command
        .args(["--root", &place.path("root"), "--state", &place.path("state"), "--address", &socket])
        .env("PATH", &path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let _daemon = Daemon(namespace::within(&place.dir.join("netns"), || Ok(command.spawn()?))?);
    let call = |args: &[&str]| -> Result<Output> {
        Ok(Command::new(&ctr).args(["--address", &socket]).args(args).stdin(Stdio::null()).output()?)
    };
    let start = Instant::now();
    while !call(&["version"])?.status.success() {
        ensure!(
            start.elapsed() < DEADLINE,
            "containerd does not answer: {}",
            fs::read_to_string(place.dir.join("log"))?
        );
        // A socket that does not exist yet cannot be waited for.
        std::thread::sleep(Duration::from_millis(20));
    }
    let rootfs = place.dir.join("rootfs");
    fs::create_dir(&rootfs)?;
    tar::Archive::new(&archive::base()?[..]).unpack(&rootfs)?;
    let run = ["run", "--runc-binary", &place.runtime, "--rootfs"];
    let output = call(
        &[&run[..], &["--rm", &place.path("rootfs"), "one", "/bin/sh", "-c", "echo by containerd; exit 7"]]
            .concat(),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(text == "by containerd\n", "{text:?} {error}");
    let output =
        call(&[&run[..], &["--detach", &place.path("rootfs"), "two", "/bin/sleep", "1000"]].concat())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = call(&["task", "exec", "--exec-id", "e", "two", "/bin/echo", "joined"])?;
    ensure!(output.stdout == b"joined\n", "{}", String::from_utf8_lossy(&output.stderr));
    for args in
        [&["task", "pause", "two"][..], &["task", "resume", "two"], &["task", "kill", "-s", "KILL", "two"]]
    {
        let output = call(args)?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let start = Instant::now();
    while !call(&["task", "delete", "two"])?.status.success() {
        ensure!(start.elapsed() < DEADLINE, "the task does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    call(&["container", "delete", "two"])?;
    Ok(Outcome::Held)
}
