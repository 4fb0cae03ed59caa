//! `config.json`: what the user set for every command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::credential_helper::CredentialHelper;
use crate::error::{Failure, Outcome};
use crate::output;

/// The file as it is; keys this program does not know are kept when it is written back.
#[derive(Debug, Clone, Default)]
pub struct Config {
    directory: PathBuf,
    values: Map<String, Value>,
}

/// What `login` keeps for a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
    /// A token that replaces both.
    pub identity_token: String,
}

/// The name under which Docker Hub's credentials are kept.
pub const HUB: &str = "https://index.docker.io/v1/";

impl Config {
    /// Reads `directory/config.json`; a file that is not there is an empty one.
    pub fn load(directory: &Path) -> Result<Self, String> {
        let path = directory.join("config.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(error) => return Err(format!("Error loading config file: {}: {error}", path.display())),
        };
        let values = serde_json::from_slice(&text)
            .map_err(|error| format!("Error parsing config file ({}): {error}", path.display()))?;
        Ok(Self { directory: directory.to_owned(), values })
    }

    /// The folder of the configuration.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A text such as `psFormat` or `detachKeys`; empty where it is not set.
    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Headers of every request.
    pub fn headers(&self) -> Vec<(String, String)> {
        let Some(Value::Object(headers)) = self.values.get("HttpHeaders") else { return Vec::new() };
        headers.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    }

    /// The proxies to pass to containers, as environment variables: of this daemon, or of every one.
    pub fn proxies(&self, host: &str) -> BTreeMap<&'static str, String> {
        let mut out = BTreeMap::new();
        let Some(Value::Object(all)) = self.values.get("proxies") else { return out };
        let Some(Value::Object(proxies)) = all.get(host).or_else(|| all.get("default")) else { return out };
        for (key, upper, lower) in [
            ("httpProxy", "HTTP_PROXY", "http_proxy"),
            ("httpsProxy", "HTTPS_PROXY", "https_proxy"),
            ("noProxy", "NO_PROXY", "no_proxy"),
            ("ftpProxy", "FTP_PROXY", "ftp_proxy"),
            ("allProxy", "ALL_PROXY", "all_proxy"),
        ] {
            if let Some(value) = proxies.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()) {
                out.insert(upper, value.to_owned());
                out.insert(lower, value.to_owned());
            }
        }
        out
    }

    /// The program that keeps a registry's credentials, if one was set.
    pub fn credential_helper(&self, registry: &str) -> Option<CredentialHelper> {
        let own = self.values.get("credHelpers").and_then(|all| all.get(registry)).and_then(Value::as_str);
        CredentialHelper::named(own.unwrap_or_else(|| self.text("credsStore")))
    }

    /// What is kept for a registry, by a helper or here. A helper that fails is told of, and keeps nothing.
    pub fn credentials(&self, registry: &str) -> Option<Credentials> {
        let Some(helper) = self.credential_helper(registry) else { return self.own_credentials(registry) };
        match helper.get(registry) {
            Ok(found) => found.or_else(|| self.own_credentials(registry)),
            Err(failure) => {
                output::error_line(&failure.text);
                None
            }
        }
    }

    fn own_credentials(&self, registry: &str) -> Option<Credentials> {
        let Some(Value::Object(all)) = self.values.get("auths") else { return None };
        let entry = all.get(registry).or_else(|| {
            // Old files write the address with a scheme or a path.
            all.iter().find(|(key, _)| hostname(key) == hostname(registry)).map(|(_, entry)| entry)
        })?;
        decode(entry)
    }

    /// Everything that is kept, by registry.
    pub fn all_credentials(&self) -> BTreeMap<String, Credentials> {
        let own = self.values.get("auths").and_then(Value::as_object);
        let mut all: BTreeMap<String, Credentials> = own
            .into_iter()
            .flatten()
            .filter_map(|(key, entry)| Some((key.clone(), decode(entry)?)))
            .collect();
        let helpers = self.values.get("credHelpers").and_then(Value::as_object);
        let mut registries: Vec<String> = helpers.into_iter().flatten().map(|(key, _)| key.clone()).collect();
        if let Some(store) = CredentialHelper::named(self.text("credsStore")) {
            match store.list() {
                Ok(known) => registries.extend(known.into_keys()),
                Err(failure) => output::error_line(&failure.text),
            }
        }
        for registry in registries {
            if let Some(credentials) = self.credentials(&registry) {
                all.insert(registry, credentials);
            }
        }
        all
    }

    /// Keeps credentials, or forgets them, and writes the file.
    pub fn set_credentials(&mut self, registry: &str, credentials: Option<&Credentials>) -> Outcome {
        use base64::Engine;
        let helper = self.credential_helper(registry);
        match (&helper, credentials) {
            (Some(helper), Some(credentials)) => helper.store(registry, credentials)?,
            (Some(helper), None) => helper.erase(registry)?,
            (None, _) => {}
        }
        let auths = self.values.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(auths) = auths else {
            return Err(Failure::new("config.json: \"auths\" is not an object"));
        };
        match credentials {
            None => {
                auths.shift_remove(registry);
            }
            // That there are some, but not which.
            Some(_) if helper.is_some() => {
                auths.insert(registry.to_owned(), Value::Object(Map::new()));
            }
            Some(c) => {
                let pair = base64::engine::general_purpose::STANDARD
                    .encode(format!("{}:{}", c.username, c.password));
                let mut entry = serde_json::json!({ "auth": pair });
                if !c.identity_token.is_empty() {
                    entry["identitytoken"] = c.identity_token.clone().into();
                }
                auths.insert(registry.to_owned(), entry);
            }
        }
        self.save()
    }

    /// Sets or removes a text and writes the file.
    pub fn set_text(&mut self, key: &str, value: Option<&str>) -> Outcome {
        match value {
            Some(value) => self.values.insert(key.to_owned(), value.into()),
            None => self.values.shift_remove(key),
        };
        self.save()
    }

    /// Writes a new file and puts it in the old one's place; only its owner may read it.
    fn save(&self) -> Outcome {
        use std::io::Write;
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let path = self.directory.join("config.json");
        let new = self.directory.join(format!("config.json.{}", std::process::id()));
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
        serde::Serialize::serialize(&self.values, &mut serializer)
            .map_err(|error| Failure::new(error.to_string()))?;
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        Ok(())
    }
}

fn decode(entry: &Value) -> Option<Credentials> {
    use base64::Engine;
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut credentials = Credentials {
        username: text("username"),
        password: text("password"),
        identity_token: text("identitytoken"),
    };
    if let Ok(pair) = base64::engine::general_purpose::STANDARD.decode(text("auth"))
        && let Some((user, password)) = String::from_utf8_lossy(&pair).split_once(':')
    {
        credentials.username = user.to_owned();
        credentials.password = password.trim_end_matches('\0').to_owned();
    }
    let empty = credentials.username.is_empty() && credentials.identity_token.is_empty();
    (!empty).then_some(credentials)
}

fn hostname(address: &str) -> &str {
    let rest =
        address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or(address);
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_survive_the_file_and_others_keys_too() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), r#"{"psFormat":"x","strange":[1]}"#).unwrap();
        let mut config = Config::load(directory.path()).unwrap();
        let mine =
            Credentials { username: "me".into(), password: "a:b".into(), identity_token: String::new() };
        config.set_credentials("localhost:5000", Some(&mine)).unwrap();
        let mut config = Config::load(directory.path()).unwrap();
        assert_eq!(config.credentials("localhost:5000"), Some(mine));
        assert_eq!(config.text("psFormat"), "x");
        assert_eq!(config.values["strange"][0], 1);
        config.set_credentials("localhost:5000", None).unwrap();
        assert_eq!(Config::load(directory.path()).unwrap().credentials("localhost:5000"), None);
    }

    #[test]
    fn proxies_are_told_in_both_cases() {
        let values = serde_json::json!({"proxies": {"default": {"httpProxy": "http://p:1"}}});
        let Value::Object(values) = values else { unreachable!() };
        let config = Config { directory: PathBuf::new(), values };
        let proxies = config.proxies("unix:///x");
        assert_eq!(proxies.get("http_proxy").map(String::as_str), Some("http://p:1"));
        assert_eq!(proxies.len(), 2);
    }
}
