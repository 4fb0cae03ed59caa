/// What an entry of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name of an entry before.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A point in time, in seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after that second, less than a thousand million.
    pub nanoseconds: u32,
}

/// Extended attributes: name and value.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// One entry of an archive, extended headers merged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path as it stands in the archive.
    pub path: Vec<u8>,
    /// What a link points at.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of the file when unpacked; holes count.
    pub size: u64,
    /// When it was last changed.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Attributes,
    /// The pieces of a sparse file that are stored: offset and length, in order. Absent for a whole file.
    pub pieces: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// An entry that belongs to root, was changed in 1970, and has nothing special.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind, mode: u32) -> Self {
        Self {
            path: path.into(),
            link: Vec::new(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Time::default(),
            xattrs: Vec::new(),
            pieces: None,
        }
    }
}
