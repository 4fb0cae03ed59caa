//! Go's `path.Match` and `path.Clean`, which COPY's wildcards and `.dockerignore` are defined by.

/// A pattern that is none: an unclosed class, or an escape at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

enum Token {
    Literal(char),
    /// `?`: any character but `/`.
    One,
    /// `*`: any run without `/`.
    Many,
    /// `[a-z]`, `[^a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Whether all of `path` matches `pattern`: `*` and `?` do not match `/`; `[a-z]`, `[^a]`; `\` escapes.
pub fn matches(pattern: &str, path: &str) -> Result<bool, BadPattern> {
    let tokens = compile(pattern)?;
    let path: Vec<char> = path.chars().collect();
    // The positions that the tokens so far can end at, ascending.
    let mut ends = vec![0];
    for token in &tokens {
        let step = |accepts: &dyn Fn(char) -> bool| -> Vec<usize> {
            ends.iter().filter(|&&at| path.get(at).is_some_and(|&c| accepts(c))).map(|at| at + 1).collect()
        };
        ends = match token {
            Token::Literal(literal) => step(&|c| c == *literal),
            Token::One => step(&|c| c != '/'),
            Token::Class { negated, ranges } => {
                step(&|c| ranges.iter().any(|&(low, high)| low <= c && c <= high) != *negated)
            }
            Token::Many => runs(&ends, &path, |c| c != '/'),
        };
        if ends.is_empty() {
            return Ok(false);
        }
    }
    Ok(ends.last() == Some(&path.len()))
}

/// All positions that a run of accepted characters can end at, from any of `starts`; ascending.
pub(crate) fn runs(starts: &[usize], text: &[char], accepts: impl Fn(char) -> bool) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut done = 0;
    for &from in starts {
        if from >= done {
            let run = text[from..].iter().take_while(|&&c| accepts(c)).count();
            ends.extend(from..=from + run);
            done = from + run + 1;
        }
    }
    ends
}

fn compile(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => Token::Literal(chars.next().ok_or(BadPattern)?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    if chars.peek() == Some(&']') && !ranges.is_empty() {
                        chars.next();
                        break;
                    }
                    let low = class_character(&mut chars)?;
                    let high =
                        if chars.next_if_eq(&'-').is_some() { class_character(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                Token::Class { negated, ranges }
            }
            c => Token::Literal(c),
        });
    }
    Ok(tokens)
}

fn class_character(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

/// Whether `text` holds a wildcard that is not escaped.
pub fn has_wildcards(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// The shortest path that is lexically the same: no `.`, no `//`, `..` resolved where a name stands before it.
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if absolute => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_go_does() {
        for (pattern, path, expected) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "ab/c", Ok(false)),
            ("a*/b", "abc/b", Ok(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("ab[b-d]", "abc", Ok(true)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a?b", "a/b", Ok(false)),
            ("[a-ζ]*", "α", Ok(true)),
            ("[\\]a]", "]", Ok(true)),
            ("[]a]", "]", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("[", "a", Err(BadPattern)),
            ("a[", "x", Err(BadPattern)),
            ("\\", "a", Err(BadPattern)),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn paths_clean_as_go_does() {
        for (path, expected) in [
            ("", "."),
            ("a/../b", "b"),
            ("/..//a/./b/", "/a/b"),
            ("../a", "../a"),
            ("./", "."),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }
}
