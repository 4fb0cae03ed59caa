//! Signals by number and by name, as Docker takes them: `9`, `KILL`, `SIGKILL`, `rtmin+3`.

/// Why a text is not a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// No such name.
    #[error("invalid signal: {0}")]
    Unknown(String),
    /// A number that Linux does not have.
    #[error("the linux daemon does not support signal {0}")]
    Unsupported(i32),
}

/// The highest signal of Linux.
const MAX: i32 = 64;

/// The number of a signal, 1 … 64.
pub fn parse(text: &str) -> Result<i32, SignalError> {
    let error = || SignalError::Unknown(text.to_owned());
    match text.parse::<i32>() {
        Ok(0) => return Err(error()),
        Ok(number) if (1..=MAX).contains(&number) => return Ok(number),
        Ok(number) => return Err(SignalError::Unsupported(number)),
        Err(_) => {}
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number) {
        return Ok(number);
    }
    // The C library keeps 32 and 33 for itself.
    let number = match name {
        "RTMIN" => 34,
        "RTMAX" => MAX,
        _ => {
            if let Some(up) = name.strip_prefix("RTMIN+") {
                up.parse::<i32>().ok().filter(|n| (1..=15).contains(n)).map(|n| 34 + n).ok_or_else(error)?
            } else if let Some(down) = name.strip_prefix("RTMAX-") {
                down.parse::<i32>()
                    .ok()
                    .filter(|n| (1..=14).contains(n))
                    .map(|n| MAX - n)
                    .ok_or_else(error)?
            } else {
                return Err(error());
            }
        }
    };
    Ok(number)
}

const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_real_time_signals() {
        let cases = [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("sigrtmax-1", 63),
            ("64", 64),
        ];
        for (text, number) in cases {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for bad in ["", "0", "-1", "65", "NOPE", "SIG", "RTMIN+16", "RTMAX-15", "RTMIN+", "9 "] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse("NOPE").unwrap_err().to_string(), "invalid signal: NOPE");
        assert_eq!(parse("65").unwrap_err().to_string(), "the linux daemon does not support signal 65");
    }
}
