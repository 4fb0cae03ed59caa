//! `completion`: scripts that ask this program for the words that may follow (`__complete`).

use crate::command::{Arity, Command, Entry, Node};
use crate::error::{Failure, Outcome};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

/// The command.
pub static COMPLETION: Command = Command {
    usage: "bash|zsh|fish",
    usage_also: None,
    about: "Print a script that completes command lines",
    spellings: &[],
    flags: &[],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(async move { run(session, m) }),
};

fn run(session: &Session, m: &Matches) -> Outcome {
    let script = script(session.persona.name(), &m.args[0]).ok_or_else(|| {
        Failure::new(format!("unknown shell {:?}: bash, zsh and fish are known", m.args[0]))
    })?;
    output::put(&script);
    Ok(())
}

/// A shell's script for a program.
pub fn script(program: &str, shell: &str) -> Option<String> {
    let text = match shell {
        "bash" => {
            "_@() {\n    local IFS=$'\\n'\n    COMPREPLY=($(@ __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null))\n    \
             [ ${#COMPREPLY[@]} -eq 0 ] && compopt -o default\n}\ncomplete -F _@ @\n"
        }
        "zsh" => {
            "#compdef @\n_@() {\n    local -a found\n    found=(${(f)\"$(@ __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n    \
             if (( ${#found} )); then compadd -- $found; else _files; fi\n}\ncompdef _@ @\n"
        }
        "fish" => {
            "function __@\n    set -l words (commandline -opc) (commandline -ct)\n    @ __complete $words[2..-1] 2>/dev/null\nend\n\
             complete -c @ -a '(__@)'\n"
        }
        _ => return None,
    };
    Some(text.replace('@', program))
}

/// What may stand in place of the last word: names of the tree, flags of the command.
pub fn candidates(entries: &'static [Entry], words: &[String]) -> Vec<String> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    let mut entries = entries;
    for word in before {
        if word.starts_with('-') {
            continue;
        }
        match entries.iter().find(|entry| entry.name == word || entry.also.contains(&word.as_str())) {
            Some(Entry { node: Node::Branch(_, below), .. }) => entries = below,
            Some(Entry { node: Node::Leaf(command), .. }) => {
                if !last.starts_with('-') {
                    return Vec::new();
                }
                let flags = command.flags.iter().flat_map(|table| table.iter());
                let flags = flags.filter(|flag| !flag.hidden).map(|flag| format!("--{}", flag.long));
                return flags.filter(|flag| flag.starts_with(last.as_str())).collect();
            }
            _ => return Vec::new(),
        }
    }
    let shown = entries.iter().filter(|entry| !matches!(entry.node, Node::Absent));
    shown.map(|entry| entry.name.to_owned()).filter(|name| name.starts_with(last.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ROOT;

    #[test]
    fn names_and_flags_are_completed() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(candidates(ROOT, &words("ren")), ["rename"]);
        assert!(candidates(ROOT, &words("container l")).contains(&"ls".to_owned()));
        assert_eq!(candidates(ROOT, &words("rm --vol")), ["--volumes"]);
        assert!(candidates(ROOT, &words("rm x")).is_empty());
    }

    #[test]
    fn every_shell_asks_the_program() {
        for shell in ["bash", "zsh", "fish"] {
            assert!(script("corten", shell).unwrap().contains("corten __complete"), "{shell}");
        }
        assert!(script("corten", "tcsh").is_none());
    }
}
