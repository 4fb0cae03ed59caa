//! The runtime as containerd and podman call it: one process per command.

use std::os::fd::OwnedFd;
use std::process::{Command, Output};

use corten_sys::process::{Exit, Wait, wait};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::fixture::Bundle;

/// Every case, by name.
pub const ALL: &[(&str, fn())] = &[
    ("the_command_line_takes_a_container_through_its_life", life),
    ("the_command_line_leaves_nothing_of_a_failed_create", failed_create),
    ("run_gives_back_output_and_exit_code", run),
    ("errors_are_written_to_the_log_as_containerd_reads_them", log),
];

struct Runtime<'a>(&'a Bundle);

impl Runtime<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg("runtime").arg("--root").arg(self.0.directory.join("root")).args(args);
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn status(&self) -> String {
        let state: serde_json::Value = serde_json::from_str(&self.ok(&["state", &self.0.id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}

/// Writes the specification, and makes this process the parent of what the commands leave behind.
fn prepare(bundle: &mut Bundle) {
    let path = format!("/corten-test-{}/{}", std::process::id(), bundle.id);
    bundle.linux().cgroups_path = path;
    let text = serde_json::to_vec(&bundle.spec).unwrap();
    std::fs::write(bundle.directory.join("config.json"), text).unwrap();
    rustix::process::set_child_subreaper(Pid::from_raw(1)).unwrap();
}

/// Removes the cgroup above those of the containers.
fn clean_up() {
    if let Ok(parent) = corten_runtime::cgroup::Cgroup::open(&format!("/corten-test-{}", std::process::id()))
    {
        parent.delete().unwrap();
    }
}

fn process(pid_file: &std::path::Path) -> OwnedFd {
    let pid = std::fs::read_to_string(pid_file).unwrap().parse().unwrap();
    pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap()
}

fn life() {
    let mut bundle = Bundle::new(&["wait"]);
    prepare(&mut bundle);
    let runtime = Runtime(&bundle);
    let id = bundle.id.as_str();
    let directory = bundle.directory.to_str().unwrap();
    let pid_file = bundle.directory.join("pid");
    // Its streams must not be the pipes whose end the caller waits for.
    let create = ["create", "--bundle", directory, "--pid-file", pid_file.to_str().unwrap(), id];
    let status = runtime
        .command(&create)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let init = process(&pid_file);
    assert_eq!(runtime.status(), "created");
    assert!(runtime.refused(&["create", "--bundle", directory, id]).contains("already exists"));
    runtime.ok(&["start", id]);
    assert_eq!(runtime.status(), "running");
    assert!(runtime.refused(&["start", id]).contains("already running"));
    assert_eq!(runtime.ok(&["exec", id, "/probe", "probe", "host"]), "corten-test\n");
    assert_eq!(runtime.call(&["exec", id, "/probe", "probe", "exit=9"]).status.code(), Some(9));
    assert!(runtime.refused(&["exec", id, "foo"]).contains("executable file not found in $PATH"));
    assert!(runtime.ok(&["ps", id]).contains("/probe"));
    assert_eq!(runtime.ok(&["list", "-q"]), format!("{id}\n"));
    runtime.ok(&["pause", id]);
    assert_eq!(runtime.status(), "paused");
    assert!(runtime.refused(&["exec", id, "/probe", "probe"]).contains("paused"));
    runtime.ok(&["resume", id]);
    runtime.ok(&["update", "--pids-limit", "20", "--memory", "64m", id]);
    assert!(runtime.refused(&["delete", id]).contains("is not stopped"));
    runtime.ok(&["kill", id, "KILL"]);
    assert_eq!(wait(&init, Wait::Block).unwrap(), Some(Exit::Signal(9)));
    assert_eq!(runtime.status(), "stopped");
    runtime.ok(&["delete", id]);
    assert!(runtime.refused(&["state", id]).contains("does not exist"));
    clean_up();
}

fn failed_create() {
    let mut bundle = Bundle::new(&[]);
    bundle.process().args = vec!["foo".into()];
    prepare(&mut bundle);
    let runtime = Runtime(&bundle);
    let error = runtime.refused(&["create", "--bundle", bundle.directory.to_str().unwrap(), &bundle.id]);
    assert!(error.contains("level=error"), "{error}");
    let text = r#"error during container init: exec: \"foo\": executable file not found in $PATH"#;
    assert!(error.contains(text), "{error}");
    assert_eq!(std::fs::read_dir(bundle.directory.join("root")).unwrap().count(), 0);
    assert!(corten_runtime::cgroup::Cgroup::open(&bundle.spec.linux.as_ref().unwrap().cgroups_path).is_err());
    clean_up();
}

fn run() {
    let mut bundle = Bundle::new(&["say=hello", "exit=7"]);
    prepare(&mut bundle);
    let runtime = Runtime(&bundle);
    let output = runtime.call(&["run", "--bundle", bundle.directory.to_str().unwrap(), &bundle.id]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(std::fs::read_dir(bundle.directory.join("root")).unwrap().count(), 0);
    clean_up();
}

fn log() {
    let bundle = Bundle::new(&[]);
    let log = bundle.directory.join("log.json");
    let output = Command::new("/proc/self/exe")
        .args(["runtime", "--log", log.to_str().unwrap(), "--log-format", "json", "state", "nothing"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["msg"].as_str()),
        (Some("error"), Some("container does not exist"))
    );
}
