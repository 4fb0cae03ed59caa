//! Splitting one logical line: keyword, builder flags, and the two ways of words.

/// Go's `[\t\v\f\r ]+`, by which keyword and arguments are separated.
fn is_separator(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// `line` cut at its first run of separators.
pub(crate) fn split_first(line: &str) -> (&str, Option<&str>) {
    match line.find(is_separator) {
        Some(at) => (&line[..at], Some(line[at..].trim_start_matches(is_separator))),
        None => (line, None),
    }
}

/// All words between separators, as `regexp.Split` gives them: a leading run makes an empty first word.
pub(crate) fn split_all(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        match split_first(rest) {
            (word, Some(after)) => {
                words.push(word.to_owned());
                rest = after;
            }
            (word, None) => {
                words.push(word.to_owned());
                return words;
            }
        }
    }
}

/// A `--flag` as written, quotes and escapes taken away, and the part of the line it came from.
pub(crate) struct RawFlag<'a> {
    pub text: String,
    pub source: &'a str,
}

/// The leading words of `line` that begin with `--`, and the rest. A word `--` alone ends them.
pub(crate) fn leading_flags(line: &str, escape: char) -> (Vec<RawFlag<'_>>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let mut text = String::new();
        let mut quote = None;
        let mut blank_ok = false;
        let mut end = rest.len();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = at;
                    break;
                }
                None if c == '\'' || c == '"' => {
                    quote = Some(c);
                    blank_ok = true;
                }
                Some(open) if c == open => quote = None,
                _ if c == escape => {
                    if let Some((_, escaped)) = chars.next() {
                        text.push(escaped);
                    }
                }
                _ => text.push(c),
            }
        }
        let source = &rest[..end];
        rest = &rest[end..];
        if text == "--" {
            break;
        }
        if blank_ok || !text.is_empty() {
            flags.push(RawFlag { text, source });
        }
        rest = rest.trim_start();
    }
    (flags, rest)
}

/// Words of `ENV`, `LABEL` and `ARG`: blanks inside quotes do not separate; quotes and escapes stay for the expansion.
pub(crate) fn quoted_words(line: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut in_word = false;
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if !in_word {
            if c.is_whitespace() {
                continue;
            }
            in_word = true;
        }
        match quote {
            None if c.is_whitespace() => {
                words.push(std::mem::take(&mut word));
                in_word = false;
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape at the end of the line stands for nothing.
            let Some(next) = chars.next() else { continue };
            word.push(c);
            word.push(next);
            continue;
        }
        word.push(c);
    }
    if in_word && !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_quotes() {
        assert_eq!(
            quoted_words(r#"a=b  c="d e" f='g "h' i\ j=k\"#, '\\'),
            ["a=b", r#"c="d e""#, r#"f='g "h'"#, r"i\ j=k"]
        );
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let (flags, rest) = leading_flags(r#"--from=a --x="b c" -- --y z"#, '\\');
        let flags: Vec<_> = flags.iter().map(|flag| flag.text.as_str()).collect();
        assert_eq!(flags, ["--from=a", "--x=b c"]);
        assert_eq!(rest.trim(), "--y z");
    }

    #[test]
    fn a_leading_run_of_blanks_makes_an_empty_word() {
        assert_eq!(split_all("a  b\tc"), ["a", "b", "c"]);
        assert_eq!(split_all(" a"), ["", "a"]);
    }
}
