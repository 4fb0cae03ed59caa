//! A container's log: what the monitor writes, and what is shipped elsewhere.

use super::owner::Owner;
use super::record::Record;
use super::{Shared, View};
use crate::logs::driver::LogDriver;
use crate::logs::info::LogInfo;
use crate::logs::remote::Sender;
use crate::shim::{LogConfig, Numbering};

/// The driver of a container. Its options were checked when it was created; what an older daemon let through keeps nothing.
fn driver(record: &Record) -> Option<LogDriver> {
    let log = &record.host.log_config;
    let none = std::collections::BTreeMap::new();
    match LogDriver::parse(&log.r#type, log.config.as_ref().unwrap_or(&none)) {
        Ok(driver) => driver,
        Err(error) => {
            tracing::error!(container = record.id, %error, "log options are not understood any more");
            None
        }
    }
}

fn info(record: &Record) -> LogInfo {
    let words: Vec<&str> = std::iter::once(&record.path).chain(&record.args).map(String::as_str).collect();
    LogInfo {
        id: record.id.clone(),
        name: record.name.clone(),
        image_id: record.image.clone(),
        image_name: record.config.image.clone(),
        command: words.join(" "),
        created: record.created,
        labels: record.config.labels.clone().unwrap_or_default(),
        env: record.config.env.clone().unwrap_or_default(),
    }
}

/// What the monitor of a container writes.
pub(super) fn monitor_config(shared: &Shared, record: &Record) -> LogConfig {
    let Some(driver) = driver(record) else { return LogConfig::None };
    let attributes = driver.attribution.local(&info(record));
    LogConfig::JsonFile {
        path: shared.paths.json_log(&record.id),
        max_size: driver.local.max_size,
        max_files: driver.local.max_files,
        attrs: (!attributes.is_empty()).then(|| Box::new(attributes)),
        // Only names that stay can be compressed beside the monitor.
        numbering: if driver.local.compress { Numbering::Sequence } else { Numbering::Shift },
    }
}

impl View {
    /// Whether clients may read the container's log.
    pub fn has_readable_log(&self) -> bool {
        driver(&self.record).is_some_and(|driver| driver.local.readable)
    }
}

impl Owner {
    /// Ships the container's log, if it is to go elsewhere, and compresses what it rotates, until its run has ended.
    pub(super) fn keep_log(&self) {
        let record = &self.view.record;
        let Some(LogDriver { local, remote, attribution }) = driver(record) else { return };
        let path = self.shared.paths.json_log(&record.id);
        if local.compress {
            self.shared.packing.start(&record.id, path.clone(), self.run_ended());
        }
        if let Some(remote) = remote {
            let sender = Sender::new(remote, info(record), &attribution);
            self.shared.shipping.start(&record.id, path, sender, self.run_ended());
        }
    }

    /// Resolves when the run that goes on now has ended; at once where there is none.
    fn run_ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut views = self.container.watch();
        let exits = self.view.exits;
        let runs = self.view.live.state.run().is_some();
        async move {
            if runs {
                // An error: the container is gone, which is an end too.
                let _ = views.wait_for(|view| view.exits != exits || view.removed).await;
            }
        }
    }
}
