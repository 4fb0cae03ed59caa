//! `cp` and `export`.

use std::io::Write as _;

use corten_api::container::PathStat;
use corten_engine::container::{ArchiveSource, PutOptions};
use http::{HeaderName, StatusCode};

use crate::{ApiError, Request, Response, Router};

pub(super) fn routes(r: &mut Router) {
    r.head("/containers/{id}/archive", stat);
    r.get("/containers/{id}/archive", get);
    r.put("/containers/{id}/archive", put);
    r.get("/containers/{id}/export", export);
}

/// The path that a copy is about.
fn path(req: &Request) -> Result<&str, ApiError> {
    req.query().non_empty("path").ok_or_else(|| ApiError::invalid("bad parameter: path cannot be empty"))
}

fn with_stat(response: Response, stat: &PathStat) -> Result<Response, ApiError> {
    let json = serde_json::to_vec(stat).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(response.header(HeaderName::from_static("x-docker-container-path-stat"), base64(&json)))
}

async fn stat(req: Request) -> Result<Response, ApiError> {
    let stat = req.engine().containers.stat_path(req.param("id"), path(&req)?).await?;
    with_stat(Response::status(StatusCode::OK), &stat)
}

async fn get(req: Request) -> Result<Response, ApiError> {
    let source = req.engine().containers.read_archive(req.param("id"), path(&req)?).await?;
    let stat = source.stat.clone();
    with_stat(send(source, "application/x-tar"), &stat)
}

async fn export(req: Request) -> Result<Response, ApiError> {
    let source = req.engine().containers.export(req.param("id")).await?;
    Ok(send(source, "application/octet-stream"))
}

/// Packs in a thread of its own, as fast as the client takes it.
fn send(source: ArchiveSource, content_type: &'static str) -> Response {
    let (mut writer, response) = Response::writer(content_type);
    tokio::task::spawn_blocking(move || {
        let packed = source.write(&mut writer);
        let flushed = writer.flush();
        if let Err(error) = packed {
            tracing::debug!(%error, "archive not sent whole");
            writer.blocking_fail(std::io::Error::other(error));
        } else if let Err(error) = flushed {
            tracing::debug!(%error, "archive not sent whole");
        }
    });
    response
}

async fn put(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let options =
        PutOptions { keep_kinds: query.bool("noOverwriteDirNonDir"), own_by_user: query.bool("copyUIDGID") };
    let (id, path) = (req.param("id").to_owned(), path(&req)?.to_owned());
    let engine = req.engine().clone();
    let archive = req.into_body().blocking();
    engine.containers.write_archive(&id, &path, options, archive).await?;
    Ok(Response::status(StatusCode::OK))
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = u32::from(chunk[0]) << 16
            | u32::from(chunk.get(1).copied().unwrap_or(0)) << 8
            | u32::from(chunk.get(2).copied().unwrap_or(0));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize] as char;
            text.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_pads() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
