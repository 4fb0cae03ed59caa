use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::reply::{FilePart, Payload};
use crate::access_log::Exchange;

/// How much of a file is read at once where the kernel cannot send it.
const PIECE: u64 = 256 << 10;

/// The body of an answer as hyper sends it. Its exchange ends with it.
pub struct AnswerBody {
    source: Source,
    left: u64,
    exchange: Exchange,
}

enum Source {
    Bytes(Bytes),
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

impl AnswerBody {
    /// The body of an answer.
    pub fn new(payload: Payload, exchange: Exchange) -> Self {
        let (source, left) = match payload {
            Payload::Empty => (Source::Bytes(Bytes::new()), 0),
            Payload::Bytes(bytes) => {
                let left = bytes.len() as u64;
                (Source::Bytes(bytes), left)
            }
            Payload::File(part) => {
                let left = part.range.end - part.range.start;
                (Source::Pieces(read(part)), left)
            }
            Payload::Stream(pieces, left) => (Source::Pieces(pieces), left),
        };
        Self { source, left, exchange }
    }

    fn sent(&mut self, bytes: Bytes) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.exchange.sent(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

/// Reads a file piece by piece on a thread where it may block, no faster than the client takes it.
fn read(part: FilePart) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let FilePart { file, mut range } = part;
        let file = std::sync::Arc::new(file);
        while range.start < range.end {
            let length = usize::try_from((range.end - range.start).min(PIECE)).unwrap_or(0);
            let (source, offset) = (file.clone(), range.start);
            let piece = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; length];
                source.read_exact_at(&mut buffer, offset).map(|()| Bytes::from(buffer))
            });
            let piece = piece.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            range.start += length as u64;
            let failed = piece.is_err();
            // Nobody takes the piece where the client has gone.
            if sender.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    receiver
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.source {
            Source::Bytes(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Source::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Pieces(pieces) => std::task::ready!(pieces.poll_recv(context)),
        };
        match piece {
            Some(Ok(bytes)) => self.sent(bytes),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None if self.left > 0 => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
