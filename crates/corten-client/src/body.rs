use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

/// What a request carries.
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes at hand.
    Bytes(Bytes),
    /// Bytes as they come.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

/// The writing end of a streamed [`Body`].
#[derive(Clone)]
pub struct BodySender(mpsc::Sender<io::Result<Bytes>>);

impl Body {
    /// A streamed body and its writing end; a few chunks wait between the two.
    pub fn channel() -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(8);
        (BodySender(sender), Self::Stream(receiver))
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }
}

impl BodySender {
    /// Sends a chunk; false when the daemon wants no more.
    pub async fn send(&self, chunk: Bytes) -> bool {
        self.0.send(Ok(chunk)).await.is_ok()
    }

    /// Sends a chunk from a thread that may block; false when the daemon wants no more.
    pub fn blocking_send(&self, chunk: Bytes) -> bool {
        self.0.blocking_send(Ok(chunk)).is_ok()
    }

    /// Breaks the body off with an error, from a thread that may block.
    pub fn blocking_fail(&self, error: io::Error) {
        let _ = self.0.blocking_send(Err(error));
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Stream(receiver) => {
                receiver.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Empty => hyper::body::SizeHint::with_exact(0),
            Self::Bytes(bytes) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}
