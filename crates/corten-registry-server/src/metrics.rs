//! What the registry counts, as Prometheus reads it (text exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Upper bounds of the latency histogram, in microseconds.
const BOUNDS: [u64; 8] = [500, 2_000, 10_000, 50_000, 200_000, 1_000_000, 10_000_000, 60_000_000];

/// The counters of one registry.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, String, u16), u64>>,
    latency: [AtomicU64; BOUNDS.len() + 1],
    latency_sum: AtomicU64,
    sent: AtomicU64,
    /// Requests being answered.
    pub in_flight: AtomicU64,
    /// Connections.
    pub connections: AtomicU64,
    /// Manifests and blobs answered from the cache of an upstream.
    pub cache_hits: AtomicU64,
    /// Manifests and blobs fetched from an upstream.
    pub cache_misses: AtomicU64,
    /// Bytes freed by collections.
    pub collected_bytes: AtomicU64,
    /// Collections.
    pub collections: AtomicU64,
}

/// What is known elsewhere and told with the counters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauges {
    /// Blobs in the store, manifests included.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Repositories.
    pub repositories: u64,
    /// Open uploads.
    pub uploads: u64,
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, endpoint: &'static str, method: &str, status: u16, micros: u64, bytes: u64) {
        *self.requests.lock().entry((endpoint, known(method), status)).or_default() += 1;
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_sum.fetch_add(micros, Ordering::Relaxed);
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The text.
    pub fn render(&self, gauges: Gauges) -> String {
        let mut out = String::new();
        let mut value = |name: &str, kind: &str, help: &str, value: u64| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        value("corten_registry_blobs", "gauge", "Blobs and manifests stored.", gauges.blobs);
        value("corten_registry_stored_bytes", "gauge", "Bytes of them.", gauges.bytes);
        value("corten_registry_repositories", "gauge", "Repositories.", gauges.repositories);
        value("corten_registry_uploads", "gauge", "Open uploads.", gauges.uploads);
        value("corten_registry_connections", "gauge", "Open connections.", load(&self.connections));
        value(
            "corten_registry_requests_in_flight",
            "gauge",
            "Requests being answered.",
            load(&self.in_flight),
        );
        value("corten_registry_sent_bytes_total", "counter", "Bytes of bodies sent.", load(&self.sent));
        value(
            "corten_registry_cache_hits_total",
            "counter",
            "Answered without the upstream.",
            load(&self.cache_hits),
        );
        value(
            "corten_registry_cache_misses_total",
            "counter",
            "Fetched from an upstream.",
            load(&self.cache_misses),
        );
        value("corten_registry_collections_total", "counter", "Collections.", load(&self.collections));
        value(
            "corten_registry_collected_bytes_total",
            "counter",
            "Bytes they freed.",
            load(&self.collected_bytes),
        );
        let name = "corten_registry_requests_total";
        let _ = writeln!(out, "# HELP {name} Requests answered.\n# TYPE {name} counter");
        for ((endpoint, method, status), count) in self.requests.lock().iter() {
            let labels = format!("endpoint=\"{endpoint}\",method=\"{method}\",status=\"{status}\"");
            let _ = writeln!(out, "{name}{{{labels}}} {count}");
        }
        let name = "corten_registry_request_seconds";
        let _ = writeln!(
            out,
            "# HELP {name} Time from request to the end of its answer.\n# TYPE {name} histogram"
        );
        let mut total = 0;
        for (index, count) in self.latency.iter().enumerate() {
            total += load(count);
            let bound = BOUNDS.get(index).map_or("+Inf".to_owned(), |micros| seconds(*micros));
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {total}");
        }
        let _ = writeln!(out, "{name}_sum {}\n{name}_count {total}", seconds(load(&self.latency_sum)));
        out
    }
}

/// A method as a label: whatever strangers send must not make new series.
fn known(method: &str) -> String {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => method.to_ascii_lowercase(),
        _ => "other".into(),
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let metrics = Metrics::default();
        metrics.answered("blob", "GET", 200, 700, 1000);
        metrics.answered("blob", "GET", 200, 90_000_000, 24);
        metrics.answered("blob", "BREW\"", 405, 1, 0);
        let text = metrics.render(Gauges { blobs: 3, ..Gauges::default() });
        for line in [
            "corten_registry_blobs 3",
            "corten_registry_sent_bytes_total 1024",
            r#"corten_registry_requests_total{endpoint="blob",method="get",status="200"} 2"#,
            r#"corten_registry_requests_total{endpoint="blob",method="other",status="405"} 1"#,
            r#"corten_registry_request_seconds_bucket{le="0.002000"} 2"#,
            r#"corten_registry_request_seconds_bucket{le="+Inf"} 3"#,
            "corten_registry_request_seconds_count 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
