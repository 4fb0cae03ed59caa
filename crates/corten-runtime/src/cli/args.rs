//! A small reader of command lines: flags as runc spells them (`--name value`, `--name=value`, `-n value`).

use super::CliError;

/// The words that are left.
#[derive(Debug)]
pub(super) struct Args {
    words: std::collections::VecDeque<String>,
    /// The value of the flag read last, when it was written with `=`.
    attached: Option<String>,
}

impl Args {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self { words: words.into(), attached: None }
    }

    /// The next word, when it is a flag. `--` ends the flags.
    pub(super) fn flag(&mut self) -> Result<Option<String>, CliError> {
        if let Some(value) = self.attached.take() {
            // `--flag=false` is the only value that a flag without one may be given.
            return Err(CliError::Usage(format!("unexpected value {value:?}")));
        }
        match self.words.front() {
            Some(word) if word == "--" => {
                self.words.pop_front();
                Ok(None)
            }
            Some(word) if word.starts_with('-') && word.len() > 1 => {
                let word = self.words.pop_front().unwrap_or_default();
                let Some((name, value)) = word.split_once('=') else { return Ok(Some(normal(&word))) };
                self.attached = Some(value.to_owned());
                Ok(Some(normal(name)))
            }
            _ => Ok(None),
        }
    }

    /// The value of the flag that was just read.
    pub(super) fn value(&mut self, flag: &str) -> Result<String, CliError> {
        self.attached
            .take()
            .or_else(|| self.words.pop_front())
            .ok_or_else(|| CliError::Usage(format!("flag needs an argument: {flag}")))
    }

    /// The value of the flag that was just read, as a number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, flag: &str) -> Result<T, CliError> {
        let text = self.value(flag)?;
        text.parse().map_err(|_| CliError::Usage(format!("invalid value {text:?} for flag {flag}")))
    }

    /// Whether a flag that stands alone is meant, or with `=false` taken back.
    pub(super) fn switch(&mut self) -> bool {
        self.attached.take().is_none_or(|value| value == "true")
    }

    /// The next word that is no flag.
    pub(super) fn word(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    /// A container's id.
    pub(super) fn id(&mut self) -> Result<String, CliError> {
        let id = self.word().ok_or_else(|| CliError::Usage("container id cannot be empty".into()))?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || id.starts_with('.') || id.len() > 1024 || !id.chars().all(allowed) {
            return Err(CliError::Usage("invalid container ID format".into()));
        }
        Ok(id)
    }

    /// All words that are left.
    pub(super) fn rest(self) -> Vec<String> {
        self.words.into()
    }

    /// Refuses words that are left.
    pub(super) fn end(self) -> Result<(), CliError> {
        match self.words.front() {
            Some(word) => Err(CliError::Usage(format!("unexpected argument {word:?}"))),
            None => Ok(()),
        }
    }

    /// The error of a flag nobody knows.
    pub(super) fn unknown(&self, flag: &str) -> CliError {
        CliError::Usage(format!("flag provided but not defined: {flag}"))
    }
}

/// Long flags may be written with one dash, as Go's programs allow.
fn normal(flag: &str) -> String {
    match flag.strip_prefix('-') {
        Some(name) if !name.starts_with('-') && name.len() > 1 => format!("--{name}"),
        _ => flag.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        Args::new(words.iter().map(|&word| word.into()).collect())
    }

    #[test]
    fn flags_are_read_in_every_spelling() {
        let mut args = args(&["--bundle", "/b", "--pid-file=/p", "-root", "x", "-f", "id", "--not-a-flag"]);
        assert_eq!(args.flag().unwrap().as_deref(), Some("--bundle"));
        assert_eq!(args.value("").unwrap(), "/b");
        assert_eq!(args.flag().unwrap().as_deref(), Some("--pid-file"));
        assert_eq!(args.value("").unwrap(), "/p");
        assert_eq!(args.flag().unwrap().as_deref(), Some("--root"));
        assert_eq!(args.value("").unwrap(), "x");
        assert_eq!(args.flag().unwrap().as_deref(), Some("-f"));
        assert!(args.switch());
        assert_eq!(args.flag().unwrap(), None);
        assert_eq!(args.id().unwrap(), "id");
        assert_eq!(args.rest(), ["--not-a-flag"]);
    }

    #[test]
    fn ids_stay_inside_their_directory() {
        for id in ["../x", "a/b", "", ".", "..", "a b"] {
            assert!(args(&[id]).id().is_err(), "{id:?}");
        }
    }
}
