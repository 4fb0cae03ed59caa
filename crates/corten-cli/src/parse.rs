//! Reading a command line with a flag table, by the rules of Go's pflag that docker's users know.
//!
//! `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, clusters of letters (`-itd`), `--` as the end of
//! flags. A switch takes a value only after `=`. Values are checked as they are met, so the first mistake from the left
//! is the one that is told.

use crate::flag::{Flag, Kind};
use crate::{options, value};

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Anywhere before `--`.
    Anywhere,
    /// Only before the first argument: what follows belongs to somebody else's command line.
    BeforeArguments,
}

/// What was given.
#[derive(Debug, Clone, Default)]
pub struct Matches {
    tables: &'static [&'static [Flag]],
    values: Vec<(&'static str, String)>,
    /// The arguments that are no flags.
    pub args: Vec<String>,
    /// Whether `--help` was given.
    pub help: bool,
}

/// Reads `words` with the flags of `tables`; the error is pflag's text.
pub fn parse(tables: &'static [&'static [Flag]], order: Order, words: &[String]) -> Result<Matches, String> {
    let mut matches = Matches { tables, ..Matches::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            matches.args.extend(words.by_ref().cloned());
            break;
        }
        if let Some(rest) = word.strip_prefix("--") {
            matches.long(word, rest, &mut words)?;
        } else if word.len() > 1 && word.starts_with('-') {
            matches.letters(&word[1..], &mut words)?;
        } else {
            matches.args.push(word.clone());
            if order == Order::BeforeArguments {
                matches.args.extend(words.by_ref().cloned());
            }
        }
    }
    Ok(matches)
}

impl Matches {
    fn long(
        &mut self,
        word: &str,
        rest: &str,
        words: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), String> {
        if rest.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {word}"));
        }
        let (name, inline) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (rest, None),
        };
        let Some(flag) = self.find(|flag| flag.long == name) else {
            if name == "help" {
                self.help = switch_value("--help", inline.unwrap_or("true"))?;
                return Ok(());
            }
            return Err(format!("unknown flag: --{name}"));
        };
        let value = match (inline, flag.kind) {
            (Some(value), _) => value.to_owned(),
            (None, Kind::Bool) => "true".to_owned(),
            (None, _) => words.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?.clone(),
        };
        self.set(flag, value)
    }

    fn letters(&mut self, cluster: &str, words: &mut std::slice::Iter<'_, String>) -> Result<(), String> {
        let mut rest = cluster;
        while let Some(letter) = rest.chars().next() {
            let after = &rest[letter.len_utf8()..];
            let Some(flag) = self.find(|flag| flag.short == Some(letter)) else {
                if letter == 'h' {
                    self.help = true;
                    return Ok(());
                }
                return Err(format!("unknown shorthand flag: '{letter}' in -{cluster}"));
            };
            if let Some(value) = after.strip_prefix('=').filter(|value| !value.is_empty()) {
                return self.set(flag, value.to_owned());
            }
            if flag.kind == Kind::Bool {
                self.set(flag, "true".to_owned())?;
                rest = after;
                continue;
            }
            let value = if after.is_empty() {
                words
                    .next()
                    .ok_or_else(|| format!("flag needs an argument: '{letter}' in -{cluster}"))?
                    .clone()
            } else {
                after.to_owned()
            };
            return self.set(flag, value);
        }
        Ok(())
    }

    fn find(&self, wanted: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
        self.tables.iter().flat_map(|table| table.iter()).find(|flag| wanted(flag))
    }

    fn set(&mut self, flag: &'static Flag, value: String) -> Result<(), String> {
        let name = match flag.short {
            Some(letter) => format!("-{letter}, --{}", flag.long),
            None => format!("--{}", flag.long),
        };
        let refused = |reason: String| format!("invalid argument {value:?} for \"{name}\" flag: {reason}");
        let long = flag.stands_for.unwrap_or(flag.long);
        if flag.kind == Kind::Strings {
            self.values.extend(value.split(',').map(|part| (long, part.to_owned())));
            return Ok(());
        }
        if flag.kind == Kind::Bool {
            let on = switch_value(&name, &value)?;
            self.values.push((long, on.to_string()));
            return Ok(());
        }
        check(flag.kind, &value).map_err(refused)?;
        self.values.push((long, value));
        Ok(())
    }

    fn last(&self, long: &str) -> Option<&str> {
        self.values.iter().rev().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    fn default_of(&self, long: &str) -> &'static str {
        self.find(|flag| flag.long == long).map_or("", |flag| flag.default)
    }

    /// Whether a switch is on.
    pub fn on(&self, long: &str) -> bool {
        self.last(long).unwrap_or_else(|| self.default_of(long)) == "true"
    }

    /// A flag's text: the last one given, else the default, else empty.
    pub fn text(&self, long: &str) -> &str {
        self.last(long).unwrap_or_else(|| self.default_of(long))
    }

    /// A flag's text where it was given.
    pub fn given(&self, long: &str) -> Option<&str> {
        self.last(long)
    }

    /// Whether a flag was given at all.
    pub fn changed(&self, long: &str) -> bool {
        self.last(long).is_some()
    }

    /// Every value given, in order.
    pub fn list<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.values.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// Every value given, in order, as own texts.
    pub fn texts(&self, long: &str) -> Vec<String> {
        self.list(long).map(str::to_owned).collect()
    }

    /// A whole number where it was given.
    pub fn int(&self, long: &str) -> Option<i64> {
        self.last(long).and_then(|text| value::int(text).ok())
    }

    /// A size in bytes where it was given; `-1` stands for itself.
    pub fn bytes(&self, long: &str) -> Option<i64> {
        self.last(long).and_then(|text| value::bytes(text).ok())
    }

    /// A duration in nanoseconds where it was given.
    pub fn duration(&self, long: &str) -> Option<i64> {
        self.last(long).and_then(|text| value::duration(text).ok())
    }
}

fn switch_value(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "invalid argument {value:?} for \"{name}\" flag: strconv.ParseBool: parsing {value:?}: invalid syntax"
        )),
    }
}

/// Whether a value can be what its kind says; the error is docker's text.
fn check(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Int => value::int(text).map(drop),
        Kind::Uint16 => match text.parse::<u16>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")),
        },
        Kind::Bytes if text == "-1" => Ok(()),
        Kind::Bytes => value::bytes(text).map(drop),
        Kind::Decimal => value::nano_cpus(text).map(drop),
        Kind::Duration => value::duration(text).map(drop),
        Kind::Filter => {
            if text.is_empty() || text.contains('=') {
                Ok(())
            } else {
                Err("bad format of filter (expected name=value)".to_owned())
            }
        }
        Kind::Ulimit => options::ulimit(text).map(drop),
        Kind::Gpus => options::gpus(text).map(drop),
        Kind::Mount => options::mount(text).map(drop),
        Kind::Network => options::attachment(text).map(drop),
        Kind::ExtraHost => options::extra_host(text).map(drop),
        Kind::Stream => match text.to_ascii_lowercase().as_str() {
            "stdin" | "stdout" | "stderr" => Ok(()),
            _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
        },
        Kind::Reference => match text.parse::<corten_types::Reference>() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        Kind::Bool | Kind::Text | Kind::List | Kind::Strings | Kind::Map | Kind::StringMap => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::{flag, old_name, switch};

    static TABLE: &[&[Flag]] = &[&[
        switch("interactive", "").short('i'),
        switch("tty", "").short('t'),
        switch("detach", "").short('d'),
        switch("rm", ""),
        switch("sig-proxy", "").default("true"),
        flag("publish", Kind::List, "").short('p'),
        flag("env", Kind::List, "").short('e'),
        flag("memory", Kind::Bytes, "").short('m'),
        flag("timeout", Kind::Int, "").short('t'),
        flag("network", Kind::Network, ""),
        old_name("net", Kind::Network, "network"),
        flag("alias", Kind::Strings, ""),
    ]];

    fn run(order: Order, line: &str) -> Result<Matches, String> {
        parse(TABLE, order, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn letters_cluster_and_take_values() {
        let m = run(Order::BeforeArguments, "-itd -p80:80 -p 1:1 -p=2:2 -itp 3:3 image -x").unwrap();
        assert!(m.on("interactive") && m.on("tty") && m.on("detach") && !m.on("rm"));
        assert_eq!(m.list("publish").collect::<Vec<_>>(), ["80:80", "1:1", "2:2", "3:3"]);
        assert_eq!(m.args, ["image", "-x"]);
    }

    #[test]
    fn switches_take_values_only_after_an_equals_sign() {
        let m = run(Order::BeforeArguments, "--rm=false -it=false --sig-proxy=0 image").unwrap();
        assert!(!m.on("rm") && m.on("interactive") && !m.on("tty") && !m.on("sig-proxy"));
        assert!(run(Order::Anywhere, "").unwrap().on("sig-proxy"));
        let m = run(Order::BeforeArguments, "--rm false").unwrap();
        assert_eq!(m.args, ["false"]);
    }

    #[test]
    fn flags_stop_where_the_command_begins() {
        let m = run(Order::BeforeArguments, "image --rm -- x").unwrap();
        assert_eq!(m.args, ["image", "--rm", "--", "x"]);
        let m = run(Order::Anywhere, "image --rm -- --rm").unwrap();
        assert!(m.on("rm"));
        assert_eq!(m.args, ["image", "--rm"]);
        let m = run(Order::BeforeArguments, "-- -it").unwrap();
        assert_eq!(m.args, ["-it"]);
    }

    #[test]
    fn old_names_and_comma_lists() {
        let m = run(Order::Anywhere, "--net host --alias a,b --alias c").unwrap();
        assert_eq!(m.text("network"), "host");
        assert_eq!(m.list("alias").collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn mistakes_are_told_as_pflag_tells_them() {
        for (line, text) in [
            ("--foo", "unknown flag: --foo"),
            ("-Z", "unknown shorthand flag: 'Z' in -Z"),
            ("-iZ", "unknown shorthand flag: 'Z' in -iZ"),
            ("-p", "flag needs an argument: 'p' in -p"),
            ("--publish", "flag needs an argument: --publish"),
            ("--=x", "bad flag syntax: --=x"),
            ("-m x", "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'"),
            (
                "--rm=foo",
                "invalid argument \"foo\" for \"--rm\" flag: strconv.ParseBool: parsing \"foo\": invalid syntax",
            ),
            (
                "--timeout x",
                "invalid argument \"x\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(run(Order::Anywhere, line).unwrap_err(), text, "{line}");
        }
    }
}
