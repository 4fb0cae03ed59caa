//! The time of day as RFC 3339, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, with nanoseconds.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(since.as_secs(), since.subsec_nanos())
}

/// When something began, as short as `ps` has it: the time on the same day, the month and day before. In UTC.
pub(super) fn short(then: u64, now: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = format(then, 0);
    if now.saturating_sub(then) < 86_400 {
        return text[11..16].to_owned();
    }
    let month = text[5..7].parse::<usize>().unwrap_or(1);
    format!("{}{}", MONTHS[(month - 1) % 12], &text[8..10])
}

fn format(seconds: u64, nanos: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day last: an era is 400 of them.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_long_ago_shows_its_day() {
        assert_eq!(short(951_782_400, 951_782_460), "00:00");
        assert_eq!(short(951_782_400, 1_795_524_998), "Feb29");
    }

    #[test]
    fn known_moments() {
        assert_eq!(format(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(format(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(format(1_795_524_998, 0), "2026-11-24T12:56:38.000000000Z");
    }
}
