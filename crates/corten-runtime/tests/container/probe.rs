//! The program inside the containers: does one thing per word and prints what it sees.

use std::io::Write as _;

/// Runs the words in order.
pub fn run(words: &[String]) {
    for word in words {
        let (verb, argument) = word.split_once('=').unwrap_or((word, ""));
        match verb {
            "exit" => std::process::exit(argument.parse().unwrap()),
            "say" => println!("{argument}"),
            "status" => print!("{}", std::fs::read_to_string("/proc/self/status").unwrap()),
            "cat" => match std::fs::read_to_string(argument) {
                Ok(text) => print!("{text}"),
                Err(e) => println!("{argument}: {}", e.raw_os_error().unwrap_or(0)),
            },
            "list" => match std::fs::read_dir(argument) {
                Ok(entries) => {
                    let mut names: Vec<_> =
                        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
                    names.sort();
                    println!("{}", names.join(" "));
                }
                Err(e) => println!("{argument}: {}", e.raw_os_error().unwrap_or(0)),
            },
            "link" => println!("{}", std::fs::read_link(argument).unwrap().display()),
            "write" => {
                println!("{}", errno(std::fs::OpenOptions::new().write(true).open(argument).map(drop)))
            }
            "make" => println!("{}", errno(std::fs::write(argument, "x"))),
            "cwd" => println!("{}", std::env::current_dir().unwrap().display()),
            "env" => println!("{}", std::env::var(argument).unwrap_or_default()),
            "host" => println!("{}", rustix::system::uname().nodename().to_string_lossy()),
            "ids" => println!(
                "{} {} {:?}",
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
                rustix::process::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect::<Vec<_>>()
            ),
            "limit" => {
                let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
                println!("{:?} {:?}", limit.current, limit.maximum);
            }
            "owner" => {
                use std::os::unix::fs::MetadataExt as _;
                let meta = std::fs::metadata(argument).unwrap();
                println!("{}:{}", meta.uid(), meta.gid());
            }
            "tty" => println!("{}", std::io::IsTerminal::is_terminal(&std::io::stdin())),
            "size" => {
                let size = rustix::termios::tcgetwinsize(std::io::stdin()).unwrap();
                println!("{}x{}", size.ws_col, size.ws_row);
            }
            "unshare" => {
                let result = corten_sys::namespace::unshare(corten_sys::namespace::Kind::Uts.flag());
                println!("{}", errno(result));
            }
            "watch" => watch(std::path::Path::new(argument)),
            "mkdir" => println!("{}", errno(std::fs::create_dir(argument))),
            "wait" => loop {
                rustix::event::poll(&mut [], None).unwrap();
            },
            "eat" => eat(argument.parse().unwrap()),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "fork" => fork_many(argument.parse().unwrap()),
            other => panic!("unknown word {other}"),
        }
        std::io::stdout().flush().unwrap();
    }
}

fn errno(result: std::io::Result<()>) -> i32 {
    result.err().and_then(|e| e.raw_os_error()).unwrap_or(0)
}

/// Looks at every process that can be seen, without pause, until there is a file at `stop`: prints each one that has
/// more than this one, in the order of mount namespace, root, and capabilities; and how many were seen at last.
fn watch(stop: &std::path::Path) {
    let facts = |pid: &str| {
        let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).ok();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"))?;
        Some((link("ns/mnt")?, link("root")?, u64::from_str_radix(effective, 16).ok()?))
    };
    let (own_mounts, own_root, own_capabilities) = facts("self").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while !stop.exists() {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let Some((mounts, root, capabilities)) = facts(&pid) else { continue };
            for file in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                let Ok(link) = std::fs::read_link(file.path()) else { continue };
                // The runtime's process holds one; nobody inside does.
                if link.to_string_lossy().contains("memfd:") {
                    println!("more: {}", link.display());
                }
            }
            seen.insert(pid);
            if mounts != own_mounts || root != own_root || capabilities & !own_capabilities != 0 {
                println!("more: {} {} {capabilities:x}", mounts.display(), root.display());
            }
        }
    }
    println!("seen {}", seen.len());
}

/// Touches this many bytes of memory.
fn eat(bytes: usize) {
    let memory = vec![1u8; bytes];
    println!("{}", std::hint::black_box(&memory).len());
}

/// Starts this many threads at once; prints how many there were.
fn fork_many(count: usize) {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
    let mut threads = Vec::new();
    for _ in 0..count {
        let wait = wait.clone();
        match std::thread::Builder::new().spawn(move || drop(wait.lock().map(|wait| wait.recv()))) {
            Ok(thread) => threads.push(thread),
            Err(_) => break,
        }
    }
    println!("{}", threads.len());
    drop(done);
}
