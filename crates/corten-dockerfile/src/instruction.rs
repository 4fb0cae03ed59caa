//! Typed instructions, and which of their words variables are replaced in.

use crate::ast::Pair;
use crate::error::Fault;
use crate::expand::ExpandError;
use crate::heredoc::Heredoc;
use crate::mount::Mount;
use crate::span::Span;

/// One instruction that a stage carries out.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// The line as written, continuations joined: what a build prints as its step.
    pub code: String,
    /// Where it stands.
    pub span: Span,
    /// What it says.
    pub item: Item,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `ADD`: files, and archives that are unpacked.
    Add(Add),
    /// `ARG`: build arguments that are valid from here on.
    Arg(Vec<ArgDef>),
    /// `CMD`: the default command.
    Cmd(CommandLine),
    /// `COPY`: files from the context, a stage or an image.
    Copy(Copy),
    /// `ENTRYPOINT`: the program in front of the command.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<Pair>),
    /// `EXPOSE`: port specifications, sorted, variables unexpanded (one may become several).
    Expose(Vec<String>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`. Labels from outside the file are taken literally.
    Label {
        /// Names and values.
        pairs: Vec<Pair>,
        /// Take the words as they are.
        literal: bool,
    },
    /// `MAINTAINER`: the author; deprecated.
    Maintainer(String),
    /// `ONBUILD`: an instruction for whoever builds on the image, as text.
    Onbuild(String),
    /// `RUN`.
    Run(Run),
    /// `SHELL`: the program for shell forms.
    Shell(Vec<String>),
    /// `STOPSIGNAL`: name or number, unchecked.
    Stopsignal(String),
    /// `USER`.
    User(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `WORKDIR`.
    Workdir(String),
}

/// A command in shell form (run by the stage's shell) or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// One text for the shell.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
    /// Nothing follows the keyword.
    Empty,
}

/// `name` or `name=value` of ARG, quotes and escapes still in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDef {
    /// The argument's name.
    pub name: String,
    /// Its default.
    pub default: Option<String>,
}

/// What ADD and COPY take and where they put it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Paths, patterns or URLs.
    pub paths: Vec<String>,
    /// Files whose content stands in the Dockerfile; `name` is the file's name.
    pub documents: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What and where to.
    pub sources: Sources,
    /// `--from`: a stage by name or number, or an image; the build context where absent.
    pub from: Option<String>,
    /// `--chown=user[:group]`.
    pub chown: Option<String>,
    /// `--chmod`, octal or symbolic.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`: keep the directories of the source's path.
    pub parents: bool,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// What and where to.
    pub sources: Sources,
    /// `--chown=user[:group]`.
    pub chown: Option<String>,
    /// `--chmod`, octal or symbolic.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
    /// `--checksum` of a download.
    pub checksum: Option<String>,
    /// `--keep-git-dir` of a repository.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`: whether archives are unpacked; local ones are where it is absent.
    pub unpack: Option<bool>,
}

/// `RUN --network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkMode {
    /// What the build was asked for.
    #[default]
    Default,
    /// None at all.
    None,
    /// The host's.
    Host,
}

/// `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// As any container.
    #[default]
    Sandbox,
    /// With all privileges.
    Insecure,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The command; a here-document in it is in `documents`.
    pub command: CommandLine,
    /// Here-documents of the command.
    pub documents: Vec<Heredoc>,
    /// `--mount` values as written; [`Mount::parse`] reads them when variables are known.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Option<NetworkMode>,
    /// `--security`.
    pub security: Option<Security>,
    /// `--device` values.
    pub devices: Vec<String>,
}

/// `HEALTHCHECK`. Times are nanoseconds; 0 inherits Docker's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run.
    pub test: Test,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`.
    pub retries: u32,
}

/// What a health check runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Nothing: an inherited check is off.
    None,
    /// Program and arguments.
    Exec(Vec<String>),
    /// One text for the shell.
    Shell(String),
}

type Expander<'a> = &'a mut dyn FnMut(&str) -> Result<String, ExpandError>;

impl Item {
    /// Replaces variables where this instruction allows them. EXPOSE (one word may become several), FROM and the
    /// content of here-documents have rules of their own and stay as they are.
    pub fn expand(&mut self, expander: Expander<'_>) -> Result<(), Fault> {
        match self {
            Self::Env(pairs) | Self::Label { pairs, literal: false } => {
                for pair in pairs {
                    pair.key = expander(&pair.key)?;
                    pair.value = expander(&pair.value)?;
                }
            }
            Self::Arg(definitions) => {
                for definition in definitions {
                    definition.name = expander(&definition.name)?;
                    if let Some(default) = &mut definition.default {
                        *default = expander(default)?;
                    }
                }
            }
            Self::Add(add) => {
                expand_option(&mut add.chown, expander)?;
                expand_option(&mut add.chmod, expander)?;
                expand_option(&mut add.checksum, expander)?;
                add.sources.expand(expander)?;
            }
            Self::Copy(copy) => {
                expand_option(&mut copy.chown, expander)?;
                expand_option(&mut copy.chmod, expander)?;
                copy.sources.expand(expander)?;
            }
            Self::Run(run) => {
                for mount in &run.mounts {
                    Mount::parse(mount, Some(&mut *expander))?;
                }
            }
            Self::Stopsignal(word) | Self::User(word) | Self::Workdir(word) => *word = expander(word)?,
            Self::Volume(paths) => {
                for path in paths {
                    *path = expander(path)?;
                    if path.is_empty() {
                        return Err(Fault::EmptyVolume);
                    }
                }
            }
            Self::Cmd(_)
            | Self::Entrypoint(_)
            | Self::Expose(_)
            | Self::Healthcheck(_)
            | Self::Label { literal: true, .. }
            | Self::Maintainer(_)
            | Self::Onbuild(_)
            | Self::Shell(_) => {}
        }
        Ok(())
    }
}

impl Sources {
    fn expand(&mut self, expander: Expander<'_>) -> Result<(), Fault> {
        for path in &mut self.paths {
            *path = expander(path)?;
        }
        self.destination = expander(&self.destination)?;
        Ok(())
    }
}

fn expand_option(word: &mut Option<String>, expander: Expander<'_>) -> Result<(), Fault> {
    if let Some(text) = word {
        *text = expander(text)?;
    }
    Ok(())
}
