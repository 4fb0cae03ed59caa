use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

/// A blob on its way here, unverified.
pub struct Blob {
    body: Incoming,
    size: Option<u64>,
}

impl Blob {
    pub(crate) fn new(response: Response<Incoming>) -> Self {
        let body = response.into_body();
        let size = body.size_hint().exact();
        Self { body, size }
    }

    /// How many bytes are still to come, where the registry says so.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next piece; `None` at the end. An error is a connection that broke.
    pub async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    // Trailers say nothing about a blob.
                    Err(_) => continue,
                },
                Err(error) => return Some(Err(std::io::Error::other(error))),
            }
        }
    }
}
