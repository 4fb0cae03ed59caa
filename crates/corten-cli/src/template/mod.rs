//! Go's `text/template` as docker's `--format` uses it, on values of our own.
//!
//! ```text
//!  text ── lexer ── parser ── Template ── exec(value) ── text
//! ```
//!
//! Owned here: the language, its functions with docker's additions (`json split join title lower upper pad truncate`),
//! and Go's way to print values (`map[a:b]`, `[x y]`, `<no value>`). Left out: what no format uses (methods other
//! than those of table rows, channels, complex numbers, `html/template`'s escaping by context).

mod ast;
mod exec;
mod format;
mod functions;
mod lexer;
mod parser;
pub mod shape;
mod value;

pub use ast::Template;
pub use exec::{Mode, execute};
pub use parser::parse;
pub use value::{Row, Value};

/// Why a template cannot be read or run; Go's texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

#[cfg(test)]
mod tests;
