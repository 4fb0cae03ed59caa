//! Attaching to containers, over the raw connection or a WebSocket, and the size of their terminals.

use corten_engine::attach::AttachRequest;
use corten_engine::logs::Framing;
use corten_engine::shim::Size;
use http::header::{CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT};
use tokio::io::AsyncWriteExt as _;

use crate::http::Body;
use crate::{ApiError, Hijack, Query, Request, Response, Router};

mod websocket;

/// Registers them.
pub fn routes(r: &mut Router) {
    r.post("/containers/{id}/attach", attach);
    r.get("/containers/{id}/attach/ws", attach_by_websocket);
    r.post("/containers/{id}/resize", resize);
}

async fn attach(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let request = AttachRequest {
        stdin: query.bool("stdin"),
        stdout: query.bool("stdout"),
        stderr: query.bool("stderr"),
        logs: query.bool("logs"),
        stream: query.bool("stream"),
        detach_keys: query.text("detachKeys").unwrap_or_default().to_owned(),
    };
    let attachment = match req.engine().attach(req.param("id"), request) {
        Ok(attachment) => attachment,
        Err(error) => return Ok(refusal(&error.into())),
    };
    let content_type = if attachment.tty() { Hijack::RAW } else { Hijack::MULTIPLEXED };
    Ok(Response::hijack(Hijack::new(content_type, async move |mut connection| {
        let framing = if attachment.tty() { Framing::Raw } else { Framing::Multiplexed };
        if let Some(mut history) = attachment.history(framing) {
            while let Some(batch) = history.recv().await {
                let Ok(batch) = batch else { break };
                if connection.write_all(&batch).await.is_err() {
                    return;
                }
            }
        }
        let Ok(socket) = connection.into_socket().await else { return };
        if let Err(error) = attachment.connect(socket).await {
            tracing::debug!(%error, "a client was not attached");
        }
    })))
}

async fn attach_by_websocket(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    // Older clients have no say in the streams.
    let wants = |name: &str| !req.version().at_least(42) || query.bool(name);
    let request = AttachRequest {
        stdin: wants("stdin"),
        stdout: wants("stdout"),
        stderr: wants("stderr"),
        logs: query.bool("logs"),
        stream: query.bool("stream"),
        detach_keys: query.text("detachKeys").unwrap_or_default().to_owned(),
    };
    let attachment = req.engine().attach(req.param("id"), request)?;
    let accept = websocket::accept(&req)?;
    let binary = req.version().at_least(28);
    let hijack = Hijack::switch(move |connection| websocket::serve(connection, attachment, binary));
    Ok(Response::hijack(hijack).header(SEC_WEBSOCKET_ACCEPT, accept))
}

/// Docker refuses an attach after it took the connection over: in plain text, under the stream's type.
fn refusal(error: &ApiError) -> Response {
    let text = format!("{}\r\n", error.message());
    Response::new(error.status(), Body::full(text)).header(CONTENT_TYPE, Hijack::RAW)
}

async fn resize(req: Request) -> Result<Response, ApiError> {
    let size = terminal_size(req.query())?;
    req.engine().resize(req.param("id"), size).await?;
    Ok(Response::status(http::StatusCode::OK))
}

/// The parameters `h` and `w`, in Docker's words when they are no sizes.
pub(super) fn terminal_size(query: &Query) -> Result<Size, ApiError> {
    let number = |name: &str, what: &str| {
        let text = query.text(name).unwrap_or_default();
        parse_u32(text).map_err(|why| ApiError::invalid(format!("invalid resize {what} {text:?}: {why}")))
    };
    let (height, width) = (number("h", "height")?, number("w", "width")?);
    // What no terminal has is cut to the largest it can have.
    let cut = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Ok(Size { width: cut(width), height: cut(height) })
}

fn parse_u32(text: &str) -> Result<u32, &'static str> {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |digits| (digits, true));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    match digits.parse() {
        Ok(number) if !negative => Ok(number),
        _ => Err("value out of range"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_refused_in_dockers_words() {
        let size = |text: &str| terminal_size(&Query::parse(text));
        assert_eq!(size("h=40&w=120").unwrap(), Size { width: 120, height: 40 });
        assert_eq!(size("h=40&w=99999").unwrap().width, u16::MAX);
        for (query, text) in [
            ("w=1", r#"invalid resize height "": invalid syntax"#),
            ("h=x&w=1", r#"invalid resize height "x": invalid syntax"#),
            ("h=1&w=-1", r#"invalid resize width "-1": value out of range"#),
            ("h=1&w=+1", r#"invalid resize width " 1": invalid syntax"#),
            ("h=1&w=4294967296", r#"invalid resize width "4294967296": value out of range"#),
        ] {
            assert_eq!(size(query).unwrap_err().message(), text);
        }
    }
}
