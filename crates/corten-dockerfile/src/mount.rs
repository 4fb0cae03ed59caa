//! `RUN --mount=type=…,key=value,…`.

use crate::expand::ExpandError;
use crate::quote::quote;
use crate::suggest::{hint, nearest};

/// What `RUN --mount` puts in place for one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What kind.
    pub kind: MountKind,
    /// `from`: stage or image that a bind or cache starts from.
    pub from: Option<String>,
    /// `source`: path in it, or a secret's file.
    pub source: Option<String>,
    /// `target`: where it appears.
    pub target: Option<String>,
    /// Whether the command may not write there.
    pub read_only: bool,
    /// `size` of a tmpfs, in bytes.
    pub size: Option<u64>,
    /// `id` of a cache, secret or agent.
    pub id: Option<String>,
    /// `sharing` of a cache.
    pub sharing: Option<Sharing>,
    /// `required` secret or agent.
    pub required: bool,
    /// `env`: the variable that carries a secret.
    pub env: Option<String>,
    /// `mode` bits.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// The kind of a [`Mount`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret's file.
    Secret,
    /// An SSH agent's socket.
    Ssh,
}

/// How builds share a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All at once.
    Shared,
    /// One each.
    Private,
    /// One after the other.
    Locked,
}

/// Why a `--mount` cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the text of each variant says what it is")]
pub enum MountError {
    #[error("failed to parse csv mounts: bare or unclosed quote in {}", quote(text))]
    Csv { text: String },
    #[error("invalid field '{field}' must be a key=value pair")]
    NotAPair { field: String },
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    KeyForKind { key: String, kind: &'static str },
    #[error("unexpected key '{key}' in '{field}'{}", hint(suggestion.as_deref()))]
    Key { key: String, field: String, suggestion: Option<String> },
    #[error("unsupported mount type {}{}", quote(value), hint(suggestion.as_deref()))]
    Kind { value: String, suggestion: Option<String> },
    #[error("unsupported sharing value {}{}", quote(value), hint(suggestion.as_deref()))]
    Sharing { value: String, suggestion: Option<String> },
    #[error("invalid value for {key}: {value}")]
    Value { key: String, value: String },
    #[error("invalid value {value} for {key}")]
    Number { key: &'static str, value: String },
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableFrom,
    #[error("{key} not allowed for {} type mounts", quote(kind))]
    OwnerForKind { key: &'static str, kind: &'static str },
    #[error("secret mount should not have a from")]
    SecretFrom,
    #[error("secret mount should not define sharing")]
    SecretSharing,
    #[error("invalid secret mount. one of source, target required")]
    SecretWithoutSource,
    #[error("both source and id can't be set")]
    SecretSourceAndId,
    #[error("invalid cache sharing set for {kind} mount")]
    SharingForKind { kind: &'static str },
    #[error(transparent)]
    Expand(#[from] ExpandError),
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountKind {
    /// The word in a Dockerfile.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// Replaces variables in one word.
pub type Expander<'a> = &'a mut dyn FnMut(&str) -> Result<String, ExpandError>;

impl Mount {
    /// Reads a value of `--mount`. Without an expander only what cannot depend on variables is checked.
    pub fn parse(text: &str, mut expander: Option<Expander<'_>>) -> Result<Self, MountError> {
        let mut mount = Self {
            kind: MountKind::Bind,
            from: None,
            source: None,
            target: None,
            read_only: false,
            size: None,
            id: None,
            sharing: None,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        };
        let mut read_only = None;
        for field in fields(text).ok_or_else(|| MountError::Csv { text: text.into() })? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
                None => (field.to_ascii_lowercase(), None),
            };
            let value = match (value, &mut expander) {
                (Some(value), Some(expander)) => expander(value)?,
                (Some(value), None) if key == "from" => {
                    if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                        return Err(MountError::VariableFrom);
                    }
                    value.to_owned()
                }
                (_, None) => continue,
                (None, Some(_)) => match key.as_str() {
                    "readonly" | "ro" | "readwrite" | "rw" | "required" => "true".to_owned(),
                    _ => return Err(MountError::NotAPair { field }),
                },
            };
            mount.set(&key, value, &field, &mut read_only)?;
        }
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        mount.check()?;
        Ok(mount)
    }

    fn set(
        &mut self,
        key: &str,
        value: String,
        field: &str,
        read_only: &mut Option<bool>,
    ) -> Result<(), MountError> {
        let truth = |value: &str| match value {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(MountError::Value { key: key.into(), value: value.into() }),
        };
        let number = |key, value: &str, radix| {
            u32::from_str_radix(value, radix).map_err(|_| MountError::Number { key, value: value.into() })
        };
        let wrong_kind = |kind: MountKind| MountError::KeyForKind { key: key.into(), kind: kind.name() };
        match key {
            "type" => {
                let kinds =
                    [MountKind::Bind, MountKind::Cache, MountKind::Tmpfs, MountKind::Secret, MountKind::Ssh];
                let lower = value.to_ascii_lowercase();
                self.kind = kinds.into_iter().find(|kind| kind.name() == lower).ok_or_else(|| {
                    MountError::Kind { suggestion: nearest(&value, &kinds.map(MountKind::name)), value }
                })?;
            }
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "readonly" | "ro" => *read_only = Some(truth(&value)?),
            "readwrite" | "rw" => *read_only = Some(!truth(&value)?),
            "required" if matches!(self.kind, MountKind::Secret | MountKind::Ssh) => {
                self.required = truth(&value)?
            }
            "size" if self.kind == MountKind::Tmpfs => {
                self.size = Some(bytes(&value).ok_or(MountError::Value { key: key.into(), value })?);
            }
            "required" | "size" => return Err(wrong_kind(self.kind)),
            "id" => self.id = Some(value),
            "sharing" => {
                self.sharing = Some(match value.to_ascii_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => {
                        let suggestion = nearest(&value, &["shared", "private", "locked"]);
                        return Err(MountError::Sharing { value, suggestion });
                    }
                });
            }
            "mode" => self.mode = Some(number("mode", &value, 8)?),
            "uid" => self.uid = Some(number("uid", &value, 10)?),
            "gid" => self.gid = Some(number("gid", &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                let suggestion = nearest(key, &KEYS);
                return Err(MountError::Key { key: key.into(), field: field.into(), suggestion });
            }
        }
        Ok(())
    }

    /// Which keys the kind admits.
    fn check(&self) -> Result<(), MountError> {
        let kind = self.kind.name();
        if matches!(self.kind, MountKind::Bind | MountKind::Tmpfs) {
            for (key, given) in [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)] {
                if given.is_some() {
                    return Err(MountError::OwnerForKind { key, kind });
                }
            }
        }
        if self.kind == MountKind::Secret {
            if self.from.is_some() {
                return Err(MountError::SecretFrom);
            }
            if self.sharing.is_some() {
                return Err(MountError::SecretSharing);
            }
            if self.source.is_none() && self.target.is_none() && self.id.is_none() {
                return Err(MountError::SecretWithoutSource);
            }
            if self.source.is_some() && self.id.is_some() {
                return Err(MountError::SecretSourceAndId);
            }
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return Err(MountError::SharingForKind { kind });
        }
        Ok(())
    }
}

/// The fields of one CSV record; `None` where a quote is out of place.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next()? {
                    (at, '"') if chars.peek().is_some_and(|next| next.1 == '"') => {
                        let _ = (at, chars.next());
                        field.push('"');
                    }
                    (at, '"') => break at + 1,
                    (_, c) => field.push(c),
                }
            };
            fields.push(field);
            rest = &quoted[end..];
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Some(fields),
                None => return None,
            }
        } else {
            let (field, after) =
                rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            if field.contains('"') {
                return None;
            }
            fields.push(field.into());
            match after {
                Some(after) => rest = after,
                None => return Some(fields),
            }
        }
    }
}

/// `64m`, `1GiB`, `100`: bytes by powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * 1024_f64.powi(power);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked against the range before"
    )]
    (0.0..=9e18).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mount, MountError> {
        Mount::parse(text, Some(&mut |word: &str| Ok(word.to_owned())))
    }

    #[test]
    fn kinds_have_their_keys() {
        let cache = parse("type=cache,target=/c,id=x,sharing=locked,mode=0700,uid=3").unwrap();
        assert_eq!(
            (cache.kind, cache.sharing, cache.mode),
            (MountKind::Cache, Some(Sharing::Locked), Some(0o700))
        );
        assert!(!cache.read_only);
        assert!(parse("target=/a,source=b").unwrap().read_only);
        assert!(!parse("target=/a,rw").unwrap().read_only);
        assert_eq!(parse("type=tmpfs,target=/t,size=64m").unwrap().size, Some(64 << 20));
        assert_eq!(parse(r#"type=bind,"target=/a,b""#).unwrap().target.as_deref(), Some("/a,b"));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let text = |text| parse(text).unwrap_err().to_string();
        assert_eq!(text("type=cach,target=/c"), "unsupported mount type \"cach\" (did you mean cache?)");
        assert_eq!(text("tarket=/c"), "unexpected key 'tarket' in 'tarket=/c' (did you mean target?)");
        assert_eq!(text("type=bind,size=3"), "unexpected key 'size' for mount type 'bind'");
        assert_eq!(text("type=bind,uid=3"), "uid not allowed for \"bind\" type mounts");
        assert_eq!(text("type=secret"), "invalid secret mount. one of source, target required");
        assert!(text("\"a").starts_with("failed to parse csv mounts"));
    }
}
