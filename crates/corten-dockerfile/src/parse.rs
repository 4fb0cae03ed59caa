//! Nodes to typed instructions.

use crate::ast::{Args, Flag, Node};
use crate::duration;
use crate::error::{Fault, ParseError};
use crate::flags::{FlagSet, Shape};
use crate::heredoc;
use crate::instruction::{
    Add, ArgDef, CommandLine, Copy, Healthcheck, Instruction, Item, NetworkMode, Run, Security, Sources, Test,
};
use crate::mount::Mount;
use crate::suggest::nearest;

/// All keywords but FROM, and FROM, in the order of the documentation's index.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// The instruction that a node says. FROM is none: it begins a stage.
pub fn instruction(node: &Node) -> Result<Instruction, ParseError> {
    let item = item(node).map_err(|fault| ParseError::instruction(node.span.first_line, fault))?;
    Ok(Instruction { code: node.text.clone(), span: node.span, item })
}

fn item(node: &Node) -> Result<Item, Fault> {
    let no_flags = || FlagSet::read(&node.flags, &[]);
    Ok(match node.keyword.to_ascii_lowercase().as_str() {
        "add" => Item::Add(add(node)?),
        "arg" => Item::Arg(arg(&node.args)?),
        "cmd" => {
            no_flags()?;
            Item::Cmd(command_line(&node.args))
        }
        "copy" => Item::Copy(copy(node)?),
        "entrypoint" => {
            no_flags()?;
            Item::Entrypoint(match command_line(&node.args) {
                CommandLine::Exec(words) if words.is_empty() => CommandLine::Empty,
                line => line,
            })
        }
        "env" => {
            no_flags()?;
            Item::Env(pairs(&node.args, "ENV")?)
        }
        "expose" => {
            let mut ports = words(&node.args);
            if ports.is_empty() {
                return Err(Fault::AtLeastOneArgument { instruction: "EXPOSE" });
            }
            no_flags()?;
            ports.sort();
            Item::Expose(ports)
        }
        "healthcheck" => Item::Healthcheck(healthcheck(&node.args, &node.flags)?),
        "label" => {
            no_flags()?;
            Item::Label { pairs: pairs(&node.args, "LABEL")?, literal: false }
        }
        "maintainer" => {
            let author = single(&node.args, "MAINTAINER")?;
            no_flags()?;
            Item::Maintainer(author)
        }
        "onbuild" => Item::Onbuild(onbuild(node)?),
        "run" => Item::Run(run(node)?),
        "shell" => {
            no_flags()?;
            match &node.args {
                Args::Json(words) if !words.is_empty() => Item::Shell(words.clone()),
                Args::Text(_) => return Err(Fault::NotJson { instruction: "SHELL" }),
                _ => return Err(Fault::AtLeastOneArgument { instruction: "SHELL" }),
            }
        }
        "stopsignal" => Item::Stopsignal(single(&node.args, "STOPSIGNAL")?),
        "user" => {
            let user = single(&node.args, "USER")?;
            no_flags()?;
            Item::User(user)
        }
        "volume" => {
            let paths = words(&node.args);
            if paths.is_empty() {
                return Err(Fault::AtLeastOneArgument { instruction: "VOLUME" });
            }
            no_flags()?;
            let paths: Vec<_> = paths.iter().map(|path| path.trim().to_owned()).collect();
            if paths.iter().any(String::is_empty) {
                return Err(Fault::EmptyVolume);
            }
            Item::Volume(paths)
        }
        "workdir" => {
            let path = single(&node.args, "WORKDIR")?;
            no_flags()?;
            Item::Workdir(path)
        }
        _ => {
            let keyword = node.keyword.clone();
            return Err(Fault::UnknownInstruction { suggestion: nearest(&keyword, &KEYWORDS), keyword });
        }
    })
}

fn words(args: &Args) -> Vec<String> {
    match args {
        Args::Json(words) | Args::Words(words) => words.clone(),
        Args::Text(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

fn single(args: &Args, instruction: &'static str) -> Result<String, Fault> {
    match args {
        Args::Text(text) => Ok(text.clone()),
        _ => Err(Fault::ExactlyOneArgument { instruction }),
    }
}

fn command_line(args: &Args) -> CommandLine {
    match args {
        Args::Json(words) => CommandLine::Exec(words.clone()),
        Args::Text(text) => CommandLine::Shell(text.clone()),
        _ => CommandLine::Empty,
    }
}

fn pairs(args: &Args, instruction: &'static str) -> Result<Vec<crate::ast::Pair>, Fault> {
    match args {
        Args::Pairs(pairs) if pairs.iter().any(|pair| pair.key.is_empty()) => {
            Err(Fault::BlankName { instruction })
        }
        Args::Pairs(pairs) => Ok(pairs.clone()),
        _ => Err(Fault::AtLeastOneArgument { instruction }),
    }
}

fn arg(args: &Args) -> Result<Vec<ArgDef>, Fault> {
    let words = words(args);
    if words.is_empty() {
        return Err(Fault::AtLeastOneArgument { instruction: "ARG" });
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Fault::BlankName { instruction: "ARG" }),
            Some((name, default)) => Ok(ArgDef { name: name.into(), default: Some(default.into()) }),
            None => Ok(ArgDef { name: word, default: None }),
        })
        .collect()
}

fn sources(node: &Node, instruction: &'static str) -> Result<Sources, Fault> {
    let mut words = words(&node.args);
    let destination = words.pop().unwrap_or_default();
    if heredoc::parse(&destination).is_some() {
        return Err(Fault::HeredocDestination { instruction });
    }
    let mut sources = Sources { paths: Vec::new(), documents: Vec::new(), destination };
    for word in words {
        match heredoc::parse(&word) {
            Some(announced) => {
                let document = node.heredocs.iter().find(|document| document.name == announced.name);
                sources.documents.push(document.cloned().unwrap_or(announced));
            }
            None => sources.paths.push(word),
        }
    }
    Ok(sources)
}

fn add(node: &Node) -> Result<Add, Fault> {
    if words(&node.args).len() < 2 {
        return Err(Fault::NoDestination { instruction: "ADD" });
    }
    let flags = FlagSet::read(
        &node.flags,
        &[
            ("chown", Shape::Value),
            ("chmod", Shape::Value),
            ("link", Shape::Bool),
            ("keep-git-dir", Shape::Bool),
            ("checksum", Shape::Value),
            ("unpack", Shape::Bool),
            ("exclude", Shape::List),
        ],
    )?;
    Ok(Add {
        sources: sources(node, "ADD")?,
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.truth("link").unwrap_or(false),
        exclude: flags.list("exclude"),
        checksum: flags.value("checksum"),
        keep_git_dir: flags.truth("keep-git-dir"),
        unpack: flags.truth("unpack"),
    })
}

fn copy(node: &Node) -> Result<Copy, Fault> {
    if words(&node.args).len() < 2 {
        return Err(Fault::NoDestination { instruction: "COPY" });
    }
    let flags = FlagSet::read(
        &node.flags,
        &[
            ("chown", Shape::Value),
            ("from", Shape::Value),
            ("chmod", Shape::Value),
            ("link", Shape::Bool),
            ("exclude", Shape::List),
            ("parents", Shape::Bool),
        ],
    )?;
    Ok(Copy {
        sources: sources(node, "COPY")?,
        from: flags.value("from"),
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.truth("link").unwrap_or(false),
        parents: flags.truth("parents").unwrap_or(false),
        exclude: flags.list("exclude"),
    })
}

fn run(node: &Node) -> Result<Run, Fault> {
    let flags = FlagSet::read(
        &node.flags,
        &[
            ("mount", Shape::List),
            ("network", Shape::Value),
            ("security", Shape::Value),
            ("device", Shape::List),
        ],
    )?;
    let mounts = flags.list("mount");
    for mount in &mounts {
        Mount::parse(mount, None)?;
    }
    let network = match flags.value("network").as_deref() {
        None => None,
        Some("default") => Some(NetworkMode::Default),
        Some("none") => Some(NetworkMode::None),
        Some("host") => Some(NetworkMode::Host),
        Some(value) => return Err(Fault::Network { value: value.into() }),
    };
    let security = match flags.value("security").as_deref() {
        None => None,
        Some("sandbox") => Some(Security::Sandbox),
        Some("insecure") => Some(Security::Insecure),
        Some(value) => return Err(Fault::Security { value: value.into() }),
    };
    Ok(Run {
        command: command_line(&node.args),
        documents: node.heredocs.clone(),
        mounts,
        network,
        security,
        devices: flags.list("device"),
    })
}

fn onbuild(node: &Node) -> Result<String, Fault> {
    let Args::Trigger(trigger) = &node.args else {
        return Err(Fault::AtLeastOneArgument { instruction: "ONBUILD" });
    };
    FlagSet::read(&node.flags, &[])?;
    let keyword = trigger.keyword.to_ascii_uppercase();
    match keyword.as_str() {
        "ONBUILD" => return Err(Fault::ChainedOnbuild),
        "MAINTAINER" | "FROM" => return Err(Fault::OnbuildTrigger { keyword }),
        _ => {}
    }
    let mut text = trigger.text.clone();
    for document in &node.heredocs {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    Ok(text)
}

fn healthcheck(args: &Args, flags: &[Flag]) -> Result<Healthcheck, Fault> {
    let Args::Health { kind, command } = args else {
        return Err(Fault::AtLeastOneArgument { instruction: "HEALTHCHECK" });
    };
    let kind = kind.to_ascii_uppercase();
    if kind == "NONE" {
        if !words(command).is_empty() {
            return Err(Fault::HealthcheckNone);
        }
        let zero = Healthcheck {
            test: Test::None,
            interval: 0,
            timeout: 0,
            start_period: 0,
            start_interval: 0,
            retries: 0,
        };
        return Ok(zero);
    }
    let flags = FlagSet::read(
        flags,
        &[
            ("interval", Shape::Value),
            ("timeout", Shape::Value),
            ("start-period", Shape::Value),
            ("start-interval", Shape::Value),
            ("retries", Shape::Value),
        ],
    )?;
    if kind != "CMD" {
        return Err(Fault::HealthcheckType { word: kind });
    }
    let test = match command.as_ref() {
        Args::Json(words) if !words.is_empty() => Test::Exec(words.clone()),
        Args::Text(text) => Test::Shell(text.clone()),
        _ => return Err(Fault::HealthcheckWithoutCommand),
    };
    let interval = |flag: &'static str| -> Result<i64, Fault> {
        let Some(value) = flags.value(flag) else { return Ok(0) };
        match duration::parse(&value) {
            None => Err(Fault::Duration { value }),
            Some(0) => Ok(0),
            Some(nanoseconds) if nanoseconds < 1_000_000 => Err(Fault::IntervalTooShort { flag }),
            Some(nanoseconds) => Ok(nanoseconds),
        }
    };
    let retries = match flags.value("retries") {
        None => 0,
        Some(value) => match value.parse::<i32>() {
            Ok(count) => {
                u32::try_from(count).map_err(|_| Fault::NegativeRetries { value: i64::from(count) })?
            }
            Err(_) => return Err(Fault::Retries { value }),
        },
    };
    Ok(Healthcheck {
        test,
        interval: interval("interval")?,
        timeout: interval("timeout")?,
        start_period: interval("start-period")?,
        start_interval: interval("start-interval")?,
        retries,
    })
}
