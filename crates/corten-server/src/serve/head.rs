//! A look at the head of a request as it arrives, before the parser makes one meaning of it.
//!
//! A request that says both how long its body is and that it is chunked means two things to two readers: what stands
//! between them and us may have forwarded something else than we read (request smuggling). The parser takes the chunks and
//! forgets the length, so it is noticed here.

/// The longest name that matters, and its colon.
const NAME_MAX: usize = "transfer-encoding:".len();

/// Reads a head byte by byte; nothing of it is kept but what it says about its body.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The beginning of the line, in small letters, as far as it may matter.
    line: Vec<u8>,
    /// Whether anything but its end stands in the line.
    has_text: bool,
    has_length: bool,
    is_chunked: bool,
    ended: bool,
}

impl Head {
    /// Takes what arrived. What follows the head is not looked at.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                _ if self.ended => return,
                b'\n' => {
                    // Empty lines before a request are skipped by everybody.
                    self.ended = !self.has_text && self.line.capacity() > 0;
                    self.line.clear();
                    self.has_text = false;
                }
                b'\r' => {}
                _ => {
                    self.has_text = true;
                    if self.line.len() < NAME_MAX {
                        self.line.push(byte.to_ascii_lowercase());
                        self.has_length |= self.line == b"content-length:";
                        self.is_chunked |= self.line == b"transfer-encoding:";
                    }
                }
            }
        }
    }

    /// Whether it was seen to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.ended
    }

    /// Whether it says two things about its body.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.has_length && self.is_chunked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, piece: usize) -> Head {
        let mut head = Head::default();
        text.as_bytes().chunks(piece).for_each(|piece| head.take(piece));
        head
    }

    #[test]
    fn both_lengths_are_noticed_in_any_order_and_case() {
        for text in [
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\r\nPOST / HTTP/1.1\nTRANSFER-encoding:chunked\nHost: x\ncontent-LENGTH: 4\n\n",
        ] {
            for piece in [1, 7, 4096] {
                let head = read(text, piece);
                assert!(head.is_whole() && head.is_ambiguous(), "{piece}: {text}");
            }
        }
    }

    #[test]
    fn what_follows_the_head_is_not_looked_at() {
        let head =
            read("POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nTransfer-Encoding: chunked\r\n\r\n", 4096);
        assert!(head.is_whole() && !head.is_ambiguous());
        let head = read("POST / HTTP/1.1\r\nX-Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 4096);
        assert!(!head.is_whole() && !head.is_ambiguous());
    }
}
