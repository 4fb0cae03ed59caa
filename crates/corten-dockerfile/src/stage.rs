//! Instructions to stages.

use crate::ast::{Args, Ast, Node};
use crate::error::{Fault, ParseError};
use crate::flags::{FlagSet, Shape};
use crate::instruction::{ArgDef, Instruction, Item};
use crate::parse;
use crate::span::Span;

/// A Dockerfile as stages.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// `ARG` before the first FROM, one entry per instruction.
    pub global_args: Vec<GlobalArg>,
    /// The stages, at least one.
    pub stages: Vec<Stage>,
}

/// An `ARG` before the first FROM.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalArg {
    /// The line as written.
    pub code: String,
    /// Where it stands.
    pub span: Span,
    /// What it defines.
    pub definitions: Vec<ArgDef>,
}

/// From one FROM to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The image or earlier stage, variables unexpanded.
    pub base: String,
    /// `AS name`, lower case.
    pub name: Option<String>,
    /// `--platform`, variables unexpanded.
    pub platform: Option<String>,
    /// The FROM line as written.
    pub code: String,
    /// Where the FROM stands.
    pub span: Span,
    /// What the stage does.
    pub instructions: Vec<Instruction>,
}

impl Program {
    /// Types every instruction and divides them into stages.
    pub fn from_ast(ast: &Ast) -> Result<Self, ParseError> {
        let mut program = Self { global_args: Vec::new(), stages: Vec::new() };
        for node in &ast.nodes {
            if node.keyword.eq_ignore_ascii_case("from") {
                let fault = |fault| ParseError::instruction(node.span.first_line, fault);
                program.stages.push(Stage::from_node(node).map_err(fault)?);
                continue;
            }
            let instruction = parse::instruction(node)?;
            match (program.stages.last_mut(), instruction.item) {
                (Some(stage), item) => stage.instructions.push(Instruction { item, ..instruction }),
                (None, Item::Arg(definitions)) => {
                    program.global_args.push(GlobalArg {
                        code: instruction.code,
                        span: instruction.span,
                        definitions,
                    });
                }
                (None, _) => return Err(ParseError::instruction(node.span.first_line, Fault::NoStage)),
            }
        }
        match ast.nodes.last() {
            Some(last) if program.stages.is_empty() => {
                Err(ParseError::instruction(last.span.last_line, Fault::NoStage))
            }
            _ => Ok(program),
        }
    }

    /// The index of the stage called `target`, by name in any case, or by number.
    pub fn stage(&self, target: &str) -> Option<usize> {
        let by_name = self
            .stages
            .iter()
            .position(|stage| stage.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(target)));
        by_name.or_else(|| target.parse().ok().filter(|&index: &usize| index < self.stages.len()))
    }
}

impl Stage {
    fn from_node(node: &Node) -> Result<Self, Fault> {
        let Args::Words(words) = &node.args else { return Err(Fault::FromArguments) };
        let (base, name) = match words.as_slice() {
            [base] => (base, None),
            [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => (base, Some(name)),
            _ => return Err(Fault::FromArguments),
        };
        let name = name.map(|written| {
            let name = written.to_lowercase();
            let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
            if valid { Ok(name) } else { Err(Fault::StageName { name: written.clone() }) }
        });
        let name = name.transpose()?;
        let flags = FlagSet::read(&node.flags, &[("platform", Shape::Value)])?;
        Ok(Self {
            base: base.clone(),
            name,
            platform: flags.value("platform"),
            code: node.text.clone(),
            span: node.span,
            instructions: Vec::new(),
        })
    }
}
