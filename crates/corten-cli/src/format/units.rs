//! Sizes and times as docker shows them.

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// A size in powers of 1000 with four significant digits: `1.234MB`.
pub fn human_size(bytes: f64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 4)
}

/// A size in powers of 1000 with three significant digits: `1.23MB`.
pub fn short_size(bytes: f64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}

/// A size in powers of 1024 with four significant digits: `1.5GiB`.
pub fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str; 9], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit < units.len() - 1 {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// C's `%.Ng`.
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:.*e}", digits - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// How long, roughly: `About a minute`, `3 weeks`.
pub fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded, the others cut.
    let hours = (seconds as f64 / 3600.0 + 0.5) as i64;
    match (seconds, minutes, hours) {
        (..1, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (2..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, 2..48) => format!("{hours} hours"),
        (_, _, 48..336) => format!("{} days", hours / 24),
        (_, _, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// How long ago a moment was, in seconds since 1970.
pub fn ago(moment: i64) -> String {
    format!("{} ago", human_duration(jiff::Timestamp::now().as_second() - moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_docker_s() {
        for (bytes, short, long) in [
            (0.0, "0B", "0B"),
            (45.0, "45B", "45B"),
            (999.0, "999B", "999B"),
            (1_000.0, "1kB", "1kB"),
            (4_261_550.0, "4.26MB", "4.262MB"),
            (999_900.0, "1e+03kB", "999.9kB"),
            (2_216_000_000.0, "2.22GB", "2.216GB"),
        ] {
            assert_eq!((short_size(bytes).as_str(), human_size(bytes).as_str()), (short, long), "{bytes}");
        }
        assert_eq!(binary_size(1_610_612_736.0), "1.5GiB");
        assert_eq!(binary_size(327_680.0), "320KiB");
    }

    #[test]
    fn durations_are_rough() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3_599, "59 minutes"),
            (3_600, "About an hour"),
            (5_300, "About an hour"),
            (5_400, "2 hours"),
            (172_800, "2 days"),
            (1_209_600, "2 weeks"),
            (5_184_000, "2 months"),
            (63_072_000, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
