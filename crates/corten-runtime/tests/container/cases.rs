//! What containers must look like from inside.

use std::time::Duration;

use corten_runtime::spec::{
    CpuLimits, Device, DeviceRule, Hook, Hooks, IdMapping, LinuxResources, MemoryLimits, Mount, Namespace,
    NamespaceKind, PidLimits, Rlimit, TimeOffset, User,
};
use corten_runtime::{CreateError, ExecError, ExecFailure, StartError, Stdio};
use corten_sys::process::Exit;

use crate::fixture::{Bundle, Group, Running, pipes, read_some};

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
    ("system_mounts_have_their_attributes", attributes),
    ("a_user_gets_ids_groups_home_and_no_capabilities", user),
    ("the_working_directory_is_made_and_entered", working_directory),
    ("a_working_directory_outside_the_root_is_refused", escaping_directory),
    ("a_terminal_is_a_controlling_terminal_with_a_size", terminal),
    ("bind_mounts_are_made_with_their_options", binds),
    ("system_mounts_refuse_links_in_the_image", links),
    ("exec_joins_the_container", exec_joins),
    ("who_joins_is_never_seen_with_more_than_the_container_has", watched_exec),
    ("exec_reports_a_missing_program", exec_missing),
    ("a_gate_that_is_dropped_ends_the_container", dropped_gate),
    ("a_user_namespace_maps_its_root", user_namespace),
    ("joined_namespaces_are_those_of_the_other_container", joined_namespaces),
    ("hooks_run_at_their_places_and_a_failing_one_stops_the_start", run_hooks),
    ("kernel_parameters_and_limits_are_set_inside", parameters),
    ("a_read_only_root_cannot_be_written", readonly_root),
    ("a_time_namespace_has_its_offsets", time_namespace),
    ("a_terminal_inside_a_running_container", exec_terminal),
    ("the_filter_refuses_what_the_capabilities_would_allow", filter),
    ("a_filter_without_privileges_is_loaded_too", filter_no_new_privileges),
    ("a_container_lives_in_its_cgroup_and_sees_it", cgroup_membership),
    ("a_container_out_of_memory_is_killed_and_counted", cgroup_memory),
    ("processes_are_limited_and_the_limit_can_change", cgroup_pids),
    ("devices_other_than_the_fixed_ones_are_refused", cgroup_devices),
    ("a_frozen_container_stands_still_and_can_be_killed", cgroup_freeze),
    ("figures_grow_with_use", cgroup_stats),
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
        other => panic!("{other}"),
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
    let names = lines[0].replace("core ", "");
    assert_eq!(names, "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
    assert_eq!(&lines[1..], ["pts/ptmx", "/proc/self/fd/1", "0", "ptmx"]);
}

fn attributes() {
    let mut bundle = Bundle::new(&["cat=/proc/self/mounts"]);
    for (destination, options) in
        [("/new", &["size=1m"][..]), ("/etc/made", &["ro"]), ("/etc", &["mode=700"])]
    {
        bundle.spec.mounts.insert(
            0,
            Mount {
                destination: destination.into(),
                kind: "tmpfs".into(),
                source: "tmpfs".into(),
                options: options.iter().map(|&o| o.into()).collect(),
                ..Mount::default()
            },
        );
    }
    let multiplexer =
        Device { path: "/dev/ptmx".into(), kind: "c".into(), major: 5, minor: 2, ..Device::default() };
    bundle.linux().devices = vec![multiplexer];
    let output = bundle.run().output;
    let options = |at: &str| {
        let line = output
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(at))
            .unwrap_or_else(|| panic!("{output}"));
        line.split(' ').nth(3).unwrap().to_owned()
    };
    // A mount without a word about access times has the strict mode that was asked for.
    assert_eq!(options("/dev").split(',').take(2).collect::<Vec<_>>(), ["rw", "nosuid"]);
    assert!(!options("/dev").contains("atime"), "{}", options("/dev"));
    // A place that did not exist is open to everybody, as tmpfs is by itself.
    assert!(!options("/new").contains("mode="), "{}", options("/new"));
    assert!(options("/etc").contains("mode=700"));
    assert!(options("/etc/made").starts_with("ro"));
    assert!(options("/proc").starts_with("rw,nosuid,nodev,noexec,relatime"));
    assert!(options("/sys").starts_with("ro,nosuid,nodev,noexec,relatime"));
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

/// Reads a terminal to its end.
fn read_all(console: &std::os::fd::OwnedFd) -> String {
    let mut output = String::new();
    loop {
        match read_some(console) {
            chunk if chunk.is_empty() => return output,
            chunk => output.push_str(&chunk),
        }
    }
}

fn terminal() {
    let mut bundle = Bundle::new(&["tty", "size", "list=/dev/pts", "cat=/dev/tty-is-not-read"]);
    bundle.process().terminal = true;
    let created = bundle.create_with(Stdio::Terminal { size: Some((100, 30)) }, None).unwrap();
    let console = created.console.unwrap();
    created.gate.start().unwrap();
    let output = read_all(&console);
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
        let refusals = ["too many levels of symbolic links", "must be mounted on ordinary directory"];
        assert!(refusals.iter().any(|refusal| error.contains(refusal)), "{name}: {error}");
        assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0, "{name}");
    }
}

/// What a container with `CAP_SYS_PTRACE` can see it can also trace, and make do what it could do.
fn watched_exec() {
    let mut bundle = Bundle::new(&["say=up", "watch=/stop"]);
    let sets = bundle.process().capabilities.as_mut().unwrap();
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        set.push("CAP_SYS_PTRACE".into());
    }
    let running = bundle.start();
    running.wait_for("up");
    // What the runtime's process has open is not for who joins: by a directory of the host all of it could be reached.
    let host = rustix::fs::memfd_create("host", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    for _ in 0..100 {
        assert_eq!(bundle.exec(&running, &["exit=0"]).exit, Exit::Code(0));
    }
    drop(host);
    std::fs::write(bundle.rootfs().join("stop"), "").unwrap();
    let done = running.finish();
    assert!(!done.output.contains("more: "), "{}", done.output);
    let seen: usize = done.output.lines().find_map(|line| line.strip_prefix("seen ")?.parse().ok()).unwrap();
    assert!(seen > 1, "none of a hundred was seen");
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
    let gone = Running::of(pidfd);
    assert!(matches!(bundle.exec_with(&gone, &process, pipes().0), Err(ExecError::Stopped)));
}

fn dropped_gate() {
    let bundle = Bundle::new(&["say=ran"]);
    let created = bundle.create_with(pipes().0, None).unwrap();
    drop(created.gate);
    let exit = corten_sys::process::wait(&created.pidfd, corten_sys::process::Wait::Block).unwrap();
    assert_eq!(exit, Some(Exit::Code(255)));
}

fn cgroup_membership() {
    let bundle = Bundle::new(&["cat=/proc/self/cgroup", "list=/sys/fs/cgroup", "say=up", "wait"]);
    let group = Group::new(&bundle, &LinuxResources::default());
    let running = bundle.start_in(Some(&group.0));
    let output = running.wait_for("up");
    let inside = output.lines().filter(|line| line.ends_with(group.0.path())).count();
    assert!(inside >= 1, "{output}");
    assert_eq!(group.0.pids().unwrap(), [running.pid]);

    let mut process = bundle.spec.process.clone().unwrap();
    process.args = ["/probe", "probe", "say=in", "wait"].map(String::from).to_vec();
    let (stdio, output) = pipes();
    let execed = bundle.exec_in(&running, &process, stdio, Some(&group.0)).unwrap();
    assert!(read_some(&output).contains("in"));
    let mut pids = group.0.pids().unwrap();
    pids.sort_unstable();
    assert_eq!(pids, [running.pid, execed.pid]);

    group.0.kill_all().unwrap();
    // The first process of a pid namespace ends only after all others inside were reaped.
    corten_sys::process::wait(&execed.pidfd, corten_sys::process::Wait::Block).unwrap();
    assert_eq!(running.finish().exit, Exit::Signal(9));
    assert!(group.0.wait_empty(Duration::from_secs(20)).unwrap());
    group.0.delete().unwrap();
    group.0.delete().unwrap();
    assert!(corten_runtime::cgroup::Cgroup::open(group.0.path()).is_err());
}

fn cgroup_memory() {
    let mut bundle = Bundle::new(&["say=up", "eat=200000000"]);
    bundle.process().oom_score_adj = Some(500);
    let memory = MemoryLimits { limit: Some(64 << 20), ..MemoryLimits::default() };
    let limits = LinuxResources { memory: Some(memory), ..LinuxResources::default() };
    let group = Group::new(&bundle, &limits);
    let events = group.0.oom_events();
    let running = bundle.start_in(Some(&group.0));
    assert_eq!(running.finish().exit, Exit::Signal(9));
    assert!(group.0.oom_kills().unwrap() >= 1);
    if let Ok(events) = events {
        let timeout = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
        let both = rustix::event::PollFlags::IN | rustix::event::PollFlags::PRI;
        let ready = rustix::event::poll(&mut [rustix::event::PollFd::new(&events, both)], Some(&timeout));
        assert_eq!(ready.unwrap(), 1);
    }
    assert_eq!(group.0.stats().unwrap().memory.limit, Some(64 << 20));
}

fn cgroup_pids() {
    let bundle = Bundle::new(&["fork=50", "say=up", "wait"]);
    let limit = |limit| LinuxResources { pids: Some(PidLimits { limit }), ..LinuxResources::default() };
    let group = Group::new(&bundle, &limit(10));
    let running = bundle.start_in(Some(&group.0));
    assert_eq!(running.wait_for("up"), "9\nup\n");
    assert_eq!(group.0.stats().unwrap().pids.limit, Some(10));
    group.0.apply(&limit(-1)).unwrap();
    assert_eq!(group.0.stats().unwrap().pids.limit, None);
    let cpu =
        CpuLimits { cpus: "0".into(), quota: Some(50_000), period: Some(100_000), ..CpuLimits::default() };
    group.0.apply(&LinuxResources { cpu: Some(cpu), ..LinuxResources::default() }).unwrap();
    let bad = CpuLimits { cpus: "900".into(), ..CpuLimits::default() };
    assert!(group.0.apply(&LinuxResources { cpu: Some(bad), ..LinuxResources::default() }).is_err());
    running.kill();
}

fn cgroup_devices() {
    let mut bundle = Bundle::new(&["write=/dev/null", "write=/dev/zero", "write=/dev/loop-control"]);
    bundle.linux().devices = vec![Device {
        path: "/dev/loop-control".into(),
        kind: "c".into(),
        major: 10,
        minor: 237,
        ..Device::default()
    }];
    let deny = DeviceRule { allow: false, access: "rwm".into(), ..DeviceRule::default() };
    let limits = LinuxResources { devices: vec![deny], ..LinuxResources::default() };
    let group = Group::new(&bundle, &limits);
    assert_eq!(bundle.start_in(Some(&group.0)).finish().output, "0\n0\n1\n");
}

fn cgroup_freeze() {
    let bundle = Bundle::new(&["say=up", "spin"]);
    let group = Group::new(&bundle, &LinuxResources::default());
    let running = bundle.start_in(Some(&group.0));
    running.wait_for("up");
    group.0.freeze().unwrap();
    assert!(group.0.is_frozen());
    group.0.thaw().unwrap();
    assert!(!group.0.is_frozen());
    group.0.freeze().unwrap();
    group.0.kill_all().unwrap();
    assert_eq!(running.finish().exit, Exit::Signal(9));
}

fn cgroup_stats() {
    let bundle = Bundle::new(&["eat=30000000", "say=up", "spin"]);
    let group = Group::new(&bundle, &LinuxResources::default());
    let running = bundle.start_in(Some(&group.0));
    running.wait_for("up");
    let stats = group.0.stats().unwrap();
    assert!(stats.cpu.total > 0 && stats.memory.usage > 0, "{stats:?}");
    assert_eq!(stats.pids.current, 1);
    running.kill();
}

fn admin(bundle: &mut Bundle) {
    let capabilities = bundle.process().capabilities.as_mut().unwrap();
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        set.push("CAP_SYS_ADMIN".into());
    }
}

fn filter() {
    let mut bundle = Bundle::new(&["unshare", "status"]);
    admin(&mut bundle);
    assert!(bundle.run().output.starts_with("0\n"));
    bundle.linux().seccomp = Some(corten_runtime::seccomp::docker_default(&[]));
    let done = bundle.run();
    assert!(done.output.starts_with("1\n"), "{}", done.output);
    assert_eq!(field(&done.output, "Seccomp"), "2");
    assert_eq!(field(&done.output, "Seccomp_filters"), "1");
}

fn filter_no_new_privileges() {
    let mut bundle = Bundle::new(&["unshare", "status"]);
    bundle.linux().seccomp = Some(corten_runtime::seccomp::docker_default(&[]));
    bundle.process().no_new_privileges = true;
    bundle.process().user = User { uid: 1000, gid: 1000, ..User::default() };
    let done = bundle.run();
    assert!(done.output.starts_with("1\n"), "{}", done.output);
    assert_eq!(field(&done.output, "NoNewPrivs"), "1");
    assert_eq!(field(&done.output, "Seccomp"), "2");
    bundle.process().no_new_privileges = false;
    assert_eq!(field(&bundle.run().output, "Seccomp"), "2");
}

fn user_namespace() {
    let mut bundle =
        Bundle::new(&["ids", "cat=/proc/self/uid_map", "write=/dev/null", "write=/dev/tty", "owner=/"]);
    let mapping = IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };
    bundle.linux().uid_mappings = vec![mapping];
    bundle.linux().gid_mappings = vec![mapping];
    bundle.linux().namespaces.push(Namespace { kind: NamespaceKind::User, path: String::new() });
    // The mapped root must be able to walk to the root filesystem and to change it.
    rustix::fs::chown(
        bundle.rootfs(),
        Some(rustix::fs::Uid::from_raw(100_000)),
        Some(rustix::fs::Gid::from_raw(100_000)),
    )
    .unwrap();
    let done = bundle.run();
    let lines: Vec<_> = done.output.lines().map(str::trim).collect();
    assert_eq!(lines[0], "0 0 []");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    // The device of the terminal is there, but there is no terminal (ENXIO, 6).
    assert_eq!(&lines[2..], ["0", "6", "0:0"]);
}

fn joined_namespaces() {
    let first = Bundle::new(&["say=up", "wait"]);
    let running = first.start();
    running.wait_for("up");
    let mut second = Bundle::new(&["link=/proc/self/ns/net", "link=/proc/self/ns/ipc", "status"]);
    for namespace in &mut second.linux().namespaces {
        let file = match namespace.kind {
            NamespaceKind::Network => "net",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Pid => "pid",
            _ => continue,
        };
        namespace.path = format!("/proc/{}/ns/{file}", running.pid);
    }
    let done = second.run();
    let ours = |file: &str| std::fs::read_link(format!("/proc/{}/ns/{file}", running.pid)).unwrap();
    let expected = format!("{}\n{}\n", ours("net").display(), ours("ipc").display());
    assert!(done.output.starts_with(&expected), "{}", done.output);
    assert_ne!(field(&done.output, "Pid"), "1");
    running.kill();
}

fn run_hooks() {
    if !std::path::Path::new("/bin/sh").exists() {
        println!("skipped: hooks are shell scripts here");
        return;
    }
    let mut bundle = Bundle::new(&["cat=/made", "exit=0"]);
    let log = bundle.directory.join("log");
    let hook = |script: String| Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), script],
        ..Hook::default()
    };
    bundle.spec.hooks = Some(Hooks {
        prestart: vec![hook(format!("echo prestart >> {}", log.display()))],
        create_runtime: vec![hook(format!("cat >> {}", log.display()))],
        create_container: vec![hook(format!("echo inside > {}/made", bundle.rootfs().display()))],
        ..Hooks::default()
    });
    assert_eq!(bundle.run().output, "inside\n");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("prestart\n{") && text.contains(&bundle.id), "{text}");

    bundle.spec.hooks = Some(Hooks { create_runtime: vec![hook("exit 7".into())], ..Hooks::default() });
    assert!(failed_create(&bundle).to_string().contains("error running hook #0 \"/bin/sh\": exit status 7"));
}

fn parameters() {
    let mut bundle =
        Bundle::new(&["cat=/proc/sys/net/ipv4/ip_forward", "cat=/proc/sys/kernel/shmmni", "limit"]);
    let host = std::fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    bundle.linux().sysctl =
        [("net.ipv4.ip_forward", "1"), ("kernel.shmmni", "77")].map(|(k, v)| (k.into(), v.into())).into();
    bundle.process().rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 100, hard: 200 }];
    assert_eq!(bundle.run().output, "1\n77\nSome(100) Some(200)\n");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), host);
    // Higher than the runtime itself may go: as high as it may.
    bundle.process().rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 1 << 30, hard: 1 << 30 }];
    bundle.run();
    bundle.linux().sysctl = [("kernel.core_pattern".into(), "x".into())].into();
    assert!(failed_create(&bundle).to_string().contains("not in a separate kernel namespace"));
}

fn readonly_root() {
    let mut bundle = Bundle::new(&["make=/file", "make=/dev/shm/file", "mkdir=/etc/x"]);
    bundle.spec.root.as_mut().unwrap().readonly = true;
    assert_eq!(bundle.run().output, "30\n0\n30\n");
}

fn time_namespace() {
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        println!("skipped: this kernel has no time namespaces");
        return;
    }
    let mut bundle = Bundle::new(&["cat=/proc/self/timens_offsets"]);
    bundle.linux().namespaces.push(Namespace { kind: NamespaceKind::Time, path: String::new() });
    bundle.linux().time_offsets = [("boottime".to_owned(), TimeOffset { secs: 1000, nanosecs: 5 })].into();
    let output = bundle.run().output;
    let line = output.lines().find(|line| line.starts_with("boottime")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["boottime", "1000", "5"]);
}

fn exec_terminal() {
    let bundle = Bundle::new(&["say=up", "wait"]);
    let running = bundle.start();
    running.wait_for("up");
    let mut process = bundle.spec.process.clone().unwrap();
    process.args = ["/probe", "probe", "tty", "size", "exit=5"].map(String::from).to_vec();
    let execed = bundle.exec_with(&running, &process, Stdio::Terminal { size: Some((80, 25)) }).unwrap();
    assert_eq!(read_all(&execed.console.unwrap()), "true\r\n80x25\r\n");
    let exit = corten_sys::process::wait(&execed.pidfd, corten_sys::process::Wait::Block).unwrap();
    assert_eq!(exit, Some(Exit::Code(5)));
    running.kill();
}
