/// Where something stands in a Dockerfile: lines from 1, both ends included, and the bytes from first to past the last.
///
/// The bytes are offsets in the source as it was given, with a byte-order mark counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First line.
    pub first_line: u32,
    /// Last line.
    pub last_line: u32,
    /// Offset of the first byte.
    pub start: usize,
    /// Offset past the last byte.
    pub end: usize,
}
