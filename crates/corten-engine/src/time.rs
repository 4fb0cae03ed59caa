//! Points in time as Docker's clients write them.

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

/// Why a text is no point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse value as time or duration: {0:?}")]
pub struct TimeError(String);

impl corten_types::Kind for TimeError {
    fn kind(&self) -> corten_types::ErrorKind {
        corten_types::ErrorKind::InvalidArgument
    }
}

/// Reads a point in time: how long ago (`10m`, `1h30m`), an RFC 3339 time or the beginning of one, or seconds since 1970
/// with a fraction. A time without zone is one of the daemon's zone.
pub fn parse_moment(text: &str, now: Timestamp) -> Result<Timestamp, TimeError> {
    let failed = || TimeError(text.to_owned());
    if text != "0"
        && let Some(ago) = duration(text)
    {
        return now.checked_sub(ago).map_err(|_| failed());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Some(time) = civil_time(text) {
        return time.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp()).map_err(|_| failed());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| failed())?;
    if fraction.len() > 18 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(failed());
    }
    let nanoseconds = format!("{fraction:0<9}")[..9].parse().map_err(|_| failed())?;
    Timestamp::new(seconds, nanoseconds).map_err(|_| failed())
}

/// A date, or a date and the beginning of a time.
fn civil_time(text: &str) -> Option<civil::DateTime> {
    if let Ok(date) = text.parse::<civil::Date>()
        && text.len() == 10
    {
        return Some(date.at(0, 0, 0, 0));
    }
    let (date, time) = text.split_once('T')?;
    let date: civil::Date = date.parse().ok()?;
    let whole = match time.len() {
        2 => format!("{time}:00:00"),
        5 => format!("{time}:00"),
        _ => time.to_owned(),
    };
    let time: civil::Time = whole.parse().ok()?;
    Some(date.to_datetime(time))
}

/// Go's durations: `1h2m3.5s`, with units `ns`, `us`, `ms`, `s`, `m`, `h`.
pub fn duration(text: &str) -> Option<jiff::SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end =
            rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |i| end + i);
        let nanoseconds = match &rest[end..unit_end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * nanoseconds;
        rest = &rest[unit_end..];
    }
    // Further back than that is before anything.
    let total = total.min(9e18) as i64;
    Some(jiff::SignedDuration::from_nanos(if negative { -total } else { total }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let read = |text| parse_moment(text, now).map(|time| time.as_nanosecond());
        assert_eq!(read("10m"), Ok(999_400 * 1_000_000_000));
        assert_eq!(read("1h0.5s"), Ok(996_399_500_000_000));
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("1136073600.000000001"), Ok(1_136_073_600_000_000_001));
        assert_eq!(read("2006-01-02T15:04:05Z"), Ok(1_136_214_245_000_000_000));
        assert_eq!(read("2006-01-02T15:04:05.5+01:00"), Ok(1_136_210_645_500_000_000));
        for bad in ["", "yesterday", "2006-13-01", "1.x", "h"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for local in ["2006-01-02", "2006-01-02T15", "2006-01-02T15:04", "2006-01-02T15:04:05"] {
            assert!(read(local).is_ok(), "{local}");
        }
    }
}
