//! What containers must look like from inside.

use corten_runtime::spec::{Mount, User};
use corten_runtime::{CreateError, ExecError, ExecFailure, StartError, Stdio};
use corten_sys::process::Exit;

use crate::fixture::{Bundle, pipes, read_some};

/// Every case, by name.
pub const ALL: &[(&str, fn())] = &[
    ("a_program_runs_and_its_exit_code_arrives", exit_code),
    ("a_signal_ends_the_first_process", signal),
    ("the_default_container_has_docker_s_posture", posture),
    ("the_first_process_has_only_its_streams", descriptors),
    ("a_missing_program_is_127", missing_program),
    ("a_program_without_permission_is_126", forbidden_program),
    ("a_broken_program_is_started_and_ends_with_255", broken_program),
    ("masked_paths_are_empty_and_readonly_paths_refuse", masks),
    ("devices_are_the_default_ones", devices),
    ("a_user_gets_ids_groups_home_and_no_capabilities", user),
    ("the_working_directory_is_made_and_entered", working_directory),
    ("a_working_directory_outside_the_root_is_refused", escaping_directory),
    ("a_terminal_is_a_controlling_terminal_with_a_size", terminal),
    ("bind_mounts_are_made_with_their_options", binds),
    ("system_mounts_refuse_links_in_the_image", links),
    ("exec_joins_the_container", exec_joins),
    ("exec_reports_a_missing_program", exec_missing),
    ("a_gate_that_is_dropped_ends_the_container", dropped_gate),
];

fn exit_code() {
    let done = Bundle::new(&["say=hello", "exit=42"]).run();
    assert_eq!((done.exit, done.output.as_str()), (Exit::Code(42), "hello\n"));
}

fn signal() {
    let bundle = Bundle::new(&["say=up", "wait"]);
    let running = bundle.start();
    running.wait_for("up");
    assert_eq!(running.kill(), Exit::Signal(9));
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line =
        status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {status}"));
    line[name.len() + 1..].trim()
}

fn posture() {
    let done = Bundle::new(&["status", "host"]).run();
    let status = &done.output;
    assert_eq!(field(status, "Pid"), "1");
    assert_eq!(field(status, "CapEff"), "00000000a80425fb");
    assert_eq!(field(status, "CapPrm"), "00000000a80425fb");
    assert_eq!(field(status, "CapBnd"), "00000000a80425fb");
    assert_eq!(field(status, "CapInh"), "0000000000000000");
    assert_eq!(field(status, "CapAmb"), "0000000000000000");
    assert_eq!(field(status, "NoNewPrivs"), "0");
    assert_eq!(field(status, "SigBlk"), "0000000000000000");
    assert_eq!(field(status, "Umask"), "0022");
    assert!(status.ends_with("corten-test\n"), "{status}");
}

fn descriptors() {
    // The fourth is the directory being read.
    assert_eq!(Bundle::new(&["list=/proc/self/fd"]).run().output, "0 1 2 3\n");
}

fn failed_create(bundle: &Bundle) -> CreateError {
    bundle.create_with(pipes().0, None).unwrap_err()
}

fn missing_program() {
    let mut bundle = Bundle::new(&[]);
    bundle.process().args = vec!["foo".into()];
    let error = failed_create(&bundle);
    assert_eq!(
        error.to_string(),
        "OCI runtime create failed: runc create failed: unable to start container process: error during container \
         init: exec: \"foo\": executable file not found in $PATH"
    );
    assert_eq!(error.exit_code(), 127);
}

fn forbidden_program() {
    let mut bundle = Bundle::new(&[]);
    bundle.process().args = vec!["/etc/passwd".into()];
    let error = failed_create(&bundle);
    assert!(error.to_string().ends_with("exec: \"/etc/passwd\": permission denied"), "{error}");
    assert_eq!(error.exit_code(), 126);
}

fn broken_program() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bundle = Bundle::new(&[]);
    let path = bundle.rootfs().join("broken");
    std::fs::write(&path, "neither script nor program").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    bundle.process().args = vec!["/broken".into()];
    let (stdio, output) = pipes();
    let created = bundle.create_with(stdio, None).unwrap();
    match created.gate.start().unwrap_err() {
        StartError::Exec(failure) => {
            assert_eq!(failure.message, "exec /broken: exec format error");
            assert_eq!(failure.program, Some(ExecFailure::Other));
        }
        other @ StartError::Gone => panic!("{other}"),
    }
    assert_eq!(read_some(&output), "exec /broken: exec format error\n");
    let exit = corten_sys::process::wait(&created.pidfd, corten_sys::process::Wait::Block).unwrap();
    assert_eq!(exit, Some(Exit::Code(255)));
}

fn masks() {
    let done = Bundle::new(&[
        "cat=/proc/keys",
        "list=/proc/scsi",
        "list=/sys/firmware",
        "write=/proc/sys/kernel/domainname",
        "write=/proc/sysrq-trigger",
        "mkdir=/sys/fs/x",
        "cat=/proc/sys/kernel/ostype",
    ])
    .run();
    let lines: Vec<_> = done.output.lines().filter(|line| !line.is_empty()).collect();
    // What is hidden is empty, or this kernel does not have it (ENOENT, 2); what is protected refuses (EROFS, 30).
    let (hidden, shown) = lines.split_at(lines.len() - 4);
    assert!(hidden.iter().all(|line| line.ends_with(": 2")), "{lines:?}");
    assert!(matches!(shown, ["30", "30" | "2", "30", "Linux"]), "{lines:?}");
}

fn devices() {
    let done =
        Bundle::new(&["list=/dev", "link=/dev/ptmx", "link=/dev/stdout", "make=/dev/null", "list=/dev/pts"])
            .run();
    let lines: Vec<_> = done.output.lines().collect();
    let names = lines[0].replace(" core", "");
    assert_eq!(names, "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
    assert_eq!(&lines[1..], ["pts/ptmx", "/proc/self/fd/1", "0", "ptmx"]);
}

fn user() {
    let mut bundle = Bundle::new(&["ids", "env=HOME", "status"]);
    bundle.process().user = User { uid: 1000, gid: 1001, additional_gids: vec![1001, 7], ..User::default() };
    let done = bundle.run();
    let mut lines = done.output.lines();
    assert_eq!(lines.next(), Some("1000 1001 [7, 1001]"));
    assert_eq!(lines.next(), Some("/home/user"));
    assert_eq!(field(&done.output, "CapEff"), "0000000000000000");
    assert_eq!(field(&done.output, "CapPrm"), "0000000000000000");
    assert_eq!(field(&done.output, "CapBnd"), "00000000a80425fb");
}

fn working_directory() {
    let mut bundle = Bundle::new(&["cwd"]);
    bundle.process().cwd = "/new/../deep/folder".into();
    assert_eq!(bundle.run().output, "/deep/folder\n");
}

fn escaping_directory() {
    for number in 0..20 {
        let mut bundle = Bundle::new(&["cwd"]);
        bundle.process().cwd = format!("/proc/self/fd/{number}");
        let error = failed_create(&bundle).to_string();
        assert!(
            error.contains("chdir to cwd") || error.contains("breakout") || error.contains("mkdir"),
            "{error}"
        );
    }
}

fn terminal() {
    let mut bundle = Bundle::new(&["tty", "size", "list=/dev/pts", "cat=/dev/tty-is-not-read"]);
    bundle.process().terminal = true;
    let created = bundle.create_with(Stdio::Terminal { size: Some((100, 30)) }, None).unwrap();
    let console = created.console.unwrap();
    created.gate.start().unwrap();
    let mut output = String::new();
    loop {
        match read_some(&console) {
            chunk if chunk.is_empty() => break,
            chunk => output.push_str(&chunk),
        }
    }
    let exit = corten_sys::process::wait(&created.pidfd, corten_sys::process::Wait::Block).unwrap();
    assert_eq!(exit, Some(Exit::Code(0)));
    assert!(output.starts_with("true\r\n100x30\r\n0 ptmx\r\n"), "{output:?}");
}

fn binds() {
    let mut bundle =
        Bundle::new(&["cat=/data/file", "make=/data/new", "make=/rw/new", "cat=/etc/hosts", "list=/run"]);
    let source = bundle.directory.join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "content\n").unwrap();
    std::os::unix::fs::symlink("../run/hosts", bundle.rootfs().join("etc/hosts")).unwrap();
    let bind = |from: &std::path::Path, to: &str, options: &[&str]| Mount {
        destination: to.into(),
        kind: "bind".into(),
        source: from.to_string_lossy().into(),
        options: options.iter().map(|&o| o.into()).collect(),
        ..Mount::default()
    };
    bundle.spec.mounts.push(bind(&source, "/data", &["rbind", "ro", "rprivate"]));
    bundle.spec.mounts.push(bind(&source, "/rw", &["rbind", "rprivate"]));
    bundle.spec.mounts.push(bind(&source.join("file"), "/etc/hosts", &["rbind", "rprivate"]));
    assert_eq!(bundle.run().output, "content\n30\n0\ncontent\nhosts\n");
    assert!(source.join("new").exists());
}

fn links() {
    for name in ["proc", "sys", "dev"] {
        let bundle = Bundle::new(&[]);
        let canary = bundle.directory.join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::os::unix::fs::symlink(&canary, bundle.rootfs().join(name)).unwrap();
        let error = failed_create(&bundle).to_string();
        assert!(error.contains("too many levels of symbolic links"), "{name}: {error}");
        assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0, "{name}");
    }
}

fn exec_joins() {
    let bundle = Bundle::new(&["say=up", "wait"]);
    let running = bundle.start();
    running.wait_for("up");
    let done = bundle.exec(&running, &["host", "status", "list=/proc/self/fd", "exit=3"]);
    assert_eq!(done.exit, Exit::Code(3));
    assert!(done.output.starts_with("corten-test\n"));
    assert!(done.output.ends_with("0 1 2 3\n"), "{}", done.output);
    assert_eq!(field(&done.output, "CapEff"), "00000000a80425fb");
    assert_eq!(field(&done.output, "CapInh"), "0000000000000000");
    let inside: i32 = field(&done.output, "Pid").parse().unwrap();
    assert!((2..100).contains(&inside), "{inside}");
    running.kill();
}

fn exec_missing() {
    let bundle = Bundle::new(&["say=up", "wait"]);
    let running = bundle.start();
    running.wait_for("up");
    let mut process = bundle.spec.process.clone().unwrap();
    process.args = vec!["foo".into()];
    let error = bundle.exec_with(&running, &process, pipes().0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"foo\": executable file not \
         found in $PATH"
    );
    assert_eq!(error.exit_code(), 127);
    running.signal(libc::SIGKILL);
    let pidfd = running.pidfd.try_clone().unwrap();
    running.kill();
    let gone = crate::fixture::Running::of(pidfd);
    assert!(matches!(bundle.exec_with(&gone, &process, pipes().0), Err(ExecError::Stopped)));
}

fn dropped_gate() {
    let bundle = Bundle::new(&["say=ran"]);
    let created = bundle.create_with(pipes().0, None).unwrap();
    drop(created.gate);
    let exit = corten_sys::process::wait(&created.pidfd, corten_sys::process::Wait::Block).unwrap();
    assert_eq!(exit, Some(Exit::Code(255)));
}
