//! The syntax tree: one [`Node`] per instruction, its arguments split by the keyword's own grammar.
//!
//! An unknown keyword is a node too ([`Args::Unknown`]); whether it is an error is decided by
//! [`instruction`](crate::parse::instruction).

use std::fmt;

use crate::error::{Fault, ParseError};
use crate::heredoc::{self, Heredoc};
use crate::quote::quote;
use crate::source::{LogicalLine, Source};
use crate::span::Span;
use crate::words;

/// The `# key=value` lines at the top of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The escape and continuation character: `\` or `` ` ``.
    pub escape: char,
    pub(crate) escape_set: bool,
    /// `# syntax=`: the frontend image that is asked for.
    pub syntax: Option<String>,
    /// `# check=`: rules to skip, and whether findings are errors.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', escape_set: false, syntax: None, check: None }
    }
}

/// Something that is accepted today but should be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A blank line inside a continued instruction.
    EmptyContinuation {
        /// The instruction, joined.
        text: String,
        /// Its last line.
        line: u32,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyContinuation { text, .. } => write!(f, "Empty continuation line found in: {text}"),
        }
    }
}

/// A `--name=value` behind the keyword, quotes and escapes taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The whole word, with its dashes.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// One `name=value` of ENV or LABEL, quotes and escapes still in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Left of the first `=`, or the first word of the old form.
    pub key: String,
    /// Right of it.
    pub value: String,
    /// Written `name value`, without the equals sign.
    pub old_form: bool,
}

/// What follows keyword and flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Args {
    /// Nothing.
    None,
    /// The rest of the line as one text: shell form, or the single argument of USER, WORKDIR and the like.
    Text(String),
    /// A JSON array of strings: exec form, or paths with blanks.
    Json(Vec<String>),
    /// Words between blanks.
    Words(Vec<String>),
    /// Pairs of ENV and LABEL.
    Pairs(Vec<Pair>),
    /// The instruction that ONBUILD keeps.
    Trigger(Box<Node>),
    /// HEALTHCHECK's type and what follows it.
    Health {
        /// `CMD`, `NONE`, or a word that is neither, as written.
        kind: String,
        /// The command.
        command: Box<Args>,
    },
    /// The rest of an instruction whose keyword is not known.
    Unknown(String),
}

/// One instruction as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The keyword as written.
    pub keyword: String,
    /// Leading `--flags`.
    pub flags: Vec<Flag>,
    /// The arguments.
    pub args: Args,
    /// Here-documents that the line announces, with their content.
    pub heredocs: Vec<Heredoc>,
    /// The logical line, continuations joined.
    pub text: String,
    /// Comment lines directly above, without `#`.
    pub comments: Vec<String>,
    /// Where it stands, here-documents included.
    pub span: Span,
}

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ast {
    /// The parser directives.
    pub directives: Directives,
    /// The instructions in order; at least one.
    pub nodes: Vec<Node>,
    /// What should be changed.
    pub warnings: Vec<Warning>,
}

impl Ast {
    /// Splits `source` into instructions. Bytes that are not UTF-8 become U+FFFD.
    pub fn parse(source: &[u8]) -> Result<Self, ParseError> {
        let text = String::from_utf8_lossy(source);
        let mut source = Source::new(&text)?;
        let mut nodes = Vec::new();
        while let Some(line) = source.next_logical()? {
            let escape = source.directives.escape;
            let mut node = Node::from_line(&line, &source, escape)
                .map_err(|fault| ParseError::syntax(line.first_line, fault))?;
            if node.may_contain_heredocs() && line.text.contains("<<") {
                node.heredocs = heredoc::announced(&line.text);
                for document in &mut node.heredocs {
                    read_heredoc(document, &mut source)
                        .map_err(|fault| ParseError::syntax(line.first_line, fault))?;
                }
                if !node.heredocs.is_empty() {
                    node.span.last_line = source.line();
                    node.span.end = source.offset();
                }
                if let Args::Trigger(trigger) = &mut node.args {
                    trigger.heredocs.clone_from(&node.heredocs);
                }
            }
            nodes.push(node);
        }
        if nodes.is_empty() {
            return Err(ParseError::syntax(source.line().max(1), Fault::NoInstructions));
        }
        Ok(Self { directives: source.directives, nodes, warnings: source.warnings })
    }
}

fn read_heredoc(document: &mut Heredoc, source: &mut Source<'_>) -> Result<(), Fault> {
    while let Some(line) = source.raw_line() {
        let line = if document.chomp { line.trim_start_matches('\t') } else { line };
        if line.trim_end_matches(['\r', '\n']) == document.name {
            return Ok(());
        }
        document.content.push_str(line);
    }
    Err(Fault::UnterminatedHeredoc)
}

impl Node {
    fn from_line(line: &LogicalLine, source: &Source<'_>, escape: char) -> Result<Self, Fault> {
        let span_of = |part: &str| line.span_of(part, source);
        Self::from_text(line.text.trim(), escape, Nesting::Top, &line.comments, &span_of)
    }

    fn from_text(
        text: &str,
        escape: char,
        nesting: Nesting,
        comments: &[String],
        span_of: &dyn Fn(&str) -> Span,
    ) -> Result<Self, Fault> {
        let (keyword, rest) = words::split_first(text);
        let (raw_flags, rest) = words::leading_flags(rest.unwrap_or(""), escape);
        let flags =
            raw_flags.into_iter().map(|flag| Flag { span: span_of(flag.source), text: flag.text }).collect();
        let rest = rest.trim();
        let args = match keyword.to_ascii_lowercase().as_str() {
            "onbuild" => match nesting {
                _ if rest.is_empty() => Args::None,
                Nesting::Top => {
                    Args::Trigger(Box::new(Self::from_text(rest, escape, Nesting::Trigger, &[], span_of)?))
                }
                // Refused one level up; parsing it further would recurse as deep as the line is long.
                Nesting::Trigger => Args::Text(rest.into()),
            },
            keyword => args(keyword, rest, escape)?,
        };
        Ok(Self {
            keyword: keyword.into(),
            flags,
            args,
            heredocs: Vec::new(),
            text: text.into(),
            comments: comments.to_vec(),
            span: span_of(text),
        })
    }

    fn may_contain_heredocs(&self) -> bool {
        let node = match &self.args {
            Args::Trigger(trigger) => trigger,
            _ => self,
        };
        let keyword = node.keyword.to_ascii_lowercase();
        matches!(keyword.as_str(), "add" | "copy" | "run") && !matches!(node.args, Args::Json(_))
    }
}

#[derive(Clone, Copy)]
enum Nesting {
    Top,
    Trigger,
}

/// Splits `rest` by the grammar of `keyword` (lower case).
fn args(keyword: &str, rest: &str, escape: char) -> Result<Args, Fault> {
    if rest.is_empty() {
        return Ok(Args::None);
    }
    match keyword {
        "run" | "cmd" | "entrypoint" | "shell" => {
            Ok(json(rest)?.map_or_else(|| Args::Text(rest.into()), Args::Json))
        }
        "add" | "copy" | "volume" => {
            Ok(json(rest)?.map_or_else(|| Args::Words(words::split_all(rest)), Args::Json))
        }
        "from" | "expose" => Ok(Args::Words(words::split_all(rest))),
        "maintainer" | "stopsignal" | "user" | "workdir" => Ok(Args::Text(rest.into())),
        "arg" => Ok(Args::Words(words::quoted_words(rest, escape))),
        "env" => pairs(rest, "ENV", escape),
        "label" => pairs(rest, "LABEL", escape),
        "healthcheck" => {
            let (kind, command) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            let command = command.trim_start();
            let command = match command {
                "" => Args::None,
                _ => json(command)?.map_or_else(|| Args::Text(command.into()), Args::Json),
            };
            Ok(Args::Health { kind: kind.into(), command: Box::new(command) })
        }
        _ => Ok(Args::Unknown(rest.into())),
    }
}

/// `text` as a JSON array of strings; `None` where it is no JSON array, so that it means itself.
fn json(text: &str) -> Result<Option<Vec<String>>, Fault> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    values
        .into_iter()
        .map(|value| match value {
            serde_json::Value::String(text) => Ok(text),
            _ => Err(Fault::JsonNotStrings),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

fn pairs(rest: &str, instruction: &'static str, escape: char) -> Result<Args, Fault> {
    let words = words::quoted_words(rest, escape);
    let Some(first) = words.first() else { return Ok(Args::None) };
    if !first.contains('=') {
        return match words::split_first(rest) {
            (key, Some(value)) => {
                Ok(Args::Pairs(vec![Pair { key: key.into(), value: value.into(), old_form: true }]))
            }
            (_, None) => Err(Fault::TwoArguments { instruction }),
        };
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => Ok(Pair { key: key.into(), value: value.into(), old_form: false }),
            None => Err(Fault::NoEqualsSign { word }),
        })
        .collect::<Result<_, _>>()
        .map(Args::Pairs)
}

impl fmt::Display for Ast {
    /// One S-expression per instruction with its lines in front: `2-3 (run ["--mount=x"] "make")`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            let Span { first_line, last_line, .. } = node.span;
            if first_line == last_line {
                writeln!(f, "{first_line} {node}")?;
            } else {
                writeln!(f, "{first_line}-{last_line} {node}")?;
            }
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}", self.keyword.to_ascii_lowercase())?;
        if !self.flags.is_empty() {
            let flags: Vec<_> = self.flags.iter().map(|flag| quote(&flag.text)).collect();
            write!(f, " [{}]", flags.join(" "))?;
        }
        write!(f, "{}", self.args)?;
        for document in &self.heredocs {
            let Heredoc { name, fd, expand, .. } = document;
            write!(f, " <<{name} fd={fd} expand={expand} {}", quote(&document.content))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, words: &[String]| {
            words.iter().try_for_each(|word| write!(f, " {}", quote(word)))
        };
        match self {
            Self::None => Ok(()),
            Self::Text(text) | Self::Unknown(text) => write!(f, " {}", quote(text)),
            Self::Json(words) => {
                f.write_str(" json")?;
                list(f, words)
            }
            Self::Words(words) => list(f, words),
            Self::Pairs(pairs) => pairs.iter().try_for_each(|pair| {
                let sign = if pair.old_form { ' ' } else { '=' };
                write!(f, " {}{sign}{}", quote(&pair.key), quote(&pair.value))
            }),
            Self::Trigger(node) => write!(f, " {node}"),
            Self::Health { kind, command } => write!(f, " {}{command}", quote(kind)),
        }
    }
}
