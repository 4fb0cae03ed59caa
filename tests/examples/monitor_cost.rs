//! What a container's monitor costs, executed or forked: `cargo run --release -p corten-tests --example monitor_cost -- CORTEN_SHIM [N]`
//!
//! *Executed*: `posix_spawn` of the monitor, until it has ended (it ends at once, with its usage line, having been loaded and
//! relocated). *Forked*: a child of this process, which has touched as much private memory as a keeper would hold, writes to
//! 16 pages and ends. Both are measured alternately; CPU time is that of parent and child.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use corten_sys::process::{Forked, Wait, exit_now, fork, wait};

/// Clock ticks of user, system, children's user and children's system time of this process.
fn cpu_ticks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().context("stat")?.split(' ').collect();
    Ok(fields[11..15].iter().filter_map(|f| f.parse::<u64>().ok()).sum())
}

fn executed(shim: &str) -> Result<()> {
    let mut command = Command::new(shim);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status()?;
    Ok(())
}

fn forked(memory: &mut [u8]) -> Result<()> {
    match fork(0, None)? {
        Forked::Child => {
            for page in memory.chunks_mut(4096).take(16) {
                page[0] = page[0].wrapping_add(1);
            }
            exit_now(0)
        }
        Forked::Parent { pidfd, .. } => {
            wait(&pidfd, Wait::Block)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let shim = arguments.next().context("usage: monitor_cost CORTEN_SHIM [N]")?;
    let n: u32 = arguments.next().map_or(Ok(2000), |n| n.parse())?;
    let mut memory = vec![1_u8; 256 << 10];
    let mut walls: [Vec<Duration>; 2] = Default::default();
    let mut ticks = [0_u64; 2];
    for round in 0..10 {
        for way in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let before = cpu_ticks()?;
            for _ in 0..n / 10 {
                let start = Instant::now();
                if way == 0 {
                    executed(&shim)?
                } else {
                    forked(&mut memory)?
                }
                walls[way].push(start.elapsed());
            }
            ticks[way] += cpu_ticks()? - before;
        }
    }
    for ((name, walls), ticks) in ["executed", "forked"].into_iter().zip(&mut walls).zip(ticks) {
        walls.sort();
        let cpu = ticks as f64 * 10.0 / f64::from(n);
        println!(
            "{name}: wall median {:?}, best decile {:?}; CPU {cpu:.3} ms each",
            walls[walls.len() / 2],
            walls[walls.len() / 10]
        );
    }
    Ok(())
}
