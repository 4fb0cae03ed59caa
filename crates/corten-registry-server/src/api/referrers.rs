use corten_store::oci::media;
use http::StatusCode;
use http::header::LINK;
use serde_json::json;

use crate::digest::ContentDigest;
use crate::document::{Descriptor, Document, LIMIT};
use crate::error::Refusal;
use crate::http::{Reply, encode};
use crate::name::RepositoryName;
use crate::server::Call;
use crate::storage::run;

/// GET of what says something about a manifest, as an index; a page ends before it has more than a manifest may.
pub async fn list(call: &Call<'_>, name: RepositoryName, subject: ContentDigest) -> Result<Reply, Refusal> {
    let wanted = call.query.get("artifactType").filter(|wanted| !wanted.is_empty()).map(str::to_owned);
    let last = call.query.get("last").map(str::parse::<ContentDigest>).transpose()?;
    let mut found = call
        .server
        .storage
        .repository(&name, |repository| {
            let referrers = repository.referrers.get(&subject).into_iter().flatten();
            let rest = referrers.filter(|digest| last.as_ref().is_none_or(|last| *digest > last));
            let all = rest.filter_map(|digest| {
                let manifest = repository.manifests.get(digest)?;
                Some((digest.clone(), manifest.clone()))
            });
            all.filter(|(_, manifest)| wanted.as_ref().is_none_or(|wanted| manifest.artifact_type == *wanted))
                .collect::<Vec<_>>()
        })
        .unwrap_or_default();
    let storage = call.server.storage.clone();
    let (page, next) = run(move || {
        let (mut page, mut length) = (Vec::new(), 0);
        let mut next = None;
        for (digest, manifest) in found.drain(..) {
            // Annotations are told with the descriptor, and are in the manifest only.
            let document = Document::parse(&manifest.media_type, &storage.read(&manifest)?);
            let descriptor = Descriptor {
                media_type: manifest.media_type.clone(),
                size: manifest.size,
                digest: digest.clone(),
                urls: Vec::new(),
                artifact_type: manifest.artifact_type.clone(),
                annotations: document.map(|document| document.annotations).unwrap_or_default(),
            };
            let text = serde_json::to_value(&descriptor)
                .map_err(|error| Refusal::Failed(format!("could not write a descriptor: {error}")))?;
            length += text.to_string().len() + 1;
            if length > LIMIT - 1024 && !page.is_empty() {
                next = page.last().map(|(digest, _): &(ContentDigest, _)| digest.clone());
                break;
            }
            page.push((digest, text));
        }
        Ok((page, next))
    })
    .await?;
    let manifests: Vec<_> = page.into_iter().map(|(_, text)| text).collect();
    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests});
    let mut reply = Reply::new(StatusCode::OK).bytes(media::INDEX, index.to_string());
    if let Some(next) = next {
        let filter = wanted.as_deref().map(|w| format!("&artifactType={}", encode(w))).unwrap_or_default();
        let path = format!("/v2/{name}/referrers/{subject}?last={next}{filter}");
        reply = reply.with(LINK, format!("<{path}>; rel=\"next\""));
    }
    if wanted.is_some() {
        reply = reply.with("oci-filters-applied", "artifactType");
    }
    Ok(reply)
}
