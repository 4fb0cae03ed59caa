//! `--chown` and `--chmod`: names to numbers by the image's own files, and mode texts to bits.

use std::io::Read;
use std::os::fd::BorrowedFd;

use corten_sys::path::Root;
use rustix::fs::{FileType, OFlags};

/// The largest `passwd` or `group` that is read from an image.
const FILE_LIMIT: u64 = 10 << 20;

/// A user and a group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Owner {
    /// root:root.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// Why an owner or a mode cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// More than one colon, or nothing at all.
    #[error("invalid chown string format: {0}")]
    Format(String),
    /// The image has no such user.
    #[error("can't find uid for user {0}: no such user: {0}")]
    User(String),
    /// The image has no such group.
    #[error("can't find gid for group {0}: no such group: {0}")]
    Group(String),
    /// The mode is neither octal nor symbolic.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Mode(String),
}

/// `user[:group]` in the image whose root is `root`. A user alone is its own group's name.
pub fn owner(text: &str, root: BorrowedFd<'_>) -> Result<Owner, OwnerError> {
    let (user, group) = match text.split(':').collect::<Vec<_>>()[..] {
        [user] => (user, user),
        [user, group] => (user, group),
        _ => return Err(OwnerError::Format(text.into())),
    };
    let number = |name: &str, file: &str| match name.parse::<u32>() {
        Ok(number) => Some(number),
        Err(_) => lookup(&read_small_file(root, file), name),
    };
    Ok(Owner {
        uid: number(user, "/etc/passwd").ok_or_else(|| OwnerError::User(user.into()))?,
        gid: number(group, "/etc/group").ok_or_else(|| OwnerError::Group(group.into()))?,
    })
}

/// The third field of the line whose first field is `name`.
fn lookup(file: &str, name: &str) -> Option<u32> {
    let mut lines = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find_map(
        |fields| if fields.first() == Some(&name) { fields.get(2)?.trim().parse().ok() } else { None },
    )
}

/// A regular file of the image, empty where it is missing, of another kind or too large.
fn read_small_file(root: BorrowedFd<'_>, path: &str) -> String {
    let Ok(file) = Root::new(root).open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) else {
        return String::new();
    };
    let regular = rustix::fs::fstat(&file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && u64::try_from(stat.st_size).is_ok_and(|size| size <= FILE_LIMIT)
    });
    let mut bytes = Vec::new();
    if regular {
        let _ = std::fs::File::from(file).take(FILE_LIMIT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What `--chmod` does to a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// Sets all bits.
    Octal(u32),
    /// `u=rwX,go=rX`: changes some.
    Symbolic(Vec<Clause>),
}

/// One `who op permissions` of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clause {
    /// Which of the bits `0o7777` it speaks of.
    who: u32,
    operator: char,
    /// Permission bits for everybody, cut by `who` when applied.
    bits: u32,
    /// `X`: execution only for directories and for what somebody may execute already.
    conditional: bool,
}

impl Chmod {
    /// Reads an octal or symbolic mode.
    pub fn parse(text: &str) -> Result<Self, OwnerError> {
        let invalid = || OwnerError::Mode(text.into());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| invalid())?;
            return if mode <= 0o7777 { Ok(Self::Octal(mode)) } else { Err(invalid()) };
        }
        text.split(',')
            .map(|clause| Clause::parse(clause).ok_or_else(invalid))
            .collect::<Result<_, _>>()
            .map(Self::Symbolic)
    }

    /// The mode bits that `mode` becomes.
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => clauses.iter().fold(mode & 0o7777, |mode, clause| {
                let execute = if clause.conditional && (directory || mode & 0o111 != 0) { 0o111 } else { 0 };
                let bits = (clause.bits | execute) & clause.who;
                match clause.operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => (mode & !(clause.who & 0o777)) | bits,
                }
            }),
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let at = text.find(['+', '-', '='])?;
        let mut who = 0;
        for c in text[..at].chars() {
            who |= match c {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o1007,
                'a' => 0o7777,
                _ => return None,
            };
        }
        if at == 0 {
            who = 0o7777;
        }
        let mut clause = Self { who, operator: char::from(text.as_bytes()[at]), bits: 0, conditional: false };
        for c in text[at + 1..].chars() {
            match c {
                'r' => clause.bits |= 0o444,
                'w' => clause.bits |= 0o222,
                'x' => clause.bits |= 0o111,
                'X' => clause.conditional = true,
                's' => clause.bits |= 0o6000,
                't' => clause.bits |= 0o1000,
                _ => return None,
            }
        }
        Some(clause)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn modes_are_octal_or_symbolic() {
        let apply = |text: &str, mode, directory| Chmod::parse(text).unwrap().apply(mode, directory);
        assert_eq!(apply("755", 0o600, false), 0o755);
        assert_eq!(apply("u=rwX,go=rX", 0o600, false), 0o644);
        assert_eq!(apply("u=rwX,go=rX", 0o600, true), 0o755);
        assert_eq!(apply("+x", 0o644, false), 0o755);
        assert_eq!(apply("a-w,u+s", 0o666, false), 0o4444);
        for bad in ["", "8", "77777", "u", "z+x", "u+q", "0o7"] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_come_from_the_images_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:\nweb:x:33:44::/:\n").unwrap();
        std::fs::write(dir.path().join("etc/group"), "web:x:55:\nstaff:x:50:\n").unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let find = |text: &str| owner(text, root.as_fd());
        assert_eq!(find("web"), Ok(Owner { uid: 33, gid: 55 }));
        assert_eq!(find("web:staff"), Ok(Owner { uid: 33, gid: 50 }));
        assert_eq!(find("7:8"), Ok(Owner { uid: 7, gid: 8 }));
        assert_eq!(find("9"), Ok(Owner { uid: 9, gid: 9 }));
        assert_eq!(
            find("nobody").unwrap_err().to_string(),
            "can't find uid for user nobody: no such user: nobody"
        );
        assert!(matches!(find("a:b:c"), Err(OwnerError::Format(_))));
    }
}
