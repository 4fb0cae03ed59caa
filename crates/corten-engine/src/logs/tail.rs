//! Where the last lines of a file begin, read from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::segment::BLOCK;

/// Where the last `count` lines of a file begin, and how many of them there are. A line without an end is none.
pub(super) fn place_of_last(file: &File, count: u64) -> io::Result<(u64, u64)> {
    let mut at = file.metadata()?.len();
    if count == 0 {
        // From the end on: the half entry that may be there now becomes whole.
        return Ok((last_end(file, at)?, 0));
    }
    let mut ends = 0;
    let mut block = vec![0; BLOCK];
    while at > 0 {
        let size = usize::try_from(at).unwrap_or(BLOCK).min(BLOCK);
        at -= size as u64;
        file.read_exact_at(&mut block[..size], at)?;
        for offset in (0..size).rev().filter(|o| block[*o] == b'\n') {
            if ends == count {
                return Ok((at + offset as u64 + 1, count));
            }
            ends += 1;
        }
    }
    Ok((0, ends))
}

/// Where the last whole line ends.
fn last_end(file: &File, mut at: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    while at > 0 {
        let size = usize::try_from(at).unwrap_or(BLOCK).min(BLOCK);
        at -= size as u64;
        file.read_exact_at(&mut block[..size], at)?;
        if let Some(offset) = block[..size].iter().rposition(|b| *b == b'\n') {
            return Ok(at + offset as u64 + 1);
        }
    }
    Ok(0)
}
