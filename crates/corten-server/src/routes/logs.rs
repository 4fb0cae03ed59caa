//! Logs of containers.

use corten_engine::logs::{Framing, LogRequest, LogsError, Tail};
use http::header::CONTENT_TYPE;

use crate::{ApiError, Hijack, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.get("/containers/{id}/logs", logs);
}

async fn logs(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let (stdout, stderr) = (query.bool("stdout"), query.bool("stderr"));
    if !stdout && !stderr {
        return Err(LogsError::NoStream.into());
    }
    let request = LogRequest {
        stdout,
        stderr,
        tail: Tail::parse(query.text("tail").unwrap_or_default()),
        follow: query.bool("follow"),
        timestamps: query.bool("timestamps"),
        details: query.bool("details"),
        ..LogRequest::default()
    };
    let log = req.engine().open_log(req.param("id"))?;
    let request =
        request.between(query.text("since").unwrap_or_default(), query.text("until").unwrap_or_default())?;
    let framing = if log.tty() { Framing::Raw } else { Framing::Multiplexed };
    let content_type =
        if log.tty() || !req.version().at_least(42) { Hijack::RAW } else { Hijack::MULTIPLEXED };
    let (mut writer, response) = Response::writer(content_type);
    let mut batches = log.read(request, framing);
    tokio::spawn(async move {
        while let Some(batch) = batches.recv().await {
            let sent = match batch {
                Ok(batch) => writer.send(batch).await,
                Err(error) => writer.send(complaint(&error, framing)).await,
            };
            if sent.is_err() {
                return;
            }
        }
    });
    Ok(response.header(CONTENT_TYPE, content_type))
}

/// An error in the middle of the stream, in Docker's form: stream 3 of a multiplexed one.
fn complaint(error: &std::io::Error, framing: Framing) -> Vec<u8> {
    let text = format!("Error grabbing logs: {error}\n");
    let mut bytes = Vec::new();
    if framing == Framing::Multiplexed {
        bytes.extend_from_slice(&[3, 0, 0, 0]);
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
