/// What an error means to whoever asked, whatever layer it comes from.
///
/// One table maps it to an HTTP status (`corten-server`), one to an exit code (`corten-cli`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing that was named does not exist (404).
    NotFound,
    /// The request cannot be meant as it stands (400).
    InvalidArgument,
    /// The thing exists, but its state forbids what was asked (409).
    Conflict,
    /// What was asked for is so already (304).
    NotModified,
    /// The caller must say who it is (401).
    Unauthorized,
    /// The caller may not do this (403).
    Forbidden,
    /// What is needed for the answer cannot be reached now (503).
    Unavailable,
    /// The capability does not exist in this version (501).
    NotImplemented,
    /// The disk has no room for it (507).
    Full,
    /// The caller went away, or a deadline passed.
    Cancelled,
    /// A defect, or the machine failed (500).
    Internal,
}

/// An error that knows its [`ErrorKind`].
pub trait Kind: std::error::Error {
    /// What this error means to the caller.
    fn kind(&self) -> ErrorKind;
}
