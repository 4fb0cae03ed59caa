/// The longest piece of a line that one entry holds, in bytes.
pub const PIECE: usize = 16 << 10;

/// What one entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The bytes, without the end of line.
    pub text: &'a [u8],
    /// Whether an end of line followed.
    pub ended: bool,
}

/// Cuts a byte stream into lines as Docker's copier does: at each `\n`, and after [`PIECE`] bytes without one. How the
/// bytes arrive makes no difference.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The beginning of a line whose end has not come; shorter than [`PIECE`].
    pending: Vec<u8>,
}

impl Splitter {
    /// Takes the next bytes and hands out every piece that is complete now.
    pub fn feed(&mut self, mut data: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while !data.is_empty() {
            let room = PIECE - self.pending.len();
            let window = &data[..data.len().min(room)];
            let end = memchr::memchr(b'\n', window);
            let (text, ended, used) = match end {
                Some(at) => (&window[..at], true, at + 1),
                None if window.len() == room => (window, false, room),
                None => {
                    self.pending.extend_from_slice(window);
                    return;
                }
            };
            if self.pending.is_empty() {
                each(Piece { text, ended });
            } else {
                self.pending.extend_from_slice(text);
                each(Piece { text: &self.pending, ended });
                self.pending.clear();
            }
            data = &data[used..];
        }
    }

    /// The stream ended: hands out what is left.
    pub fn end(&mut self, mut each: impl FnMut(Piece<'_>)) {
        if !self.pending.is_empty() {
            each(Piece { text: &self.pending, ended: false });
            self.pending = Vec::new();
        }
    }

    /// Gives an unused buffer back.
    pub fn shrink(&mut self) {
        self.pending.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut splitter = Splitter::default();
        let mut all = Vec::new();
        for chunk in chunks {
            splitter.feed(chunk, |p| all.push((p.text.to_vec(), p.ended)));
        }
        splitter.end(|p| all.push((p.text.to_vec(), p.ended)));
        all
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(pieces(&[b"a\n\nb"]), [(b"a".to_vec(), true), (vec![], true), (b"b".to_vec(), false)]);
        assert_eq!(pieces(&[b""]), []);
    }

    #[test]
    fn a_line_of_a_whole_piece_ends_in_an_empty_one() {
        let line = vec![b'x'; PIECE];
        assert_eq!(pieces(&[&line, b"\n"]), [(line.clone(), false), (vec![], true)]);
        assert_eq!(pieces(&[&line[1..], b"\n"]), [(line[1..].to_vec(), true)]);
    }

    #[test]
    fn how_bytes_arrive_makes_no_difference() {
        let mut data = Vec::new();
        for n in [0, 1, 5, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 40_000, 2, 0] {
            data.extend(std::iter::repeat_n(b'y', n));
            data.push(b'\n');
        }
        data.extend_from_slice(b"rest");
        let whole = pieces(&[&data]);
        for size in [1, 7, 4096, PIECE - 1, PIECE, PIECE + 1, 65_536] {
            let chunks: Vec<&[u8]> = data.chunks(size).collect();
            assert_eq!(pieces(&chunks), whole, "chunks of {size}");
        }
    }
}
