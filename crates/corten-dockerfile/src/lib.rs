//! Dockerfiles: bytes → lines → syntax tree → typed instructions → stages, without I/O.
//!
//! ```text
//!  bytes ── source ──► logical lines (continuations joined, comments and blank lines gone, heredocs attached)
//!           ast    ──► one Node per instruction: keyword, flags, arguments by the keyword's grammar, span
//!           parse  ──► Instruction: flags checked, arguments typed
//!           stage  ──► Program: global ARGs, then stages with their instructions
//! ```
//!
//! Beside that pipeline stand the three small languages a Dockerfile contains: variable expansion ([`expand`]),
//! `.dockerignore` patterns ([`ignore`]) and Go's `filepath.Match` ([`path_match`]).
//!
//! Invariants: every node carries the [`Span`] of the source that it came from; every error names its line; no input
//! panics or recurses without bound. Texts of errors are those of Docker's parser (BuildKit's `frontend/dockerfile`).
//!
//! Deliberately not here: reading files, running anything, deciding which flags a builder supports.

pub mod ast;
mod duration;
mod error;
pub mod expand;
mod flags;
mod heredoc;
pub mod ignore;
pub mod instruction;
mod mount;
mod parse;
pub mod path_match;
mod pattern;
mod quote;
mod source;
mod span;
mod stage;
mod suggest;
mod words;

pub use ast::{Args, Ast, Directives, Flag, Node, Pair, Warning};
pub use error::{Fault, ParseError, Phase};
pub use expand::{ExpandError, Lex};
pub use heredoc::Heredoc;
pub use instruction::{
    Add, ArgDef, CommandLine, Copy, Healthcheck, Instruction, Item, NetworkMode, Run, Security, Sources, Test,
};
pub use mount::{Mount, MountError, MountKind, Sharing};
pub use parse::instruction;
pub use quote::quote;
pub use span::Span;
pub use stage::{GlobalArg, Program, Stage};

/// Parses a whole Dockerfile into its stages.
pub fn program(source: &[u8]) -> Result<(Ast, Program), ParseError> {
    let ast = Ast::parse(source)?;
    let program = Program::from_ast(&ast)?;
    Ok((ast, program))
}
