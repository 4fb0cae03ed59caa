//! Help as docker's command line lays it out: usage, one line, aliases, options in columns.

use std::fmt::Write;

use crate::command::{Command, Entry, Group, Node};
use crate::flag::{Flag, Kind};

/// Columns where there is no terminal to ask.
const WIDTH: usize = 80;
/// Fewer columns than this are too few for a description.
const NARROW: usize = 24;
/// Where a description begins that stands below its flag.
const BLOCK: usize = 16;

/// The usage line of a command, with its second form below it where it has one.
pub fn usage(path: &str, command: &Command) -> String {
    let one = |usage: &str| if usage.is_empty() { path.to_owned() } else { format!("{path} {usage}") };
    match command.usage_also {
        Some(also) => format!("{}\n\t{}", one(command.usage), one(also)),
        None => one(command.usage),
    }
}

/// Help of a command.
pub fn leaf(path: &str, command: &Command) -> String {
    let program = path.split(' ').next().unwrap_or_default();
    let mut out = format!("Usage:  {}\n\n{}\n", usage(path, command), command.about);
    if command.spellings.len() > 1 {
        let names: Vec<String> = command.spellings.iter().map(|name| format!("{program} {name}")).collect();
        let _ = write!(out, "\nAliases:\n  {}\n", names.join(", "));
    }
    let shown = options(command.flags, width());
    if !shown.is_empty() {
        let _ = write!(out, "\nOptions:\n{shown}");
    }
    out
}

/// Help of a name that leads to more names.
pub fn branch(path: &str, entries: &[Entry], about: &str) -> String {
    let mut out = format!("Usage:  {path} COMMAND\n\n{about}\n");
    listing(&mut out, entries);
    let _ = write!(out, "\nRun '{path} COMMAND --help' for more information on a command.\n");
    out
}

/// Help of the program.
pub fn root(program: &str, entries: &[Entry], flags: &'static [&'static [Flag]]) -> String {
    let mut out = format!("Usage:  {program} [OPTIONS] COMMAND\n\nBuild, run and look after containers\n");
    listing(&mut out, entries);
    let _ = write!(out, "\nGlobal Options:\n{}", options(flags, width()));
    let _ = write!(out, "\nRun '{program} COMMAND --help' for more information on a command.\n");
    out
}

fn listing(out: &mut String, entries: &[Entry]) {
    for (group, title) in [
        (Group::Common, "Common Commands"),
        (Group::Management, "Management Commands"),
        (Group::Plain, "Commands"),
    ] {
        let mut first = true;
        for entry in entries.iter().filter(|e| e.group == group && !matches!(e.node, Node::Absent)) {
            if first {
                let _ = write!(out, "\n{title}:\n");
                first = false;
            }
            let _ = writeln!(
                out,
                "  {:<11} {}",
                entry.name,
                entry.node.about().lines().next().unwrap_or_default()
            );
        }
    }
}

fn width() -> usize {
    crate::terminal::size_of_stdin().map_or(WIDTH, |(columns, _)| columns.max(20))
}

/// The options in two columns, sorted by name, descriptions wrapped to `width`.
pub fn options(tables: &[&[Flag]], width: usize) -> String {
    let mut flags: Vec<&Flag> =
        tables.iter().flat_map(|table| table.iter()).filter(|flag| !flag.hidden).collect();
    flags.sort_by_key(|flag| flag.long);
    let heads: Vec<String> = flags
        .iter()
        .map(|flag| {
            let short = flag.short.map_or_else(|| "      ".to_owned(), |letter| format!("  -{letter}, "));
            let label = flag.kind.label();
            let gap = if label.is_empty() { "" } else { " " };
            format!("{short}--{}{gap}{label}", flag.long)
        })
        .collect();
    let column = heads.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, head) in flags.iter().zip(&heads) {
        let text = match (flag.default, flag.kind) {
            ("", _) => flag.help.to_owned(),
            (default, Kind::Text) => format!("{} (default {default:?})", flag.help),
            (default, _) => format!("{} (default {default})", flag.help),
        };
        let _ = write!(out, "{head:<column$}");
        // Where the column leaves too little room, the text stands below, as a block.
        let (indent, below) = if width < 1 + column + NARROW { (BLOCK, true) } else { (column, false) };
        let lines = match (width - 1).checked_sub(indent).filter(|room| *room >= NARROW) {
            Some(room) => wrap(&text, room),
            None => vec![text],
        };
        let gap = format!("\n{:indent$}", "");
        let start = if below { gap.as_str() } else { "" };
        let _ = writeln!(out, "{start}{}", lines.join(&gap));
    }
    out
}

/// Breaks a text at spaces into lines that end five characters before `width`, except that a rest which fits the
/// whole width is not broken again.
fn wrap(text: &str, width: usize) -> Vec<String> {
    const SLOP: usize = 5;
    let limit = width - SLOP;
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.len() >= width {
        let mut end = limit;
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let Some(at) = rest[..end].rfind([' ', '\t']).filter(|at| *at > 0) else { break };
        lines.push(rest[..at].to_owned());
        rest = &rest[at + 1..];
    }
    lines.push(rest.to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::{flag, switch};

    #[test]
    fn options_are_laid_out_in_two_columns() {
        static TABLE: &[Flag] = &[
            flag("detach-keys", Kind::Text, "Override the key sequence for detaching a container"),
            switch("detach", "Detached mode: run command in the background").short('d'),
            switch("pause", "Pause it").short('p').default("true"),
            flag("driver", Kind::Text, "Driver").default("local"),
            switch("secret", "").hidden(),
        ];
        let want = "  -d, --detach               Detached mode: run command in the background
      --detach-keys string   Override the key sequence for detaching a
                             container
      --driver string        Driver (default \"local\")
  -p, --pause                Pause it (default true)
";
        assert_eq!(options(&[TABLE], 80), want);
    }
}
