//! Real containers, made by this single-threaded program: it is its own test harness and, inside the containers, its
//! own user program (`probe`) and the runtime's command line (`runtime`), so that a bare machine suffices. Needs root; says so and passes otherwise.
//!
//! Run a part of the cases with a word of their names: `cargo test -p corten-runtime --test container -- mask`.

mod cases;
mod command_line;
mod fixture;
mod probe;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|word| word == "probe") {
        probe::run(&args[2..]);
        return ExitCode::SUCCESS;
    }
    if args.get(1).is_some_and(|word| word == "runtime") {
        return corten_runtime::cli::main("corten runtime", std::env::args_os().skip(2).collect());
    }
    if args.iter().any(|arg| arg == "--list") {
        for (name, _) in cases::ALL.iter().chain(command_line::ALL) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: making containers needs root");
        return ExitCode::SUCCESS;
    }
    let wanted = args.iter().skip(1).find(|arg| !arg.starts_with('-'));
    let exact = args.iter().any(|arg| arg == "--exact");
    let mut failed = 0;
    for (name, case) in cases::ALL.iter().chain(command_line::ALL) {
        let chosen =
            wanted.is_none_or(|word| if exact { word == name } else { name.contains(word.as_str()) });
        if !chosen {
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed > 0 {
        println!("{failed} cases failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
