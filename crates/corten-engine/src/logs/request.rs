use corten_types::{ErrorKind, Kind};
use jiff::Timestamp;

/// Which part of a log is wanted, and how it is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Standard output (and what a terminal shows).
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Entries from this time on.
    pub since: Option<Timestamp>,
    /// Entries up to this time.
    pub until: Option<Timestamp>,
    /// How many of the last entries.
    pub tail: Tail,
    /// Whether to go on with what is written later.
    pub follow: bool,
    /// Whether each entry begins with its time.
    pub timestamps: bool,
    /// Whether each entry begins with its attributes.
    pub details: bool,
}

/// How many of the last entries are wanted. Counted before anything else is filtered, as Docker does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tail {
    /// All of them.
    #[default]
    All,
    /// So many.
    Last(u64),
}

/// Why a log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogsError {
    /// Neither stream was asked for.
    #[error("Bad parameters: you must choose at least one stream")]
    NoStream,
    /// `since` or `until` is no time.
    #[error("strconv.ParseInt: parsing {0:?}: invalid syntax")]
    Time(String),
    /// The container's log driver keeps nothing that could be read.
    #[error("configured logging driver does not support reading")]
    NotReadable,
    /// The container is on its way out.
    #[error("can not get logs from container which is dead or marked for removal")]
    Removed,
}

impl Kind for LogsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoStream | Self::Time(_) => ErrorKind::InvalidArgument,
            // Docker's own class for it.
            Self::NotReadable => ErrorKind::NotImplemented,
            Self::Removed => ErrorKind::Conflict,
        }
    }
}

impl Tail {
    /// Docker's text form: a number that is not negative, else everything.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or(Self::All, Self::Last)
    }
}

/// A time as the API writes it: seconds since the epoch, optionally a dot and a fraction. Empty is none.
pub fn parse_time(text: &str) -> Result<Option<Timestamp>, LogsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |part: &str| LogsError::Time(part.to_owned());
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds: i64 = seconds.parse().map_err(|_| wrong(seconds))?;
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong(fraction));
    }
    let digits = &fraction[..fraction.len().min(9)];
    let nanos: i32 = format!("{digits:0<9}").parse().map_err(|_| wrong(fraction))?;
    Timestamp::new(seconds, if seconds < 0 { -nanos } else { nanos }).map(Some).map_err(|_| wrong(text))
}

impl LogRequest {
    /// The times of the request from their text form; `until=0` is none.
    pub fn between(self, since: &str, until: &str) -> Result<Self, LogsError> {
        let until = if until == "0" { "" } else { until };
        Ok(Self { since: parse_time(since)?, until: parse_time(until)?, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_with_a_fraction() {
        let nanos = |text: &str| parse_time(text).map(|t| t.map(|t| t.as_nanosecond()));
        assert_eq!(nanos(""), Ok(None));
        assert_eq!(nanos("0"), Ok(Some(0)));
        assert_eq!(nanos("1136073600.000000001"), Ok(Some(1_136_073_600_000_000_001)));
        assert_eq!(nanos("1.5"), Ok(Some(1_500_000_000)));
        assert_eq!(nanos("1.1234567899"), Ok(Some(1_123_456_789)));
        assert_eq!(nanos("x"), Err(LogsError::Time("x".into())));
        assert!(nanos("1.x").is_err() && nanos("99999999999999").is_err() && nanos("1.-5").is_err());
    }

    #[test]
    fn a_tail_that_is_no_count_is_everything() {
        assert_eq!(Tail::parse("3"), Tail::Last(3));
        assert_eq!(Tail::parse("0"), Tail::Last(0));
        for text in ["all", "", "-1", "x"] {
            assert_eq!(Tail::parse(text), Tail::All);
        }
    }
}
