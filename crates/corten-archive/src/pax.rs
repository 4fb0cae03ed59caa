//! Extended headers of POSIX.1-2001: `length key=value\n`, again and again.

use crate::entry::{Attributes, Time};
use crate::error::ApplyError;

/// What the extended header before an entry says about it.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    pub xattrs: Attributes,
    pub sparse: Sparse,
}

/// GNU's notes on a sparse file, versions 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    /// Offset and length in turn.
    pub map: Option<Vec<u64>>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

const fn invalid() -> ApplyError {
    ApplyError::header("extended header")
}

impl Extended {
    pub(crate) fn parse(mut body: &[u8]) -> Result<Self, ApplyError> {
        let mut extended = Self::default();
        while !body.is_empty() {
            let space = body.iter().take(20).position(|&b| b == b' ').ok_or(invalid())?;
            let length = decimal(&body[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(invalid())?;
            if length > body.len() || length < space + 3 {
                return Err(invalid());
            }
            let (record, rest) = body.split_at(length);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or(invalid())?;
            let equals = record.iter().position(|&b| b == b'=').ok_or(invalid())?;
            extended.take(&record[..equals], &record[equals + 1..])?;
            body = rest;
        }
        Ok(extended)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ApplyError> {
        let number = || decimal(value).ok_or(invalid());
        let name = || if value.contains(&0) { Err(invalid()) } else { Ok(value.to_vec()) };
        match key {
            // An empty value takes back what an earlier record said.
            b"path" => self.path = (!value.is_empty()).then(name).transpose()?,
            b"linkpath" => self.link = (!value.is_empty()).then(name).transpose()?,
            b"size" if !value.is_empty() => self.size = Some(number()?),
            b"uid" if !value.is_empty() => self.uid = Some(number()?),
            b"gid" if !value.is_empty() => self.gid = Some(number()?),
            b"mtime" if !value.is_empty() => self.mtime = Some(time(value).ok_or(invalid())?),
            b"GNU.sparse.major" => self.sparse.major = Some(number()?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(number()?),
            b"GNU.sparse.name" => self.sparse.name = Some(name()?),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = Some(number()?),
            b"GNU.sparse.map" => {
                let map: Option<Vec<u64>> = value.split(|&b| b == b',').map(decimal).collect();
                self.sparse.map = Some(map.ok_or(invalid())?);
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let map = self.sparse.map.get_or_insert_default();
                let is_offset = key == b"GNU.sparse.offset";
                if map.len().is_multiple_of(2) != is_offset {
                    return Err(invalid());
                }
                map.push(number()?);
            }
            _ => {
                if let Some(attribute) = key.strip_prefix(XATTR) {
                    if attribute.is_empty() || attribute.contains(&0) {
                        return Err(invalid());
                    }
                    self.xattrs.retain(|(known, _)| known != attribute);
                    self.xattrs.push((attribute.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// A number in decimal digits; no sign, no space.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Seconds with an optional fraction, of which nine digits count.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&b| b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0_u32;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for i in 0..9 {
            nanoseconds = nanoseconds * 10 + fraction.get(i).map_or(0, |b| u32::from(b - b'0'));
        }
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_lies_about_length_are_refused() {
        let extended = Extended::parse(b"11 path=ab\n21 mtime=-1.25000000\n").unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"ab"[..]));
        assert_eq!(extended.mtime, Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        for bad in
            [&b"12 path=ab\n"[..], b"10 path=ab\n", b"path=ab\n", b"9999999999999999999999 a=b\n", b"3 =\n"]
        {
            assert!(Extended::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Extended::parse(b"13 path=a\0b\0\n").is_err());
    }

    #[test]
    fn attribute_values_may_hold_anything() {
        let extended = Extended::parse(b"26 SCHILY.xattr.user.x=\0\n\n").unwrap();
        assert_eq!(extended.xattrs, [(b"user.x".to_vec(), b"\0\n".to_vec())]);
    }
}
