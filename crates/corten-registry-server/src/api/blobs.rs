use corten_store::Durability;
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};

use crate::cache::Fetched;
use crate::catalog::{Blob, Change};
use crate::digest::ContentDigest;
use crate::error::Refusal;
use crate::http::{FilePart, Payload, Reply, Wanted, wanted};
use crate::name::RepositoryName;
use crate::server::Call;
use crate::storage::run;
use crate::time::now;

/// Blobs up to this size are answered from memory.
const SMALL: u64 = 16 << 10;
/// What is at a digest never changes.
const FOREVER: &str = "max-age=31536000, immutable";

/// GET and HEAD of a blob.
pub async fn get(call: &Call<'_>, name: RepositoryName, digest: ContentDigest) -> Result<Reply, Refusal> {
    let storage = &call.server.storage;
    let blob = match storage.blob(&name, &digest) {
        Some(blob) => {
            if call.server.cache.upstream_of(&name).is_some() {
                call.server.cache.hit();
            }
            blob
        }
        None => match call.server.cache.blob(&name, &digest, call.is_head()).await? {
            Some(Fetched::Stored(blob)) => blob,
            Some(Fetched::Passing { size, pieces }) => {
                let reply = described(&digest, size);
                return Ok(Reply { payload: Payload::Stream(pieces, size), ..reply });
            }
            None => return Err(Refusal::NoSuchBlob(digest)),
        },
    };
    // Whoever asked for it may rely on it: a manifest that needs it may come next.
    blob.used.advance(now());
    answer(call, &digest, &blob).await
}

fn described(digest: &ContentDigest, size: u64) -> Reply {
    Reply::new(StatusCode::OK)
        .with(CONTENT_TYPE, "application/octet-stream")
        .with(CONTENT_LENGTH, size.to_string())
        .with("docker-content-digest", digest.to_string())
        .with(ETAG, format!("\"{digest}\""))
        .with(CACHE_CONTROL, FOREVER)
        .with(ACCEPT_RANGES, "bytes")
}

async fn answer(call: &Call<'_>, digest: &ContentDigest, blob: &Blob) -> Result<Reply, Refusal> {
    let tag = format!("\"{digest}\"");
    if matches(call.header(IF_NONE_MATCH), &tag) {
        let reply = Reply::new(StatusCode::NOT_MODIFIED).with(ETAG, &tag);
        return Ok(reply.with(CACHE_CONTROL, FOREVER));
    }
    let mut reply = described(digest, blob.size);
    // A part is wanted of this very content only (RFC 9110, 13.1.5).
    let same = call.header(IF_RANGE).is_none_or(|wanted| wanted == tag);
    let range = match wanted(call.header(RANGE).filter(|_| same), blob.size) {
        Wanted::Whole => 0..blob.size,
        Wanted::Nothing => return Err(Refusal::Range { size: blob.size }),
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, blob.size);
            reply.headers.remove(CONTENT_LENGTH);
            reply.status = StatusCode::PARTIAL_CONTENT;
            reply =
                reply.with(CONTENT_LENGTH, (range.end - range.start).to_string()).with(CONTENT_RANGE, text);
            range
        }
    };
    if call.is_head() || range.is_empty() {
        return Ok(reply);
    }
    let file = call.server.storage.open_content(&blob.content)?;
    if range.end - range.start > SMALL {
        reply.payload = Payload::File(FilePart { file, range });
        return Ok(reply);
    }
    let bytes = run(move || {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        let read = std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, range.start);
        read.map_err(|error| Refusal::io("could not read a blob", &error))?;
        Ok(bytes)
    });
    reply.payload = Payload::Bytes(bytes.await?.into());
    Ok(reply)
}

/// Whether an `If-None-Match` names a tag.
pub fn matches(header: Option<&str>, tag: &str) -> bool {
    header.is_some_and(|header| {
        header.split(',').map(str::trim).any(|named| named == "*" || named.trim_start_matches("W/") == tag)
    })
}

/// DELETE of a blob: the repository has it no longer.
pub async fn delete(call: &Call<'_>, name: RepositoryName, digest: ContentDigest) -> Result<Reply, Refusal> {
    let repository = name.clone();
    call.server
        .storage
        .change(&name, Durability::Full, Vec::new(), move |catalog| {
            let there = catalog.repository(&repository).is_some_and(|r| r.blobs.contains_key(&digest));
            if !there {
                return Err(Refusal::NoSuchBlob(digest));
            }
            Ok((vec![Change::DeleteBlob(repository, digest)], ()))
        })
        .await?;
    Ok(Reply::new(StatusCode::ACCEPTED).with(CONTENT_LENGTH, "0"))
}
