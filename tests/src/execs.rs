//! The programs that a process and its descendants execute, counted by the kernel (tracefs, `sched_process_exec`).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where the kernel shows tracing, on every distribution with it.
const TRACING: &str = "/sys/kernel/tracing/instances";

/// A trace of one process's descendants; its ring buffer goes with it.
pub struct Execs {
    instance: PathBuf,
}

impl Execs {
    /// Counts from now on what threads and children of `pid` execute; `None`, with a notice, where tracefs is not to be had.
    pub fn of(pid: u32) -> Result<Option<Self>> {
        let instance = PathBuf::from(TRACING).join(format!("corten-{pid}"));
        if let Err(error) = fs::create_dir(&instance) {
            eprintln!("notice: {TRACING}: {error}; executed programs are not counted");
            return Ok(None);
        }
        let trace = Self { instance };
        trace.set("options/event-fork", "1")?;
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
        let threads: Vec<String> =
            threads.flatten().map(|t| t.file_name().to_string_lossy().into_owned()).collect();
        trace.set("set_event_pid", &threads.join(" "))?;
        trace.set("events/sched/sched_process_exec/enable", "1")?;
        Ok(Some(trace))
    }

    /// What was executed so far, one file name each, in order.
    pub fn seen(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.instance.join("trace"))?;
        let names = text.lines().filter_map(|line| line.split("filename=").nth(1));
        Ok(names.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect())
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        fs::write(self.instance.join(file), value).with_context(|| format!("write {value:?} to {file}"))
    }
}

impl Drop for Execs {
    fn drop(&mut self) {
        let _ = fs::write(self.instance.join("events/enable"), "0");
        let _ = fs::remove_dir(&self.instance);
    }
}
