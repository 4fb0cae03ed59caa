//! One line of JSON for each request, when its answer has ended.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::Mutex;

use crate::metrics::Metrics;

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Destination {
    /// Nowhere.
    Off,
    /// Standard output.
    #[default]
    Stdout,
    /// A file, opened again at SIGHUP.
    File(PathBuf),
}

/// The access log; written a line at a time.
pub struct AccessLog {
    destination: Destination,
    file: Mutex<Option<File>>,
}

impl AccessLog {
    /// Opens the log.
    pub fn open(destination: Destination) -> std::io::Result<Self> {
        let log = Self { destination, file: Mutex::new(None) };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file again: the old one may have been moved away.
    pub fn reopen(&self) -> std::io::Result<()> {
        if let Destination::File(path) = &self.destination {
            *self.file.lock() = Some(File::options().append(true).create(true).open(path)?);
        }
        Ok(())
    }

    fn write(&self, line: &str) {
        let written = match (&self.destination, &*self.file.lock()) {
            (Destination::Off, _) | (Destination::File(_), None) => Ok(()),
            (Destination::Stdout, _) => std::io::stdout().lock().write_all(line.as_bytes()),
            (Destination::File(_), Some(file)) => (&*file).write_all(line.as_bytes()),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "a line of the access log is lost");
        }
    }
}

/// A request being answered; when this is dropped it is counted and logged.
pub struct Exchange {
    log: Arc<AccessLog>,
    metrics: Arc<Metrics>,
    began: Instant,
    sent: u64,
    /// What was asked and answered.
    pub facts: Facts,
}

/// What is told about a request.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The method.
    pub method: String,
    /// Path and parameters.
    pub target: String,
    /// The endpoint.
    pub endpoint: &'static str,
    /// Who asked, by address.
    pub remote: SocketAddr,
    /// Who asked, by name; empty for nobody.
    pub user: String,
    /// `User-Agent`.
    pub agent: String,
    /// The status.
    pub status: u16,
}

impl Exchange {
    /// A request begins to be answered.
    pub fn begin(log: Arc<AccessLog>, metrics: Arc<Metrics>, facts: Facts) -> Self {
        metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { log, metrics, began: Instant::now(), sent: 0, facts }
    }

    /// So many bytes of the body went out.
    pub fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let facts = &self.facts;
        self.metrics.answered(facts.endpoint, &facts.method, facts.status, micros, self.sent);
        if self.log.destination == Destination::Off || matches!(facts.endpoint, "health" | "metrics") {
            return;
        }
        self.log.write(&line(&jiff::Timestamp::now().to_string(), facts, micros, self.sent));
    }
}

fn line(time: &str, facts: &Facts, micros: u64, sent: u64) -> String {
    let mut line = serde_json::json!({
        "time": time,
        "remote": facts.remote.to_string(),
        "user": facts.user,
        "method": facts.method,
        "target": facts.target,
        "status": facts.status,
        "sent": sent,
        "micros": micros,
        "agent": facts.agent,
    })
    .to_string();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_inside_its_value() {
        let facts = Facts {
            method: "GET".into(),
            target: "/v2/\"\n{}".into(),
            endpoint: "base",
            remote: ([127, 0, 0, 1], 9).into(),
            user: String::new(),
            agent: "a\u{1b}[2J".into(),
            status: 200,
        };
        assert_eq!(
            line("T", &facts, 5, 7),
            "{\"time\":\"T\",\"remote\":\"127.0.0.1:9\",\"user\":\"\",\"method\":\"GET\",\
             \"target\":\"/v2/\\\"\\n{}\",\"status\":200,\"sent\":7,\"micros\":5,\"agent\":\"a\\u001b[2J\"}\n"
        );
    }
}
