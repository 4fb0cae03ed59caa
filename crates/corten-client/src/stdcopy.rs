//! The framing of output that has no terminal: an eight-byte head (stream, three zeros, big-endian length), then
//! that many bytes. A frame may arrive in any number of pieces.

use bytes::{Buf, Bytes, BytesMut};

/// Which output a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard input as the daemon echoes it, or standard output.
    Out,
    /// Standard error.
    Err,
    /// A message of the daemon itself about the stream.
    System,
}

/// Takes frames apart, keeping what is not yet complete.
#[derive(Default)]
pub struct Demultiplexer {
    buffer: BytesMut,
    current: Option<(Stream, usize)>,
}

/// What is not a frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Unrecognized input header: {0}")]
pub struct BadHeader(u8);

impl Demultiplexer {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece of output; `None` where more must be read first.
    pub fn next_piece(&mut self) -> Result<Option<(Stream, Bytes)>, BadHeader> {
        loop {
            match self.current {
                Some((_, 0)) => self.current = None,
                Some((stream, left)) => {
                    if self.buffer.is_empty() {
                        return Ok(None);
                    }
                    let take = left.min(self.buffer.len());
                    self.current = Some((stream, left - take));
                    return Ok(Some((stream, self.buffer.split_to(take).freeze())));
                }
                None => {
                    if self.buffer.len() < 8 {
                        return Ok(None);
                    }
                    let stream = match self.buffer[0] {
                        0 | 1 => Stream::Out,
                        2 => Stream::Err,
                        3 => Stream::System,
                        other => return Err(BadHeader(other)),
                    };
                    self.buffer.advance(4);
                    self.current = Some((stream, self.buffer.get_u32() as usize));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_in_any_pieces() {
        let mut whole = Vec::new();
        for (stream, text) in [(1_u8, "out"), (2, "err"), (1, "")] {
            whole.extend_from_slice(&[stream, 0, 0, 0]);
            whole.extend_from_slice(&(text.len() as u32).to_be_bytes());
            whole.extend_from_slice(text.as_bytes());
        }
        for size in 1..=whole.len() {
            let mut demultiplexer = Demultiplexer::default();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for piece in whole.chunks(size) {
                demultiplexer.push(piece);
                while let Some((stream, bytes)) = demultiplexer.next_piece().unwrap() {
                    if stream == Stream::Out { out.extend(bytes) } else { err.extend(bytes) }
                }
            }
            assert_eq!((&out[..], &err[..]), (&b"out"[..], &b"err"[..]), "{size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut demultiplexer = Demultiplexer::default();
        demultiplexer.push(b"hello, world");
        assert_eq!(demultiplexer.next_piece(), Err(BadHeader(b'h')));
    }
}
