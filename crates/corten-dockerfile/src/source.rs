//! Bytes to logical lines: directives, comments, continuations, and the raw lines that heredocs consume.

use crate::ast::{Directives, Warning};
use crate::error::{Fault, ParseError};
use crate::span::Span;

/// The longest line, as Go's scanner has it.
const LINE_LIMIT: usize = 64 * 1024 - 1;

/// One instruction's text with its continuations joined, and where each piece came from.
#[derive(Debug)]
pub(crate) struct LogicalLine {
    /// The joined text, leading blanks of the first line gone.
    pub text: String,
    /// First and last source line.
    pub first_line: u32,
    pub last_line: u32,
    /// Comment lines directly above, without their `#`.
    pub comments: Vec<String>,
    /// Pairs of (offset in `text`, offset in the source), ascending.
    pieces: Vec<(usize, usize)>,
    /// Past the last byte in the source.
    end: usize,
}

impl LogicalLine {
    /// The span of the whole line.
    pub fn span(&self) -> Span {
        let start = self.pieces.first().map_or(0, |piece| piece.1);
        Span { first_line: self.first_line, last_line: self.last_line, start, end: self.end }
    }

    /// The span of a slice of `self.text`; the whole line's where `part` is not one.
    pub fn span_of(&self, part: &str, lines: &Source<'_>) -> Span {
        let base = self.text.as_ptr() as usize;
        let at = (part.as_ptr() as usize).wrapping_sub(base);
        if at > self.text.len() || part.is_empty() {
            return self.span();
        }
        let start = self.to_source(at);
        let end = self.to_source(at + part.len() - 1) + 1;
        Span { first_line: lines.line_of(start), last_line: lines.line_of(end - 1), start, end }
    }

    fn to_source(&self, offset: usize) -> usize {
        let index = self.pieces.partition_point(|piece| piece.0 <= offset).saturating_sub(1);
        self.pieces.get(index).map_or(offset, |piece| piece.1 + (offset - piece.0))
    }
}

/// The lines of a Dockerfile and how far they are read.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// Each line with its ending.
    lines: Vec<&'a str>,
    /// Where each line starts.
    starts: Vec<usize>,
    next: usize,
    pub directives: Directives,
    directives_over: bool,
    pub warnings: Vec<Warning>,
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str) -> Result<Self, ParseError> {
        let mut starts = Vec::new();
        let mut lines = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            if line.len() > LINE_LIMIT {
                let number = u32::try_from(lines.len() + 1).unwrap_or(u32::MAX);
                return Err(ParseError::syntax(number, Fault::LineTooLong { limit: LINE_LIMIT }));
            }
            starts.push(at);
            lines.push(line);
            at += line.len();
        }
        if let Some(first) = lines.first_mut()
            && let Some(rest) = first.strip_prefix('\u{feff}')
        {
            *first = rest;
            starts[0] = '\u{feff}'.len_utf8();
        }
        Ok(Self {
            lines,
            starts,
            next: 0,
            directives: Directives::default(),
            directives_over: false,
            warnings: Vec::new(),
        })
    }

    /// The number of the line that was read last, from 1.
    pub fn line(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX)
    }

    fn line_of(&self, offset: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|&start| start <= offset)).unwrap_or(u32::MAX).max(1)
    }

    /// The next line as it stands, with its ending: the body of a heredoc.
    pub fn raw_line(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next)?;
        self.next += 1;
        Some(line)
    }

    /// The offset past the line that was read last.
    pub fn offset(&self) -> usize {
        match self.next.checked_sub(1) {
            Some(last) => self.starts[last] + self.lines[last].len(),
            None => 0,
        }
    }

    /// The next instruction's text, or `None` at the end.
    pub fn next_logical(&mut self) -> Result<Option<LogicalLine>, ParseError> {
        let mut comments: Vec<String> = Vec::new();
        loop {
            let Some(index) = (self.next < self.lines.len()).then_some(self.next) else { return Ok(None) };
            self.next += 1;
            let whole = self.lines[index].trim_end_matches(['\r', '\n']);
            let line = whole.trim_start();
            if self.directive(line)? {
                continue;
            }
            if let Some(comment) = line.strip_prefix('#') {
                match comment.trim() {
                    "" => comments.clear(),
                    text => comments.push(text.to_owned()),
                }
                continue;
            }
            let (body, mut continued) = self.cut_continuation(line);
            if body.is_empty() && !continued {
                continue;
            }
            let start = self.starts[index] + (whole.len() - line.len());
            let mut logical = LogicalLine {
                text: body.to_owned(),
                first_line: self.line(),
                last_line: self.line(),
                comments,
                pieces: vec![(0, start)],
                end: start + body.len(),
            };
            let mut has_blank = false;
            while continued && self.next < self.lines.len() {
                let index = self.next;
                self.next += 1;
                let line = self.lines[index].trim_end_matches(['\r', '\n']);
                if line.trim_start().starts_with('#') {
                    continue;
                }
                if line.trim_start().is_empty() {
                    has_blank = true;
                    continue;
                }
                let body;
                (body, continued) = self.cut_continuation(line);
                logical.pieces.push((logical.text.len(), self.starts[index]));
                logical.text.push_str(body);
                logical.end = self.starts[index] + body.len();
            }
            logical.last_line = self.line();
            if has_blank {
                self.warnings
                    .push(Warning::EmptyContinuation { text: logical.text.clone(), line: logical.last_line });
            }
            return Ok(Some(logical));
        }
    }

    /// Cuts the continuation mark off `line`: the escape character, not itself escaped, with only blanks behind it.
    fn cut_continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.directives.escape) {
            Some(body) if !body.ends_with(self.directives.escape) => (body, true),
            _ => (line, false),
        }
    }

    /// Takes `line` as a parser directive if it is one; the first line that is not ends the directives.
    fn directive(&mut self, line: &str) -> Result<bool, ParseError> {
        if self.directives_over {
            return Ok(false);
        }
        self.directives_over = true;
        let Some((name, value)) = line.strip_prefix('#').and_then(|rest| rest.split_once('=')) else {
            return Ok(false);
        };
        let (name, value) = (name.trim(), value.trim());
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well || !name.bytes().all(|b| b.is_ascii_alphanumeric()) || value.is_empty() {
            return Ok(false);
        }
        let line = self.line();
        let repeated = |directive| ParseError::syntax(line, Fault::RepeatedDirective { directive });
        match name.to_ascii_lowercase().as_str() {
            "escape" => {
                if self.directives.escape_set {
                    return Err(repeated("escape"));
                }
                self.directives.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => return Err(ParseError::syntax(line, Fault::EscapeToken { token: value.into() })),
                };
                self.directives.escape_set = true;
            }
            "syntax" => {
                if self.directives.syntax.replace(value.into()).is_some() {
                    return Err(repeated("syntax"));
                }
            }
            "check" => {
                if self.directives.check.replace(value.into()).is_some() {
                    return Err(repeated("check"));
                }
            }
            _ => return Ok(false),
        }
        self.directives_over = false;
        Ok(true)
    }
}
