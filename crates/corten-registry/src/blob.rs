use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

/// How long a body may bring nothing.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(30);

/// A blob on its way here, unverified.
pub struct Blob {
    body: Incoming,
    size: Option<u64>,
    /// Bytes that are to be passed over: the registry began at the start although it was asked for a part.
    skip: u64,
}

impl Blob {
    pub(crate) fn new(response: Response<Incoming>, skip: u64) -> Self {
        let body = response.into_body();
        let size = body.size_hint().exact().map(|size| size.saturating_sub(skip));
        Self { body, size, skip }
    }

    /// How many bytes are still to come, where the registry says so.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next piece; `None` at the end. An error is a connection that broke, or brought nothing for [`STANDSTILL`].
    pub async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        loop {
            let Ok(frame) = tokio::time::timeout(STANDSTILL, self.body.frame()).await else {
                return Some(Err(std::io::ErrorKind::TimedOut.into()));
            };
            match frame? {
                Ok(frame) => match frame.into_data() {
                    Ok(mut data) => {
                        let passed = self.skip.min(data.len() as u64);
                        self.skip -= passed;
                        data.advance(usize::try_from(passed).unwrap_or(usize::MAX));
                        if !data.is_empty() {
                            return Some(Ok(data));
                        }
                    }
                    // Trailers say nothing about a blob.
                    Err(_) => continue,
                },
                Err(error) => return Some(Err(std::io::Error::other(error))),
            }
        }
    }
}
