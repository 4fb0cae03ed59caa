//! A small reader of command lines: flags as runc spells them (`--name value`, `--name=value`, `-n value`).

use super::CliError;

/// Where flags are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// In front of the first word that is none: what follows may be another program's.
    FlagsFirst,
    /// Anywhere.
    Mixed,
}

/// The words that are left.
#[derive(Debug)]
pub(super) struct Args {
    words: std::collections::VecDeque<String>,
    /// Words passed over on the way to a flag behind them.
    passed: std::collections::VecDeque<String>,
    order: Order,
    /// The value of the flag read last, when it was written with `=`.
    attached: Option<String>,
}

impl Args {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self { words: words.into(), passed: [].into(), order: Order::FlagsFirst, attached: None }
    }

    /// The same words with flags in this order.
    pub(super) fn in_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The next flag, when there is one. `--` ends the flags.
    pub(super) fn flag(&mut self) -> Result<Option<String>, CliError> {
        if let Some(value) = self.attached.take() {
            // `--flag=false` is the only value that a flag without one may be given.
            return Err(CliError::Usage(format!("unexpected value {value:?}")));
        }
        let is_flag = |word: &str| word.starts_with('-') && word.len() > 1;
        if self.order == Order::Mixed && self.words.iter().any(|word| is_flag(word)) {
            while self.words.front().is_some_and(|word| !is_flag(word)) {
                self.passed.extend(self.words.pop_front());
            }
        }
        match self.words.front() {
            Some(word) if word == "--" => {
                self.words.pop_front();
                Ok(None)
            }
            Some(word) if is_flag(word) => {
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
        self.passed.pop_front().or_else(|| self.words.pop_front())
    }

    /// Refuses every flag: for commands that take none.
    pub(super) fn no_flags(&mut self) -> Result<(), CliError> {
        self.flag()?.map_or(Ok(()), |flag| Err(self.unknown(&flag)))
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
        self.passed.into_iter().chain(self.words).collect()
    }

    /// Refuses words that are left.
    pub(super) fn end(self) -> Result<(), CliError> {
        match self.passed.front().or(self.words.front()) {
            Some(word) => Err(CliError::Usage(format!("unexpected argument {word:?}"))),
            None => Ok(()),
        }
    }

    /// What follows from a flag that no command takes: the page about this one, or an error.
    pub(super) fn unknown(&self, flag: &str) -> CliError {
        if matches!(flag, "-h" | "--help") {
            return CliError::Help;
        }
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
    fn flags_may_follow_words_where_no_other_program_s_come() {
        let mut args = args(&["id", "--memory", "50M", "word", "-f"]).in_order(Order::Mixed);
        assert_eq!(args.flag().unwrap().as_deref(), Some("--memory"));
        assert_eq!(args.value("").unwrap(), "50M");
        assert_eq!(args.flag().unwrap().as_deref(), Some("-f"));
        assert_eq!(args.flag().unwrap(), None);
        assert_eq!(args.id().unwrap(), "id");
        assert_eq!(args.word().as_deref(), Some("word"));
        args.end().unwrap();
    }

    #[test]
    fn ids_stay_inside_their_directory() {
        for id in ["../x", "a/b", "", ".", "..", "a b"] {
            assert!(args(&[id]).id().is_err(), "{id:?}");
        }
    }
}
