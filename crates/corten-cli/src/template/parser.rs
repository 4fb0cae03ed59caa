//! Tokens into a tree.

use std::rc::Rc;

use super::ast::{Node, Operand, OperandKind, Pipeline, Template};
use super::functions;
use super::lexer::{Lexeme, Token, lex};
use super::{TemplateError, Value};

/// Reads a template; the error is Go's text.
pub fn parse(source: &str) -> Result<Template, TemplateError> {
    let lexemes = lex(source)?;
    let mut parser = Parser {
        source,
        lexemes,
        next: 0,
        variables: vec!["$".to_owned()],
        loops: 0,
        template: Template { source: source.to_owned(), ..Template::default() },
    };
    let (body, end) = parser.list()?;
    if let Some(end) = end {
        return Err(parser.error(&format!("unexpected {{{{{}}}}}", end.keyword())));
    }
    let mut template = parser.template;
    template.body = body;
    Ok(template)
}

struct Parser<'a> {
    source: &'a str,
    lexemes: Vec<Lexeme>,
    next: usize,
    variables: Vec<String>,
    loops: usize,
    template: Template,
}

/// What ended a list of nodes.
enum End {
    End,
    Else,
}

impl End {
    fn keyword(&self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Else => "else",
        }
    }
}

type Parsed<T> = Result<T, TemplateError>;

impl Parser<'_> {
    fn error(&self, what: &str) -> TemplateError {
        let at = self.lexemes.get(self.next.saturating_sub(1)).map_or(self.source.len(), |lexeme| lexeme.at);
        let line = self.source[..at].matches('\n').count() + 1;
        TemplateError(format!("template: :{line}: {what}"))
    }

    fn peek(&self) -> Option<&Token> {
        self.lexemes.get(self.next).map(|lexeme| &lexeme.token)
    }

    fn advance(&mut self) -> Option<Lexeme> {
        let lexeme = self.lexemes.get(self.next).cloned();
        self.next += 1;
        lexeme
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.next += 1;
        }
    }

    fn close(&mut self, context: &str) -> Parsed<()> {
        self.skip_space();
        match self.advance() {
            Some(Lexeme { token: Token::Close, .. }) => Ok(()),
            Some(lexeme) => Err(self.error(&format!("unexpected {} in {context}", self.shown(&lexeme)))),
            None => Err(self.error("unclosed action")),
        }
    }

    fn shown(&self, lexeme: &Lexeme) -> String {
        match &lexeme.token {
            Token::Close => "\"}}\"".to_owned(),
            _ => format!("<{}>", &self.source[lexeme.at..lexeme.end]),
        }
    }

    fn list(&mut self) -> Parsed<(Vec<Node>, Option<End>)> {
        let mut nodes = Vec::new();
        while let Some(lexeme) = self.advance() {
            match lexeme.token {
                Token::Text(text) => nodes.push(Node::Text(text)),
                Token::Open => {
                    self.skip_space();
                    let keyword = match self.peek() {
                        Some(Token::Name(name)) => name.clone(),
                        _ => String::new(),
                    };
                    if matches!(
                        keyword.as_str(),
                        "if" | "with"
                            | "range"
                            | "template"
                            | "define"
                            | "block"
                            | "end"
                            | "else"
                            | "break"
                            | "continue"
                    ) {
                        self.next += 1;
                    }
                    match keyword.as_str() {
                        "end" => {
                            self.close("end")?;
                            return Ok((nodes, Some(End::End)));
                        }
                        "else" => return Ok((nodes, Some(End::Else))),
                        "if" | "with" | "range" => nodes.push(self.control(&keyword)?),
                        "define" => self.define()?,
                        "template" | "block" => nodes.push(self.call(&keyword)?),
                        "break" | "continue" => {
                            if self.loops == 0 {
                                return Err(self.error(&format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                            }
                            self.close(&keyword)?;
                            nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                        }
                        _ => {
                            let pipeline = self.pipeline("command", &Token::Close)?;
                            nodes.push(Node::Action(pipeline));
                        }
                    }
                }
                _ => return Err(self.error("unexpected token")),
            }
        }
        Ok((nodes, None))
    }

    fn control(&mut self, keyword: &str) -> Parsed<Node> {
        let known = self.variables.len();
        let pipeline = self.pipeline(keyword, &Token::Close)?;
        self.loops += usize::from(keyword == "range");
        let (body, end) = self.list()?;
        self.loops -= usize::from(keyword == "range");
        let otherwise = match end {
            None => return Err(self.error("unexpected EOF")),
            Some(End::End) => Vec::new(),
            Some(End::Else) => {
                self.skip_space();
                match self.peek() {
                    // `else if` and `else with` are one construct with one `end`.
                    Some(Token::Name(name)) if *name == keyword && keyword != "range" => {
                        self.next += 1;
                        vec![self.control(keyword)?]
                    }
                    _ => {
                        self.close("else")?;
                        let (nodes, end) = self.list()?;
                        match end {
                            Some(End::End) => nodes,
                            Some(End::Else) => return Err(self.error("expected end; found {{else}}")),
                            None => return Err(self.error("unexpected EOF")),
                        }
                    }
                }
            }
        };
        self.variables.truncate(known);
        Ok(match keyword {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(pipeline, body, otherwise),
        })
    }

    fn name(&mut self, context: &str) -> Parsed<String> {
        self.skip_space();
        match self.advance() {
            Some(Lexeme { token: Token::Text1(name), .. }) => Ok(name),
            Some(lexeme) => Err(self.error(&format!("unexpected {} in {context}", self.shown(&lexeme)))),
            None => Err(self.error("unclosed action")),
        }
    }

    fn define(&mut self) -> Parsed<()> {
        let name = self.name("define clause")?;
        self.close("define clause")?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (body, end) = self.list()?;
        self.variables = outer;
        if !matches!(end, Some(End::End)) {
            return Err(self.error("unexpected EOF"));
        }
        self.template.defined.insert(name, body);
        Ok(())
    }

    fn call(&mut self, keyword: &str) -> Parsed<Node> {
        let name = self.name("template clause")?;
        self.skip_space();
        let argument = if self.peek() == Some(&Token::Close) {
            self.next += 1;
            None
        } else {
            Some(self.pipeline("template clause", &Token::Close)?)
        };
        if keyword == "block" {
            let (body, end) = self.list()?;
            if !matches!(end, Some(End::End)) {
                return Err(self.error("unexpected EOF"));
            }
            self.template.defined.entry(name.clone()).or_insert(body);
        }
        Ok(Node::Call(name, argument))
    }

    fn pipeline(&mut self, context: &str, end: &Token) -> Parsed<Pipeline> {
        let (declared, assigns) = self.declaration(context)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(token) if token == end => {
                    self.next += 1;
                    if commands.is_empty() {
                        return Err(self.error(&format!("missing value for {context}")));
                    }
                    if !assigns {
                        self.variables.extend(declared.iter().cloned());
                    }
                    return Ok(Pipeline { declared, assigns, commands });
                }
                None => return Err(self.error("unclosed action")),
                Some(Token::Pipe) if !commands.is_empty() => {
                    self.next += 1;
                    commands.push(self.command(context)?);
                }
                Some(_) if commands.is_empty() => commands.push(self.command(context)?),
                Some(_) => {
                    let lexeme = self.lexemes[self.next].clone();
                    self.next += 1;
                    return Err(self.error(&format!("unexpected {} in {context}", self.shown(&lexeme))));
                }
            }
        }
    }

    /// `$x :=`, `$x =`, `$i, $x :=` at the start of a pipeline.
    fn declaration(&mut self, context: &str) -> Parsed<(Vec<String>, bool)> {
        self.skip_space();
        let start = self.next;
        let mut names = Vec::new();
        while let Some(Token::Variable(name)) = self.peek() {
            names.push(name.clone());
            self.next += 1;
            self.skip_space();
            match self.peek() {
                Some(Token::Declare) => {
                    self.next += 1;
                    return Ok((names, false));
                }
                Some(Token::Assign) => {
                    self.next += 1;
                    return Ok((names, true));
                }
                Some(Token::Comma) if context == "range" && names.len() < 2 => {
                    self.next += 1;
                    self.skip_space();
                }
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, context: &str) -> Parsed<Vec<Operand>> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                None | Some(Token::Close | Token::Pipe | Token::Right) => break,
                Some(_) => operands.push(self.operand(context)?),
            }
        }
        if operands.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(operands)
    }

    fn operand(&mut self, context: &str) -> Parsed<Operand> {
        let Some(lexeme) = self.advance() else { return Err(self.error("unclosed action")) };
        let kind = match lexeme.token.clone() {
            Token::Dot => OperandKind::Dot,
            Token::Field(name) => {
                let mut names = vec![name];
                names.extend(self.fields());
                OperandKind::Field(names)
            }
            Token::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err(self.error(&format!("undefined variable \"{name}\"")));
                }
                OperandKind::Variable(name, self.fields())
            }
            Token::Text1(text) => OperandKind::Literal(Value::Text(text)),
            Token::Char(c) => OperandKind::Literal(Value::Int(i64::from(u32::from(c)))),
            Token::Number(text) => match number(&text) {
                Some(value) => OperandKind::Literal(value),
                None => return Err(self.error(&format!("bad number syntax: \"{text}\""))),
            },
            Token::Name(name) => match name.as_str() {
                "true" => OperandKind::Literal(Value::Bool(true)),
                "false" => OperandKind::Literal(Value::Bool(false)),
                "nil" => OperandKind::Nil,
                _ if functions::exists(&name) => OperandKind::Function(name),
                _ => return Err(self.error(&format!("function \"{name}\" not defined"))),
            },
            Token::Left => {
                let pipeline = self.pipeline("parenthesized pipeline", &Token::Right)?;
                OperandKind::Parenthesis(Rc::new(pipeline), self.fields())
            }
            _ => return Err(self.error(&format!("unexpected {} in {context}", self.shown(&lexeme)))),
        };
        let end = self.lexemes[self.next - 1].end;
        Ok(Operand { at: lexeme.at, text: self.source[lexeme.at..end].to_owned(), kind })
    }

    fn fields(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(Token::Field(name)) = self.peek() {
            names.push(name.clone());
            self.next += 1;
        }
        names
    }
}

fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            return i64::from_str_radix(digits, radix).ok().map(|n| Value::Int(sign * n));
        }
    }
    if let Ok(n) = plain.parse::<i64>() {
        return Some(Value::Int(n));
    }
    plain.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::Float)
}
