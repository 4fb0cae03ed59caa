//! Variables, quotes and escapes in a word: `$x`, `${x:-y}`, `${x#p}`, `${x/p/y}`, `"…"`, `'…'`, `\$`.
//!
//! The language of BuildKit's `shell.Lex`: a shell's without command substitution. Substitutions nest, up to a limit.

use crate::pattern::{Extent, Pattern};
use crate::quote::quote;

/// How deep `${a:-${b:-…}}` may nest.
const DEPTH_LIMIT: u32 = 64;
/// How long the text may grow that one word expands to.
const LENGTH_LIMIT: usize = 16 << 20;

/// Why a word does not expand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {reason}", quote(word))]
pub struct ExpandError {
    /// The whole word.
    pub word: String,
    /// What is wrong in it.
    pub reason: Reason,
}

/// What is wrong in a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A quote is not closed.
    #[error("unexpected end of statement while looking for matching {0}")]
    Unterminated(&'static str),
    /// A `${` is not closed, or a part of it is missing.
    #[error("syntax error: missing {0}")]
    Missing(&'static str),
    /// What stands behind `${` is no name.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// What stands behind the name is no modifier.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${name?message}` of a variable that is not set.
    #[error("{name}: {message}")]
    Demanded {
        /// The variable.
        name: String,
        /// The author's message, or the default one.
        message: String,
    },
    /// A pattern escapes a character that has no meaning to take away.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{character}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The character behind the backslash.
        character: char,
    },
    /// Substitutions nest too deep, or grow without end.
    #[error("substitution too large")]
    TooLarge,
}

/// Looks a variable up: `None` is unset, which is not the same as empty.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How words are expanded.
#[derive(Debug, Clone, Copy)]
pub struct Lex {
    /// The escape character of the Dockerfile.
    pub escape: char,
    /// Keep quotes in the result.
    pub raw_quotes: bool,
    /// Keep escapes in the result.
    pub raw_escapes: bool,
    /// Quotes are characters like others: the content of here-documents.
    pub plain_quotes: bool,
    /// Leave what is not set as it was written.
    pub skip_unset: bool,
}

impl Lex {
    /// The way of instructions: quotes and escapes are taken away, what is unset is empty.
    pub fn new(escape: char) -> Self {
        Self { escape, raw_quotes: false, raw_escapes: false, plain_quotes: false, skip_unset: false }
    }

    /// `word` with its variables replaced, as one word.
    pub fn word(&self, word: &str, lookup: Lookup<'_>) -> Result<String, ExpandError> {
        self.run(word, lookup).map(|(text, _)| text)
    }

    /// `word` with its variables replaced, split at blanks that are not quoted. A variable's value is split too.
    pub fn words(&self, word: &str, lookup: Lookup<'_>) -> Result<Vec<String>, ExpandError> {
        self.run(word, lookup).map(|(_, words)| words)
    }

    fn run(&self, word: &str, lookup: Lookup<'_>) -> Result<(String, Vec<String>), ExpandError> {
        let mut scan = Scan {
            lex: self,
            chars: word.chars().collect(),
            at: 0,
            lookup,
            depth: 0,
            raw_escapes: self.raw_escapes,
        };
        scan.until(None).map_err(|reason| ExpandError { word: word.into(), reason })
    }
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    /// Adds text whose blanks separate.
    fn split(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
            }
        }
    }

    /// Adds text whose blanks do not separate.
    fn keep(&mut self, text: &str) {
        self.word.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Scan<'a> {
    lex: &'a Lex,
    chars: Vec<char>,
    at: usize,
    lookup: Lookup<'a>,
    depth: u32,
    raw_escapes: bool,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Reads to `stop` (taken) or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), Reason> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(c) = self.peek() {
            if text.len() > LENGTH_LIMIT {
                return Err(Reason::TooLarge);
            }
            if stop == Some(c) {
                self.at += 1;
                return Ok((text, words.finish()));
            }
            match c {
                '\'' | '"' if !self.lex.plain_quotes => {
                    let quoted = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    text.push_str(&quoted);
                    words.keep(&quoted);
                }
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    words.split(&value);
                }
                '<' => {
                    let start = self.at;
                    self.at += 1;
                    if self.peek() == Some('<') {
                        // Blanks between `<<` and the word belong to the here-document.
                        self.at += 1;
                        while matches!(self.peek(), Some(' ' | '\t' | '\r')) {
                            self.at += 1;
                        }
                    }
                    let mark: String = self.chars[start..self.at].iter().collect();
                    text.push_str(&mark);
                    words.keep(&mark);
                }
                c if c == self.lex.escape => {
                    self.at += 1;
                    let escaped = self.next();
                    let kept: String = self.raw_escapes.then_some(c).into_iter().chain(escaped).collect();
                    text.push_str(&kept);
                    words.keep(&kept);
                }
                c => {
                    self.at += 1;
                    text.push(c);
                    words.split(c.encode_utf8(&mut [0; 4]));
                }
            }
        }
        match stop {
            None => Ok((text, words.finish())),
            Some(_) => Err(Reason::Unterminated("}")),
        }
    }

    fn single_quoted(&mut self) -> Result<String, Reason> {
        let mut text = String::new();
        self.quote_mark(&mut text);
        loop {
            match self.peek() {
                None => return Err(Reason::Unterminated("single-quote")),
                Some('\'') => {
                    self.quote_mark(&mut text);
                    return Ok(text);
                }
                Some(c) => {
                    self.at += 1;
                    text.push(c);
                }
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, Reason> {
        let mut text = String::new();
        self.quote_mark(&mut text);
        loop {
            match self.peek() {
                None => return Err(Reason::Unterminated("double-quote")),
                Some('"') => {
                    self.quote_mark(&mut text);
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) if c == self.lex.escape => {
                    self.at += 1;
                    if self.raw_escapes {
                        text.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.lex.escape => {
                            self.at += 1;
                            text.push(next);
                        }
                        // Before any other character the escape is a character itself.
                        Some(_) => text.push(c),
                    }
                }
                Some(c) => {
                    self.at += 1;
                    text.push(c);
                }
            }
        }
    }

    fn quote_mark(&mut self, text: &mut String) {
        if let Some(mark) = self.next()
            && self.lex.raw_quotes
        {
            text.push(mark);
        }
    }

    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            // The shell's special parameters: never set in a Dockerfile.
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    self.at += 1;
                }
            }
        }
        self.chars[start..self.at].iter().collect()
    }

    fn dollar(&mut self) -> Result<String, Reason> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".into());
            }
            return Ok(match (self.lookup)(&name) {
                Some(value) => value,
                None if self.lex.skip_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.at += 1;
        match self.peek() {
            None => return Err(Reason::Missing("'}'")),
            Some('{' | '}' | ':') => return Err(Reason::BadSubstitution),
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(Reason::TooLarge);
        }
        let value = self.substitution();
        self.depth -= 1;
        value
    }

    /// What stands in `${…}`, from the name on.
    fn substitution(&mut self) -> Result<String, Reason> {
        let name = self.name();
        let mut modifier = String::new();
        let mut next = self.next();
        let null_is_unset = next == Some(':');
        if null_is_unset {
            modifier.push(':');
            next = self.next();
        }
        let Some(operator) = next else {
            return Err(if null_is_unset { Reason::Modifier(modifier) } else { Reason::Missing("'}'") });
        };
        modifier.push(operator);
        match operator {
            '}' if !null_is_unset => {
                let value = (self.lookup)(&name);
                if value.is_none() && self.lex.skip_unset {
                    return Ok(format!("${{{name}}}"));
                }
                Ok(value.unwrap_or_default())
            }
            '-' | '+' | '?' => {
                let word = self.part('}', false)?;
                let value = (self.lookup)(&name);
                if value.is_none() && self.lex.skip_unset {
                    return Ok(format!("${{{name}{modifier}{word}}}"));
                }
                let present = value.clone().filter(|value| !(null_is_unset && value.is_empty()));
                match (operator, present) {
                    ('-', Some(value)) => Ok(value),
                    ('-', None) => Ok(word),
                    ('+', Some(_)) => Ok(word),
                    ('+', None) => Ok(String::new()),
                    (_, Some(value)) => Ok(value),
                    (_, None) => Err(Reason::Demanded {
                        message: match (word.is_empty(), value) {
                            (false, _) => word,
                            (true, None) => "is not allowed to be unset".into(),
                            (true, Some(_)) => "is not allowed to be empty".into(),
                        },
                        name,
                    }),
                }
            }
            '#' | '%' if !null_is_unset => {
                let word = self.part('}', true)?;
                let Some(value) = (self.lookup)(&name) else {
                    return Ok(if self.lex.skip_unset {
                        format!("${{{name}{modifier}{word}}}")
                    } else {
                        String::new()
                    });
                };
                let (extent, pattern) = match word.strip_prefix(operator) {
                    Some(pattern) => (Extent::Longest, pattern),
                    None => (Extent::Shortest, word.as_str()),
                };
                let compiled = compile(pattern)?;
                let value: Vec<char> = value.chars().collect();
                let left = if operator == '#' {
                    &value[compiled.prefix(&value, extent).unwrap_or(0)..]
                } else {
                    &value[..value.len() - compiled.suffix(&value, extent).unwrap_or(0)]
                };
                Ok(left.iter().collect())
            }
            '/' if !null_is_unset => {
                let every = self.peek() == Some('/');
                if every {
                    self.at += 1;
                }
                let pattern = self.part('/', true)?;
                let with = self.part('}', true)?;
                match (self.lookup)(&name) {
                    Some(value) => {
                        Ok(compile(&pattern)?.replace(&value.chars().collect::<Vec<_>>(), &with, every))
                    }
                    None if self.lex.skip_unset => Ok(format!("${{{name}/{pattern}/{with}}}")),
                    None => compile(&pattern).map(|_| String::new()),
                }
            }
            _ => Err(Reason::Modifier(modifier)),
        }
    }

    /// A part of a substitution, up to `stop`.
    fn part(&mut self, stop: char, raw_escapes: bool) -> Result<String, Reason> {
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let part = self.until(Some(stop));
        self.raw_escapes = before;
        match part {
            Ok((text, _)) => Ok(text),
            Err(Reason::Unterminated(_)) if stop == '/' => Err(Reason::Missing("'/' in ${}")),
            Err(Reason::Unterminated(_)) => Err(Reason::Missing("'}'")),
            Err(reason) => Err(reason),
        }
    }
}

fn compile(pattern: &str) -> Result<Pattern, Reason> {
    Pattern::new(pattern).map_err(|character| Reason::Pattern { pattern: pattern.into(), character })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "PWD" => Some("/home".into()),
            "SHELL" => Some("bash".into()),
            "NULL" => Some(String::new()),
            "FILE" => Some("a/b.tar.gz".into()),
            "LIST" => Some("80 443".into()),
            _ => None,
        }
    }

    fn word(text: &str) -> Result<String, Reason> {
        Lex::new('\\').word(text, &variable).map_err(|error| error.reason)
    }

    #[test]
    fn words_expand_as_in_a_dockerfile() {
        for (text, expected) in [
            ("hello", "hello"),
            ("he'll'o", "hello"),
            (r"he\'llo", "he'llo"),
            (r"abc\tdef", "abctdef"),
            (r#""abc\tdef""#, r"abc\tdef"),
            (r#""abc\\tdef""#, r"abc\tdef"),
            (r"'abc\tdef'", r"abc\tdef"),
            (r"hello\", "hello"),
            (r"hello\\", r"hello\"),
            ("\"''\"", "''"),
            ("$.", "$."),
            ("he$1x", "hex"),
            ("he$pwd.", "he."),
            ("he$PWD", "he/home"),
            (r"he\$PWD", "he$PWD"),
            (r"he\\$PWD", r"he\/home"),
            (r#""he\$PWD""#, "he$PWD"),
            (r"\${}", "${}"),
            ("he${hi}xx", "hexx"),
            ("he${PWD:-000}xx", "he/homexx"),
            ("he${XXX:-${PWD:-yyy}}xx", "he/homexx"),
            ("he${XXX:-${YYY:-yyy}}xx", "heyyyxx"),
            ("he${NULL?}", "he"),
            ("he${NULL-x}", "he"),
            ("he${NULL:-x}", "hex"),
            ("he${PWD:+${SHELL}}xx", "hebashxx"),
            ("he${XXX:+${PWD}}xx", "hexx"),
            ("'he${XX}'", "he${XX}"),
            ("\"he'$PWD'\"", "he'/home'"),
            ("he${PWD:+${PWD}:}xx", "he/home:xx"),
            (r"he${XXX:-\${PWD}z}xx", "he${PWDz}xx"),
            ("${aaa:-bbb {foo}", "bbb {foo"),
            ("${aaa}}", "}"),
            ("$@@@", "@@"),
            ("${001:-bbb}aaa", "bbbaaa"),
            ("$$x", "x"),
            ("${FILE#*/}", "b.tar.gz"),
            ("${FILE%.*}", "a/b.tar"),
            ("${FILE%%.*}", "a/b"),
            ("${FILE##*.}", "gz"),
            ("${FILE/./-}", "a/b-tar.gz"),
            ("${FILE//./-}", "a/b-tar-gz"),
            (r"${FILE/\//-}", "a-b.tar.gz"),
            ("안녕$PWD", "안녕/home"),
        ] {
            assert_eq!(word(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_expand_is_an_error() {
        for text in [
            "he'llo",
            "\"hello",
            "${}",
            "he${.}",
            "he${XXX:YYY}",
            "he${XXX?}",
            "he${NULL:?}",
            "he${PWD",
            "he${PWD:=000}xx",
            "${{aaa}",
            "${:-bbb}",
            "${aaa:-bbb ${foo}",
            "${PWD:#x}",
            "${PWD/a",
            "${PWD/a/b",
            r"${PWD#\a}",
            "${PWD:",
        ] {
            assert!(word(text).is_err(), "{text}: {:?}", word(text));
        }
        let error = Lex::new('\\').word("a${XXX?no value}", &variable).unwrap_err();
        assert_eq!(error.to_string(), r#"failed to process "a${XXX?no value}": XXX: no value"#);
    }

    #[test]
    fn values_split_into_words_unless_quoted() {
        let words = |text: &str| Lex::new('\\').words(text, &variable).unwrap();
        assert_eq!(words("$LIST 8080"), ["80", "443", "8080"]);
        assert_eq!(words("\"$LIST\" x${NULL}y"), ["80 443", "xy"]);
        assert_eq!(words("a${SHELL:-b}c"), ["abashc"]);
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = "${a:-".repeat(10_000);
        assert_eq!(word(&deep), Err(Reason::TooLarge));
    }
}
