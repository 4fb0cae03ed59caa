//! The command line: what was typed, made into requests to the daemon; what it answers, made into text.
//!
//! ```text
//!  words ── command::find ── Command + Matches ── commands::* ── corten-client ── daemon
//!            (tree, flags)     (parsed once)        │
//!                                                   └─ format, template, progress, streams ── terminal
//! ```
//!
//! Owned here: arguments, formats, progress, contexts, credentials, the exit status. The program is byte for byte
//! docker's in what scripts read, and behaves as docker's client where it is called by that name (see
//! [`session::Persona`]). It starts no threads and no runtime of more than one thread, opens nothing it does not need,
//! and asks the daemon nothing that the command does not need: it must start in three milliseconds.
//!
//! Refused: any knowledge of the engine beside its API.

mod archive;
mod build_view;
mod command;
mod commands;
mod config;
mod context;
mod credential_helper;
mod dockerignore;
mod download;
mod each;
mod error;
mod extract;
mod filters;
mod flag;
mod format;
mod help;
mod moment;
mod options;
mod output;
mod parse;
mod progress;
mod session;
mod streams;
mod template;
mod terminal;
mod upload;
mod value;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use command::Found;
use error::{Failure, Outcome};
use parse::{Order, parse};
use session::{GLOBAL, Persona, Session};

/// The command line: `program` is the name it was started under, `args` what follows it; gives the exit status.
pub fn main(program: OsString, args: Vec<OsString>) -> ExitCode {
    let persona = match Path::new(&program).file_name().and_then(|name| name.to_str()) {
        Some("docker") => Persona::Docker,
        _ => Persona::Corten,
    };
    let words: Vec<String> = args.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match run(persona, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                output::error_line(&failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(persona: Persona, words: &[String]) -> Outcome {
    let program = persona.name();
    if words.first().is_some_and(|word| word == "__complete") {
        for word in commands::candidates(commands::ROOT, &words[1..]) {
            output::line(&word);
        }
        return Ok(());
    }
    let globals = parse(GLOBAL, Order::BeforeArguments, words)
        .map_err(|mistake| command::flag_mistake(program, "[OPTIONS] COMMAND [ARG...]", &mistake))?;
    if globals.on("version") {
        output::line(&version(persona));
        return Ok(());
    }
    let mut rest = globals.args.clone();
    if globals.help {
        output::put(&help::root(program, commands::ROOT, GLOBAL));
        return Ok(());
    }
    if rest.is_empty() {
        output::error_bytes(help::root(program, commands::ROOT, GLOBAL).as_bytes());
        return Ok(());
    }
    if rest[0] == "help" {
        rest.remove(0);
        if rest.is_empty() {
            output::put(&help::root(program, commands::ROOT, GLOBAL));
            return Ok(());
        }
        let topic = rest.join(" ");
        rest.push("--help".to_owned());
        return match command::find(program, commands::ROOT, "", &rest) {
            Ok(Found::Print(text)) => match command::beyond(commands::ROOT, &rest[..rest.len() - 1]) {
                Some(word) => Err(Failure::new(format!("unknown help topic: {word}"))),
                None => {
                    output::put(&text);
                    Ok(())
                }
            },
            _ => Err(Failure::new(format!("unknown help topic: {topic}"))),
        };
    }
    match command::find(program, commands::ROOT, "", &rest)? {
        Found::Print(text) => output::put(&text),
        Found::Hint(text) => output::error_bytes(text.as_bytes()),
        Found::Run(command, matches, path) => {
            let mut session = Session::new(persona, globals)?;
            session.path = path;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let outcome = runtime.block_on((command.run)(&session, &matches));
            // A thread may still wait for what is typed; nobody waits for that thread.
            runtime.shutdown_background();
            return outcome;
        }
    }
    Ok(())
}

fn version(persona: Persona) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match persona {
        Persona::Corten => format!("Corten version {version}"),
        Persona::Docker => format!("Docker version {version}, build corten"),
    }
}
