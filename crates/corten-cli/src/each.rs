//! Doing the same to several things: names on standard output, mistakes on standard error, all of them tried.

use corten_client::Request;

use crate::error::{Failure, Outcome};
use crate::output;
use crate::session::Session;

/// Sends one request for each name and prints the names that went well; the mistakes come together at the end.
pub async fn each(session: &Session, names: &[String], request: impl Fn(&str) -> Request) -> Outcome {
    let client = session.client()?;
    let mut mistakes = Vec::new();
    for name in names {
        match client.done(request(name)).await {
            Ok(()) => output::line(name),
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    together(mistakes)
}

/// Nothing where there are no mistakes; else all of them, one a line.
pub fn together(mistakes: Vec<String>) -> Outcome {
    if mistakes.is_empty() { Ok(()) } else { Err(Failure::new(mistakes.join("\n"))) }
}

/// A container's path.
pub fn container(name: &str, rest: &str) -> String {
    format!("/containers/{}{rest}", corten_client::encode_component(name))
}

/// An image's path; slashes and colons of the name stay what they are.
pub fn image(name: &str, rest: &str) -> String {
    let name =
        corten_client::encode_component(name).replace("%2F", "/").replace("%3A", ":").replace("%40", "@");
    format!("/images/{name}{rest}")
}
