use corten_types::{ErrorKind, Kind};

use crate::expand::ExpandError;
use crate::mount::MountError;
use crate::quote::quote;

/// Which pass refused a Dockerfile; Docker words the two differently around the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The text does not split into instructions.
    Syntax,
    /// An instruction is not one, or its flags or arguments cannot be meant.
    Instruction,
}

/// What is wrong with a Dockerfile, and on which line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("dockerfile parse error on line {line}: {fault}")]
pub struct ParseError {
    /// The line, from 1, where the faulty instruction begins.
    pub line: u32,
    /// The pass that found it.
    pub phase: Phase,
    /// What is wrong.
    pub fault: Fault,
}

impl ParseError {
    pub(crate) fn syntax(line: u32, fault: Fault) -> Self {
        Self { line, phase: Phase::Syntax, fault }
    }

    pub(crate) fn instruction(line: u32, fault: Fault) -> Self {
        Self { line, phase: Phase::Instruction, fault }
    }
}

impl Kind for ParseError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// What is wrong, in Docker's words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the text of each variant says what it is")]
pub enum Fault {
    #[error("file with no instructions")]
    NoInstructions,
    #[error("dockerfile line greater than max allowed size of {limit}")]
    LineTooLong { limit: usize },
    #[error("invalid escape token '{token}' does not match ` or \\")]
    EscapeToken { token: String },
    #[error("only one {directive} parser directive can be used")]
    RepeatedDirective { directive: &'static str },
    #[error("unterminated heredoc")]
    UnterminatedHeredoc,
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    JsonNotStrings,
    #[error("{instruction} must have two arguments")]
    TwoArguments { instruction: &'static str },
    #[error("Syntax error - can't find = in {}. Must be of the form: name=value", quote(word))]
    NoEqualsSign { word: String },
    #[error("unknown instruction: {keyword}{}", crate::suggest::hint(suggestion.as_deref()))]
    UnknownInstruction { keyword: String, suggestion: Option<String> },
    #[error("unknown flag: --{flag}{}", crate::suggest::hint(suggestion.as_deref()))]
    UnknownFlag { flag: String, suggestion: Option<String> },
    #[error("duplicate flag specified: --{flag}")]
    DuplicateFlag { flag: String },
    #[error("missing a value on flag: --{flag}")]
    FlagWithoutValue { flag: String },
    #[error("expecting boolean value for flag --{flag}, not: {value}")]
    FlagNotBoolean { flag: String, value: String },
    #[error("arg should start with -- : {word}")]
    NotAFlag { word: String },
    #[error("{instruction} requires at least one argument")]
    AtLeastOneArgument { instruction: &'static str },
    #[error("{instruction} requires exactly one argument")]
    ExactlyOneArgument { instruction: &'static str },
    #[error(
        "{instruction} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination { instruction: &'static str },
    #[error("{instruction} names can not be blank")]
    BlankName { instruction: &'static str },
    #[error("{instruction} cannot accept a heredoc as a destination")]
    HeredocDestination { instruction: &'static str },
    #[error("{instruction} requires the arguments to be in JSON form")]
    NotJson { instruction: &'static str },
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    #[error(
        "invalid name for build stage: {}, name can't start with a number or contain symbols",
        quote(name)
    )]
    StageName { name: String },
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    ChainedOnbuild,
    #[error("{keyword} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger { keyword: String },
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckWithoutCommand,
    #[error("Unknown type {} in HEALTHCHECK (try CMD)", quote(word))]
    HealthcheckType { word: String },
    #[error("time: invalid duration {}", quote(value))]
    Duration { value: String },
    #[error("Interval {} cannot be less than 1ms", quote(flag))]
    IntervalTooShort { flag: &'static str },
    #[error("strconv.ParseInt: parsing {}: invalid syntax", quote(value))]
    Retries { value: String },
    #[error("--retries cannot be negative ({value})")]
    NegativeRetries { value: i64 },
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("invalid network mode {}", quote(value))]
    Network { value: String },
    #[error("security {} is not valid", quote(value))]
    Security { value: String },
    #[error("no build stage in current context")]
    NoStage,
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Expand(#[from] ExpandError),
}
