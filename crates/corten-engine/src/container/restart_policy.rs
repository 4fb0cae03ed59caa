//! Whether and when a container that exited starts again. Pure.

use std::time::Duration;

use corten_api::container::RestartPolicy;

/// Delay before the first restart of a row.
const FIRST: Duration = Duration::from_millis(100);
/// Longest delay.
const LONGEST: Duration = Duration::from_secs(60);
/// A run at least that long ends the row.
const SETTLED: Duration = Duration::from_secs(10);

/// What a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Exited<'a> {
    /// The container's policy.
    pub policy: &'a RestartPolicy,
    /// How it exited.
    pub exit_code: i64,
    /// Somebody stopped it.
    pub stopped_by_user: bool,
    /// Restarts by policy since somebody started it.
    pub restart_count: u64,
    /// How long it ran.
    pub ran: Duration,
    /// Delay of the restart before; zero for none.
    pub last_delay: Duration,
}

/// The delay after which it starts again, or `None`.
pub fn decide(exited: Exited<'_>) -> Option<Duration> {
    if exited.stopped_by_user {
        return None;
    }
    let restart = match exited.policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => {
            let most = u64::try_from(exited.policy.maximum_retry_count).unwrap_or(0);
            exited.exit_code != 0 && (most == 0 || exited.restart_count < most)
        }
        _ => false,
    };
    let again = exited.ran < SETTLED && !exited.last_delay.is_zero();
    let delay = if again { (exited.last_delay * 2).min(LONGEST) } else { FIRST };
    restart.then_some(delay)
}

/// Whether a container that ran, or that its policy keeps alive, is started when the daemon starts.
pub fn starts_with_daemon(
    policy: &RestartPolicy,
    stopped_by_user: bool,
    was_active: bool,
    exit_code: i64,
) -> bool {
    match policy.name.as_str() {
        "always" => true,
        "unless-stopped" => !stopped_by_user,
        "on-failure" => was_active && exit_code != 0 && !stopped_by_user,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, most: i64) -> RestartPolicy {
        RestartPolicy { name: name.into(), maximum_retry_count: most }
    }

    fn exited(policy: &RestartPolicy) -> Exited<'_> {
        Exited {
            policy,
            exit_code: 1,
            stopped_by_user: false,
            restart_count: 0,
            ran: Duration::from_secs(1),
            last_delay: Duration::ZERO,
        }
    }

    #[test]
    fn delays_double_to_a_minute_and_start_anew_after_a_long_run() {
        let always = policy("always", 0);
        let mut delay = Duration::ZERO;
        let mut row = Vec::new();
        for _ in 0..12 {
            delay = decide(Exited { last_delay: delay, ..exited(&always) }).unwrap();
            row.push(delay.as_millis());
        }
        assert_eq!(row[..4], [100, 200, 400, 800]);
        assert_eq!(row[11], 60_000);
        let long = Exited { last_delay: delay, ran: SETTLED, ..exited(&always) };
        assert_eq!(decide(long), Some(FIRST));
    }

    #[test]
    fn policies() {
        let on_failure = policy("on-failure", 2);
        assert!(decide(exited(&on_failure)).is_some());
        assert!(decide(Exited { exit_code: 0, ..exited(&on_failure) }).is_none());
        assert!(decide(Exited { restart_count: 2, ..exited(&on_failure) }).is_none());
        assert!(decide(exited(&policy("no", 0))).is_none() && decide(exited(&policy("", 0))).is_none());
        assert!(decide(Exited { stopped_by_user: true, ..exited(&policy("always", 0)) }).is_none());
    }

    #[test]
    fn with_the_daemon() {
        assert!(starts_with_daemon(&policy("always", 0), true, false, 0));
        assert!(!starts_with_daemon(&policy("unless-stopped", 0), true, false, 0));
        assert!(starts_with_daemon(&policy("unless-stopped", 0), false, false, 0));
        assert!(!starts_with_daemon(&policy("no", 0), false, true, 1));
    }
}
