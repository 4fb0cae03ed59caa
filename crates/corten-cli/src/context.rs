//! Contexts: named daemons kept below `~/.docker/contexts`, one folder each, named by the digest of the name.
//!
//! ```text
//! contexts/meta/<sha256 of name>/meta.json        name, description, endpoint
//! contexts/tls/<sha256 of name>/docker/{ca,cert,key}.pem
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest;

use crate::error::{Failure, Outcome};

/// The context that is no file: the environment and the defaults.
pub const DEFAULT: &str = "default";

/// One context.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// `meta.json` as it is.
    pub meta: Value,
}

/// The folder of contexts.
pub struct Contexts {
    root: PathBuf,
}

impl Context {
    /// What the user wrote about it.
    pub fn description(&self) -> &str {
        self.meta.pointer("/Metadata/Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The daemon's address.
    pub fn host(&self) -> &str {
        self.meta.pointer("/Endpoints/docker/Host").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the daemon need not prove who it is.
    pub fn skip_verify(&self) -> bool {
        self.meta.pointer("/Endpoints/docker/SkipTLSVerify").and_then(Value::as_bool).unwrap_or(false)
    }
}

impl Contexts {
    /// The contexts below a configuration's folder.
    pub fn new(config: &Path) -> Self {
        Self { root: config.join("contexts") }
    }

    /// Every context but the default one, by name.
    pub fn list(&self) -> Outcome<Vec<Context>> {
        let entries = match std::fs::read_dir(self.root.join("meta")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut all = Vec::new();
        for entry in entries {
            let Ok(text) = std::fs::read(entry?.path().join("meta.json")) else { continue };
            all.push(read(&text)?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// A context by name.
    pub fn get(&self, name: &str) -> Outcome<Context> {
        match std::fs::read(self.meta(name).join("meta.json")) {
            Ok(text) => read(&text),
            Err(_) => Err(Failure::new(format!(
                "context \"{name}\": context not found: open {}: no such file or directory",
                self.meta(name).join("meta.json").display()
            ))),
        }
    }

    /// Makes or replaces a context.
    pub fn put(&self, name: &str, description: &str, host: &str, skip_verify: bool) -> Outcome {
        check_name(name)?;
        let mut metadata = json!({});
        if !description.is_empty() {
            metadata["Description"] = description.into();
        }
        let meta = json!({
            "Name": name,
            "Metadata": metadata,
            "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": skip_verify } },
        });
        let directory = self.meta(name);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("meta.json"), meta.to_string())?;
        Ok(())
    }

    /// Copies a certificate or key into a context.
    pub fn put_tls(&self, name: &str, file: &str, from: &Path) -> Outcome {
        use std::os::unix::fs::OpenOptionsExt;
        let text =
            std::fs::read(from).map_err(|error| Failure::new(format!("{}: {error}", from.display())))?;
        let directory = self.tls(name);
        std::fs::create_dir_all(&directory)?;
        let mut options = std::fs::OpenOptions::new();
        let mut out =
            options.write(true).create(true).truncate(true).mode(0o600).open(directory.join(file))?;
        std::io::Write::write_all(&mut out, &text)?;
        Ok(())
    }

    /// Removes a context.
    pub fn remove(&self, name: &str) -> Outcome {
        self.get(name)?;
        std::fs::remove_dir_all(self.meta(name))?;
        let tls = self.root.join("tls").join(digest(name));
        if tls.exists() {
            std::fs::remove_dir_all(tls)?;
        }
        Ok(())
    }

    /// Where a context's description lies.
    pub fn meta(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(digest(name))
    }

    /// Where a context's certificates lie.
    pub fn tls(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(digest(name)).join("docker")
    }

    /// Where a context's certificates lie, as `inspect` tells it.
    pub fn tls_root(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(digest(name))
    }
}

fn read(text: &[u8]) -> Outcome<Context> {
    let meta: Value = serde_json::from_slice(text).map_err(|error| Failure::new(error.to_string()))?;
    let name = meta.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Context { name, meta })
}

/// Refuses what cannot be a context's name.
pub fn check_name(name: &str) -> Outcome {
    if name == DEFAULT {
        return Err(Failure::new("\"default\" is a reserved context name"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let head = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() < 2 || !head || !name.chars().all(good) {
        return Err(Failure::new(format!(
            "context name \"{name}\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
        )));
    }
    Ok(())
}

fn digest(name: &str) -> String {
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_made_read_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let contexts = Contexts::new(directory.path());
        assert!(contexts.list().unwrap().is_empty());
        contexts.put("far", "there", "tcp://h:1", false).unwrap();
        let far = contexts.get("far").unwrap();
        assert_eq!((far.host(), far.description()), ("tcp://h:1", "there"));
        assert_eq!(contexts.list().unwrap(), [far]);
        contexts.remove("far").unwrap();
        assert!(
            contexts.get("far").unwrap_err().text.starts_with("context \"far\": context not found: open ")
        );
        assert!(check_name("default").is_err() && check_name("a b").is_err() && check_name("-a").is_err());
    }
}
