//! How an instruction is written into an image's history: Docker's `#(nop)` texts, with Go's way of printing values.

use corten_dockerfile::{Healthcheck, Test, quote};

/// The shell that stands where an image names none.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The shell in front of shell forms.
pub fn shell(configured: Option<&[String]>) -> Vec<String> {
    match configured {
        Some(shell) if !shell.is_empty() => shell.to_vec(),
        _ => DEFAULT_SHELL.map(str::to_owned).to_vec(),
    }
}

/// `created_by` of an instruction that only changes the config.
pub fn metadata(shell: &[String], comment: &str) -> String {
    format!("{} #(nop)  {comment}", shell.join(" "))
}

/// `created_by` of an instruction that changes files without running anything.
pub fn files(shell: &[String], comment: &str) -> String {
    format!("{} #(nop) {comment}", shell.join(" "))
}

/// `created_by` of a command that ran with build arguments (`NAME=value`).
pub fn run(command: &[String], args: &[String]) -> String {
    let command = command.join(" ");
    if args.is_empty() { command } else { format!("|{} {} {command}", args.len(), args.join(" ")) }
}

/// `["a" "b"]`: a list of strings as Go's `%q`.
pub fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// `[a b]`: a list of strings as Go's `%v`.
pub fn plain_list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// A health check as Go's `%v` prints a pointer to the struct.
pub fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "&{{{} {} {} {} {} {}}}",
        plain_list(&test_words(&check.test)),
        go_duration(check.interval),
        go_duration(check.timeout),
        go_duration(check.start_period),
        go_duration(check.start_interval),
        check.retries,
    )
}

/// A health check's test as an image's config has it.
pub fn test_words(test: &Test) -> Vec<String> {
    match test {
        Test::None => vec!["NONE".into()],
        Test::Shell(line) => vec!["CMD-SHELL".into(), line.clone()],
        Test::Exec(words) => std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect(),
    }
}

/// Nanoseconds as Go's `time.Duration` prints them: `1m30s`, `1.5s`, `250ms`, `0s`.
pub fn go_duration(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".into();
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let (whole, rest) = (value / unit, value % unit);
        if rest == 0 {
            return whole.to_string();
        }
        let width = unit.ilog10() as usize;
        format!("{whole}.{}", format!("{rest:0width$}").trim_end_matches('0'))
    };
    if total < 1_000 {
        return format!("{sign}{total}ns");
    }
    if total < 1_000_000 {
        return format!("{sign}{}µs", fraction(total, 1_000));
    }
    if total < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(total, 1_000_000));
    }
    let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
    let seconds = format!("{}s", fraction(rest, 1_000_000_000));
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(nanoseconds), text);
        }
    }

    #[test]
    fn texts_are_those_of_dockers_history() {
        let shell = shell(None);
        assert_eq!(metadata(&shell, "CMD [\"sh\"]"), "/bin/sh -c #(nop)  CMD [\"sh\"]");
        assert_eq!(files(&shell, "WORKDIR /a"), "/bin/sh -c #(nop) WORKDIR /a");
        assert_eq!(run(&["/bin/sh".into(), "-c".into(), "x".into()], &["A=1".into()]), "|1 A=1 /bin/sh -c x");
        let check = Healthcheck {
            test: Test::Shell("true".into()),
            interval: 5_000_000_000,
            timeout: 0,
            start_period: 0,
            start_interval: 0,
            retries: 3,
        };
        assert_eq!(healthcheck(&check), "&{[CMD-SHELL true] 5s 0s 0s 0s 3}");
    }
}
