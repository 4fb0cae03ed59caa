//! `tag`

use corten_client::Request;
use corten_types::Reference;

use crate::command::{Arity, Command};
use crate::each::image;
use crate::error::{Failure, Outcome};
use crate::parse::{Matches, Order};
use crate::session::Session;

/// The command.
pub static TAG: Command = Command {
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    usage_also: None,
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    spellings: &["image tag", "tag"],
    flags: &[],
    arity: Arity::Exactly(2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let (source, target) = (&m.args[0], &m.args[1]);
    let wrong = |text: &str, error: corten_types::ReferenceError| {
        Failure::new(format!("Error parsing reference: {text:?} is not a valid repository/tag: {error}"))
    };
    let target_reference: Reference = target.parse().map_err(|error| wrong(target, error))?;
    if target_reference.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let target_reference = target_reference.or_latest();
    let request = Request::post(image(source, "/tag"))
        .query("repo", target_reference.familiar_name())
        .query_some("tag", target_reference.tag());
    Ok(session.client()?.done(request).await?)
}
