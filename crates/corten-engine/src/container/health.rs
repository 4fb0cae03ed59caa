//! Health checks: a program executed in the container each interval, and what its results mean.
//!
//! ```text
//!  starting ──ok──▶ healthy ◀──ok── unhealthy
//!      └── failures (after the start period) ≥ retries ──▶ unhealthy
//! ```
//!
//! The monitor is a task beside the owner; it hands its results to the owner, which alone changes the view. It does not
//! run while the container is paused, and ends with the container's run.

use std::sync::Arc;
use std::time::Duration;

use corten_api::container::{Config, Health, HealthConfig, HealthLog};
use corten_types::ExecId;
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::owner::Owner;
use super::state::State;
use super::{Container, Shared};
use crate::shim::{Exec, Streams, Target};

/// How often a container is probed, and how long a probe may take, where nobody says otherwise.
const DEFAULT: Duration = Duration::from_secs(30);
/// How often in the start period.
const START_INTERVAL: Duration = Duration::from_secs(5);
/// Failures that make a container unhealthy.
const RETRIES: u64 = 3;
/// Bytes of a probe's output that are kept.
const OUTPUT: usize = 4096;
/// Results that are kept.
const LOG: usize = 5;

/// Watches the health of one running container.
pub(super) struct Monitor {
    task: tokio::task::JoinHandle<()>,
    results: mpsc::Receiver<HealthLog>,
    pending: Option<HealthLog>,
}

impl Monitor {
    /// Returns when there is a result.
    pub(super) async fn changed(&mut self) {
        match self.results.recv().await {
            Some(result) => self.pending = Some(result),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The times of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
}

impl Times {
    fn of(check: &HealthConfig) -> Self {
        let or = |nanoseconds: i64, default: Duration| match u64::try_from(nanoseconds) {
            Ok(0) | Err(_) => default,
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        };
        Self {
            interval: or(check.interval, DEFAULT),
            timeout: or(check.timeout, DEFAULT),
            start_period: or(check.start_period, Duration::ZERO),
            start_interval: or(check.start_interval, START_INTERVAL),
        }
    }

    /// Until the next probe.
    fn next(&self, starting: bool, since_start: Duration) -> Duration {
        if starting && since_start < self.start_period { self.start_interval } else { self.interval }
    }
}

/// The program of a check; `None` when there is none.
fn program(config: &Config) -> Option<Vec<String>> {
    let test = config.healthcheck.as_ref()?.test.as_deref()?;
    let (kind, words) = test.split_first()?;
    match kind.as_str() {
        "CMD" if !words.is_empty() => Some(words.to_vec()),
        "CMD-SHELL" => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let mut command = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
            command.extend_from_slice(words);
            Some(command)
        }
        _ => None,
    }
}

/// Takes a result into account. Pure.
fn judge(health: &mut Health, result: HealthLog, check: &HealthConfig, since_start: Duration) {
    let retries = u64::try_from(check.retries).ok().filter(|retries| *retries > 0).unwrap_or(RETRIES);
    if result.exit_code == 0 {
        health.failing_streak = 0;
        health.status = "healthy".into();
    } else if health.status != "starting" || since_start >= Times::of(check).start_period {
        health.failing_streak += 1;
        if health.failing_streak >= retries {
            health.status = "unhealthy".into();
        }
    }
    if health.log.len() >= LOG {
        health.log.drain(..=health.log.len() - LOG);
    }
    health.log.push(result);
}

impl Owner {
    /// Begins to probe, if the container has a check.
    pub(super) fn start_health(&mut self) {
        let record = self.view.record.clone();
        let Some(program) = program(&record.config) else { return };
        let Some(check) = &record.config.healthcheck else { return };
        self.view.health = Some(Health { status: "starting".into(), ..Health::default() });
        let (send, results) = mpsc::channel(1);
        let probe = Probe {
            container: self.container.clone(),
            shared: self.shared.clone(),
            program,
            times: Times::of(check),
            started: self.view.live.last.started_at.unwrap_or_else(Timestamp::now),
        };
        let task = tokio::spawn(probe.run(send));
        self.health = Some(Monitor { task, results, pending: None });
    }

    /// Ends probing.
    pub(super) fn stop_health(&mut self) {
        self.health = None;
    }

    /// Takes the result of a probe into account.
    pub(super) fn probed(&mut self) {
        let Some(result) = self.health.as_mut().and_then(|monitor| monitor.pending.take()) else { return };
        let record = self.view.record.clone();
        let (Some(check), Some(health)) = (&record.config.healthcheck, &mut self.view.health) else { return };
        let before = health.status.clone();
        let since_start = since(self.view.live.last.started_at);
        judge(health, result, check, since_start);
        let now = health.status.clone();
        self.publish();
        if before != now {
            self.emit(&format!("health_status: {now}"), &[]);
        }
    }
}

fn since(time: Option<Timestamp>) -> Duration {
    let past = time.map(|time| Timestamp::now().duration_since(time));
    past.and_then(|past| Duration::try_from(past).ok()).unwrap_or_default()
}

/// What the task of a monitor works with.
struct Probe {
    container: Arc<Container>,
    shared: Arc<Shared>,
    program: Vec<String>,
    times: Times,
    started: Timestamp,
}

impl Probe {
    async fn run(self, results: mpsc::Sender<HealthLog>) {
        loop {
            let view = self.container.view();
            let starting = view.health.as_ref().is_none_or(|health| health.status == "starting");
            tokio::time::sleep(self.times.next(starting, since(Some(self.started)))).await;
            if !matches!(self.container.view().live.state, State::Running(_)) {
                continue;
            }
            let start = Timestamp::now();
            let (exit_code, output) = match self.once().await {
                Ok(result) => result,
                Err(error) => (-1, error),
            };
            let result =
                HealthLog { start: start.to_string(), end: Timestamp::now().to_string(), exit_code, output };
            if results.send(result).await.is_err() {
                return;
            }
        }
    }

    /// Executes the program once: exit code and output, or why it could not be executed.
    async fn once(&self) -> Result<(i64, String), String> {
        let shim = self.container.shim().ok_or("the container does not run")?;
        let process = self.process().map_err(|error| error.to_string())?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(|error| error.to_string())?;
        ours.set_nonblocking(true).map_err(|error| error.to_string())?;
        let mut ours = tokio::net::UnixStream::from_std(ours).map_err(|error| error.to_string())?;
        let exec_id = ExecId::random().to_string();
        let ended = self.container.expect_exec(&exec_id);
        let exec = Exec {
            exec_id: exec_id.clone(),
            process,
            tty: false,
            size: None,
            attach: Some(Streams { stdin: false, stdout: true, stderr: true, detach_keys: Vec::new() }),
            raw: None,
        };
        self.emit(&format!("exec_create: {}", self.program.join(" ")), &exec_id, None);
        self.emit(&format!("exec_start: {}", self.program.join(" ")), &exec_id, None);
        let made = match self.container.thawed().await {
            Ok(_thawed) => shim.exec(exec, Some(theirs.into())).await.map_err(|error| error.to_string()),
            Err(refusal) => Err(refusal.to_string()),
        };
        if let Err(error) = made {
            self.container.forget_exec(&exec_id);
            return Err(error);
        }
        let mut output = Vec::new();
        let result = {
            let reading = read_framed(&mut ours, &mut output);
            let mut reading = std::pin::pin!(reading);
            let mut ended = std::pin::pin!(ended);
            // The stream stays open until the end is acknowledged, and a full one would hold up the probe.
            let finished = tokio::time::timeout(self.times.timeout, async {
                let mut read = false;
                loop {
                    tokio::select! {
                        exit = &mut ended => return exit,
                        () = &mut reading, if !read => read = true,
                    }
                }
            });
            let result = finished.await;
            if result.is_err() {
                // It ends itself, or with the container.
                let _ = shim.signal(Target::Exec(exec_id.clone()), 9).await;
            }
            let _ = shim.ack(&exec_id).await;
            let _ = tokio::time::timeout(Duration::from_secs(1), &mut reading).await;
            result
        };
        let text = String::from_utf8_lossy(&output).into_owned();
        let result = match result {
            Ok(Ok(exit)) => Ok((i64::from(exit.code), text)),
            Ok(Err(_)) => Err("the container ended during the probe".to_owned()),
            Err(_) => {
                let limit = format!("Health check exceeded timeout ({})", go_duration(self.times.timeout));
                Ok((-1, if text.is_empty() { limit } else { format!("{limit}: {text}") }))
            }
        };
        if let Ok((code, _)) = &result {
            self.emit("exec_die", &exec_id, Some(*code));
        }
        result
    }

    fn emit(&self, action: &str, exec_id: &str, exit_code: Option<i64>) {
        let mut attributes = self.container.view().attributes();
        attributes.insert("execID".into(), exec_id.into());
        if let Some(code) = exit_code {
            attributes.insert("exitCode".into(), code.to_string());
        }
        self.shared.events.emit("container", action, self.container.id(), attributes);
    }

    /// The container's own process with the check's program.
    fn process(&self) -> std::io::Result<Box<serde_json::value::RawValue>> {
        let path = self.shared.paths.container_exec(self.container.id()).join("config.json");
        let spec: corten_runtime::spec::Spec = serde_json::from_slice(&std::fs::read(path)?)?;
        let mut process = spec.process.unwrap_or_default();
        process.args.clone_from(&self.program);
        process.terminal = false;
        process.console_size = None;
        Ok(serde_json::value::to_raw_value(&process)?)
    }
}

/// Reads framed output (eight bytes of header, then data) to its end; keeps the first [`OUTPUT`] bytes.
async fn read_framed(stream: &mut tokio::net::UnixStream, output: &mut Vec<u8>) {
    let mut header = [0_u8; 8];
    let mut buffer = [0_u8; 4096];
    while stream.read_exact(&mut header).await.is_ok() {
        let mut left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        while left > 0 {
            let want = left.min(buffer.len());
            match stream.read(&mut buffer[..want]).await {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    left -= count;
                    let room = OUTPUT.saturating_sub(output.len()).min(count);
                    output.extend_from_slice(&buffer[..room]);
                }
            }
        }
    }
}

/// A duration as Go prints it.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fraction = f64::from(duration.subsec_millis()) / 1000.0;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{}ms", duration.as_millis()),
        #[expect(clippy::cast_precision_loss, reason = "less than sixty")]
        (0, 0, s) => format!("{}s", s as f64 + fraction),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(exit_code: i64) -> HealthLog {
        HealthLog { exit_code, ..HealthLog::default() }
    }

    #[test]
    fn failures_count_after_the_start_period_and_one_success_heals() {
        let check = HealthConfig { retries: 2, start_period: 10_000_000_000, ..HealthConfig::default() };
        let mut health = Health { status: "starting".into(), ..Health::default() };
        judge(&mut health, result(1), &check, Duration::from_secs(1));
        assert_eq!((health.status.as_str(), health.failing_streak), ("starting", 0));
        judge(&mut health, result(1), &check, Duration::from_secs(11));
        judge(&mut health, result(-1), &check, Duration::from_secs(12));
        assert_eq!((health.status.as_str(), health.failing_streak), ("unhealthy", 2));
        judge(&mut health, result(0), &check, Duration::from_secs(13));
        assert_eq!((health.status.as_str(), health.failing_streak), ("healthy", 0));
    }

    #[test]
    fn the_last_five_results_are_kept() {
        let mut health = Health::default();
        for code in 0..9 {
            judge(&mut health, result(code), &HealthConfig::default(), Duration::ZERO);
        }
        let codes: Vec<i64> = health.log.iter().map(|log| log.exit_code).collect();
        assert_eq!(codes, [4, 5, 6, 7, 8]);
    }

    #[test]
    fn programs() {
        let config = |test: &[&str]| Config {
            healthcheck: Some(HealthConfig {
                test: Some(test.iter().map(|&s| s.to_owned()).collect()),
                ..HealthConfig::default()
            }),
            ..Config::default()
        };
        assert_eq!(program(&config(&["CMD", "true"])), Some(vec!["true".into()]));
        assert_eq!(program(&config(&["CMD-SHELL", "a b"])).unwrap(), ["/bin/sh", "-c", "a b"]);
        assert_eq!(program(&config(&["NONE"])), None);
        assert_eq!(program(&config(&[])), None);
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(go_duration(Duration::from_secs(30)), "30s");
        assert_eq!(go_duration(Duration::from_millis(1500)), "1.5s");
        assert_eq!(go_duration(Duration::from_millis(200)), "200ms");
        assert_eq!(go_duration(Duration::from_secs(90)), "1m30s");
    }
}
