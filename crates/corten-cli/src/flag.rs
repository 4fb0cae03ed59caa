//! The flags of commands as data: one table per command, shared where commands share flags.

/// What a flag's value is; decides what is accepted and how help names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On or off; needs no value.
    Bool,
    /// Any text.
    Text,
    /// Any text, several times.
    List,
    /// Texts separated by commas, several times.
    Strings,
    /// `key=value`, several times.
    Map,
    /// A whole number.
    Int,
    /// A whole number from 0 to 65535.
    Uint16,
    /// A number of processors with up to nine decimals.
    Decimal,
    /// A size such as `512m`.
    Bytes,
    /// A duration such as `1m30s`.
    Duration,
    /// `name=soft[:hard]`, several times.
    Ulimit,
    /// `key=value`, several times.
    Filter,
    /// What `--gpus` takes.
    Gpus,
    /// What `--mount` takes.
    Mount,
    /// What `--network` takes.
    Network,
    /// `host:ip`, several times.
    ExtraHost,
    /// STDIN, STDOUT or STDERR, several times.
    Stream,
    /// An image's name, several times.
    Reference,
    /// `key=value` separated by commas, as `context create --docker` takes it.
    StringMap,
}

impl Kind {
    /// The word help shows after the flag's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Bool => "",
            Self::Text => "string",
            Self::List | Self::ExtraHost | Self::Stream | Self::Reference => "list",
            Self::Strings => "strings",
            Self::Map => "map",
            Self::Int => "int",
            Self::Uint16 => "uint16",
            Self::Decimal => "decimal",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::Ulimit => "ulimit",
            Self::Filter => "filter",
            Self::Gpus => "gpu-request",
            Self::Mount => "mount",
            Self::Network => "network",
            Self::StringMap => "stringToString",
        }
    }
}

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The name after `--`.
    pub long: &'static str,
    /// The letter after `-`.
    pub short: Option<char>,
    /// What its value is.
    pub kind: Kind,
    /// The value where the flag is not given, as help shows it.
    pub default: &'static str,
    /// What help says.
    pub help: &'static str,
    /// Accepted, and not shown by help.
    pub hidden: bool,
    /// The flag this one is another name of.
    pub stands_for: Option<&'static str>,
}

/// A flag that takes a value of some kind.
pub const fn flag(long: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { long, short: None, kind, default: "", help, hidden: false, stands_for: None }
}

/// A flag that is on or off.
pub const fn switch(long: &'static str, help: &'static str) -> Flag {
    flag(long, Kind::Bool, help)
}

/// Another, hidden name of a flag.
pub const fn old_name(long: &'static str, kind: Kind, stands_for: &'static str) -> Flag {
    Flag { hidden: true, stands_for: Some(stands_for), ..flag(long, kind, "") }
}

impl Flag {
    /// With a letter.
    pub const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    /// With a default.
    pub const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// Not shown by help.
    pub const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}
