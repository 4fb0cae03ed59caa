use std::fs::File;
use std::ops::Range;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::sync::mpsc;

use crate::error::Refusal;

/// An answer.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub payload: Payload,
}

/// The body of an answer.
pub enum Payload {
    /// None; the headers may still tell a length, in the answer to a HEAD.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a file.
    File(FilePart),
    /// Bytes that come from elsewhere, so many.
    Stream(mpsc::Receiver<std::io::Result<Bytes>>, u64),
}

/// Bytes of a file.
pub struct FilePart {
    /// The file.
    pub file: File,
    /// Which of its bytes.
    pub range: Range<u64>,
}

impl Reply {
    /// An answer without a body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), payload: Payload::Empty }
    }

    /// The same with a header; one that cannot be a header is left out.
    #[must_use]
    pub fn with(mut self, name: impl TryInto<HeaderName>, value: impl AsRef<str>) -> Self {
        if let (Ok(name), Ok(value)) = (name.try_into(), HeaderValue::from_str(value.as_ref())) {
            self.headers.append(name, value);
        }
        self
    }

    /// The same with a body in memory.
    #[must_use]
    pub fn bytes(mut self, content_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        self = self.with(CONTENT_TYPE, content_type).with(CONTENT_LENGTH, bytes.len().to_string());
        self.payload = Payload::Bytes(bytes);
        self
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.bytes("application/json", value.to_string())
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let (code, status) = refusal.code();
        let body =
            serde_json::json!({"errors": [{"code": code, "message": refusal.message(), "detail": null}]});
        let reply = Reply::new(status).json(&body);
        match refusal {
            Refusal::UploadRange { offset, location } => {
                reply.with(RANGE, format!("0-{}", offset.saturating_sub(1))).with(LOCATION, location)
            }
            Refusal::Range { size } => reply.with(CONTENT_RANGE, format!("bytes */{size}")),
            Refusal::Unauthorized { challenge, .. } => reply.with(WWW_AUTHENTICATE, challenge),
            Refusal::TooMany(_) => reply.with(RETRY_AFTER, "5"),
            _ => reply,
        }
    }
}
