//! The patterns of `${name#pattern}` and `${name/pattern/text}`: `*`, `?` and `\` before either.
//!
//! POSIX 2.14 without bracket expressions, as BuildKit has it. Neither wildcard matches a line's end.

enum Token {
    Literal(char),
    One,
    Many,
}

/// A compiled pattern.
pub(crate) struct Pattern(Vec<Token>);

/// How much of the text a wildcard takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Shortest,
    Longest,
}

impl Pattern {
    /// Compiles `text`; the error is the character that may not be escaped.
    pub fn new(text: &str) -> Result<Self, char> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match chars.next() {
                    // Escaped for the sake of the `${}` around it.
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Token::Literal(c),
                    Some(c) => return Err(c),
                    None => return Err('\u{fffd}'),
                },
                c => Token::Literal(c),
            });
        }
        Ok(Self(tokens))
    }

    /// How many characters of the beginning of `text` match.
    pub fn prefix(&self, text: &[char], extent: Extent) -> Option<usize> {
        // The positions that the tokens so far can end at, ascending.
        let mut ends = vec![0];
        for token in &self.0 {
            let mut next = Vec::new();
            match token {
                Token::Literal(c) => {
                    next.extend(ends.iter().filter(|&&at| text.get(at) == Some(c)).map(|at| at + 1));
                }
                Token::One => {
                    next.extend(
                        ends.iter().filter(|&&at| text.get(at).is_some_and(|&c| c != '\n')).map(|at| at + 1),
                    );
                }
                Token::Many => {
                    // Positions below `done` are in `next` already.
                    let mut done = 0;
                    for &from in &ends {
                        if from >= done {
                            let run = text[from..].iter().take_while(|&&c| c != '\n').count();
                            next.extend(from..=from + run);
                            done = from + run + 1;
                        }
                    }
                }
            }
            ends = next;
            ends.dedup();
            if ends.is_empty() {
                return None;
            }
        }
        match extent {
            Extent::Shortest => ends.first().copied(),
            Extent::Longest => ends.last().copied(),
        }
    }

    /// How many characters of the end of `text` match.
    pub fn suffix(&self, text: &[char], extent: Extent) -> Option<usize> {
        let whole = |start: &usize| {
            // All of the rest must match, so only the longest match can tell.
            self.prefix(&text[*start..], Extent::Longest) == Some(text.len() - start)
        };
        let mut starts = 0..=text.len();
        let start = match extent {
            Extent::Longest => starts.find(whole),
            Extent::Shortest => starts.rev().find(whole),
        };
        start.map(|start| text.len() - start)
    }

    /// `text` with the first match, or every one, replaced.
    pub fn replace(&self, text: &[char], with: &str, every: bool) -> String {
        let mut out = String::new();
        let mut at = 0;
        let mut after_match = false;
        while at <= text.len() {
            match self.prefix(&text[at..], Extent::Longest) {
                Some(length) if length > 0 || !after_match => {
                    out.push_str(with);
                    at += length;
                    after_match = length > 0;
                    if !every {
                        break;
                    }
                    if length > 0 {
                        continue;
                    }
                }
                _ => after_match = false,
            }
            if let Some(&c) = text.get(at) {
                out.push(c);
            }
            at += 1;
        }
        out.extend(text.get(at..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn prefixes_and_suffixes_are_shortest_or_longest() {
        let text = chars("foobarfoo");
        let at = |pattern: &str, extent| Pattern::new(pattern).unwrap().prefix(&text, extent);
        assert_eq!(at("f*o", Extent::Shortest), Some(2));
        assert_eq!(at("f*o", Extent::Longest), Some(9));
        assert_eq!(at("x*", Extent::Longest), None);
        let end = |pattern: &str, extent| Pattern::new(pattern).unwrap().suffix(&text, extent);
        assert_eq!(end("o*", Extent::Shortest), Some(1));
        assert_eq!(end("o*", Extent::Longest), Some(8));
        assert_eq!(end("f?o", Extent::Longest), Some(3));
    }

    #[test]
    fn replacing_follows_go() {
        let replace = |text: &str, pattern: &str, with: &str, every| {
            Pattern::new(pattern).unwrap().replace(&chars(text), with, every)
        };
        assert_eq!(replace("foobarfoo", "foo", "x", false), "xbarfoo");
        assert_eq!(replace("foobarfoo", "foo", "x", true), "xbarx");
        assert_eq!(replace("abc", "", "-", true), "-a-b-c-");
        assert_eq!(replace("abc", "*", "-", true), "-");
        assert_eq!(replace("abc", "z", "-", true), "abc");
        assert!(matches!(Pattern::new("\\a"), Err('a')));
    }

    #[test]
    fn many_stars_take_polynomial_time() {
        let text = chars(&"a".repeat(2000));
        let pattern = Pattern::new(&"*a".repeat(40)).unwrap();
        assert_eq!(pattern.prefix(&text, Extent::Longest), Some(2000));
        assert_eq!(Pattern::new(&("*a".repeat(40) + "b")).unwrap().prefix(&text, Extent::Longest), None);
    }
}
