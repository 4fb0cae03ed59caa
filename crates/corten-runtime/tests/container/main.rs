//! Real containers, made by this single-threaded program: it is its own test harness and, inside the containers, its
//! own user program (`probe`), so that a bare machine suffices. Needs root; says so and passes otherwise.
//!
//! Run a part of the cases with a word of their names: `cargo test -p corten-runtime --test container -- mask`.

mod cases;
mod fixture;
mod probe;

use std::panic::{AssertUnwindSafe, catch_unwind};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|word| word == "probe") {
        probe::run(&args[2..]);
        return;
    }
    if args.iter().any(|arg| arg == "--list") {
        for (name, _) in cases::ALL {
            println!("{name}: test");
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: making containers needs root");
        return;
    }
    let wanted = args.iter().skip(1).find(|arg| !arg.starts_with('-'));
    let exact = args.iter().any(|arg| arg == "--exact");
    let mut failed = 0;
    for (name, case) in cases::ALL {
        let chosen =
            wanted.is_none_or(|word| if exact { word == name } else { name.contains(word.as_str()) });
        if !chosen {
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    assert!(failed == 0, "{failed} cases failed");
}
