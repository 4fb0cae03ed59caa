//! What a handler answers.

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use std::io;

use super::body::{Body, BodyWriter, JsonLines};
use super::hijack::Hijack;
use crate::ApiError;

/// A handler's answer: a plain or streamed HTTP response, or the raw connection ([`Response::hijack`]).
pub struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Body(Body),
    Hijack(Hijack),
}

impl Response {
    /// A response with this status and body.
    pub fn new(status: StatusCode, body: Body) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Body(body) }
    }

    /// 200 with a JSON value.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        Self::json_with(StatusCode::OK, value)
    }

    /// 201 with a JSON value.
    pub fn created<T: Serialize + ?Sized>(value: &T) -> Self {
        Self::json_with(StatusCode::CREATED, value)
    }

    /// A status with a JSON value. As Go's encoder does, a line feed ends it.
    pub fn json_with<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                Self::json_bytes(status, bytes)
            }
            Err(error) => {
                let message =
                    serde_json::json!({ "message": format!("the answer cannot be encoded: {error}") });
                Self::json_bytes(StatusCode::INTERNAL_SERVER_ERROR, message.to_string())
            }
        }
    }

    /// JSON that is encoded already.
    pub fn json_bytes(status: StatusCode, bytes: impl Into<Bytes>) -> Self {
        Self::new(status, Body::full(bytes)).header(CONTENT_TYPE, "application/json")
    }

    /// 204.
    pub fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, Body::empty())
    }

    /// A status without a body.
    pub fn status(status: StatusCode) -> Self {
        Self::new(status, Body::empty())
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self::new(status, Body::full(text)).header(CONTENT_TYPE, "text/plain; charset=utf-8")
    }

    /// 200 with a body that comes piece by piece.
    pub fn stream(
        content_type: &'static str,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self::new(StatusCode::OK, Body::stream(stream)).header(CONTENT_TYPE, content_type)
    }

    /// 200 with a body that a task or a thread writes; see [`BodyWriter`].
    pub fn writer(content_type: &'static str) -> (BodyWriter, Self) {
        let (writer, body) = Body::channel();
        (writer, Self::new(StatusCode::OK, body).header(CONTENT_TYPE, content_type))
    }

    /// 200 with a progress stream (pull, push, build, load, import): JSON values, each ended by `\r\n`.
    pub fn progress() -> (JsonLines, Self) {
        let (writer, response) = Self::writer("application/json");
        (writer.json_lines("\r\n"), response)
    }

    /// 200 with JSON values, each ended by a line feed (events, stats).
    pub fn json_lines() -> (JsonLines, Self) {
        let (writer, response) = Self::writer("application/json");
        (writer.json_lines("\n"), response)
    }

    /// Takes the connection over: the server writes the head (101 or 200, by what the client asked for), then calls the closure of the
    /// [`Hijack`] with the raw connection.
    pub fn hijack(hijack: Hijack) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), content: Content::Hijack(hijack) }
    }

    /// The response to an error.
    pub fn error(error: &ApiError) -> Self {
        let status = error.status();
        if status == StatusCode::NOT_MODIFIED {
            return Self::status(status);
        }
        if error.is_plain() {
            let nosniff = HeaderName::from_static("x-content-type-options");
            return Self::text(status, format!("{}\n", error.message())).header(nosniff, "nosniff");
        }
        Self::json_with(status, &serde_json::json!({ "message": error.message() }))
    }

    /// The same head without the body (answers to `HEAD`).
    #[must_use]
    pub(crate) fn without_body(mut self) -> Self {
        let Content::Body(body) = &self.content else { return self };
        if !body.is_stream() && !self.headers.contains_key(CONTENT_LENGTH) {
            let length = http_body::Body::size_hint(body).exact().unwrap_or(0);
            self = self.content_length(length);
        }
        self.content = Content::Body(Body::empty());
        self
    }

    /// Adds or replaces a header. A value that HTTP cannot carry is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_ref()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// States the length of the body it would have (answers to `HEAD`).
    #[must_use]
    pub fn content_length(self, length: u64) -> Self {
        self.header(CONTENT_LENGTH, length.to_string())
    }
}
