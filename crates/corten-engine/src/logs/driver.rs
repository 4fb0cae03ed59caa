//! A container's log driver, parsed: what is kept here, and where else it goes. Texts of refusals are Docker's.
//!
//! Whatever the driver, the monitor writes a local log, and `logs` reads that. It never waits for anybody, so the options `mode` and
//! `max-buffer-size` are checked and change nothing: the local log is the buffer.

use std::collections::BTreeMap;

use super::info::Attribution;
use super::remote::{Address, Fluentd, Gelf, Remote, Syslog};
use crate::container::merge::parse_size;
use crate::container::validate::{Invalid, invalid};

/// Bytes after which a local log is rotated, where nobody says otherwise.
const SIZE: u64 = 20 << 20;
/// Log files that are kept, where nobody says otherwise.
const FILES: u32 = 5;

/// The drivers there are, by name.
pub const DRIVERS: [&str; 7] = ["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"];

/// What happens to a container's output.
#[derive(Debug, Clone)]
pub struct LogDriver {
    /// The local log.
    pub local: LocalLog,
    /// Where else it goes.
    pub remote: Option<Remote>,
    /// What every line says about the container.
    pub attribution: Attribution,
}

/// The local log of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalLog {
    /// Bytes after which a file is rotated; `None`: never.
    pub max_size: Option<u64>,
    /// Files that are kept.
    pub max_files: u32,
    /// Rotated files are compressed.
    pub compress: bool,
    /// Clients may read it.
    pub readable: bool,
}

type Options = BTreeMap<String, String>;

impl LogDriver {
    /// Parses driver and options of a container; `None` for the one that keeps nothing.
    pub fn parse(name: &str, options: &Options) -> Result<Option<Self>, Invalid> {
        if name == "none" {
            return Ok(None);
        }
        if !DRIVERS.contains(&name) {
            return invalid(format!("error looking up logging plugin {name}: plugin {name:?} not found"));
        }
        mode(options)?;
        check_keys(name, options)?;
        let (local, remote) = match name {
            "json-file" => (local(options, ["max-size", "max-file", "compress"], false)?, None),
            "local" => (local(options, ["max-size", "max-file", "compress"], true)?, None),
            remote => {
                let keys = ["cache-max-size", "cache-max-file", "cache-compress"];
                let mut copy = local(options, keys, true)?;
                copy.readable = !flag(options, "cache-disabled")?.unwrap_or(false);
                (copy, Some(self::remote(remote, options)?))
            }
        };
        Ok(Some(Self { local, remote, attribution: Attribution::parse(options)? }))
    }
}

fn remote(name: &str, options: &Options) -> Result<Remote, Invalid> {
    match name {
        "syslog" => Syslog::parse(options).map(Remote::Syslog),
        "gelf" => Gelf::parse(options).map(Remote::Gelf),
        "fluentd" => Fluentd::parse(options).map(Remote::Fluentd),
        _ => Ok(Remote::Journald(Address::journal())),
    }
}

fn mode(options: &Options) -> Result<(), Invalid> {
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return invalid(format!("logger: logging mode not supported: {mode}"));
    }
    match options.get("max-buffer-size") {
        Some(_) if mode != "non-blocking" => {
            invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        }
        Some(size) if parse_size(size).is_none() => {
            invalid(format!("error parsing option max-buffer-size: invalid size: '{size}'"))
        }
        _ => Ok(()),
    }
}

fn check_keys(name: &str, options: &Options) -> Result<(), Invalid> {
    const COPY: [&str; 4] = ["cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
    let own: &[&str] = match name {
        "json-file" | "local" => &["max-size", "max-file", "compress"],
        "syslog" => &Syslog::KEYS,
        "gelf" => &Gelf::KEYS,
        "fluentd" => &Fluentd::KEYS,
        _ => &[],
    };
    let known = |key: &str| {
        matches!(key, "mode" | "max-buffer-size")
            || own.contains(&key)
            || name != "local" && Attribution::KEYS.contains(&key)
            || !matches!(name, "json-file" | "local") && COPY.contains(&key)
    };
    match options.keys().find(|key| !known(key)) {
        None => Ok(()),
        Some(key) if name == "local" => invalid(format!("unknown log opt '{key}' for log driver local")),
        Some(key) if name == "gelf" => invalid(format!("unknown log opt {key:?} for gelf log driver")),
        Some(key) => invalid(format!("unknown log opt '{key}' for {name} log driver")),
    }
}

/// The options of a local log, under the names they have with this driver: size, number of files, compression.
fn local(options: &Options, names: [&str; 3], compress: bool) -> Result<LocalLog, Invalid> {
    let [size, files, compressed] = names;
    let max_size = match options.get(size).map(String::as_str) {
        None => Some(SIZE),
        Some("-1") => None,
        Some(text) => match parse_size(text) {
            Some(0) | None => return invalid(format!("invalid value for {size}: {text}")),
            bytes => bytes,
        },
    };
    let max_files = match options.get(files) {
        None => FILES,
        Some(text) => match text.parse() {
            Ok(count @ 1..) => count,
            _ => return invalid(format!("invalid value for {files}: {text}")),
        },
    };
    let compress = flag(options, compressed)?.unwrap_or(compress);
    Ok(LocalLog { max_size, max_files, compress: compress && max_files > 1, readable: true })
}

/// A boolean option, as Go reads it.
pub(super) fn flag(options: &Options, key: &str) -> Result<Option<bool>, Invalid> {
    match options.get(key).map(String::as_str) {
        None | Some("") => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(text) => invalid(format!("invalid value for {key}: {text}: it is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, options: &[(&str, &str)]) -> Result<Option<LogDriver>, String> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LogDriver::parse(name, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn local_logs_are_bounded() {
        let local = |name: &str, options: &[(&str, &str)]| parse(name, options).unwrap().unwrap().local;
        let plain = LocalLog { max_size: Some(SIZE), max_files: FILES, compress: false, readable: true };
        assert_eq!(local("json-file", &[]), plain);
        assert_eq!(local("local", &[]), LocalLog { compress: true, ..plain.clone() });
        let given = [("max-size", "1m"), ("max-file", "3"), ("compress", "true")];
        let expected = LocalLog { max_size: Some(1 << 20), max_files: 3, compress: true, readable: true };
        assert_eq!(local("json-file", &given), expected);
        assert_eq!(local("json-file", &[("max-size", "-1")]).max_size, None);
        assert!(!local("journald", &[("cache-disabled", "true")]).readable);
        assert!(parse("none", &[("whatever", "x")]).unwrap().is_none());
    }

    #[test]
    fn refusals_have_dockers_texts() {
        for (name, key, value, text) in [
            ("odd", "", "", r#"error looking up logging plugin odd: plugin "odd" not found"#),
            ("json-file", "mode", "slow", "logger: logging mode not supported: slow"),
            (
                "local",
                "max-buffer-size",
                "1m",
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            ("json-file", "x", "1", "unknown log opt 'x' for json-file log driver"),
            ("local", "tag", "1", "unknown log opt 'tag' for log driver local"),
            ("syslog", "x", "1", "unknown log opt 'x' for syslog log driver"),
            ("journald", "x", "1", "unknown log opt 'x' for journald log driver"),
            ("fluentd", "x", "1", "unknown log opt 'x' for fluentd log driver"),
            ("json-file", "max-file", "0", "invalid value for max-file: 0"),
            ("json-file", "max-size", "much", "invalid value for max-size: much"),
        ] {
            let options: &[(&str, &str)] = if key.is_empty() { &[] } else { &[(key, value)] };
            assert_eq!(parse(name, options).unwrap_err(), text);
        }
    }
}
