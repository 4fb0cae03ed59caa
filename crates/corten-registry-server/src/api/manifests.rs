use std::sync::Arc;

use bytes::Bytes;
use corten_store::Durability;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::blobs::matches;
use crate::catalog::{Catalog, Change, Manifest, Moment, Tagged};
use crate::digest::ContentDigest;
use crate::document::{Document, LIMIT, Needed};
use crate::error::Refusal;
use crate::http::{Payload, Reply, Target};
use crate::name::{RepositoryName, Tag};
use crate::server::{Call, Server};
use crate::storage::run;
use crate::time::now;

/// How long the body of a manifest may take.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);
/// The most tags one push may give.
const TAGS: usize = 100;

/// GET and HEAD of a manifest.
pub async fn get(call: &Call<'_>, name: RepositoryName, target: Target) -> Result<Reply, Refusal> {
    let server = call.server;
    if let Some((digest, document)) = server.cache.manifest(&name, &target).await? {
        return answer(call, &digest, &document).await;
    }
    let found = server.storage.repository(&name, |repository| {
        let digest = match &target {
            Target::Digest(digest) => digest.clone(),
            Target::Tag(tag) => repository.tags.get(tag)?.digest.clone(),
        };
        let manifest = repository.manifests.get(&digest)?.clone();
        Some((digest, manifest))
    });
    match found.flatten() {
        Some((digest, manifest)) => answer(call, &digest, &manifest).await,
        None => Err(unknown(&target)),
    }
}

fn unknown(target: &Target) -> Refusal {
    Refusal::NoSuchManifest(match target {
        Target::Tag(tag) => tag.to_string(),
        Target::Digest(digest) => digest.to_string(),
    })
}

async fn answer(call: &Call<'_>, digest: &ContentDigest, manifest: &Arc<Manifest>) -> Result<Reply, Refusal> {
    manifest.used.advance(now());
    let tag = format!("\"{digest}\"");
    let base = |status| Reply::new(status).with("docker-content-digest", digest.to_string()).with(ETAG, &tag);
    if matches(call.header(IF_NONE_MATCH), &tag) {
        return Ok(base(StatusCode::NOT_MODIFIED));
    }
    let mut reply = base(StatusCode::OK)
        .with(CONTENT_TYPE, &manifest.media_type)
        .with(CONTENT_LENGTH, manifest.size.to_string());
    if !call.is_head() {
        reply.payload = Payload::Bytes(call.server.storage.read(manifest)?.into());
    }
    Ok(reply)
}

/// PUT of a manifest.
pub async fn put(
    call: &Call<'_>,
    name: RepositoryName,
    target: Target,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let content_type = call.header(CONTENT_TYPE).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    let mut tags = call.query.all("tag").map(str::parse::<Tag>).collect::<Result<Vec<_>, _>>()?;
    if tags.len() > TAGS {
        return Err(Refusal::Parameter { name: "tag", reason: "comes more than 100 times" });
    }
    let bytes = receive(call, body).await?;
    let document = Document::parse(&content_type, &bytes)?;
    let digest = match &target {
        Target::Tag(tag) => {
            tags.push(tag.clone());
            corten_types::Digest::of(&bytes).into()
        }
        Target::Digest(expected) => {
            let found = expected
                .of_same_kind(&mut &bytes[..])
                .map_err(|error| Refusal::io("could not hash a manifest", &error))?;
            if found != *expected {
                return Err(Refusal::DigestDiffers { expected: expected.clone(), found });
            }
            found
        }
    };
    let subject = document.subject.clone();
    store(call.server, &name, digest.clone(), document, bytes, tags.clone(), None).await?;
    let mut reply = Reply::new(StatusCode::CREATED)
        .with(LOCATION, format!("/v2/{name}/manifests/{digest}"))
        .with("docker-content-digest", digest.to_string())
        .with(CONTENT_LENGTH, "0");
    if let Some(subject) = subject {
        reply = reply.with("oci-subject", subject.to_string());
    }
    if matches!(target, Target::Digest(_)) {
        for tag in tags {
            reply = reply.with("oci-tag", tag.as_str());
        }
    }
    Ok(reply)
}

async fn receive(call: &Call<'_>, body: Incoming) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::TooLarge { what: "the manifest", limit: LIMIT as u64 };
    let length = call.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > LIMIT as u64) {
        return Err(too_large());
    }
    let broken = |reason: String| Refusal::UploadBroken { received: 0, reason };
    match tokio::time::timeout(DEADLINE, Limited::new(body, LIMIT).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(broken(error.to_string())),
        Err(_) => Err(broken("it took more than a minute".into())),
    }
}

/// Stores a manifest and gives it tags. `checked` is when it was seen at an upstream, whose manifests may lack what
/// they need: it is fetched when it is asked for.
pub async fn store(
    server: &Arc<Server>,
    name: &RepositoryName,
    digest: ContentDigest,
    document: Document,
    bytes: Bytes,
    tags: Vec<Tag>,
    checked: Option<u64>,
) -> Result<Arc<Manifest>, Refusal> {
    store_in(&server.storage, name, digest, document, bytes, tags, checked).await
}

/// [`store`], for whoever has the storage only.
pub async fn store_in(
    storage: &Arc<crate::storage::Storage>,
    name: &RepositoryName,
    digest: ContentDigest,
    document: Document,
    bytes: Bytes,
    tags: Vec<Tag>,
    checked: Option<u64>,
) -> Result<Arc<Manifest>, Refusal> {
    // Refused before anything is written; looked at again when nobody else changes the repository.
    if checked.is_none() {
        storage.look(|catalog| complete(catalog, name, &document))?;
    }
    let intake = storage.intake();
    let size = bytes.len() as u64;
    let (intake, content) = run(move || {
        let (content, _) = intake.copy(&mut &bytes[..], None, None)?;
        Ok((intake, content))
    })
    .await?;
    let lease = storage.commit_content(intake).await?;
    let (repository, at) = (name.clone(), now());
    storage
        .change(name, Durability::Full, vec![lease], move |catalog| {
            if checked.is_none() {
                complete(catalog, &repository, &document)?;
            }
            let manifest = Arc::new(Manifest {
                content,
                size,
                media_type: document.media_type,
                needs: document.references.iter().map(|needed| needed.digest().clone()).collect(),
                subject: document.subject,
                artifact_type: document.artifact_type,
                pushed: at,
                used: Moment::at(at),
            });
            let mut changes = vec![Change::PutManifest(repository.clone(), digest.clone(), manifest.clone())];
            for tag in tags {
                let tagged = Tagged { digest: digest.clone(), pushed: at, checked };
                changes.push(Change::PutTag(repository.clone(), tag, tagged));
            }
            Ok((changes, manifest))
        })
        .await
}

/// Whether the repository has what a document needs.
fn complete(catalog: &Catalog, name: &RepositoryName, document: &Document) -> Result<(), Refusal> {
    let repository = catalog.repository(name);
    for needed in &document.references {
        let there = repository.is_some_and(|repository| match needed {
            Needed::Blob(digest) => repository.blobs.contains_key(digest),
            // An index may list artifacts that are blobs.
            Needed::Manifest(digest) => {
                repository.manifests.contains_key(digest) || repository.blobs.contains_key(digest)
            }
        });
        if !there {
            return Err(Refusal::Incomplete(needed.digest().clone()));
        }
    }
    Ok(())
}

/// DELETE of a tag, or of a manifest with all its tags.
pub async fn delete(call: &Call<'_>, name: RepositoryName, target: Target) -> Result<Reply, Refusal> {
    let repository = name.clone();
    call.server
        .storage
        .change(&name, Durability::Full, Vec::new(), move |catalog| {
            let there = catalog.repository(&repository).ok_or_else(|| unknown(&target))?;
            let changes = match target {
                Target::Tag(ref tag) if there.tags.contains_key(tag) => {
                    vec![Change::DeleteTag(repository.clone(), tag.clone())]
                }
                Target::Digest(ref digest) if there.manifests.contains_key(digest) => {
                    let tags = there.tags.iter().filter(|(_, tagged)| tagged.digest == *digest);
                    tags.map(|(tag, _)| Change::DeleteTag(repository.clone(), tag.clone()))
                        .chain([Change::DeleteManifest(repository.clone(), digest.clone())])
                        .collect()
                }
                target => return Err(unknown(&target)),
            };
            Ok((changes, ()))
        })
        .await?;
    Ok(Reply::new(StatusCode::ACCEPTED).with(CONTENT_LENGTH, "0"))
}
