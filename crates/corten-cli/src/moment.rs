//! Moments as `--since` and `--until` write them: seconds since 1970, RFC 3339 with parts left out, or so long ago.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::value;

/// The moment in seconds since 1970, with nanoseconds behind a point where there are some.
pub fn unix(text: &str) -> Result<String, String> {
    read(text, Timestamp::now())
}

fn read(text: &str, now: Timestamp) -> Result<String, String> {
    if let Ok(nanos) = value::duration(text) {
        let moment = i128::from(now.as_second()) * 1_000_000_000 + i128::from(now.subsec_nanosecond());
        return Ok(seconds(moment - i128::from(nanos)));
    }
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') && !text.is_empty() {
        return Ok(text.to_owned());
    }
    let parsed = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<DateTime>().ok().and_then(local))
        .or_else(|| format!("{text}:00").parse::<DateTime>().ok().and_then(local))
        .or_else(|| format!("{text}:00:00").parse::<DateTime>().ok().and_then(local))
        .or_else(|| text.strip_suffix('Z').and_then(|date| format!("{date}T00:00:00Z").parse().ok()));
    match parsed {
        Some(moment) => Ok(seconds(moment.as_nanosecond())),
        None => Err(format!("failed to parse value as time or duration: {text:?}")),
    }
}

fn local(time: DateTime) -> Option<Timestamp> {
    time.to_zoned(TimeZone::system()).ok().map(|zoned: Zoned| zoned.timestamp())
}

fn seconds(nanos: i128) -> String {
    let (whole, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    format!("{whole}.{rest:09}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_absolute_or_relative() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let read = |text: &str| read(text, now).unwrap();
        assert_eq!(read("10m"), "999400.000000000");
        assert_eq!(read("1700000000"), "1700000000");
        assert_eq!(read("1700000000.5"), "1700000000.5");
        assert_eq!(read("1970-01-01T00:00:01Z"), "1.000000000");
        assert_eq!(read("1970-01-01T01:00:00.25+01:00"), "0.250000000");
        assert!(super::read("yesterday", now).is_err());
    }
}
