//! What is done when a monitor dies before its container: the container ends too, and its end is recorded as exactly as
//! the kernel tells.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tokio::io::Interest;

use super::{Exit, ShimSpec, client};

/// How long the kernel is given to end a killed process and its parent to reap it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends the container whose monitor is gone and tells how it ended.
pub(super) async fn container(spec: &ShimSpec, init: OwnedFd) -> Exit {
    if let Some(record) = client::exit_record(&spec.exec_dir) {
        return record.exit;
    }
    tracing::warn!(container = spec.id, "the monitor died; ending its container");
    // Init dies with its monitor (PDEATHSIG); the rest of its pid namespace dies with init.
    rustix::process::pidfd_send_signal(&init, Signal::KILL).ok();
    let status = tokio::time::timeout(PATIENCE, reaped(init)).await.ok().flatten();
    // The record may have been written between the first look and the monitor's death.
    match client::exit_record(&spec.exec_dir) {
        Some(record) => record.exit,
        None => exit_of(status, now()),
    }
}

/// Waits until the process was reaped and returns its wait status, if this kernel keeps it.
async fn reaped(init: OwnedFd) -> Option<i32> {
    let init = crate::ready::watched(init, Interest::READABLE).ok()?;
    loop {
        // A pidfd becomes readable when the process ends and hangs up when it is reaped.
        let mut ready = init.readable().await.ok()?;
        match corten_sys::pidfd::exit_status(init.get_ref()) {
            Ok(Some(status)) => return Some(status),
            Ok(None) => ready.clear_ready(),
            Err(_) => return None,
        }
    }
}

/// The end that a wait status tells; killed (137) when nobody knows.
fn exit_of(status: Option<i32>, at: u64) -> Exit {
    match status {
        Some(status) if status & 0x7f == 0 => {
            Exit { code: (status >> 8) & 0xff, signal: None, oom: false, at }
        }
        Some(status) => Exit { code: 128 + (status & 0x7f), signal: Some(status & 0x7f), oom: false, at },
        None => Exit { code: 137, signal: Some(9), oom: false, at },
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_becomes_the_shells_exit_code() {
        assert_eq!(exit_of(Some(7 << 8), 1), Exit { code: 7, signal: None, oom: false, at: 1 });
        assert_eq!(exit_of(Some(15), 1), Exit { code: 143, signal: Some(15), oom: false, at: 1 });
        assert_eq!(exit_of(Some(0x80 | 11), 1), Exit { code: 139, signal: Some(11), oom: false, at: 1 });
        assert_eq!(exit_of(None, 1), Exit { code: 137, signal: Some(9), oom: false, at: 1 });
    }
}
