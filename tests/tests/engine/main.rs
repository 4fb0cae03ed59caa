//! The cases, on the real Docker first (where there is one), then on Corten.
//!
//! `cargo test -p corten-tests -- [PART OF A NAME]`. Each line is `test <engine>::<case> ... ok`, as Rust's own tests print it.

mod bad_input;
mod bodies;
mod build;
mod case;
mod cli;
mod confinement;
mod containers;
mod cost;
mod exec;
mod faults;
mod images;
mod links;
mod logs;
mod manifests;
mod networks;
mod runtimes;
mod streams;
mod system;
mod transfer;
mod userns;
mod volumes;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use corten_tests::engine::{Engine, Which};
use corten_tests::leak;

use case::{Case, On};

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the engine tests need root");
        return ExitCode::SUCCESS;
    }
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |case: &Case| filter.is_empty() || filter.iter().any(|f| case.name.contains(f.as_str()));
    let cases: Vec<Case> = [
        system::cases(),
        images::cases(),
        containers::cases(),
        confinement::cases(),
        cost::cases(),
        exec::cases(),
        streams::cases(),
        volumes::cases(),
        networks::cases(),
        links::cases(),
        logs::cases(),
        build::cases(),
        transfer::cases(),
        manifests::cases(),
        bad_input::cases(),
        bodies::cases(),
        cli::cases(),
        faults::cases(),
        runtimes::cases(),
        userns::cases(),
    ]
    .into_iter()
    .flatten()
    .filter(wanted)
    .collect();

    let mut tally = Tally::default();
    let start = Instant::now();
    match Engine::docker() {
        Ok(Some(docker)) => run_all(docker, &cases, &mut tally),
        Ok(None) => println!("notice: no dockerd in $CORTEN_PEERS/bin or PATH: the cases run on Corten only"),
        Err(error) => {
            println!("notice: the real Docker does not start here, the cases run on Corten only: {error:#}")
        }
    }
    match Engine::corten() {
        Ok(corten) => run_all(corten, &cases, &mut tally),
        Err(error) => tally.add("corten::start", Err(error)),
    }
    let outcome = if tally.failed.is_empty() { "ok" } else { "FAILED" };
    for (name, error) in &tally.failed {
        println!("\n---- {name} ----\n{error}");
    }
    println!(
        "\ntest result: {outcome}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s",
        tally.passed,
        tally.failed.len(),
        start.elapsed().as_secs_f64()
    );
    if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(mut engine: Engine, cases: &[Case], tally: &mut Tally) {
    let prefix = match engine.which {
        Which::Docker => "docker",
        Which::Corten => "corten",
    };
    if let Err(error) = case::prepare(&engine) {
        tally.add(&format!("{prefix}::prepare"), Err(error));
        return;
    }
    let before = leak::photograph(&engine);
    for case in cases {
        if case.on == On::CortenOnly && engine.which == Which::Docker {
            continue;
        }
        let result = (case.run)(&mut engine);
        tally.add(&format!("{prefix}::{}", case.name), result);
    }
    if engine.which == Which::Corten {
        tally.add("corten::leaves_nothing_behind", nothing_left(&engine, before));
        tally.add("corten::stops_on_sigterm", engine.stop());
    }
}

fn nothing_left(engine: &Engine, before: Result<leak::Photograph>) -> Result<()> {
    case::remove_all(engine)?;
    let before = before?;
    // The kernel takes links and cgroups down a moment after their last user has gone.
    engine
        .until("everything is given back", || {
            let left: Vec<String> = leak::photograph(engine)?.difference(&before).cloned().collect();
            Ok(if left.is_empty() { Some(()) } else { None })
        })
        .or_else(|_| {
            let left: Vec<String> = leak::photograph(engine)?.difference(&before).cloned().collect();
            anyhow::bail!("left behind: {left:#?}")
        })
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<(String, String)>,
}

impl Tally {
    fn add(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok");
            }
            Err(error) => {
                println!("test {name} ... FAILED");
                self.failed.push((name.into(), format!("{error:#}")));
            }
        }
    }
}
