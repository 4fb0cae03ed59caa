//! `manifest push`

use corten_registry::Repository;
use corten_types::{Digest, Reference};

use super::entry::{Entry, list};
use super::reference;
use super::remote::{Remote, failure};
use super::shelf::{Shelf, missing};
use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("insecure", "Let the registry do without TLS"),
    switch("purge", "Forget the local list afterwards").short('p'),
];

/// The command.
pub static PUSH: Command = Command {
    usage: "[OPTIONS] MANIFEST_LIST",
    usage_also: None,
    about: "Push a manifest list to a repository",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let target = reference(&m.args[0])?;
    let shelf = Shelf::of(session);
    let entries = shelf.list(&target)?.ok_or_else(|| missing(&target))?;
    if entries.is_empty() {
        return Err(Failure::new(format!("{target} not found")));
    }
    let named =
        |platform: &corten_types::Platform| !platform.os.is_empty() && !platform.architecture.is_empty();
    if let Some(entry) = entries.iter().find(|entry| !entry.descriptor.platform.as_ref().is_some_and(named)) {
        return Err(Failure::new(format!(
            "manifest {} must have an OS and Architecture to be pushed to a registry",
            entry.reference
        )));
    }
    let (media_type, bytes) = list(&target, &entries)?;
    let remote = Remote::new(session, &[&target], m.on("insecure"));
    let repository = remote.repository(&target).await;
    for entry in entries.iter().filter(|entry| entry.reference.path() != target.path()) {
        bring(&repository, &target, entry).await?;
    }
    let digest = Digest::of(&bytes);
    let tag = target.digest().map(Digest::to_string);
    let tag = tag.as_deref().or(target.tag()).unwrap_or("latest");
    repository.put_manifest(tag, media_type, bytes.into()).await.map_err(|error| failure(&target, &error))?;
    output::line(&digest.to_string());
    if m.on("purge") { shelf.remove(&target) } else { Ok(()) }
}

/// Brings a manifest and its blobs from another repository of the same registry.
async fn bring(repository: &Repository<'_>, target: &Reference, entry: &Entry) -> Outcome {
    let from = entry.reference.path();
    let refused = |error| failure(target, &error);
    for blob in entry.blobs() {
        if repository.has_blob(&blob).await.map_err(refused)? {
            continue;
        }
        if !repository.mount(&blob, from).await.map_err(refused)? {
            return Err(Failure::new(format!("error mounting {from}@{blob} to {target}")));
        }
    }
    let digest = entry.descriptor.digest;
    let bytes = entry.bytes()?.into();
    let name = digest.to_string();
    repository.put_manifest(&name, &entry.descriptor.media_type, bytes).await.map_err(refused)?;
    output::line(&format!("Pushed ref {} with digest: {digest}", target.repository().with_digest(digest)));
    Ok(())
}
