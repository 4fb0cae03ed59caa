//! Text and `{{actions}}` into tokens.

use super::TemplateError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Text(String),
    Open,
    Close,
    /// `.Name`
    Field(String),
    /// `.` alone
    Dot,
    /// `$` or `$name`
    Variable(String),
    /// A name: keyword or function.
    Name(String),
    Text1(String),
    Char(char),
    Number(String),
    Pipe,
    Comma,
    Declare,
    Assign,
    Left,
    Right,
    Space,
}

#[derive(Debug, Clone)]
pub(super) struct Lexeme {
    pub token: Token,
    pub at: usize,
    pub end: usize,
}

pub(super) fn lex(source: &str) -> Result<Vec<Lexeme>, TemplateError> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    while at < source.len() {
        let open = source[at..].find("{{").map(|found| at + found);
        let mut text = &source[at..open.unwrap_or(source.len())];
        if trim_next {
            text = text.trim_start_matches(WHITE);
        }
        let Some(open) = open else {
            push_text(&mut out, text, at);
            break;
        };
        let mut inside = open + 2;
        if source[inside..].starts_with('-') && source[inside + 1..].starts_with(WHITE) {
            text = text.trim_end_matches(WHITE);
            inside += 1;
        }
        push_text(&mut out, text, at);
        let comment = source[inside..].trim_start_matches(WHITE);
        if comment.starts_with("/*") {
            let start = source.len() - comment.len();
            let Some(end) = source[start..].find("*/").map(|found| start + found + 2) else {
                return Err(error(source, open, "unclosed comment"));
            };
            let rest = source[end..].trim_start_matches(WHITE);
            let close = source.len() - rest.len();
            (at, trim_next) = if rest.starts_with("}}") {
                (close + 2, false)
            } else if rest.starts_with("-}}") {
                (close + 3, true)
            } else {
                return Err(error(source, open, "comment ends before closing delimiter"));
            };
            continue;
        }
        out.push(Lexeme { token: Token::Open, at: open, end: inside });
        (at, trim_next) = action(source, inside, &mut out)?;
    }
    Ok(out)
}

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

fn push_text(out: &mut Vec<Lexeme>, text: &str, at: usize) {
    if !text.is_empty() {
        out.push(Lexeme { token: Token::Text(text.to_owned()), at, end: at + text.len() });
    }
}

fn error(source: &str, at: usize, what: &str) -> TemplateError {
    let line = source[..at.min(source.len())].matches('\n').count() + 1;
    TemplateError(format!("template: :{line}: {what}"))
}

/// Tokens up to the action's end; gives where the text goes on, and whether it is trimmed there.
fn action(source: &str, mut at: usize, out: &mut Vec<Lexeme>) -> Result<(usize, bool), TemplateError> {
    loop {
        let rest = &source[at..];
        let Some(first) = rest.chars().next() else { return Err(error(source, at, "unclosed action")) };
        let spaces = rest.len() - rest.trim_start_matches(WHITE).len();
        let after = &rest[spaces..];
        if after.starts_with("}}") {
            out.push(Lexeme { token: Token::Close, at: at + spaces, end: at + spaces + 2 });
            return Ok((at + spaces + 2, false));
        }
        if spaces > 0 && after.starts_with("-}}") {
            out.push(Lexeme { token: Token::Close, at: at + spaces, end: at + spaces + 3 });
            return Ok((at + spaces + 3, true));
        }
        if spaces > 0 {
            out.push(Lexeme { token: Token::Space, at, end: at + spaces });
            at += spaces;
            continue;
        }
        let (token, length) = match first {
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '(' => (Token::Left, 1),
            ')' => (Token::Right, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '"' => quoted(source, at)?,
            '`' => match rest[1..].find('`') {
                Some(end) => (Token::Text1(rest[1..=end].to_owned()), end + 2),
                None => return Err(error(source, at, "unterminated raw quoted string")),
            },
            '\'' => character(source, at)?,
            '$' => {
                let length = word(&rest[1..]);
                (Token::Variable(rest[..=length].to_owned()), length + 1)
            }
            '.' => match rest[1..].chars().next() {
                Some(c) if c.is_ascii_digit() => number(rest),
                Some(c) if c.is_alphabetic() || c == '_' => {
                    let length = word(&rest[1..]);
                    (Token::Field(rest[1..=length].to_owned()), length + 1)
                }
                _ => (Token::Dot, 1),
            },
            '+' | '-' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(rest),
            c if c.is_ascii_digit() => number(rest),
            c if c.is_alphabetic() || c == '_' => {
                let length = word(rest);
                (Token::Name(rest[..length].to_owned()), length)
            }
            other => {
                return Err(error(
                    source,
                    at,
                    &format!("unexpected {other:?} in command").replace('\'', "\""),
                ));
            }
        };
        out.push(Lexeme { token, at, end: at + length });
        at += length;
    }
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn number(text: &str) -> (Token, usize) {
    let length = text
        .char_indices()
        .find(|(i, c)| {
            !(c.is_ascii_alphanumeric() || *c == '.' || *c == '_' || (*i == 0 && matches!(c, '+' | '-')))
        })
        .map_or(text.len(), |(i, _)| i);
    (Token::Number(text[..length].to_owned()), length)
}

fn quoted(source: &str, at: usize) -> Result<(Token, usize), TemplateError> {
    let mut value = String::new();
    let mut chars = source[at + 1..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text1(value), i + 2)),
            '\n' => break,
            '\\' => value.push(escape(&mut chars).ok_or_else(|| error(source, at, "invalid syntax"))?),
            c => value.push(c),
        }
    }
    Err(error(source, at, "unterminated quoted string"))
}

fn character(source: &str, at: usize) -> Result<(Token, usize), TemplateError> {
    let bad = || error(source, at, "unterminated character constant");
    let mut chars = source[at + 1..].char_indices();
    let (_, first) = chars.next().ok_or_else(bad)?;
    let value = if first == '\\' { escape(&mut chars).ok_or_else(bad)? } else { first };
    match chars.next() {
        Some((i, '\'')) => Ok((Token::Char(value), i + 2)),
        _ => Err(bad()),
    }
}

fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let hex = |digits: usize, chars: &mut std::str::CharIndices<'_>| {
        let text: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
        char::from_u32(u32::from_str_radix(&text, 16).ok()?)
    };
    Some(match chars.next()?.1 {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        'x' => hex(2, chars)?,
        'u' => hex(4, chars)?,
        'U' => hex(8, chars)?,
        c @ ('\\' | '"' | '\'') => c,
        _ => return None,
    })
}
