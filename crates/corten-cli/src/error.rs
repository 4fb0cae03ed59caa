/// Why a command ends without having done its work: what to print on standard error, and the exit status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// What is printed; nothing where it is empty.
    pub text: String,
    /// The exit status.
    pub code: u8,
}

/// How a command ends.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with status 1.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// An exit status without words: what there was to say is said.
    pub fn status(code: u8) -> Self {
        Self { text: String::new(), code }
    }

    /// The same with another exit status.
    #[must_use]
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

impl From<corten_client::Error> for Failure {
    fn from(error: corten_client::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}
