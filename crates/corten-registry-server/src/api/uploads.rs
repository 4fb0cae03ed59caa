use std::sync::Arc;

use corten_store::Durability;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use hyper::body::{Body as _, Incoming};

use crate::auth::{Action, Wish};
use crate::catalog::Change;
use crate::digest::ContentDigest;
use crate::error::Refusal;
use crate::http::Reply;
use crate::name::RepositoryName;
use crate::server::Call;
use crate::time::now;
use crate::uploads::Upload;

/// POST: a blob from another repository, a whole blob, or a place to send one to.
pub async fn begin(call: &Call<'_>, name: RepositoryName, body: Incoming) -> Result<Reply, Refusal> {
    let server = call.server;
    if let Some(digest) = call.query.get("mount") {
        let digest: ContentDigest = digest.parse()?;
        let from = call.query.get("from").map(str::parse::<RepositoryName>).transpose()?;
        if mount(call, &name, &digest, from.as_ref()).await? {
            return Ok(created(&name, &digest));
        }
    }
    let whole = call.query.get("digest").map(str::parse::<ContentDigest>).transpose()?;
    let upload = server.uploads.begin(&server.storage, name.clone())?;
    let Some(digest) = whole else {
        return Ok(standing(&upload, StatusCode::ACCEPTED));
    };
    let stored = match server.uploads.append(&upload, body).await {
        Ok(()) => server.uploads.finish(&server.storage, &upload, digest.clone()).await,
        Err(refusal) => Err(refusal),
    };
    if stored.is_err() {
        server.uploads.cancel(&upload);
    }
    stored.map(|()| created(&name, &digest))
}

/// Gives the repository a blob of another one that the caller may read. False where there is none such.
async fn mount(
    call: &Call<'_>,
    name: &RepositoryName,
    digest: &ContentDigest,
    from: Option<&RepositoryName>,
) -> Result<bool, Refusal> {
    let server = call.server;
    let lease = server.storage.intake();
    let may = |name: &RepositoryName| {
        let wish = Wish::Repository(name.clone(), Action::Pull);
        server.guard.allows(&call.principal, &wish)
    };
    let found = server.storage.look(|catalog| {
        let blob = match from {
            Some(from) => catalog.repository(from).filter(|_| may(from))?.blobs.get(digest),
            None => {
                let mut all = catalog.repositories("").filter(|(name, _)| may(name));
                all.find_map(|(_, repository)| repository.blobs.get(digest))
            }
        };
        // Held while the catalog is looked at, so that there is no moment at which it could be collected.
        blob.filter(|blob| lease.hold(&blob.content)).cloned()
    });
    let Some(blob) = found else { return Ok(false) };
    blob.used.advance(now());
    let (repository, digest) = (name.clone(), digest.clone());
    server
        .storage
        .change(name, Durability::None, vec![lease], move |_| {
            Ok((vec![Change::PutBlob(repository, digest, blob)], ()))
        })
        .await?;
    Ok(true)
}

/// PATCH: the next piece.
pub async fn append(
    call: &Call<'_>,
    name: &RepositoryName,
    id: &str,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let upload = call.server.uploads.find(name, id)?;
    piece(call, &upload, body).await?;
    Ok(standing(&upload, StatusCode::ACCEPTED))
}

/// PUT: the last piece, if any, and the digest of the whole.
pub async fn finish(
    call: &Call<'_>,
    name: RepositoryName,
    id: &str,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let upload = call.server.uploads.find(&name, id)?;
    let digest = call.query.get("digest");
    let digest = digest.ok_or(Refusal::Parameter { name: "digest", reason: "is missing" })?;
    let digest: ContentDigest = digest.parse()?;
    if !body.is_end_stream() || call.header(CONTENT_RANGE).is_some() {
        piece(call, &upload, body).await?;
    }
    call.server.uploads.finish(&call.server.storage, &upload, digest.clone()).await?;
    Ok(created(&name, &digest))
}

/// Adds a piece, which must begin where the upload stands if it says where it begins.
async fn piece(call: &Call<'_>, upload: &Arc<Upload>, body: Incoming) -> Result<(), Refusal> {
    if let Some(range) = call.header(CONTENT_RANGE) {
        let wrong = || Refusal::Header { name: "Content-Range" };
        let (first, last) = content_range(range).ok_or_else(wrong)?;
        let length = body.size_hint().exact();
        if first != upload.offset() || last < first || length.is_some_and(|length| length != last - first + 1)
        {
            return Err(Refusal::UploadRange { offset: upload.offset(), location: upload.location() });
        }
    }
    call.server.uploads.append(upload, body).await
}

/// `first-last`, as the specification writes it, or with the unit and size that RFC 9110 wants.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let text = text.trim();
    let text = text.strip_prefix("bytes").unwrap_or(text).trim_start_matches([' ', '=']);
    let (first, last) = text.split('/').next()?.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

/// GET: how much is here.
pub fn status(call: &Call<'_>, name: &RepositoryName, id: &str) -> Result<Reply, Refusal> {
    Ok(standing(&*call.server.uploads.find(name, id)?, StatusCode::NO_CONTENT))
}

/// DELETE: nothing is to come of it.
pub fn cancel(call: &Call<'_>, name: &RepositoryName, id: &str) -> Result<Reply, Refusal> {
    let upload = call.server.uploads.find(name, id)?;
    call.server.uploads.cancel(&upload);
    Ok(Reply::new(StatusCode::NO_CONTENT))
}

fn standing(upload: &Upload, status: StatusCode) -> Reply {
    let reply = Reply::new(status)
        .with(LOCATION, upload.location())
        .with(RANGE, format!("0-{}", upload.offset().saturating_sub(1)))
        .with("docker-upload-uuid", upload.id());
    if status == StatusCode::NO_CONTENT { reply } else { reply.with(CONTENT_LENGTH, "0") }
}

fn created(name: &RepositoryName, digest: &ContentDigest) -> Reply {
    Reply::new(StatusCode::CREATED)
        .with(LOCATION, format!("/v2/{name}/blobs/{digest}"))
        .with("docker-content-digest", digest.to_string())
        .with(CONTENT_LENGTH, "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_piece_is_read_in_all_its_forms() {
        assert_eq!(content_range("0-9"), Some((0, 9)));
        assert_eq!(content_range("bytes 10-19/*"), Some((10, 19)));
        assert_eq!(content_range("bytes=5-5"), Some((5, 5)));
        for bad in ["", "5", "-5", "5-", "a-b", "bytes */10", "-1-5"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
