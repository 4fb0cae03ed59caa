//! The monitor with real containers.

mod common;

use std::net::Shutdown;
use std::os::fd::OwnedFd;

use common::*;
use corten_runtime::seccomp::{Program, compile};
use corten_runtime::spec::{Action, LinuxSeccomp, SyscallRule};
use corten_shim::protocol::{
    Event, ExecState, FailureClass, LogConfig, Numbering, Reply, Request, ShimState, Size, Target, files,
};

#[test]
fn output_is_logged_attached_and_the_exit_is_exact() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("echo out; echo err >&2; exit 7");
    let (mut monitor, mut daemon) = spawn(&bundle);
    daemon.ask(Request::Create(bundle.create()));
    let mut client = daemon.attach(output_streams());
    assert!(matches!(daemon.status().state, ShimState::Created { .. }));
    daemon.ask(Request::Start);
    let exit = daemon.exited();
    assert_eq!((exit.code, exit.signal, exit.oom), (7, None, false));
    assert_eq!(demultiplex(&rest(&mut client)), ("out\n".into(), "err\n".into()));
    let log = bundle.log();
    assert!(log.contains(r#"{"log":"out\n","stream":"stdout","time":""#), "{log}");
    assert!(log.contains(r#"{"log":"err\n","stream":"stderr","time":""#), "{log}");
    assert_eq!(bundle.exit_record().exit, exit);
    assert!(bundle.exit_record().started_at.is_some());
    monitor.ended();
    assert!(!bundle.path(files::SOCKET).exists());
}

#[test]
fn a_killed_container_says_by_what() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let (_monitor, mut daemon) = spawn(&bundle);
    daemon.run(bundle.create());
    daemon.ask(Request::Signal { target: Target::Init, signal: 9 });
    let exit = daemon.exited();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

#[test]
fn the_daemon_may_die_at_any_time_and_the_next_one_gets_everything() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("read line; echo got $line; exit 3");
    let (_monitor, mut first) = spawn(&bundle);
    let mut create = bundle.create();
    create.open_stdin = true;
    first.ask(Request::Create(create));
    // One that comes while the other is still there can go on from the gate.
    let mut second = Daemon::adopt(&bundle);
    assert!(matches!(second.status().state, ShimState::Created { .. }));
    drop(first);
    second.ask(Request::Start);
    drop(second);

    let mut third = Daemon::adopt(&bundle);
    assert!(matches!(third.status().state, ShimState::Running { .. }));
    let mut client = third.attach(all_streams());
    type_in(&mut client, "hello\n");
    assert_eq!(third.exited().code, 3);
    assert!(bundle.log().contains("got hello"));
}

#[test]
fn an_exit_without_a_daemon_is_on_record() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("read line; exit 9");
    let (mut monitor, mut daemon) = spawn(&bundle);
    let mut create = bundle.create();
    create.open_stdin = true;
    daemon.run(create);
    let mut client = daemon.attach(all_streams());
    let mut exec = daemon.exec("e1", &["sh", "-c", "read line; exit 4"], false, all_streams()).unwrap();
    drop(daemon);
    type_in(&mut exec, "go\n");
    assert_eq!(rest(&mut exec), b"");
    type_in(&mut client, "go\n");
    monitor.ended();
    let record = bundle.exit_record();
    assert_eq!(record.exit.code, 9);
    assert_eq!(record.execs["e1"].code, 4);
}

#[test]
fn a_monitor_without_container_and_daemon_ends() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("true");
    let (mut monitor, daemon) = spawn(&bundle);
    drop(daemon);
    monitor.ended();
}

#[test]
fn a_filter_that_comes_compiled_holds_for_init_and_for_execs() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("mkdir /a 2>&1; read line");
    let mut create = bundle.create();
    create.open_stdin = true;
    create.spec = Some(serde_json::value::RawValue::from_string(bundle.spec().to_string()).unwrap());
    create.filter_fd = true;
    // Nothing of it is needed any more.
    std::fs::write(bundle.path(files::CONFIG), "{}").unwrap();
    let (_monitor, mut daemon) = spawn(&bundle);
    daemon.ask_with(Request::Create(create), Some(&sealed(&no_mkdir(72).encode().unwrap()))).unwrap();
    daemon.ask(Request::Start);
    let mut exec = daemon.exec("e", &["sh", "-c", "mkdir /b 2>&1"], false, output_streams()).unwrap();
    until(&mut exec, "Multihop attempted");
    let mut client = daemon.attach(all_streams());
    type_in(&mut client, "go\n");
    assert_eq!(daemon.exited().code, 0);
    assert!(bundle.log().contains("Multihop attempted"), "{}", bundle.log());
}

#[test]
fn a_filter_of_an_unknown_form_is_compiled_from_the_bundle_instead() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("mkdir /a 2>&1");
    let mut create = bundle.create();
    create.spec = Some(serde_json::value::RawValue::from_string(bundle.spec().to_string()).unwrap());
    create.filter_fd = true;
    let mut whole = bundle.spec();
    whole["linux"]["seccomp"] = serde_json::to_value(no_mkdir_rules(72)).unwrap();
    std::fs::write(bundle.path(files::CONFIG), whole.to_string()).unwrap();
    let mut newer = no_mkdir(1).encode().unwrap();
    newer[4] = 0xff;
    let (_monitor, mut daemon) = spawn(&bundle);
    daemon.ask_with(Request::Create(create), Some(&sealed(&newer))).unwrap();
    daemon.ask(Request::Start);
    daemon.exited();
    assert!(bundle.log().contains("Multihop attempted"), "{}", bundle.log());
}

#[test]
fn a_container_that_nobody_started_ends_with_its_daemon() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("true");
    let (mut monitor, mut daemon) = spawn(&bundle);
    daemon.ask(Request::Create(bundle.create()));
    assert!(bundle.is_locked() && bundle.has_cgroup());
    drop(daemon);
    monitor.ended();
    assert!(!bundle.path(files::SOCKET).exists() && !bundle.has_cgroup() && !bundle.is_locked());
}

#[test]
fn the_directory_is_locked_until_the_end_is_on_record() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("yes | head -c 3000000");
    let (_monitor, mut daemon) = spawn(&bundle);
    daemon.ask(Request::Create(bundle.create()));
    // It does not read: the monitor stays for it.
    let _client = daemon.attach(output_streams());
    assert!(bundle.is_locked());
    daemon.ask(Request::Start);
    daemon.exited();
    assert!(!bundle.is_locked());
    assert_eq!(bundle.exit_record().exit.code, 0);
}

#[test]
fn stdin_once_ends_with_its_client() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("cat");
    let (_monitor, mut daemon) = spawn(&bundle);
    let mut create = bundle.create();
    (create.open_stdin, create.stdin_once) = (true, true);
    daemon.ask(Request::Create(create));
    let mut client = daemon.attach(all_streams());
    daemon.ask(Request::Start);
    let text = "x".repeat(300_000);
    let mut writer = client.try_clone().unwrap();
    let sent = text.clone();
    let thread = std::thread::spawn(move || {
        type_in(&mut writer, &sent);
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (out, _) = demultiplex(&rest(&mut client));
    assert_eq!(out.len(), text.len());
    thread.join().unwrap();
    assert_eq!(daemon.exited().code, 0);
}

#[test]
fn without_stdin_once_the_end_of_input_ends_the_attachment_only() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("cat");
    let (_monitor, mut daemon) = spawn(&bundle);
    let mut create = bundle.create();
    create.open_stdin = true;
    daemon.run(create);
    let mut first = daemon.attach(all_streams());
    type_in(&mut first, "one\n");
    until(&mut first, "one");
    first.shutdown(Shutdown::Write).unwrap();
    rest(&mut first);
    let mut second = daemon.attach(all_streams());
    type_in(&mut second, "two\n");
    until(&mut second, "two");
    daemon.ask(Request::CloseStdin { target: Target::Init });
    assert_eq!(daemon.exited().code, 0);
}

#[test]
fn a_terminal_has_its_size_and_takes_another() {
    if !possible() {
        return;
    }
    let bundle = Bundle::terminal("stty size; read x; stty size; exit 5");
    let (_monitor, mut daemon) = spawn(&bundle);
    let mut create = bundle.create();
    create.open_stdin = true;
    daemon.ask(Request::Create(create));
    let mut client = daemon.attach(all_streams());
    daemon.ask(Request::Start);
    until(&mut client, "33 91\r\n");
    daemon.ask(Request::Resize { target: Target::Init, size: Size { width: 120, height: 40 } });
    type_in(&mut client, "\n");
    until(&mut client, "40 120\r\n");
    assert_eq!(daemon.exited().code, 5);
    assert!(bundle.log().contains(r#"{"log":"33 91\r\n","stream":"stdout""#), "{}", bundle.log());
}

#[test]
fn detach_keys_let_the_client_go_and_the_container_live() {
    if !possible() {
        return;
    }
    let bundle = Bundle::terminal("read x; echo read $x; exit 0");
    let (_monitor, mut daemon) = spawn(&bundle);
    let mut create = bundle.create();
    create.open_stdin = true;
    daemon.run(create);
    let mut streams = all_streams();
    streams.detach_keys = vec![16, 17];
    let mut client = daemon.attach(streams);
    type_in(&mut client, "ab\x10\x11");
    rest(&mut client);
    assert_eq!(daemon.event(), Event::Detached { target: Target::Init });
    let mut client = daemon.attach(all_streams());
    type_in(&mut client, "c\n");
    until(&mut client, "read abc");
    assert_eq!(daemon.exited().code, 0);
}

#[test]
fn execs_have_streams_exit_codes_and_are_acknowledged() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let (_monitor, mut daemon) = spawn(&bundle);
    daemon.run(bundle.create());
    let mut client =
        daemon.exec("e1", &["sh", "-c", "cat; echo err >&2; exit 6"], false, all_streams()).unwrap();
    assert!(matches!(daemon.status().execs["e1"], ExecState::Running { .. }));
    type_in(&mut client, "input");
    client.shutdown(Shutdown::Write).unwrap();
    let Event::ExecExited { exec_id, exit } = daemon.event() else { panic!("no exit") };
    assert_eq!((exec_id.as_str(), exit.code), ("e1", 6));
    assert_eq!(daemon.status().execs["e1"], ExecState::Exited(exit));
    daemon.ask(Request::Ack { exec_id });
    assert_eq!(demultiplex(&rest(&mut client)), ("input".into(), "err\n".into()));
    assert!(daemon.status().execs.is_empty());

    let mut terminal = daemon.exec("e2", &["sh", "-c", "tty; exit 1"], true, all_streams()).unwrap();
    until(&mut terminal, "/dev/pts/");
    let Event::ExecExited { exit, .. } = daemon.event() else { panic!("no exit") };
    assert_eq!(exit.code, 1);
}

#[test]
fn a_program_that_does_not_exist_is_told_from_one_that_may_not_run() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let (_monitor, mut daemon) = spawn(&bundle);
    daemon.run(bundle.create());
    let missing = daemon.exec("e1", &["nothing"], false, all_streams()).unwrap_err();
    assert_eq!(missing.class, FailureClass::ProgramNotFound);
    assert!(missing.message.contains(r#"exec: "nothing": executable file not found in $PATH"#), "{missing}");
    let directory = daemon.exec("e2", &["/tmp"], false, all_streams()).unwrap_err();
    assert_eq!(directory.class, FailureClass::ProgramNotExecutable, "{directory}");

    let bundle = Bundle::with(&["/nothing"], false);
    let (mut monitor, mut daemon) = spawn(&bundle);
    let failure = daemon.ask_with(Request::Create(bundle.create()), None).unwrap_err();
    assert_eq!(failure.class, FailureClass::ProgramNotFound);
    assert!(failure.message.contains("no such file or directory"), "{failure}");
    assert!(matches!(daemon.status().state, ShimState::Empty));
    daemon.ask(Request::Shutdown);
    monitor.ended();
    assert!(!bundle.path(files::EXIT).exists());
}

#[test]
fn a_client_that_never_reads_does_not_hold_the_container_up() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("yes 0123456789 | head -c 20000000; exit 2");
    let (_monitor, mut daemon) = spawn(&bundle);
    let mut create = bundle.create();
    create.log = LogConfig::None;
    daemon.ask(Request::Create(create));
    let mut slow = daemon.attach(output_streams());
    daemon.ask(Request::Start);
    assert_eq!(daemon.exited().code, 2);
    let (out, _) = demultiplex(&rest(&mut slow));
    assert_eq!(out.len(), 20_000_000);
    assert!(out.lines().take(1_000_000).all(|line| line == "0123456789"));
}

#[test]
fn the_log_rotates_without_losing_a_line() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("seq 1 20000");
    let (_monitor, mut daemon) = spawn(&bundle);
    let mut create = bundle.create();
    create.log = LogConfig::JsonFile {
        path: bundle.path("log"),
        max_size: Some(100_000),
        max_files: 100,
        attrs: None,
        numbering: Numbering::Shift,
    };
    daemon.run(create);
    assert_eq!(daemon.exited().code, 0);
    let mut files: Vec<String> = Vec::new();
    for number in 1.. {
        match std::fs::read_to_string(bundle.path(&format!("log.{number}"))) {
            Ok(text) => files.insert(0, text),
            Err(_) => break,
        }
    }
    assert!(files.len() > 5 && files.iter().all(|text| text.len() >= 100_000 && text.len() < 100_200));
    files.push(bundle.log());
    let all = files.concat();
    let numbers: Vec<String> = all
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["log"]
                .as_str()
                .unwrap()
                .trim()
                .to_owned()
        })
        .collect();
    assert_eq!(numbers, (1..=20_000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_container_dies_with_its_monitor() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("sleep 1000");
    let (mut monitor, mut daemon) = spawn(&bundle);
    let Ok((Reply::Created { .. }, fds)) = daemon.ask_with(Request::Create(bundle.create()), None) else {
        panic!("not created")
    };
    daemon.ask(Request::Start);
    monitor.0.kill().unwrap();
    assert!(readable(&fds[0]), "init lives on");
}

/// With `CORTEN_TEST_SHIM` naming the release build: what an idle container's monitor costs, alone (no page is shared
/// with another monitor).
#[test]
fn an_idle_monitor_is_small() {
    if !possible() {
        return;
    }
    if std::env::var_os("CORTEN_TEST_SHIM").is_none() {
        println!("skipped: CORTEN_TEST_SHIM does not name the release build");
        return;
    }
    let bundle = Bundle::new("seq 1 100000; read x");
    let (monitor, mut daemon) = spawn(&bundle);
    let mut create = bundle.create();
    create.open_stdin = true;
    daemon.run(create);
    let mut exec = daemon.exec("e1", &["true"], false, output_streams()).unwrap();
    assert!(matches!(daemon.event(), Event::ExecExited { .. }));
    daemon.ask(Request::Ack { exec_id: "e1".into() });
    rest(&mut exec);
    // Buffers go half a second after the last activity; nothing tells when.
    let field = |name: &str| -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", monitor.0.id())).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    };
    let deadline = std::time::Instant::now() + DEADLINE;
    while field("Anonymous:") > 100 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} KiB that are not the program's",
            field("Anonymous:")
        );
        std::thread::yield_now();
    }
    println!("anonymous {} KiB, with the program {} KiB", field("Anonymous:"), field("Pss:"));
    assert!(field("Pss:") <= 1200);
}

/// Everything is allowed but making directories, which fails with this error number.
fn no_mkdir_rules(errno: u32) -> LinuxSeccomp {
    LinuxSeccomp {
        default_action: Action::Allow,
        syscalls: vec![SyscallRule {
            names: vec!["mkdir".into(), "mkdirat".into()],
            action: Action::Errno,
            errno_ret: Some(errno),
            args: Vec::new(),
        }],
        ..LinuxSeccomp::default()
    }
}

fn no_mkdir(errno: u32) -> Program {
    compile(&no_mkdir_rules(errno)).unwrap()
}

fn sealed(bytes: &[u8]) -> OwnedFd {
    use rustix::fs::{MemfdFlags, SealFlags};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("filter", flags).unwrap();
    rustix::io::write(&file, bytes).unwrap();
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW).unwrap();
    file
}
