//! `import`

use corten_client::Request;
use corten_types::Reference;

use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag};
use crate::parse::{Matches, Order};
use crate::progress::{self, Sink};
use crate::session::Session;
use crate::upload;

static FLAGS: &[Flag] = &[
    flag("change", Kind::List, "Apply a Dockerfile instruction to the new image").short('c'),
    flag("message", Kind::Text, "Message of the image").short('m'),
    flag("platform", Kind::Text, "Platform the image is for"),
];

/// The command.
pub static IMPORT: Command = Command {
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    usage_also: None,
    about: "Import the contents from a tarball to create a filesystem image",
    spellings: &["image import", "import"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let source = &m.args[0];
    let url = source.starts_with("http://") || source.starts_with("https://");
    let mut request = Request::post("/images/create");
    if let Some(name) = m.args.get(1) {
        let _: Reference = name.parse().map_err(|error| Failure::new(format!("{error}")))?;
        request = request.query("repo", name);
    }
    request = if url {
        request.query("fromSrc", source)
    } else {
        let body = if source == "-" { upload::reader(std::io::stdin()) } else { upload::file(source)? };
        request.query("fromSrc", "-").header("Content-Type", "text/plain").body(body)
    };
    request = request
        .query_some("message", m.given("message"))
        .query_some("platform", m.given("platform").map(str::to_lowercase));
    for change in m.list("change") {
        request = request.query("changes", change);
    }
    progress::show(session, request, Sink::Out).await.map(drop)
}
