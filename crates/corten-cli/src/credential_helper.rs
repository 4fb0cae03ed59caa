//! The credential helper protocol: a program `docker-credential-<name>` that keeps secrets, found through `PATH`.
//!
//! ```text
//!   get    stdin: server             stdout: {"ServerURL":…,"Username":…,"Secret":…}
//!   store  stdin: the same JSON
//!   erase  stdin: server
//!   list                             stdout: {server: user}
//! ```
//!
//! The user name `<token>` stands for an identity token. What a helper says is limited in length and never shown but as
//! an error.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::config::Credentials;
use crate::error::Failure;

/// The user name of an identity token.
const TOKEN: &str = "<token>";
/// What helpers say of a server they know nothing about.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// A helper by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialHelper {
    program: String,
}

#[derive(Serialize, Deserialize)]
struct Secret {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

impl CredentialHelper {
    /// The helper of that name; `None` where the name is none.
    pub fn named(name: &str) -> Option<Self> {
        let valid = !name.is_empty() && !name.contains('/');
        valid.then(|| Self { program: format!("docker-credential-{name}") })
    }

    /// What it keeps for a server.
    pub fn get(&self, server: &str) -> Result<Option<Credentials>, Failure> {
        let answer = match self.run("get", server.as_bytes())? {
            Answer::Done(answer) => answer,
            Answer::Refused(text) if text.contains(NOT_FOUND) => return Ok(None),
            Answer::Refused(text) => return Err(self.failed("getting", &text)),
        };
        let secret: Secret =
            serde_json::from_slice(&answer).map_err(|error| self.failed("getting", &error.to_string()))?;
        Ok(Some(if secret.username == TOKEN {
            Credentials { identity_token: secret.secret, ..Credentials::default() }
        } else {
            Credentials { username: secret.username, password: secret.secret, ..Credentials::default() }
        }))
    }

    /// Has it keep credentials.
    pub fn store(&self, server: &str, credentials: &Credentials) -> Result<(), Failure> {
        let (username, secret) = if credentials.identity_token.is_empty() {
            (credentials.username.clone(), credentials.password.clone())
        } else {
            (TOKEN.to_owned(), credentials.identity_token.clone())
        };
        let secret = Secret { server: server.into(), username, secret };
        let text = serde_json::to_vec(&secret).map_err(|error| Failure::new(error.to_string()))?;
        match self.run("store", &text)? {
            Answer::Done(_) => Ok(()),
            Answer::Refused(text) => Err(self.failed("storing", &text)),
        }
    }

    /// Has it forget a server.
    pub fn erase(&self, server: &str) -> Result<(), Failure> {
        match self.run("erase", server.as_bytes())? {
            Answer::Done(_) => Ok(()),
            Answer::Refused(text) if text.contains(NOT_FOUND) => Ok(()),
            Answer::Refused(text) => Err(self.failed("erasing", &text)),
        }
    }

    /// The servers it knows, with their users.
    pub fn list(&self) -> Result<BTreeMap<String, String>, Failure> {
        match self.run("list", b"unused")? {
            Answer::Done(answer) => {
                serde_json::from_slice(&answer).map_err(|error| self.failed("listing", &error.to_string()))
            }
            Answer::Refused(text) => Err(self.failed("listing", &text)),
        }
    }

    fn failed(&self, doing: &str, text: &str) -> Failure {
        Failure::new(format!("error {doing} credentials - {}: {}", self.program, text.trim()))
    }

    fn run(&self, action: &str, input: &[u8]) -> Result<Answer, Failure> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::new(format!("exec: \"{}\": executable file not found in $PATH", self.program))
            }
            _ => Failure::new(format!("{}: {error}", self.program)),
        };
        let mut child = Command::new(&self.program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input) {
                // It may have its answer without having read the question.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(failed(error)),
                _ => {}
            }
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER_MAX).read_to_end(&mut answer).map_err(failed)?;
        }
        let status = child.wait().map_err(failed)?;
        Ok(if status.success() {
            Answer::Done(answer)
        } else {
            Answer::Refused(String::from_utf8_lossy(&answer).into_owned())
        })
    }
}

enum Answer {
    Done(Vec<u8>),
    Refused(String),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A helper that keeps one secret in a file beside itself.
    fn helper(directory: &std::path::Path) -> CredentialHelper {
        let program = directory.join("docker-credential-test");
        let kept = directory.join("kept");
        let script = format!(
            "#!/bin/sh\ncase $1 in\nstore) cat > {0} ;;\nget) cat >/dev/null; [ -e {0} ] || {{ echo '{NOT_FOUND}'; exit 1; }}; cat {0} ;;\n\
             erase) cat >/dev/null; rm -f {0} ;;\nlist) echo '{{\"reg.lan\":\"me\"}}' ;;\n*) echo no; exit 2 ;;\nesac\n",
            kept.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        CredentialHelper { program: program.to_str().unwrap().into() }
    }

    #[test]
    fn a_helper_keeps_what_it_is_given_and_forgets_it() {
        let directory = tempfile::tempdir().unwrap();
        let helper = helper(directory.path());
        assert_eq!(helper.get("reg.lan").unwrap(), None);
        let user = Credentials { username: "me".into(), password: "s".into(), ..Credentials::default() };
        let token = Credentials { identity_token: "t".into(), ..Credentials::default() };
        for credentials in [user, token] {
            helper.store("reg.lan", &credentials).unwrap();
            assert_eq!(helper.get("reg.lan").unwrap(), Some(credentials));
        }
        assert_eq!(helper.list().unwrap().get("reg.lan").map(String::as_str), Some("me"));
        helper.erase("reg.lan").unwrap();
        assert_eq!(helper.get("reg.lan").unwrap(), None);
    }

    #[test]
    fn a_helper_that_is_not_there_is_named() {
        let missing = CredentialHelper::named("no-such-helper").unwrap();
        let error = missing.get("x").unwrap_err();
        assert!(error.text.contains("docker-credential-no-such-helper"), "{}", error.text);
        assert_eq!(CredentialHelper::named("../evil"), None);
    }
}
