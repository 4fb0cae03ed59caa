//! A request as handlers see it: matched, versioned, its query decoded.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use corten_engine::Engine;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, ReadBuf};

use super::{ApiVersion, Query, Shaped};
use crate::ApiError;

/// The largest JSON body that is read.
const JSON_LIMIT: usize = 16 << 20;
/// How much of an unread body is read away.
const DRAIN_LIMIT: usize = 1 << 30;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// A request on its way to a handler.
pub struct Request {
    pub(crate) head: RequestHead,
    pub(crate) body: RequestBody,
}

/// Everything of a request but its body.
pub struct RequestHead {
    pub(crate) engine: Arc<Engine>,
    pub(crate) method: Method,
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
}

impl Request {
    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.head.engine
    }

    /// The method; `HEAD` also reaches handlers of `GET`.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The decoded value of a `{name}` in the route's pattern.
    ///
    /// # Panics
    /// When the pattern has no such parameter, which is a defect of the route.
    pub fn param(&self, name: &str) -> &str {
        let found = self.head.params.iter().find(|(n, _)| *n == name);
        &found.unwrap_or_else(|| panic!("the route has no parameter {name}")).1
    }

    /// The API version the client asked for.
    pub fn version(&self) -> ApiVersion {
        self.head.version
    }

    /// The query string.
    pub fn query(&self) -> &Query {
        &self.head.query
    }

    /// A header's value, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The head apart from the body, to keep the one while the other is consumed.
    pub fn into_parts(self) -> (RequestHead, RequestBody) {
        (self.head, self.body)
    }

    /// The body as a stream (tar archives, build contexts). No limit applies to it here.
    pub fn into_body(self) -> RequestBody {
        self.body
    }

    /// The JSON body. An empty body is the type's default, as Docker takes it; use [`Request::required_json`] where Docker refuses that.
    ///
    /// Read with Go's rules: keys match whatever their case, unknown keys are ignored, null is the default.
    pub async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        self.optional(None).await
    }

    /// The same for a body whose shape is known: refused in Docker's words, whatever the type is made of.
    pub(crate) async fn json_of<T: DeserializeOwned + Default>(
        &mut self,
        body: Shaped,
    ) -> Result<T, ApiError> {
        self.optional(Some(body)).await
    }

    /// The JSON body, which must be there.
    pub async fn required_json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        self.required(None).await
    }

    /// The same for a body whose shape is known.
    pub(crate) async fn required_json_of<T: DeserializeOwned>(
        &mut self,
        body: Shaped,
    ) -> Result<T, ApiError> {
        self.required(Some(body)).await
    }

    async fn optional<T: DeserializeOwned + Default>(&mut self, body: Option<Shaped>) -> Result<T, ApiError> {
        let bytes = self.json_bytes().await?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        decode_json(&bytes, body)
    }

    async fn required<T: DeserializeOwned>(&mut self, body: Option<Shaped>) -> Result<T, ApiError> {
        let bytes = self.json_bytes().await?;
        if bytes.is_empty() {
            return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
        }
        decode_json(&bytes, body)
    }

    async fn json_bytes(&mut self) -> Result<Bytes, ApiError> {
        let content_type = self.header("content-type").unwrap_or("").to_owned();
        let bytes = self.body.collect(JSON_LIMIT).await?;
        if !bytes.is_empty() || !content_type.is_empty() {
            check_json_type(&content_type, bytes.is_empty())?;
        }
        Ok(bytes)
    }
}

impl RequestHead {
    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The query string.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// A header's value, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The API version the client asked for.
    pub fn version(&self) -> ApiVersion {
        self.version
    }
}

/// Refuses a body that does not say it is JSON (which an HTML form cannot send).
fn check_json_type(content_type: &str, empty: bool) -> Result<(), ApiError> {
    let media = content_type.split(';').next().unwrap_or("").trim();
    if media.eq_ignore_ascii_case("application/json") || (empty && media.is_empty()) {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "unsupported Content-Type header ({content_type}): must be 'application/json'"
    )))
}

fn decode_json<T: DeserializeOwned>(bytes: &[u8], body: Option<Shaped>) -> Result<T, ApiError> {
    super::go_json::decode(bytes, body).map_err(ApiError::invalid)
}

/// A request's body: read it as [`AsyncRead`], or in a blocking thread through [`RequestBody::blocking`].
pub struct RequestBody {
    inner: Option<hyper::body::Incoming>,
    piece: Bytes,
    leftover: Option<Leftover>,
}

/// What a handler left unread of a body. An answer that overtakes its request's body would close the connection under a client that is
/// still writing, and the client would see a broken pipe rather than the answer.
#[derive(Clone, Default)]
pub(crate) struct Leftover(Arc<Mutex<Option<hyper::body::Incoming>>>);

impl Leftover {
    /// Reads the rest away, as far as it comes soon. An archive that is refused is as long as one that is not.
    pub(crate) async fn drain(&self) {
        let Some(mut rest) = self.0.lock().take() else { return };
        let mut left = DRAIN_LIMIT;
        let reading = async {
            while let Some(Ok(frame)) = rest.frame().await {
                let read = frame.data_ref().map_or(0, Bytes::len);
                left = left.saturating_sub(read);
                if left == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(inner), Some(leftover)) = (self.inner.take(), &self.leftover)
            && !inner.is_end_stream()
        {
            *leftover.0.lock() = Some(inner);
        }
    }
}

impl RequestBody {
    /// The body, and where what is not read of it will be.
    pub(crate) fn new(incoming: hyper::body::Incoming) -> (Self, Leftover) {
        let leftover = Leftover::default();
        (Self { inner: Some(incoming), piece: Bytes::new(), leftover: Some(leftover.clone()) }, leftover)
    }

    /// A body without bytes.
    pub fn empty() -> Self {
        Self { inner: None, piece: Bytes::new(), leftover: None }
    }

    /// The length the client announced, if it did.
    pub fn length(&self) -> Option<u64> {
        self.inner.as_ref().map_or(Some(0), |inner| inner.size_hint().exact())
    }

    /// The next piece, `None` at the end.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if !self.piece.is_empty() {
            return Some(Ok(std::mem::take(&mut self.piece)));
        }
        loop {
            let frame = self.inner.as_mut()?.frame().await?;
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) if data.is_empty() => {}
                Ok(Ok(data)) => return Some(Ok(data)),
                // Trailers say nothing we need.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(io::Error::other(error))),
            }
        }
    }

    /// The whole body, refused with 413 beyond `limit` bytes.
    pub async fn collect(&mut self, limit: usize) -> Result<Bytes, ApiError> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece
                .map_err(|error| ApiError::invalid(format!("cannot read the request's body: {error}")))?;
            if all.len() + piece.len() > limit {
                let message = format!("the request's body is larger than {limit} bytes");
                return Err(ApiError::with_status(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            if all.is_empty() && self.inner.as_ref().is_none_or(|i| i.is_end_stream()) {
                return Ok(piece);
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// The body as [`std::io::Read`], for a thread made by `spawn_blocking`. Call it inside the runtime.
    pub fn blocking(self) -> BlockingBody {
        BlockingBody { body: self, runtime: tokio::runtime::Handle::current() }
    }
}

impl AsyncRead for RequestBody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            let Some(inner) = &mut self.inner else { return Poll::Ready(Ok(())) };
            match ready!(Pin::new(inner).poll_frame(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let n = self.piece.len().min(buf.remaining());
        buf.put_slice(&self.piece[..n]);
        self.piece.advance(n);
        Poll::Ready(Ok(()))
    }
}

/// See [`RequestBody::blocking`].
pub struct BlockingBody {
    body: RequestBody,
    runtime: tokio::runtime::Handle,
}

impl io::Read for BlockingBody {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.body.piece.is_empty() {
            match self.runtime.block_on(self.body.next()) {
                None => return Ok(0),
                Some(piece) => self.body.piece = piece?,
            }
        }
        let n = self.body.piece.len().min(buf.len());
        buf[..n].copy_from_slice(&self.body.piece[..n]);
        self.body.piece.advance(n);
        Ok(n)
    }
}
