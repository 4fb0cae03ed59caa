//! The command line of `corten registry serve`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::{ConfigError, Given};

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// The help text.
    Help,
    /// To serve; with the file that was named.
    Serve(Box<Given>, Option<PathBuf>),
}

/// One flag: its name, its value's name (empty for a switch), its help.
struct Flag(&'static str, &'static str, &'static str);

const FLAGS: &[Flag] = &[
    Flag(
        "access-log",
        "string",
        "Where each request is logged as a line of JSON: a file, \"-\" or \"off\" (default \"-\")",
    ),
    Flag("blob-grace", "duration", "How long a blob stays that no manifest needs (default 24h)"),
    Flag("cache", "list", "Be a pull-through cache of a registry, as [PREFIX=]HOST[:PORT]"),
    Flag(
        "cache-fresh",
        "duration",
        "How long a cached tag is good without asking its registry (default 60s)",
    ),
    Flag("collect-every", "duration", "Time between collections of what is not needed (default 1h)"),
    Flag("config", "string", "Configuration file (TOML; keys are these flags' names)"),
    Flag("data-root", "string", "Where everything is kept (default \"/var/lib/corten-registry\")"),
    Flag("htpasswd", "string", "File of users: name:hash, bcrypt (htpasswd -B) or argon2"),
    Flag("issue-tokens", "", "Give users tokens instead of asking for their password every time"),
    Flag("listen", "list", "Address to listen at (default 127.0.0.1:5000)"),
    Flag(
        "log-level",
        "string",
        "Set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\") (default \"info\")",
    ),
    Flag("max-blob-size", "bytes", "Largest blob that is taken (default no limit)"),
    Flag(
        "metrics-listen",
        "string",
        "Address of Prometheus metrics and health (default at the registry's, without users)",
    ),
    Flag("no-delete", "", "Refuse to delete tags, manifests and blobs"),
    Flag("read-only", "", "Refuse every change"),
    Flag("shutdown-timeout", "duration", "How long running requests may take at a shutdown (default 30s)"),
    Flag("tls-cert", "string", "TLS certificate chain (PEM); read again when it changes"),
    Flag("tls-key", "string", "TLS key (PEM)"),
    Flag("token-issuer", "string", "Issuer whose tokens are taken"),
    Flag("token-keys", "string", "Public keys of the issuer (JSON web key set, or PEM)"),
    Flag(
        "token-realm",
        "string",
        "Address where clients get tokens (with --issue-tokens: that of this registry's /auth/token behind a proxy)",
    ),
    Flag("token-service", "string", "Service that tokens must be for (default \"corten-registry\")"),
    Flag("upload-expiry", "duration", "How long an unfinished upload may rest (default 6h)"),
];

/// The help text.
pub fn help() -> String {
    let mut text = String::from(
        "Usage:  corten registry serve [OPTIONS]\n\nServe a registry (OCI distribution-spec 1.1)\n\nOptions:\n",
    );
    for Flag(name, kind, help) in FLAGS {
        text.push_str(format!("      --{:<27} {help}", format!("{name} {kind}")).trim_end());
        text.push('\n');
    }
    text
}

/// Reads the command line.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, ConfigError> {
    let mut given = Given::default();
    let mut file = None;
    let mut args = args.into_iter();
    let wrong = |reason: String| {
        ConfigError::Flag(format!(
            "{reason}\n\nUsage:  corten registry serve [OPTIONS]\n\nRun 'corten registry serve --help' for more information"
        ))
    };
    while let Some(arg) = args.next() {
        let arg = arg.into_string().map_err(|arg| wrong(format!("{arg:?} is no text")))?;
        if arg == "--help" || arg == "-h" {
            return Ok(Asked::Help);
        }
        let Some(rest) = arg.strip_prefix("--") else {
            return Err(wrong(format!("unexpected argument: {arg}")));
        };
        let (name, inline) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, None),
        };
        let Some(flag) = FLAGS.iter().find(|flag| flag.0 == name) else {
            return Err(wrong(format!("unknown flag: --{name}")));
        };
        let value = match (inline, flag.1) {
            (Some(value), _) => value,
            (None, "") => "true".into(),
            (None, _) => {
                let value = args.next().ok_or_else(|| wrong(format!("flag needs an argument: --{name}")))?;
                value.into_string().map_err(|value| wrong(format!("{value:?} is no text")))?
            }
        };
        if name == "config" {
            file = Some(value.into());
            continue;
        }
        set(&mut given, flag.0, value).map_err(wrong)?;
    }
    Ok(Asked::Serve(Box::new(given), file))
}

fn set(given: &mut Given, name: &'static str, value: String) -> Result<(), String> {
    let truth = |value: &str| match value {
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        other => Err(format!("invalid argument {other:?} for \"--{name}\" flag: it is true or false")),
    };
    match name {
        "access-log" => given.access_log = Some(value),
        "blob-grace" => given.blob_grace = Some(value),
        "cache" => given.cache.push(value),
        "cache-fresh" => given.cache_fresh = Some(value),
        "collect-every" => given.collect_every = Some(value),
        "data-root" => given.data_root = Some(value.into()),
        "htpasswd" => given.htpasswd = Some(value.into()),
        "issue-tokens" => given.issue_tokens = truth(&value)?,
        "listen" => given.listen.push(value),
        "log-level" => given.log_level = Some(value),
        "max-blob-size" => given.max_blob_size = Some(value),
        "metrics-listen" => given.metrics_listen = Some(value),
        "no-delete" => given.no_delete = truth(&value)?,
        "read-only" => given.read_only = truth(&value)?,
        "shutdown-timeout" => given.shutdown_timeout = Some(value),
        "tls-cert" => given.tls_cert = Some(value.into()),
        "tls-key" => given.tls_key = Some(value.into()),
        "token-issuer" => given.token_issuer = Some(value),
        "token-keys" => given.token_keys = Some(value.into()),
        "token-realm" => given.token_realm = Some(value),
        "token-service" => given.token_service = Some(value),
        "upload-expiry" => given.upload_expiry = Some(value),
        other => return Err(format!("unknown flag: --{other}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(Into::into).collect()
    }

    #[test]
    fn every_flag_of_the_table_is_taken() {
        for Flag(name, kind, _) in FLAGS {
            let value = if kind.is_empty() { String::new() } else { " 1".to_owned() };
            assert!(parse(words(&format!("--{name}{value}"))).is_ok(), "{name}");
            assert!(help().contains(&format!("--{name} ")), "{name}");
        }
    }

    #[test]
    fn flags_are_read_in_both_forms() {
        let Ok(Asked::Serve(given, file)) =
            parse(words("--listen :1 --listen=:2 --read-only --no-delete=false --config /c"))
        else {
            panic!()
        };
        assert_eq!(given.listen, [":1", ":2"]);
        assert_eq!((given.read_only, given.no_delete), (Some(true), Some(false)));
        assert_eq!(file, Some("/c".into()));
        for bad in ["--nope", "x", "--listen", "--read-only=maybe", "-x"] {
            assert!(parse(words(bad)).is_err(), "{bad}");
        }
    }
}
