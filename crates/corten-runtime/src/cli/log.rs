//! What the runtime says about its own work: in the file that `--log` names, or on standard error.
//!
//! The milestones of `--debug` have runc's words: who follows its log to find where a start stands finds the same here.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::time;

/// Where messages go, and which.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Standard error when absent.
    pub file: Option<PathBuf>,
    /// One JSON object a line instead of `key=value` pairs.
    pub json: bool,
    /// Whether milestones are told.
    pub debug: bool,
}

impl Log {
    /// A milestone.
    pub(super) fn debug(&self, message: &str) {
        if self.debug {
            self.write("debug", message);
        }
    }

    /// Something that the caller should know and that stops nothing.
    pub(super) fn warn(&self, message: &str) {
        self.write("warning", message);
    }

    /// Why the command failed: in the log, and in plain words on standard error where that is not the log.
    pub(super) fn error(&self, message: &str) {
        self.write("error", message);
        if self.file.is_some() {
            eprintln!("{message}");
        }
    }

    fn write(&self, level: &str, message: &str) {
        let now = time::now();
        let line = if self.json {
            serde_json::json!({ "level": level, "msg": message, "time": now }).to_string()
        } else {
            format!("time={now:?} level={level} msg={message:?}")
        };
        // A log that cannot be written stops no container.
        let _ = match &self.file {
            Some(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .and_then(|mut file| writeln!(file, "{line}")),
            None => writeln!(io::stderr(), "{line}"),
        };
    }
}
