//! `.dockerignore`: which files of a context are left out.
//!
//! The rules are moby's `patternmatcher`: each pattern is anchored at the root of the context; `*` and `?` stay within
//! one name, `**` crosses any number of them; a pattern that matches a directory matches all below it; `!` takes back
//! what an earlier line left out; the last line that matches decides.

use crate::path_match::{self, BadPattern, clean, runs};

/// Why an ignore file cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// `!` with nothing behind it.
    #[error("illegal exclusion pattern: \"!\"")]
    BareException,
    /// A class that is not closed, or an escape at the end.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
}

/// The patterns of an ignore file, in order.
#[derive(Debug, Clone, Default)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    exception: bool,
    text: String,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Exact,
    /// `a/**`: everything that begins so.
    Prefix(String),
    /// `**/a`: everything that ends so.
    Suffix(String),
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `**` or `**/` with something behind it: nothing, or any run that ends in `/`.
    Directories,
    /// `**` at the end: any run.
    Rest,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Patterns {
    /// Reads the text of an ignore file. Lines that begin with `#` are comments.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        let text = String::from_utf8_lossy(text);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines =
            text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        let patterns: Vec<String> = lines
            .map(|line| {
                let (mark, pattern) = match line.strip_prefix('!') {
                    Some(pattern) => ("!", pattern.trim()),
                    None => ("", line),
                };
                if pattern.is_empty() {
                    return mark.to_owned();
                }
                let pattern = clean(pattern);
                let relative = pattern.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&pattern);
                format!("{mark}{relative}")
            })
            .collect();
        Self::new(patterns.iter().map(String::as_str))
    }

    /// Patterns as they are written on a line: `--exclude` of COPY.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, IgnoreError> {
        let mut list = Vec::new();
        for pattern in patterns {
            let pattern = pattern.trim();
            if pattern.is_empty() {
                continue;
            }
            let pattern = clean(pattern);
            let (exception, text) = match pattern.strip_prefix('!') {
                Some("") => return Err(IgnoreError::BareException),
                Some(rest) => (true, rest.to_owned()),
                None => (false, pattern),
            };
            path_match::matches(&text, ".")?;
            let rule = compile(&text);
            list.push(Pattern { exception, text, rule });
        }
        Ok(Self(list))
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `path`, relative to the context and with `/` between names, is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let path = clean(path);
        if path == "." {
            return false;
        }
        // A path is matched by whatever matches one of the directories above it.
        let prefixes: Vec<&str> =
            path.match_indices('/').map(|(at, _)| &path[..at]).chain([path.as_str()]).rev().collect();
        let mut excluded = false;
        for pattern in &self.0 {
            if pattern.exception == excluded && prefixes.iter().any(|prefix| pattern.matches(prefix)) {
                excluded = !pattern.exception;
            }
        }
        excluded
    }

    /// Whether a walk may pass over the directory `path`, which is left out: no exception can lie below it.
    pub fn prunes(&self, path: &str) -> bool {
        let below = format!("{}/", clean(path));
        !self.0.iter().any(|pattern| {
            pattern.exception
                && (format!("{}/", pattern.text).starts_with(&below)
                    || path_match::has_wildcards(&pattern.text))
        })
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match &self.rule {
            Rule::Exact => path == self.text,
            Rule::Prefix(prefix) => path.starts_with(prefix),
            Rule::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|suffix| path == suffix)
            }
            Rule::Tokens(tokens) => tokens_match(tokens, path),
        }
    }
}

fn compile(pattern: &str) -> Rule {
    let mut rule = Rule::Exact;
    let mut tokens = Vec::new();
    let mut plain = true;
    let mut chars = pattern.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                let last = chars.peek().is_none();
                tokens.push(if last { Token::Rest } else { Token::Directories });
                if first {
                    rule = Rule::Suffix(pattern[2..].to_owned());
                } else if last && matches!(rule, Rule::Exact) && plain {
                    rule = Rule::Prefix(pattern.trim_end_matches('*').to_owned());
                } else {
                    plain = false;
                }
            }
            '*' => {
                tokens.push(Token::Many);
                plain = false;
            }
            '?' => {
                tokens.push(Token::One);
                plain = false;
            }
            '\\' => {
                tokens.push(Token::Literal(chars.next().unwrap_or('\\')));
                plain = false;
            }
            '[' => {
                tokens.push(class(&mut chars));
                plain = false;
            }
            c => tokens.push(Token::Literal(c)),
        }
        first = false;
    }
    if plain { rule } else { Rule::Tokens(tokens) }
}

/// A class behind its `[`; the pattern was checked before, so it is closed.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Token {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while let Some(c) = chars.next() {
        if c == ']' && !ranges.is_empty() {
            break;
        }
        let low = if c == '\\' { chars.next().unwrap_or(c) } else { c };
        let mut high = low;
        if chars.next_if_eq(&'-').is_some() {
            high = match chars.next() {
                Some('\\') => chars.next().unwrap_or(low),
                Some(c) => c,
                None => low,
            };
        }
        ranges.push((low, high));
    }
    Token::Class { negated, ranges }
}

fn tokens_match(tokens: &[Token], path: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    let mut ends = vec![0];
    for token in tokens {
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
            Token::Rest => runs(&ends, &path, |_| true),
            Token::Directories => {
                let after_slash = runs(&ends, &path, |_| true)
                    .into_iter()
                    .filter(|&at| at > 0 && path[at - 1] == '/' && at > ends[0]);
                let mut all: Vec<usize> = ends.iter().copied().chain(after_slash).collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        };
        if ends.is_empty() {
            return false;
        }
    }
    ends.last() == Some(&path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &str) -> bool {
        Patterns::new(patterns.iter().copied()).unwrap().excludes(path)
    }

    /// Cases of moby/patternmatcher's table.
    #[test]
    fn single_patterns_match_as_in_moby() {
        for (pattern, path, expected) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**/file", "a/b/file", true),
            ("**file", "dir/file", true),
            ("**file", "xfile", true),
            ("**/file", "xfile", false),
            ("**/file*", "dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/**/*.txt", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            ("\\*", "*", true),
            ("**/foo/bar", "foo/bar", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", "bar/.foo", true),
            ("**/*.go", "a/b/c.go", true),
            ("*", "a/b", true),
            ("a/*/c", "a/b/c/d", true),
        ] {
            assert_eq!(excluded(&[pattern], path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_match_decides_and_exceptions_reach_into_directories() {
        assert!(!excluded(&["*", "!README.md"], "README.md"));
        assert!(!excluded(&["docs", "!docs/README.md"], "docs/README.md"));
        assert!(excluded(&["!docs/README.md", "docs"], "docs/README.md"));
        assert!(excluded(&["docs", "!docs/README.md", "docs/README.md"], "docs/README.md"));
        assert!(excluded(&["*.md", "!README*.md", "README-secret.md"], "README-secret.md"));
        assert!(!excluded(&["**"], "."));
    }

    #[test]
    fn ignore_files_have_comments_blanks_and_leading_slashes() {
        let file =
            Patterns::parse(b"\xef\xbb\xbf# comment\n\n  /node_modules/ \n! /keep\n#x\n *.log\n").unwrap();
        assert!(file.excludes("node_modules/a/b"));
        assert!(file.excludes("x.log"));
        assert!(!file.excludes("#x"));
        assert!(!file.excludes("keep"));
        assert_eq!(Patterns::parse(b"!").unwrap_err(), IgnoreError::BareException);
        assert!(matches!(Patterns::parse(b"a[").unwrap_err(), IgnoreError::Pattern(_)));
    }

    #[test]
    fn a_walk_enters_what_an_exception_may_lie_in() {
        let patterns = Patterns::new(["a", "b", "!a/x/y"]).unwrap();
        assert!(!patterns.prunes("a"));
        assert!(!patterns.prunes("a/x"));
        assert!(patterns.prunes("b"));
        assert!(!Patterns::new(["*", "!**/*.md"]).unwrap().prunes("docs"));
    }
}
