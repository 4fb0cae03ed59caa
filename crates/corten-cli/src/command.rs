//! The tree of commands as data, and finding a command line's place in it.

use std::future::Future;
use std::pin::Pin;

use crate::error::{Failure, Outcome};
use crate::flag::Flag;
use crate::help;
use crate::parse::{Matches, Order, parse};
use crate::session::Session;

/// What a command does, as a future on the session.
pub type Work<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Any number.
    Any,
    /// None.
    None,
    /// So many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// So many or fewer.
    AtMost(usize),
    /// From so many to so many.
    Between(usize, usize),
}

/// A command that does something.
pub struct Command {
    /// What follows the name in the usage line.
    pub usage: &'static str,
    /// A second usage line, where there is one.
    pub usage_also: Option<&'static str>,
    /// One line of help.
    pub about: &'static str,
    /// Every spelling that leads here, where there are several: `container rm`, `rm`.
    pub spellings: &'static [&'static str],
    /// The flags.
    pub flags: &'static [&'static [Flag]],
    /// How many arguments it takes.
    pub arity: Arity,
    /// Where flags may stand.
    pub order: Order,
    /// What it does.
    pub run: for<'a> fn(&'a Session, &'a Matches) -> Work<'a>,
}

/// A name in the tree.
pub struct Entry {
    /// The name.
    pub name: &'static str,
    /// Other names at the same place.
    pub also: &'static [&'static str],
    /// Under which heading help lists it.
    pub group: Group,
    /// What the name leads to.
    pub node: Node,
}

/// What a name leads to.
pub enum Node {
    /// A command.
    Leaf(&'static Command),
    /// More names, with one line of help.
    Branch(&'static str, &'static [Entry]),
    /// A command of the binary outside this crate, listed with one line of help.
    Elsewhere(&'static str),
    /// A name of docker's that does not exist in this version.
    Absent,
}

/// The headings of help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// What everybody uses daily.
    Common,
    /// Names that lead to more names.
    Management,
    /// Everything else.
    Plain,
    /// Works, and is not listed.
    Hidden,
}

impl Node {
    /// The line of help.
    pub fn about(&self) -> &'static str {
        match self {
            Self::Leaf(command) => command.about,
            Self::Branch(about, _) | Self::Elsewhere(about) => about,
            Self::Absent => "",
        }
    }
}

/// A command's place: its path as typed (`corten container rm`) and what to do.
pub enum Found {
    /// Run this.
    Run(&'static Command, Matches, String),
    /// Print this on standard output and end well.
    Print(String),
    /// Print this on standard error and end well: a group named alone.
    Hint(String),
}

/// Walks `words` down from `entries` and reads the flags of the command found.
pub fn find(path: &str, entries: &'static [Entry], about: &'static str, words: &[String]) -> Outcome<Found> {
    let Some(first) = words.first() else { return Ok(Found::Hint(help::branch(path, entries, about))) };
    if first == "--help" || first == "-h" {
        return Ok(Found::Print(help::branch(path, entries, about)));
    }
    if let Some(flag) = first.strip_prefix("--") {
        return Err(flag_mistake(path, "", &format!("unknown flag: --{flag}")));
    }
    if first.starts_with('-') && first.len() > 1 {
        let letter = first.chars().nth(1).unwrap_or('-');
        return Err(flag_mistake(path, "", &format!("unknown shorthand flag: '{letter}' in {first}")));
    }
    let program = path.split(' ').next().unwrap_or_default();
    let entry = entries.iter().find(|entry| entry.name == *first || entry.also.contains(&first.as_str()));
    let below = format!("{path} {first}");
    match entry.map(|entry| &entry.node) {
        None => {
            let usage = if path == program { String::new() } else { format!("Usage:  {path}\n\n") };
            Err(Failure::new(format!(
                "{program}: unknown command: {below}\n\n{usage}Run '{path} --help' for more information"
            )))
        }
        Some(Node::Absent) => Err(Failure::new(format!(
            "{program}: \"{below}\" is a command of Docker that this version of Corten does not have"
        ))),
        Some(Node::Elsewhere(_)) => {
            Err(Failure::new(format!("{program}: \"{below}\" must be the first word of the command line")))
        }
        Some(Node::Branch(about, entries)) => find(&below, entries, about, &words[1..]),
        Some(Node::Leaf(command)) => leaf(&below, command, &words[1..]),
    }
}

fn leaf(path: &str, command: &'static Command, words: &[String]) -> Outcome<Found> {
    let matches = parse(command.flags, command.order, words)
        .map_err(|mistake| flag_mistake(path, command.usage, &mistake))?;
    if matches.help {
        return Ok(Found::Print(help::leaf(path, command)));
    }
    if let Some((sentence, see)) = refuse(command.arity, matches.args.len()) {
        let program = path.split(' ').next().unwrap_or_default();
        return Err(Failure::new(format!(
            "{program}: '{path}' {sentence}\n\nUsage:  {}\n\n{see} '{path} --help' for more information",
            help::usage(path, command)
        )));
    }
    Ok(Found::Run(command, matches, path.to_owned()))
}

/// The first word beyond a command's name.
pub fn beyond<'a>(entries: &'static [Entry], words: &'a [String]) -> Option<&'a String> {
    let (first, rest) = words.split_first()?;
    let entry = entries.iter().find(|entry| entry.name == *first || entry.also.contains(&first.as_str()))?;
    match entry.node {
        Node::Branch(_, below) => beyond(below, rest),
        _ => rest.first(),
    }
}

/// A mistake in a flag: docker's three paragraphs, exit status 125.
pub fn flag_mistake(path: &str, usage: &str, mistake: &str) -> Failure {
    let usage = if usage.is_empty() { path.to_owned() } else { format!("{path} {usage}") };
    Failure {
        text: format!("{mistake}\n\nUsage:  {usage}\n\nRun '{path} --help' for more information"),
        code: 125,
    }
}

/// Why a number of arguments is refused, with the word docker's hint begins with.
fn refuse(arity: Arity, count: usize) -> Option<(String, &'static str)> {
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    match arity {
        Arity::Any => None,
        Arity::None => (count > 0).then(|| ("accepts no arguments".to_owned(), "Run")),
        Arity::Exactly(n) => (count != n).then(|| (format!("requires {n} {}", plural(n)), "Run")),
        Arity::AtLeast(n) => (count < n).then(|| (format!("requires at least {n} {}", plural(n)), "See")),
        Arity::AtMost(n) => (count > n).then(|| (format!("requires at most {n} {}", plural(n)), "Run")),
        Arity::Between(low, high) => (count < low || count > high)
            .then(|| (format!("requires at least {low} and at most {high} {}", plural(high)), "Run")),
    }
}
