//! What the registry is told: flags and a TOML file with the same names, flags first.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::access_log::Destination;
use crate::auth::Rule as Access;
use crate::cache::Upstream;
use crate::collect::Collection;
use crate::retention::Rule as Retention;

/// Why the registry cannot be configured so.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A flag makes no sense.
    #[error("{0}")]
    Flag(String),
    /// The file cannot be read.
    #[error("could not read {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A value makes no sense.
    #[error("{name} {reason}")]
    Value {
        /// The option.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What was given: by flags, or by the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "each is described in the table of flags and in docs/registry.md")]
pub struct Given {
    #[serde(default)]
    pub listen: Vec<String>,
    pub data_root: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub htpasswd: Option<PathBuf>,
    pub issue_tokens: Option<bool>,
    pub token_service: Option<String>,
    pub token_issuer: Option<String>,
    pub token_keys: Option<PathBuf>,
    pub token_realm: Option<String>,
    pub read_only: Option<bool>,
    pub no_delete: Option<bool>,
    pub max_blob_size: Option<String>,
    #[serde(default)]
    pub cache: Vec<String>,
    pub cache_fresh: Option<String>,
    pub collect_every: Option<String>,
    pub upload_expiry: Option<String>,
    pub blob_grace: Option<String>,
    pub access_log: Option<String>,
    pub metrics_listen: Option<String>,
    pub log_level: Option<String>,
    pub shutdown_timeout: Option<String>,
    /// Rules of access; in the file only.
    #[serde(default)]
    pub access: Vec<Access>,
    /// Rules of retention; in the file only.
    #[serde(default)]
    pub retention: Vec<Retention>,
    /// Upstreams with credentials; in the file only.
    #[serde(default)]
    pub upstream: Vec<GivenUpstream>,
}

/// An upstream in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GivenUpstream {
    /// Its domain, `host[:port]`.
    pub registry: String,
    /// What its repositories' names begin with here.
    #[serde(default)]
    pub prefix: String,
    /// Whether it may be spoken to without TLS.
    #[serde(default)]
    pub insecure: bool,
    /// The user there.
    pub username: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

/// How tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The service that tokens must be for.
    pub service: String,
    /// Another's tokens: issuer, key file, and where they are to be had.
    pub foreign: Option<(String, PathBuf, String)>,
    /// Whether we issue tokens.
    pub own: bool,
    /// Where ours are to be had, where that is not where the client asks: behind a proxy.
    pub realm: Option<String>,
}

/// All settings, read and checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen, `host:port`.
    pub listen: Vec<String>,
    /// Where everything is kept.
    pub data_root: PathBuf,
    /// Certificate chain and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The password file.
    pub htpasswd: Option<PathBuf>,
    /// How tokens are taken, if they are.
    pub tokens: Option<Tokens>,
    /// Who may do what.
    pub access: Vec<Access>,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Whether anything may be deleted.
    pub deletes: bool,
    /// The largest blob, in bytes.
    pub max_blob_size: u64,
    /// The registries that are cached.
    pub upstreams: Vec<Upstream>,
    /// When what goes.
    pub collection: Collection,
    /// The access log.
    pub access_log: Destination,
    /// Where metrics are told.
    pub metrics_listen: Option<String>,
    /// The threshold of the log.
    pub log_level: tracing::level_filters::LevelFilter,
    /// How long requests may take to end at a shutdown.
    pub shutdown_timeout: Duration,
}

/// Reads the file.
pub fn read_file(path: &Path) -> Result<Given, ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    toml::from_str(&text).map_err(|error| failed(error.to_string()))
}

impl Given {
    /// What these say, and where they say nothing, what `file` says.
    #[must_use]
    pub fn over(self, file: Given) -> Given {
        let list = |own: Vec<String>, other: Vec<String>| if own.is_empty() { other } else { own };
        Given {
            listen: list(self.listen, file.listen),
            data_root: self.data_root.or(file.data_root),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            htpasswd: self.htpasswd.or(file.htpasswd),
            issue_tokens: self.issue_tokens.or(file.issue_tokens),
            token_service: self.token_service.or(file.token_service),
            token_issuer: self.token_issuer.or(file.token_issuer),
            token_keys: self.token_keys.or(file.token_keys),
            token_realm: self.token_realm.or(file.token_realm),
            read_only: self.read_only.or(file.read_only),
            no_delete: self.no_delete.or(file.no_delete),
            max_blob_size: self.max_blob_size.or(file.max_blob_size),
            cache: list(self.cache, file.cache),
            cache_fresh: self.cache_fresh.or(file.cache_fresh),
            collect_every: self.collect_every.or(file.collect_every),
            upload_expiry: self.upload_expiry.or(file.upload_expiry),
            blob_grace: self.blob_grace.or(file.blob_grace),
            access_log: self.access_log.or(file.access_log),
            metrics_listen: self.metrics_listen.or(file.metrics_listen),
            log_level: self.log_level.or(file.log_level),
            shutdown_timeout: self.shutdown_timeout.or(file.shutdown_timeout),
            access: file.access,
            retention: file.retention,
            upstream: file.upstream,
        }
    }

    /// Checks everything and fills in what was not given.
    pub fn settle(self) -> Result<Settings, ConfigError> {
        let tokens = self.tokens()?;
        let upstreams = self.upstreams()?;
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(value("tls-cert", "and tls-key are given together")),
        };
        let time = |name, given: Option<String>, default| match given {
            None => Ok(Duration::from_secs(default)),
            Some(text) => parse_duration(&text).map_err(|reason| value(name, &reason)),
        };
        let listen = if self.listen.is_empty() { vec!["127.0.0.1:5000".into()] } else { self.listen };
        for address in listen.iter().chain(&self.metrics_listen) {
            address.to_socket_addrs().map_err(|error| value("listen", &format!("{address}: {error}")))?;
        }
        if !self.access.is_empty() && self.htpasswd.is_none() {
            return Err(value("access", "rules need users: give htpasswd as well"));
        }
        let level = self.log_level.as_deref().unwrap_or("info");
        Ok(Settings {
            listen,
            data_root: self.data_root.unwrap_or_else(|| "/var/lib/corten-registry".into()),
            tls,
            htpasswd: self.htpasswd,
            tokens,
            access: self.access,
            read_only: self.read_only.unwrap_or(false),
            deletes: !self.no_delete.unwrap_or(false),
            max_blob_size: match self.max_blob_size {
                None => u64::MAX,
                Some(text) => parse_size(&text).map_err(|reason| value("max-blob-size", &reason))?,
            },
            upstreams,
            collection: Collection {
                every: time("collect-every", self.collect_every, 3600)?.max(Duration::from_secs(1)),
                upload_expiry: time("upload-expiry", self.upload_expiry, 6 * 3600)?,
                grace: time("blob-grace", self.blob_grace, 24 * 3600)?,
                rules: self.retention,
            },
            access_log: match self.access_log.as_deref() {
                None | Some("-") => Destination::Stdout,
                Some("off") => Destination::Off,
                Some(path) => Destination::File(path.into()),
            },
            metrics_listen: self.metrics_listen,
            log_level: level
                .parse()
                .map_err(|_| value("log-level", "is one of trace, debug, info, warn, error, off"))?,
            shutdown_timeout: time("shutdown-timeout", self.shutdown_timeout, 30)?,
        })
    }

    fn tokens(&self) -> Result<Option<Tokens>, ConfigError> {
        let own = self.issue_tokens.unwrap_or(false);
        let foreign = match (&self.token_issuer, &self.token_keys, &self.token_realm) {
            (None, None, None) => None,
            (None, None, Some(_)) if own => None,
            (Some(issuer), Some(keys), Some(realm)) => Some((issuer.clone(), keys.clone(), realm.clone())),
            _ => return Err(value("token-issuer", "token-keys and token-realm are given together")),
        };
        if own && foreign.is_some() {
            return Err(value("issue-tokens", "and token-issuer exclude each other"));
        }
        if own && self.htpasswd.is_none() {
            return Err(value("issue-tokens", "needs users: give htpasswd as well"));
        }
        let service = self.token_service.clone().unwrap_or_else(|| "corten-registry".into());
        if service.contains(['"', '\\']) || self.token_realm.as_ref().is_some_and(|realm| realm.contains('"'))
        {
            return Err(value("token-service", "and token-realm may hold no quotes"));
        }
        Ok((own || foreign.is_some()).then_some(Tokens {
            service,
            foreign,
            own,
            realm: self.token_realm.clone(),
        }))
    }

    fn upstreams(&self) -> Result<Vec<Upstream>, ConfigError> {
        let fresh = match &self.cache_fresh {
            None => Duration::from_secs(60),
            Some(text) => parse_duration(text).map_err(|reason| value("cache-fresh", &reason))?,
        };
        let short = self.cache.iter().map(|text| {
            let (prefix, registry) = text.split_once('=').unwrap_or(("", text));
            Ok(Upstream {
                prefix: prefix.into(),
                registry: registry.into(),
                insecure: false,
                credentials: None,
                fresh,
            })
        });
        let long = self.upstream.iter().map(|given| {
            let credentials = match (&given.username, &given.password_file) {
                (None, None) => None,
                (Some(user), Some(path)) => {
                    let password = std::fs::read_to_string(path)
                        .map_err(|e| ConfigError::File { path: path.clone(), reason: e.to_string() })?;
                    Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
                }
                _ => return Err(value("upstream", "username and password-file are given together")),
            };
            Ok(Upstream {
                prefix: given.prefix.clone(),
                registry: given.registry.clone(),
                insecure: given.insecure,
                credentials,
                fresh,
            })
        });
        let all = short.chain(long).collect::<Result<Vec<_>, _>>()?;
        for upstream in &all {
            let wrong = |reason: &str| value("cache", &format!("{}: {reason}", upstream.registry));
            if format!("{}/x", upstream.registry).parse::<corten_types::Reference>().is_err()
                || !upstream.registry.contains(['.', ':']) && upstream.registry != "localhost"
            {
                return Err(wrong("is no registry's host[:port]"));
            }
            if !upstream.prefix.is_empty() && upstream.prefix.parse::<crate::name::RepositoryName>().is_err()
            {
                return Err(wrong("its prefix is not the beginning of a repository's name"));
            }
            if all.iter().filter(|other| other.prefix == upstream.prefix).count() > 1 {
                return Err(wrong("another registry has the same prefix"));
            }
        }
        Ok(all)
    }
}

fn value(name: &'static str, reason: &str) -> ConfigError {
    ConfigError::Value { name, reason: reason.into() }
}

/// `90s`, `15m`, `12h`, `30d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time like 90s, 15m, 12h or 30d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(wrong)
}

/// `500MB`, `20GiB`, `1000`.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size like 500MB or 20GiB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1_u64 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// A duration in the file.
pub fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_flags_do_not() {
        let file: Given = toml::from_str(
            r#"
            listen = ["127.0.0.1:1"]
            data-root = "/d"
            htpasswd = "/h"
            collect-every = "5m"
            max-blob-size = "20GiB"

            [[access]]
            user = "ann"
            repositories = ["team/*"]
            actions = ["pull", "push"]

            [[retention]]
            repositories = ["**"]
            keep-last = 3
            keep-pulled-within = "30d"

            [[upstream]]
            registry = "ghcr.io"
            prefix = "ghcr"
            "#,
        )
        .unwrap();
        let flags = Given { data_root: Some("/other".into()), ..Given::default() };
        let settings = flags.over(file).settle().unwrap();
        assert_eq!(settings.data_root, Path::new("/other"));
        assert_eq!(settings.listen, ["127.0.0.1:1"]);
        assert_eq!(settings.collection.every, Duration::from_secs(300));
        assert_eq!(settings.max_blob_size, 20 << 30);
        assert_eq!(settings.collection.rules[0].keep_pulled_within, Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(settings.upstreams[0].prefix, "ghcr");
        assert_eq!(settings.access.len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let refused = |given: Given| given.settle().unwrap_err().to_string();
        let given = Given { tls_cert: Some("/c".into()), ..Given::default() };
        assert_eq!(refused(given), "tls-cert and tls-key are given together");
        let given = Given { collect_every: Some("1y".into()), ..Given::default() };
        assert_eq!(refused(given), "collect-every \"1y\" is no time like 90s, 15m, 12h or 30d");
        let given = Given { issue_tokens: Some(true), ..Given::default() };
        assert_eq!(refused(given), "issue-tokens needs users: give htpasswd as well");
        let given = Given { cache: vec!["docker.io".into(), "ghcr.io".into()], ..Given::default() };
        assert!(refused(given).contains("same prefix"));
        let given = Given { cache: vec!["x y".into()], ..Given::default() };
        assert!(refused(given).contains("is no registry"));
        assert!(toml::from_str::<Given>("lissen = []").unwrap_err().to_string().contains("unknown field"));
    }
}
