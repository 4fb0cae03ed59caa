//! Environment and labels: from flags and from files.

use std::collections::BTreeMap;

/// What to do with a name that has no value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bare {
    /// Take the value from this process's environment; without one there, leave the name out.
    FromEnvironment,
    /// Leave the name out.
    Skip,
}

/// Environment variables: files first, then flags.
pub fn environment<'a>(
    files: impl Iterator<Item = &'a str>,
    flags: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for file in files {
        out.extend(read(file, Bare::FromEnvironment)?);
    }
    for entry in flags {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(format!("invalid environment variable: {entry}"));
        }
        // A name alone asks for this process's value; the daemon removes it where there is none.
        match (entry.contains('='), std::env::var(entry)) {
            (false, Ok(value)) => out.push(format!("{entry}={value}")),
            _ => out.push(entry.to_owned()),
        }
    }
    Ok(out)
}

/// Labels as `key=value`: files first, then flags.
pub fn key_values<'a>(
    files: impl Iterator<Item = &'a str>,
    flags: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for file in files {
        out.extend(read(file, Bare::Skip)?);
    }
    out.extend(flags.map(str::to_owned));
    Ok(out)
}

/// `key=value` texts as a map; a key alone has the empty value.
pub fn label_map(entries: &[String]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn read(path: &str, bare: Bare) -> Result<Vec<String>, String> {
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
        _ => format!("open {path}: {error}"),
    })?;
    lines(path, &text, bare)
}

fn lines(path: &str, text: &[u8], bare: Bare) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(format!(
                "env file {path} contains invalid utf8 bytes at line {}: {line:?}",
                number + 1
            ));
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        let wrong = |why: &str| Err(format!("invalid env file ({path}): {why}"));
        if name.contains([' ', '\t']) {
            return wrong(&format!("variable '{name}' contains whitespaces"));
        }
        if name.is_empty() {
            return wrong(&format!("no variable name on line '{line}'"));
        }
        match (value, bare) {
            (Some(value), _) => out.push(format!("{name}={value}")),
            (None, Bare::Skip) => {}
            (None, Bare::FromEnvironment) => {
                if let Ok(value) = std::env::var(name) {
                    out.push(format!("{name}={value}"));
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_line_by_line() {
        let text = b"\xef\xbb\xbf# comment\nA=1\r\n  B=two words \n\nNOT_SET_ANYWHERE_1\n";
        assert_eq!(lines("f", text, Bare::FromEnvironment).unwrap(), ["A=1", "B=two words "]);
        assert_eq!(lines("f", b"x\ny=1\n", Bare::Skip).unwrap(), ["y=1"]);
        assert_eq!(
            lines("f", b"a b=c", Bare::Skip).unwrap_err(),
            "invalid env file (f): variable 'a b' contains whitespaces"
        );
        assert_eq!(
            lines("f", b"=c", Bare::Skip).unwrap_err(),
            "invalid env file (f): no variable name on line '=c'"
        );
    }
}
