//! `rmi`

use corten_client::Request;
use serde::Deserialize;

use super::push::platform_json;
use crate::command::{Arity, Command};
use crate::each::{image, together};
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("force", "Remove it even where it is in use").short('f'),
    switch("no-prune", "Keep parents without a name"),
    flag("platform", Kind::Strings, "Remove only this platform's image (os[/arch[/variant]])"),
];

/// The command.
pub static RM: Command = Command {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    usage_also: None,
    about: "Remove one or more images",
    spellings: &["image rm", "image remove", "rmi"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// What was removed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Deleted {
    /// A name.
    pub untagged: String,
    /// An image or layer.
    pub deleted: String,
}

impl Deleted {
    /// The line that tells of it.
    pub fn line(&self) -> String {
        if self.deleted.is_empty() {
            format!("Untagged: {}", self.untagged)
        } else {
            format!("Deleted: {}", self.deleted)
        }
    }
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let client = session.client()?;
    let (mut mistakes, mut fatal) = (Vec::new(), false);
    for name in &m.args {
        let mut request = Request::delete(image(name, ""));
        if m.on("force") {
            request = request.query("force", "1");
        }
        if m.on("no-prune") {
            request = request.query("noprune", "1");
        }
        for platform in m.list("platform") {
            request = request.query("platforms", platform_json(platform));
        }
        match client.json::<Vec<Deleted>>(request).await {
            Ok(all) => all.iter().for_each(|deleted| output::line(&deleted.line())),
            Err(error) => {
                fatal |= !error.is_not_found();
                mistakes.push(error.to_string());
            }
        }
    }
    if m.on("force") && !fatal {
        mistakes.iter().for_each(|mistake| output::error_line(mistake));
        return Ok(());
    }
    together(mistakes)
}
