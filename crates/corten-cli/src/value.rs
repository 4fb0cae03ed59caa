//! Numbers as command lines write them: sizes, durations, processors. Errors are docker's texts.

/// A whole number.
pub fn int(text: &str) -> Result<i64, String> {
    text.parse::<i64>().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
}

/// A size in bytes: `64`, `1.5k`, `512MB`, `1GiB`; units are powers of 1024, `-1` is itself.
pub fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    if text == "-1" {
        return Ok(-1);
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    if number.is_empty() || number.starts_with('.') || number.ends_with('.') {
        return Err(invalid());
    }
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let suffix = suffix.strip_prefix(' ').unwrap_or(suffix).to_ascii_lowercase();
    let power = match suffix.as_str() {
        "" | "b" => 0,
        _ => {
            let (unit, rest) = suffix.split_at(1);
            if !matches!(rest, "" | "b" | "ib") {
                return Err(format!("invalid suffix: '{suffix}'"));
            }
            match "kmgtp".find(unit) {
                Some(at) => at as i32 + 1,
                None => return Err(format!("invalid suffix: '{suffix}'")),
            }
        }
    };
    Ok((number * 1024_f64.powi(power)) as i64)
}

/// Processors as billionths of one.
pub fn nano_cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && decimals.is_empty()) || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    if decimals.trim_end_matches('0').len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let decimals: String = format!("{decimals:0<9}").chars().take(9).collect();
    whole
        .checked_mul(1_000_000_000)
        .and_then(|nanos| nanos.checked_add(decimals.parse().ok()?))
        .ok_or_else(invalid)
}

/// A duration in nanoseconds, as Go writes them: `1h2m3.5s`, `300ms`.
pub fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    Ok(if negative { -total as i64 } else { total as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, want) in [
            ("0", 0),
            ("64", 64),
            ("1k", 1024),
            ("1.5K", 1536),
            ("512MB", 512 << 20),
            ("1GiB", 1 << 30),
            ("2 g", 2 << 30),
            ("-1", -1),
        ] {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
        for bad in ["", "x", "1x", "1..", "k", "-2", "1kk"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_exact() {
        assert_eq!(nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(nano_cpus("0.000000001"), Ok(1));
        assert_eq!(nano_cpus(".5"), Ok(500_000_000));
        assert_eq!(nano_cpus("2"), Ok(2_000_000_000));
        assert!(nano_cpus("0.0000000001").is_err());
        assert!(nano_cpus("x").is_err());
    }

    #[test]
    fn durations_are_go_s() {
        assert_eq!(duration("1h2m3.5s"), Ok(3_723_500_000_000));
        assert_eq!(duration("300ms"), Ok(300_000_000));
        assert_eq!(duration("0"), Ok(0));
        assert_eq!(duration("-1s"), Ok(-1_000_000_000));
        for bad in ["", "1", "x", "1x"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
