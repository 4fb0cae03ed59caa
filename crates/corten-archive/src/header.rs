//! The 512 bytes of a tar header: v7, ustar and GNU.

use crate::error::ApplyError;

pub(crate) const BLOCK: usize = 512;
pub(crate) type Block = [u8; BLOCK];

/// A header's fields, as they stand.
#[derive(Debug)]
pub(crate) struct Header {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub flag: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: i64,
    pub major: u32,
    pub minor: u32,
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    V7,
    Ustar,
    Gnu,
}

const fn invalid(reason: &'static str) -> ApplyError {
    ApplyError::header(reason)
}

impl Header {
    /// Reads a block that is not all zeros.
    pub(crate) fn parse(block: &Block) -> Result<Self, ApplyError> {
        let stored = number(&block[148..156]).ok_or(invalid("checksum"))?;
        let (unsigned, signed) = checksums(block);
        if stored != unsigned && stored != signed {
            return Err(invalid("checksum"));
        }
        let format = match (&block[257..263], &block[263..265]) {
            (b"ustar ", b" \0") => Format::Gnu,
            (b"ustar\0", _) => Format::Ustar,
            _ => Format::V7,
        };
        let mut path = text(&block[..100]).to_vec();
        if format == Format::Ustar {
            let prefix = text(&block[345..500]);
            if !prefix.is_empty() {
                path = [prefix, b"/", &path].concat();
            }
        }
        let flag = match block[156] {
            // Old archives marked directories by a slash alone.
            0 if path.last() == Some(&b'/') => b'5',
            0 | b'7' => b'0',
            flag => flag,
        };
        let positive = |field: &[u8], what| -> Result<u64, ApplyError> {
            number(field).and_then(|n| u64::try_from(n).ok()).ok_or(invalid(what))
        };
        let device = |field: &[u8]| -> Result<u32, ApplyError> {
            u32::try_from(positive(field, "device number")?).map_err(|_| invalid("device number"))
        };
        let (major, minor) = match format {
            Format::V7 => (0, 0),
            Format::Ustar | Format::Gnu => (device(&block[329..337])?, device(&block[337..345])?),
        };
        Ok(Self {
            path,
            link: text(&block[157..257]).to_vec(),
            flag,
            mode: (positive(&block[100..108], "mode")? & 0o7777) as u32,
            uid: positive(&block[108..116], "uid")?,
            gid: positive(&block[116..124], "gid")?,
            size: positive(&block[124..136], "size")?,
            mtime: number(&block[136..148]).ok_or(invalid("mtime"))?,
            major,
            minor,
            format,
        })
    }
}

/// Bytes up to the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number: octal digits between spaces and NULs, or base 256 with the first bit set. Empty is zero.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, &byte) in field.iter().enumerate() {
            let byte = match (i, negative) {
                (0, false) => byte & 0x7f,
                _ => byte,
            };
            value = value.checked_shl(8)? | i128::from(byte);
            if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
                return None;
            }
        }
        return i64::try_from(value).ok();
    }
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(blank) {
        return None;
    }
    digits[..end].iter().try_fold(0_i64, |value, &b| {
        let digit = matches!(b, b'0'..=b'7').then(|| i64::from(b - b'0'))?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

/// The sum of all bytes with the checksum field as spaces, unsigned and (by some old programs) signed.
pub(crate) fn checksums(block: &Block) -> (i64, i64) {
    let field = &block[148..156];
    let unsigned = |bytes: &[u8]| bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>();
    let signed = |bytes: &[u8]| bytes.iter().map(|&byte| i32::from(byte.cast_signed())).sum::<i32>();
    let spaces = 8 * i32::from(b' ');
    let unsigned = unsigned(block) - unsigned(field) + spaces;
    let signed = signed(block) - signed(field) + spaces;
    (i64::from(unsigned), i64::from(signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_octal_and_in_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b" 644 \0\0\0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"12x4567\0"), None);
        assert_eq!(number(b"12 4567\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 2]), Some(258));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
