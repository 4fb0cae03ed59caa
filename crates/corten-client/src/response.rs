use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// An answer whose status says success; the body is still to be read.
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) operation: String,
}

impl Response {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header's value, where it is there and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame =
                frame.map_err(|source| Error::Transport { operation: self.operation.clone(), source })?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut whole = BytesMut::from(&first[..]);
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The body as one JSON value.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let operation = self.operation.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Decode { operation, source })
    }

    /// The body as JSON values one after the other.
    pub fn json_lines<T: DeserializeOwned>(self) -> JsonLines<T> {
        JsonLines { response: self, buffer: BytesMut::new(), ended: false, values: PhantomData }
    }
}

/// A stream of JSON values, whatever white space lies between them.
pub struct JsonLines<T> {
    response: Response,
    buffer: BytesMut,
    ended: bool,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    /// The next value; `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some((value, length)) = first_value(&self.buffer, self.ended)
                .map_err(|source| Error::Decode { operation: self.response.operation.clone(), source })?
            {
                let _ = self.buffer.split_to(length);
                return Ok(Some(value));
            }
            if self.ended {
                return Ok(None);
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }
}

/// The first complete value in `bytes` and how far it reaches; an unfinished one is an error only at the end.
fn first_value<T: DeserializeOwned>(
    bytes: &[u8],
    ended: bool,
) -> std::result::Result<Option<(T, usize)>, serde_json::Error> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    match values.next() {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some((value, values.byte_offset()))),
        Some(Err(error)) if error.is_eof() && !ended => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn values_are_cut_where_they_end() {
        let text = b"{\"a\":1}\r\n{\"b\":2}{\"c\"";
        let (value, length) = first_value::<Value>(text, false).unwrap().unwrap();
        assert_eq!((value, length), (json!({"a": 1}), 7));
        let (value, next) = first_value::<Value>(&text[length..], false).unwrap().unwrap();
        assert_eq!(value, json!({"b": 2}));
        assert!(first_value::<Value>(&text[length + next..], false).unwrap().is_none());
        assert!(first_value::<Value>(&text[length + next..], true).is_err());
        assert!(first_value::<Value>(b"\r\n", true).unwrap().is_none());
    }
}
