//! Processes executed in running containers.

use corten_api::exec::{ExecOptions, ExecStartOptions};
use corten_engine::exec::{Client, ExecError, as_size};
use corten_engine::shim::Size;
use http::StatusCode;
use tokio::io::AsyncWriteExt as _;

use super::attach::terminal_size;
use crate::http::Shaped;
use crate::{ApiError, Hijack, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.post("/containers/{id}/exec", create);
    r.get("/exec/{id}/json", inspect);
    r.post("/exec/{id}/start", start);
    r.post("/exec/{id}/resize", resize);
}

async fn create(mut req: Request) -> Result<Response, ApiError> {
    let mut options: ExecOptions = req.required_json_of(Shaped::ExecCreate).await?;
    if !req.version().at_least(42) {
        options.console_size = None;
    }
    let created = req.engine().execs.create(req.param("id"), options).await?;
    Ok(Response::created(&created))
}

async fn inspect(req: Request) -> Result<Response, ApiError> {
    Ok(Response::json(&req.engine().execs.inspect(req.param("id"))?))
}

async fn start(mut req: Request) -> Result<Response, ApiError> {
    let options: ExecStartOptions = req.required_json_of(Shaped::ExecStart).await?;
    let execs = req.engine().execs.clone();
    let id = req.param("id").to_owned();
    execs.admit(&id)?;
    let size = options.console_size.filter(|_| options.tty && req.version().at_least(42));
    let size = size.and_then(|[height, width]| as_size(height, width));
    if options.detach {
        execs.start(&id, None, size).await?;
        return Ok(Response::status(StatusCode::OK));
    }
    let content_type = if options.tty { Hijack::RAW } else { Hijack::MULTIPLEXED };
    Ok(Response::hijack(Hijack::new(content_type, async move |connection| {
        let Ok(socket) = connection.into_socket().await else { return };
        // Kept for the one thing that is said if the process cannot be made.
        let Ok(spare) = socket.try_clone() else { return };
        if let Err(error) = execs.start(&id, Some(Client { socket, raw: options.tty }), size).await {
            tracing::debug!(exec = id, %error, "exec failed");
            complain(spare, &error, options.tty).await;
        }
    })))
}

/// Tells on the client's own stream why nothing runs, as Docker does.
async fn complain(socket: std::os::fd::OwnedFd, error: &ExecError, tty: bool) {
    let text = format!("{error}\r\n");
    let mut bytes = Vec::new();
    if !tty {
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    bytes.extend_from_slice(text.as_bytes());
    // Whatever kind of stream socket it is, writing is the same.
    let socket = std::os::unix::net::UnixStream::from(socket);
    if socket.set_nonblocking(true).is_ok()
        && let Ok(mut socket) = tokio::net::UnixStream::from_std(socket)
    {
        let _ = socket.write_all(&bytes).await;
    }
}

async fn resize(req: Request) -> Result<Response, ApiError> {
    let size: Size = terminal_size(req.query())?;
    req.engine().execs.resize(req.param("id"), size).await?;
    Ok(Response::status(StatusCode::OK))
}
