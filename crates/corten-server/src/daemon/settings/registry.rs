//! What the values say about registries: mirrors, proxies, and how much travels at once.

use corten_engine::config::{Proxies, Transfers};

use super::super::values::ConfigError;
use super::{Reader, bad};

/// `registry-mirrors`, each ending in a slash.
pub(super) fn mirrors(read: &Reader<'_>) -> Result<Vec<String>, ConfigError> {
    let check = |mirror: String| {
        // One of another registry than Docker Hub names that first.
        let address = mirror.split_once('=').map_or(mirror.as_str(), |(_, address)| address);
        let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
        let host = rest.map(|rest| rest.trim_end_matches('/'));
        match host {
            Some(host) if !host.is_empty() && !host.contains(['?', '#', '@']) => {
                Ok(format!("{}/", mirror.trim_end_matches('/')))
            }
            _ => Err(bad("registry-mirrors", &mirror, "it is not an http or https address")),
        }
    };
    read.list("registry-mirrors").into_iter().map(check).collect()
}

/// The proxies on the way to registries.
pub(super) fn proxies(read: &Reader<'_>) -> Result<Proxies, ConfigError> {
    let text = |name| read.text(name).unwrap_or_default();
    Proxies::new(text("http-proxy"), text("https-proxy"), text("no-proxy"))
        .map_err(|error| bad("proxies", "", &error.to_string()))
}

/// The bounds of pulls and pushes.
pub(super) fn transfers(read: &Reader<'_>) -> Result<Transfers, ConfigError> {
    let default = Transfers::default();
    let limit = |name: &str, kind: &str| {
        let reason = format!("invalid max concurrent {kind}");
        // Zero is no limit, as in dockerd.
        Ok(read.number(name, &reason)?.map(|n: usize| if n == 0 { Transfers::UNLIMITED } else { n }))
    };
    let attempts = read.number("max-download-attempts", "invalid max download attempts")?;
    if attempts == Some(0) {
        return Err(bad("max-download-attempts", 0, "invalid max download attempts"));
    }
    Ok(Transfers {
        downloads: limit("max-concurrent-downloads", "downloads")?.unwrap_or(default.downloads),
        uploads: limit("max-concurrent-uploads", "uploads")?.unwrap_or(default.uploads),
        attempts: attempts.unwrap_or(default.attempts),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::from_file;
    use super::*;

    #[test]
    fn what_travels_at_once_is_bounded() {
        let live = |text: &str| from_file(text).map(|settings| settings.engine.live);
        assert_eq!(live("{}").unwrap().transfers, Transfers { downloads: 3, uploads: 5, attempts: 5 });
        let said = r#"{"max-concurrent-downloads":7,"max-concurrent-uploads":0,"max-download-attempts":1}"#;
        let wanted = Transfers { downloads: 7, uploads: Transfers::UNLIMITED, attempts: 1 };
        assert_eq!(live(said).unwrap().transfers, wanted);
        for wrong in ["max-concurrent-downloads", "max-download-attempts"] {
            let refused = live(&format!("{{\"{wrong}\":-1}}")).unwrap_err();
            assert!(refused.contains(&format!("invalid {}", wrong.replace('-', " "))), "{refused}");
        }
        assert!(live(r#"{"max-download-attempts":0}"#).is_err());
    }

    #[test]
    fn a_proxy_that_is_none_is_named_without_its_password() {
        let refused = from_file(r#"{"proxies":{"https-proxy":"ftp://u:secret@h"}}"#).unwrap_err();
        assert!(refused.contains("ftp://xxxxx:xxxxx@h") && !refused.contains("secret"), "{refused}");
        let live = from_file(r#"{"proxies":{"https-proxy":"http://u:secret@h:1","no-proxy":"a,b"}}"#);
        let told = live.unwrap().engine.live.proxies.told().clone();
        assert_eq!((told.https.as_str(), told.without.as_str()), ("http://xxxxx:xxxxx@h:1", "a,b"));
    }
}
