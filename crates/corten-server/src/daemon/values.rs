//! From the command line and `daemon.json` to one set of values: parsed, checked for conflicts, not yet understood.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use super::options::{OPTIONS, Opt, Shape, by_flag, by_key, by_short, nearest};

/// A value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a [`Shape::Bool`].
    Bool(bool),
    /// Of a [`Shape::Text`].
    Text(String),
    /// Of a [`Shape::Int`].
    Int(i64),
    /// Of a [`Shape::List`], or a [`Shape::Structured`] option given as flags.
    List(Vec<String>),
    /// Of a [`Shape::Map`].
    Map(BTreeMap<String, String>),
    /// Of a [`Shape::Structured`] option in the file.
    Json(Json),
    /// Of a [`Shape::Structured`] option that adds up: flags, and the file's.
    Both(Vec<String>, Json),
}

impl fmt::Display for Value {
    /// As Go prints it in dockerd's conflict message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{b}"),
            Self::Text(text) => f.write_str(text),
            Self::Int(n) => write!(f, "{n}"),
            Self::List(list) => write!(f, "[{}]", list.join(" ")),
            Self::Map(map) => {
                let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                write!(f, "map[{}]", pairs.join(" "))
            }
            Self::Json(json) => write!(f, "{}", go_text(json)),
            Self::Both(list, json) => write!(f, "[{}] {}", list.join(" "), go_text(json)),
        }
    }
}

fn go_text(json: &Json) -> String {
    match json {
        Json::Null => "<nil>".into(),
        Json::String(text) => text.clone(),
        Json::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Json::Object(map) => {
            let mut pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_text(v))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// Values by [`Opt::name`].
pub type Values = BTreeMap<&'static str, Value>;

/// What the command line says.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandLine {
    /// Run (or validate) with these values.
    Run(Values),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// Why the configuration is refused. The texts of conflicts and unknown keys begin as dockerd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A flag that does not exist.
    #[error("unknown flag: {flag}{hint}")]
    UnknownFlag {
        /// As typed.
        flag: String,
        /// The nearest known one.
        hint: String,
    },
    /// A flag that needs a value stands last.
    #[error("flag needs an argument: {flag}")]
    NeedsArgument {
        /// As typed.
        flag: String,
    },
    /// An argument that is no flag.
    #[error("\"{0}\" is not an option: the daemon takes no arguments")]
    Argument(String),
    /// A value that the option cannot have.
    #[error("invalid value {value:?} for {option}: {reason}")]
    BadValue {
        /// Flag or key.
        option: String,
        /// As given.
        value: String,
        /// Why.
        reason: String,
    },
    /// The file is not JSON, or not an object.
    #[error("{path} is not a JSON object: {reason}")]
    NotJson {
        /// The file.
        path: String,
        /// Where and why.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Keys of the file that do not exist.
    #[error("the following directives don't match any configuration option: {}", keys.join(", "))]
    UnknownKeys {
        /// Each with the nearest known one.
        keys: Vec<String>,
    },
    /// Options given twice.
    #[error("the following directives are specified both as a flag and in the configuration file: {}", conflicts.join(", "))]
    Conflicts {
        /// Each with both values.
        conflicts: Vec<String>,
    },
}

impl corten_types::Kind for ConfigError {
    fn kind(&self) -> corten_types::ErrorKind {
        corten_types::ErrorKind::InvalidArgument
    }
}

/// Reads the daemon's arguments (without the program's name).
pub fn parse_flags(args: &[String]) -> Result<CommandLine, ConfigError> {
    let mut values = Values::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            match name {
                "help" => return Ok(CommandLine::Help),
                "version" => return Ok(CommandLine::Version),
                _ => {}
            }
            let opt = by_flag(name).ok_or_else(|| unknown_flag(name))?;
            let value = match (inline, opt.shape) {
                (Some(value), _) => value,
                (None, Shape::Bool) => "true".into(),
                (None, _) => {
                    args.next().cloned().ok_or_else(|| ConfigError::NeedsArgument { flag: arg.clone() })?
                }
            };
            add(&mut values, opt, &format!("--{name}"), &value)?;
        } else if let Some(letters) = arg.strip_prefix('-').filter(|l| !l.is_empty()) {
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                match letter {
                    'h' => return Ok(CommandLine::Help),
                    'v' => return Ok(CommandLine::Version),
                    _ => {}
                }
                let opt = by_short(letter).ok_or_else(|| ConfigError::UnknownFlag {
                    flag: format!("-{letter}"),
                    hint: String::new(),
                })?;
                let rest = letters.as_str();
                let value = match opt.shape {
                    Shape::Bool if !rest.starts_with('=') => {
                        add(&mut values, opt, &format!("-{letter}"), "true")?;
                        continue;
                    }
                    _ if !rest.is_empty() => rest.strip_prefix('=').unwrap_or(rest).to_owned(),
                    _ => args
                        .next()
                        .cloned()
                        .ok_or_else(|| ConfigError::NeedsArgument { flag: format!("-{letter}") })?,
                };
                add(&mut values, opt, &format!("-{letter}"), &value)?;
                break;
            }
        } else {
            return Err(ConfigError::Argument(arg.clone()));
        }
    }
    Ok(CommandLine::Run(values))
}

fn unknown_flag(name: &str) -> ConfigError {
    let hint = nearest(name, OPTIONS.iter().map(|o| o.flag).filter(|f| !f.is_empty()));
    let hint = hint.map_or_else(String::new, |near| format!(" (did you mean --{near}?)"));
    ConfigError::UnknownFlag { flag: format!("--{name}"), hint }
}

fn add(values: &mut Values, opt: &'static Opt, flag: &str, text: &str) -> Result<(), ConfigError> {
    let bad = |reason: &str| ConfigError::BadValue {
        option: flag.to_owned(),
        value: text.to_owned(),
        reason: reason.to_owned(),
    };
    let entry = values.entry(opt.name());
    match opt.shape {
        Shape::Bool => {
            let value = match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(bad("it is neither true nor false")),
            };
            values.insert(opt.name(), Value::Bool(value));
        }
        Shape::Text => {
            values.insert(opt.name(), Value::Text(text.to_owned()));
        }
        Shape::Int => {
            let value = text.parse().map_err(|_| bad("it is not a number"))?;
            values.insert(opt.name(), Value::Int(value));
        }
        Shape::List | Shape::Structured => match entry.or_insert_with(|| Value::List(Vec::new())) {
            Value::List(list) => list.push(text.to_owned()),
            _ => unreachable!("values of a list option are lists"),
        },
        Shape::Map => {
            let (key, value) = text.split_once('=').ok_or_else(|| bad("it is not of the form key=value"))?;
            match entry.or_insert_with(|| Value::Map(BTreeMap::new())) {
                Value::Map(map) => map.insert(key.to_owned(), value.to_owned()),
                _ => unreachable!("values of a map option are maps"),
            };
        }
    }
    Ok(())
}

/// Reads the text of a configuration file.
pub fn parse_file(path: &str, text: &str) -> Result<Values, ConfigError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(Values::new());
    }
    let object: serde_json::Map<String, Json> = serde_json::from_str(text)
        .map_err(|e| ConfigError::NotJson { path: path.to_owned(), reason: e.to_string() })?;
    let mut values = Values::new();
    let mut unknown = Vec::new();
    // dockerd also finds options inside any object that is not itself an option, such as "proxies".
    let flat = object.into_iter().flat_map(|(key, value)| match value {
        Json::Object(inner) if by_key(&key).is_none() && !inner.is_empty() => {
            inner.into_iter().collect::<Vec<_>>()
        }
        value => vec![(key, value)],
    });
    for (key, json) in flat {
        match by_key(&key) {
            None if key == "proxies" => {}
            None => {
                unknown.push(match nearest(&key, OPTIONS.iter().map(|o| o.key).filter(|k| !k.is_empty())) {
                    Some(near) => format!("{key} (did you mean {near}?)"),
                    None => key,
                })
            }
            Some(opt) => {
                if let Some(value) = from_json(opt, path, &key, json)? {
                    values.insert(opt.name(), value);
                }
            }
        }
    }
    if unknown.is_empty() { Ok(values) } else { Err(ConfigError::UnknownKeys { keys: unknown }) }
}

fn from_json(opt: &Opt, path: &str, key: &str, json: Json) -> Result<Option<Value>, ConfigError> {
    let shown = json.to_string();
    let bad = |reason: &str| ConfigError::BadValue {
        option: format!("{key} in {path}"),
        value: shown.clone(),
        reason: reason.to_owned(),
    };
    let text = |json: Json| match json {
        Json::String(text) => Some(text),
        _ => None,
    };
    Ok(Some(match (opt.shape, json) {
        (_, Json::Null) => return Ok(None),
        (Shape::Bool, Json::Bool(value)) => Value::Bool(value),
        (Shape::Bool, _) => return Err(bad("it is neither true nor false")),
        (Shape::Text, Json::String(value)) => Value::Text(value),
        (Shape::Text, Json::Number(value)) if opt.key == "default-shm-size" => Value::Text(value.to_string()),
        (Shape::Text, _) => return Err(bad("it is not a text")),
        (Shape::Int, json) => Value::Int(json.as_i64().ok_or_else(|| bad("it is not a whole number"))?),
        (Shape::List, Json::String(value)) if key == "host-gateway-ip" => Value::List(vec![value]),
        (Shape::List, Json::Array(list)) => {
            let list: Option<Vec<String>> = list.into_iter().map(text).collect();
            Value::List(list.ok_or_else(|| bad("it is not a list of texts"))?)
        }
        (Shape::List, _) => return Err(bad("it is not a list of texts")),
        (Shape::Map, Json::Object(map)) => {
            let map: Option<BTreeMap<String, String>> =
                map.into_iter().map(|(k, v)| Some((k, text(v)?))).collect();
            Value::Map(map.ok_or_else(|| bad("it is not an object of texts"))?)
        }
        (Shape::Map, _) => return Err(bad("it is not an object of texts")),
        (Shape::Structured, json) => Value::Json(json),
    }))
}

/// Flags over the file. Both naming the same option is an error, as in dockerd; only runtimes add up.
pub fn merge(flags: Values, file: Values) -> Result<Values, ConfigError> {
    let conflict = |(name, flag): (&&'static str, &Value)| {
        let from_file = file.get(*name).filter(|_| *name != "runtimes")?;
        Some(format!("{name}: (from flag: {}, from file: {})", masked(name, flag), masked(name, from_file)))
    };
    let conflicts: Vec<String> = flags.iter().filter_map(conflict).collect();
    if !conflicts.is_empty() {
        return Err(ConfigError::Conflicts { conflicts });
    }
    let mut merged = file;
    for (name, value) in flags {
        let value = match (value, merged.remove(name)) {
            (Value::List(flags), Some(Value::Json(file))) => Value::Both(flags, file),
            (value, _) => value,
        };
        merged.insert(name, value);
    }
    Ok(merged)
}

/// Beneath flags and file lies the environment, which says what the proxies are.
pub fn with_environment(mut values: Values, get: impl Fn(&str) -> Option<String>) -> Values {
    for (name, variable) in
        [("http-proxy", "HTTP_PROXY"), ("https-proxy", "HTTPS_PROXY"), ("no-proxy", "NO_PROXY")]
    {
        let told = |variable: &str| get(variable).filter(|value| !value.is_empty());
        if let Some(value) = told(variable).or_else(|| told(&variable.to_lowercase())) {
            values.entry(name).or_insert(Value::Text(value));
        }
    }
    values
}

/// A proxy's credentials do not belong in a message.
fn masked(name: &str, value: &Value) -> String {
    let text = value.to_string();
    if !name.ends_with("-proxy") {
        return text;
    }
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Values, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        match parse_flags(&args) {
            Ok(CommandLine::Run(values)) => Ok(values),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_environment_lies_beneath_flags_and_file() {
        let environment = |name: &str| match name {
            "HTTP_PROXY" | "https_proxy" => Some(format!("http://{name}:1")),
            "HTTPS_PROXY" => Some(String::new()),
            _ => None,
        };
        let file = parse_file("f", r#"{"proxies":{"http-proxy":"http://file:1"}}"#).unwrap();
        let values = with_environment(file, environment);
        assert_eq!(values["http-proxy"].to_string(), "http://file:1");
        assert_eq!(values["https-proxy"].to_string(), "http://https_proxy:1");
        assert!(!values.contains_key("no-proxy"));
    }

    #[test]
    fn flags_in_every_form() {
        let values = flags(&[
            "--debug",
            "-H",
            "unix:///a.sock",
            "-Htcp://127.0.0.1:1",
            "--host=fd://",
            "--mtu=1400",
            "--log-opt",
            "max-size=1m",
            "--log-opt=max-file=2",
            "--live-restore=false",
            "-l",
            "debug",
        ])
        .unwrap();
        assert_eq!(values["debug"], Value::Bool(true));
        assert_eq!(values["hosts"].to_string(), "[unix:///a.sock tcp://127.0.0.1:1 fd://]");
        assert_eq!(values["mtu"], Value::Int(1400));
        assert_eq!(values["log-opts"].to_string(), "map[max-file:2 max-size:1m]");
        assert_eq!(values["live-restore"], Value::Bool(false));
        assert_eq!(values["log-level"], Value::Text("debug".into()));
    }

    #[test]
    fn wrong_flags_are_named() {
        assert_eq!(
            flags(&["--data-rot", "/x"]).unwrap_err(),
            "unknown flag: --data-rot (did you mean --data-root?)"
        );
        assert_eq!(flags(&["--data-root"]).unwrap_err(), "flag needs an argument: --data-root");
        assert_eq!(
            flags(&["--debug=maybe"]).unwrap_err(),
            "invalid value \"maybe\" for --debug: it is neither true nor false"
        );
        assert_eq!(flags(&["--mtu", "x"]).unwrap_err(), "invalid value \"x\" for --mtu: it is not a number");
        assert_eq!(
            flags(&["start"]).unwrap_err(),
            "\"start\" is not an option: the daemon takes no arguments"
        );
        assert_eq!(flags(&["-Z"]).unwrap_err(), "unknown flag: -Z");
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let error = parse_file("daemon.json", r#"{"insecure-registry":["a"],"debug":true,"qqqqqqqq":1}"#)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the following directives don't match any configuration option: insecure-registry (did you mean insecure-registries?), qqqqqqqq"
        );
    }

    #[test]
    fn values_of_the_wrong_shape_are_refused() {
        let refuse = |text: &str| parse_file("f", text).unwrap_err().to_string();
        assert_eq!(
            refuse(r#"{"debug":"yes"}"#),
            "invalid value \"\\\"yes\\\"\" for debug in f: it is neither true nor false"
        );
        assert_eq!(
            refuse(r#"{"hosts":"unix:///x"}"#),
            "invalid value \"\\\"unix:///x\\\"\" for hosts in f: it is not a list of texts"
        );
        assert_eq!(refuse(r#"{"mtu":1.5}"#), "invalid value \"1.5\" for mtu in f: it is not a whole number");
        assert!(refuse("[1]").starts_with("f is not a JSON object: "));
        assert!(refuse("{").starts_with("f is not a JSON object: "));
    }

    #[test]
    fn conflicts_read_as_dockerds() {
        let file =
            parse_file("f", r#"{"debug":false,"labels":["a=b"],"log-opts":{"max-size":"1m"}}"#).unwrap();
        let error = merge(flags(&["-D", "--label", "c=d"]).unwrap(), file).unwrap_err().to_string();
        assert_eq!(
            error,
            "the following directives are specified both as a flag and in the configuration file: \
             debug: (from flag: true, from file: false), labels: (from flag: [c=d], from file: [a=b])"
        );
    }

    #[test]
    fn nested_objects_and_empty_files_are_read_as_dockerd_does() {
        assert!(parse_file("f", " \n").unwrap().is_empty());
        let values =
            parse_file("f", "\u{feff}{\"proxies\":{\"http-proxy\":\"http://u:p@h:1\"},\"proxies2\":{}}")
                .unwrap_err();
        assert!(values.to_string().contains("proxies2"));
        let values = parse_file("f", r#"{"proxies":{"http-proxy":"http://u:p@h:1"}}"#).unwrap();
        let error = merge(flags(&["--http-proxy", "http://a:b@c"]).unwrap(), values).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "http-proxy: (from flag: http://xxxxx:xxxxx@c, from file: http://xxxxx:xxxxx@h:1)"
            ),
            "{error}"
        );
    }
}
