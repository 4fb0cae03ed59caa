//! `login`, `logout`, and the credentials that requests carry.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use corten_client::Request;
use corten_types::Reference;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::command::{Arity, Command};
use crate::config::{Credentials, HUB};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::terminal;

static FLAGS: &[Flag] = &[
    flag("password", Kind::Text, "Password or token").short('p'),
    switch("password-stdin", "Read the password from STDIN"),
    flag("username", Kind::Text, "User name").short('u'),
];

/// `login`
pub static LOGIN: Command = Command {
    usage: "[OPTIONS] [SERVER]",
    usage_also: None,
    about: "Authenticate to a registry\n\nWithout a SERVER it is Docker Hub.",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::AtMost(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(login(session, m)),
};

/// `logout`
pub static LOGOUT: Command = Command {
    usage: "[SERVER]",
    about: "Log out from a registry\n\nWithout a SERVER it is Docker Hub.",
    flags: &[],
    run: |session, m| Box::pin(logout(session, m)),
    ..LOGIN
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    status: String,
    identity_token: String,
}

/// The name under which a registry's credentials are kept.
fn key_of(server: Option<&String>) -> String {
    match server.map(|server| server.trim_end_matches('/')) {
        None | Some("" | "docker.io" | "index.docker.io" | "registry-1.docker.io") => HUB.to_owned(),
        Some(server) => {
            let bare =
                server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
            bare.split('/').next().unwrap_or(bare).to_owned()
        }
    }
}

async fn login(session: &Session, m: &Matches) -> Outcome {
    let server = key_of(m.args.first());
    if m.on("password-stdin") {
        if m.changed("password") {
            return Err(Failure::new(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if !m.changed("username") {
            return Err(Failure::new("the --password-stdin option requires --username to be set"));
        }
    }
    if m.changed("password") {
        output::error_line("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let kept = session.config.credentials(&server);
    let credentials = match (m.given("username"), m.given("password"), kept) {
        (None, None, Some(kept)) => kept,
        (username, password, _) => {
            let stdin = m.on("password-stdin");
            if !stdin && (username.is_none() || password.is_none()) && !terminal::stdin_is_terminal() {
                return Err(Failure::new("Error: Cannot perform an interactive login from a non TTY device"));
            }
            let username = match username {
                Some(username) => username.to_owned(),
                None => {
                    output::put("Username: ");
                    let mut line = String::new();
                    std::io::stdin().read_line(&mut line)?;
                    line.trim().to_owned()
                }
            };
            if username.is_empty() {
                return Err(Failure::new("Error: Non-null Username Required"));
            }
            let password = match password {
                Some(password) => password.to_owned(),
                None if stdin => {
                    let text = std::io::read_to_string(std::io::stdin())?;
                    text.trim_end_matches(['\r', '\n']).to_owned()
                }
                None => {
                    output::put("Password: ");
                    terminal::read_secret()?
                }
            };
            if password.is_empty() {
                return Err(Failure::new("Error: Password Required"));
            }
            Credentials { username, password, identity_token: String::new() }
        }
    };
    let body = auth(&credentials, &server);
    let answer: Answer = session.client()?.post("/auth", &body).await?;
    let keep = if answer.identity_token.is_empty() {
        credentials
    } else {
        Credentials { password: String::new(), identity_token: answer.identity_token, ..credentials }
    };
    session.config.clone().set_credentials(&server, Some(&keep))?;
    if session.config.credential_helper(&server).is_none() {
        let file = session.config.directory().join("config.json");
        output::error_line(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper (\"credsStore\" or \"credHelpers\") to remove this warning.\n",
            file.display()
        ));
    }
    output::line(&answer.status);
    Ok(())
}

async fn logout(session: &Session, m: &Matches) -> Outcome {
    let server = key_of(m.args.first());
    if session.config.credentials(&server).is_none() {
        output::line(&format!("Not logged in to {server}"));
        return Ok(());
    }
    output::line(&format!("Removing login credentials for {server}"));
    session.config.clone().set_credentials(&server, None)
}

fn auth(credentials: &Credentials, server: &str) -> Value {
    json!({
        "username": credentials.username,
        "password": credentials.password,
        "identitytoken": credentials.identity_token,
        "serveraddress": server,
    })
}

/// A request with the credentials of a reference's registry; without any the header is empty, as docker sends it.
pub fn authorized(session: &Session, request: Request, reference: &Reference) -> Request {
    let server = if reference.domain() == "docker.io" { HUB } else { reference.domain() };
    let body = match session.config.credentials(server) {
        Some(credentials) => auth(&credentials, server),
        None => json!({}),
    };
    request.header("X-Registry-Auth", &URL_SAFE.encode(body.to_string()))
}

/// Every registry's credentials, for the builder.
pub fn registry_config(session: &Session) -> String {
    let all: Map<String, Value> = session
        .config
        .all_credentials()
        .iter()
        .map(|(server, credentials)| (server.clone(), auth(credentials, server)))
        .collect();
    URL_SAFE.encode(Value::from(all).to_string())
}
