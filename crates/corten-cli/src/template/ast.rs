//! A template as a tree.

use std::collections::HashMap;
use std::rc::Rc;

use super::Value;

/// A template, with those it defines.
#[derive(Debug, Default)]
pub struct Template {
    pub(super) body: Vec<Node>,
    pub(super) defined: HashMap<String, Vec<Node>>,
    pub(super) source: String,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    Call(String, Option<Pipeline>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    pub declared: Vec<String>,
    pub assigns: bool,
    pub commands: Vec<Vec<Operand>>,
}

/// One word of a command; `at` is where it begins in the source, `text` how it is written.
#[derive(Debug)]
pub(super) struct Operand {
    pub at: usize,
    pub text: String,
    pub kind: OperandKind,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Literal(Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Parenthesis(Rc<Pipeline>, Vec<String>),
}

impl Template {
    /// Line and column of a place in the source, as Go's errors tell them.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.source[..at.min(self.source.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rfind('\n').map_or(before.len(), |newline| before.len() - newline - 1);
        (line, column)
    }
}
