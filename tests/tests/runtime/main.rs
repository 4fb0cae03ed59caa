//! What needs a certain machine (cgroup v2 alone, systemd, AppArmor) or certain peers (podman, containerd, dockerd).
//! Each case that this machine cannot run says so and passes; `make test-vm` boots a machine that can.
//!
//! `cargo test -p corten-tests --test runtime -- [PART OF A NAME]`

mod apparmor;
mod bundle;
mod peers;
mod systemd;
mod unified;

use std::process::ExitCode;

use anyhow::Result;

/// Whether a case could be run.
pub enum Outcome {
    /// It was, and held.
    Held,
    /// The machine lacks something.
    Skipped(&'static str),
}

/// A case: a name that says the behaviour, and a function that fails when it does not hold.
pub type Case = (&'static str, fn() -> Result<Outcome>);

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: these tests need root");
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in [unified::CASES, systemd::CASES, apparmor::CASES, peers::CASES].concat() {
        if !name.contains(&wanted) {
            continue;
        }
        match case() {
            Ok(Outcome::Held) => println!("test {name} ... ok"),
            Ok(Outcome::Skipped(why)) => {
                println!("skipped: {name}: {why}");
                continue;
            }
            Err(error) => {
                println!("test {name} ... FAILED\n{error:#}");
                failed += 1;
                continue;
            }
        }
        passed += 1;
    }
    let outcome = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {outcome}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether the machine has cgroup v2 alone.
pub fn is_unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}
