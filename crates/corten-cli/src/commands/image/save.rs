//! `save`

use corten_client::Request;

use super::push::platform_json;
use crate::command::{Arity, Command};
use crate::download::to_file_or_pipe;
use crate::each::image;
use crate::error::Outcome;
use crate::flag::{Flag, Kind, flag};
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    flag("output", Kind::Text, "Write to a file, instead of STDOUT").short('o'),
    flag("platform", Kind::Text, "Save only this platform's image (os[/arch[/variant]])"),
];

/// The command.
pub static SAVE: Command = Command {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    usage_also: None,
    about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
    spellings: &["image save", "save"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let mut request = match m.args.as_slice() {
        [one] => Request::get(image(one, "/get")),
        several => {
            several.iter().fold(Request::get("/images/get"), |request, name| request.query("names", name))
        }
    };
    if let Some(platform) = m.given("platform") {
        request = request.query("platform", platform_json(platform));
    }
    to_file_or_pipe(session, request, m.text("output"), "failed to save image").await
}
