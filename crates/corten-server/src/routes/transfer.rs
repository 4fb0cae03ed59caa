//! Images from daemon to daemon: an extension of ours, below `/corten/`.

use corten_api::transfer::{Begin, Commit};
use corten_types::Digest;
use http::StatusCode;
use serde_json::json;

use crate::{ApiError, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.get("/corten/images/{name:*}/content", content);
    r.get("/corten/content/{digest}", blob);
    r.post("/corten/transfers", begin);
    r.put("/corten/transfers/{id}/{digest}", receive);
    r.post("/corten/transfers/{id}/commit", commit);
    r.delete("/corten/transfers/{id}", cancel);
}

async fn content(req: Request) -> Result<Response, ApiError> {
    Ok(Response::json(&req.engine().transfers.content(req.param("name"))?))
}

fn digest_of(req: &Request) -> Result<Digest, ApiError> {
    req.param("digest").parse().map_err(|error| ApiError::invalid(format!("invalid digest: {error}")))
}

async fn blob(req: Request) -> Result<Response, ApiError> {
    let digest = digest_of(&req)?;
    let (mut file, size) = req.engine().transfers.open_blob(&digest)?;
    let (mut out, response) = Response::writer("application/octet-stream");
    tokio::task::spawn_blocking(move || {
        let copied = std::io::copy(&mut file, &mut out).and_then(|_| std::io::Write::flush(&mut out));
        if let Err(error) = copied {
            tracing::debug!(%error, "a blob was not taken to its end");
            out.blocking_fail(error);
        }
    });
    Ok(response.content_length(size))
}

async fn begin(mut req: Request) -> Result<Response, ApiError> {
    let begin: Begin = req.required_json().await?;
    Ok(Response::created(&req.engine().transfers.begin(&begin)?))
}

async fn receive(req: Request) -> Result<Response, ApiError> {
    let digest = digest_of(&req)?;
    let id = req.param("id").to_owned();
    let (head, body) = req.into_parts();
    let size = body.length();
    head.engine().transfers.receive(&id, digest, size, Box::new(body.blocking())).await?;
    Ok(Response::status(StatusCode::CREATED))
}

async fn commit(mut req: Request) -> Result<Response, ApiError> {
    let commit: Option<Commit> = req.required_json().await?;
    let commit = commit.ok_or_else(|| ApiError::invalid("the commit of a transfer names its target"))?;
    let id = req.engine().transfers.commit(req.param("id"), &commit).await?;
    Ok(Response::json(&json!({ "Id": id.to_string() })))
}

async fn cancel(req: Request) -> Result<Response, ApiError> {
    req.engine().transfers.cancel(req.param("id"))?;
    Ok(Response::no_content())
}
