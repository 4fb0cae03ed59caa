use corten_dockerfile::{Fault, ParseError, Phase};
use corten_store::{DatabaseError, ImageError, IntakeError, SnapshotError};
use corten_types::{ErrorKind, Kind};

use crate::context::ContextError;
use crate::draft::ApplyError;
use crate::owner::OwnerError;
use crate::select::SelectError;
use crate::transfer::TransferError;

/// Why whoever runs the build's commands or brings its images could not.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// What it means to the caller.
    pub kind: ErrorKind,
    /// What is wrong, for people.
    pub message: String,
}

impl HostError {
    /// From an error that knows its kind.
    pub fn new(error: &(impl Kind + ?Sized)) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

impl Kind for HostError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Why COPY or ADD cannot copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source is not in the context.
    #[error("file not found in build context or excluded by .dockerignore: {0}")]
    NotInContext(SelectError),
    /// A source names nothing in a stage or image.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The patterns match nothing.
    #[error("no source files were specified")]
    NoSources,
    /// A source could not be read.
    #[error("could not read the sources: {0}")]
    Read(#[from] std::io::Error),
    /// There is no context.
    #[error("missing build context")]
    NoContext,
    /// `COPY` of a URL.
    #[error("source can't be a URL for COPY")]
    Url,
}

/// Why a build ended without an image. The texts are those of Docker's builder.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile cannot be read.
    #[error("{}{error}", match error.phase { Phase::Syntax => format!("failed to parse {name}: "), Phase::Instruction => String::new() })]
    Parse {
        /// The Dockerfile's name.
        name: String,
        /// What is wrong, and where.
        error: ParseError,
    },
    /// The context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// `--target` names no stage.
    #[error("target stage {} could not be found", corten_dockerfile::quote(name))]
    NoSuchTarget {
        /// The name.
        name: String,
    },
    /// Two stages have one name.
    #[error("{name} stage name already used")]
    StageNameTaken {
        /// The name.
        name: String,
        /// The line of the second one.
        line: u32,
    },
    /// `--from` names a stage that cannot be meant.
    #[error("invalid from flag value {name}: {reason}")]
    From {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// FROM of a variable that is empty.
    #[error("base name ({written}) should not be blank")]
    BlankBase {
        /// As written.
        written: String,
    },
    /// A platform that does not exist.
    #[error("failed to parse platform {platform}: {source}")]
    Platform {
        /// As given.
        platform: String,
        /// Why.
        source: corten_types::PlatformError,
    },
    /// An instruction's variables or words cannot be meant.
    #[error("{source}")]
    Instruction {
        /// Its line.
        line: u32,
        /// Why.
        source: Fault,
    },
    /// An instruction's arguments cannot be meant.
    #[error("{source}")]
    Apply {
        /// Its line.
        line: u32,
        /// Why.
        source: ApplyError,
    },
    /// A trigger of the base image is not one instruction.
    #[error("onbuild trigger should be a single expression")]
    Trigger,
    /// A flag of RUN that is not there. The text is Docker's, whose classic builder has none of them.
    #[error(
        "the --{flag} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"
    )]
    RunFlag {
        /// The flag.
        flag: &'static str,
        /// Its line.
        line: u32,
    },
    /// WORKDIR leads through something that is no directory.
    #[error("Cannot mkdir: {path} is not a directory")]
    Workdir {
        /// The directory.
        path: String,
        /// Its line.
        line: u32,
    },
    /// `--from` names an image that cannot be had.
    #[error("invalid from flag value {name}: {source}")]
    FromImage {
        /// The name.
        name: String,
        /// Its line.
        line: u32,
        /// Why.
        source: Box<BuildError>,
    },
    /// A part of the Dockerfile language that is not there.
    #[error("{what} is not supported by this builder")]
    Unsupported {
        /// What.
        what: String,
        /// Its line.
        line: u32,
    },
    /// COPY or ADD found nothing to copy.
    #[error("{keyword} failed: {source}")]
    Copy {
        /// `COPY` or `ADD`.
        keyword: &'static str,
        /// Its line.
        line: u32,
        /// Why.
        source: CopyError,
    },
    /// Several sources, and a destination that is no directory.
    #[error(
        "When using {keyword} with more than one source file, the destination must be a directory and end with a /"
    )]
    Destination {
        /// `COPY` or `ADD`.
        keyword: &'static str,
        /// Its line.
        line: u32,
    },
    /// `--chown` or `--chmod` cannot be meant.
    #[error("unable to convert uid/gid chown string to host mapping: {source}")]
    Owner {
        /// Its line.
        line: u32,
        /// Why.
        source: OwnerError,
    },
    /// `--chmod` cannot be meant.
    #[error("{source}")]
    Mode {
        /// Its line.
        line: u32,
        /// Why.
        source: OwnerError,
    },
    /// `--exclude` cannot be meant.
    #[error("{source}")]
    Exclude {
        /// Its line.
        line: u32,
        /// Why.
        source: corten_dockerfile::ignore::IgnoreError,
    },
    /// Copying went wrong.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// An archive that ADD unpacks is broken.
    #[error("failed to copy files: {path}: {reason}")]
    Unpack {
        /// The archive.
        path: String,
        /// Why.
        reason: String,
    },
    /// A directory could not be made or opened in the image.
    #[error("could not {operation} {path} in the image: {source}")]
    Image {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A command ended with another code than 0.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command {
        /// The command.
        command: String,
        /// Its exit code.
        code: i64,
        /// The line of its RUN.
        line: u32,
    },
    /// Images or containers could not be had.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The store refused content.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The store refused a snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store refused an image.
    #[error(transparent)]
    Store(#[from] ImageError),
    /// The cache could not be read or written.
    #[error(transparent)]
    Cache(#[from] DatabaseError),
    /// Whoever asked went away.
    #[error("Build cancelled")]
    Cancelled,
}

impl BuildError {
    /// The exit code that clients are told, where a command ended with one.
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Command { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The line of the Dockerfile that the error is about, where it is about one.
    pub fn line(&self) -> Option<u32> {
        match self {
            Self::Parse { error, .. } => Some(error.line),
            Self::StageNameTaken { line, .. }
            | Self::Instruction { line, .. }
            | Self::Apply { line, .. }
            | Self::Unsupported { line, .. }
            | Self::RunFlag { line, .. }
            | Self::Workdir { line, .. }
            | Self::FromImage { line, .. }
            | Self::Copy { line, .. }
            | Self::Destination { line, .. }
            | Self::Owner { line, .. }
            | Self::Mode { line, .. }
            | Self::Exclude { line, .. }
            | Self::Command { line, .. } => Some(*line),
            _ => None,
        }
    }
}

impl Kind for BuildError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Context(error) => error.kind(),
            Self::Host(error) => error.kind(),
            Self::Intake(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            Self::Cancelled => ErrorKind::Cancelled,
            Self::FromImage { source, .. } => source.kind(),
            Self::Unsupported { .. } | Self::RunFlag { .. } => ErrorKind::NotImplemented,
            Self::Transfer(_) | Self::Image { .. } => ErrorKind::Internal,
            _ => ErrorKind::InvalidArgument,
        }
    }
}
