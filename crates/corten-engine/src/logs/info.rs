//! What a log says about the container it is of: tag and attributes, as the log options ask for them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use regex::Regex;

use crate::container::validate::{Invalid, invalid};

/// A container, as log drivers see it.
#[derive(Debug, Clone, Default)]
pub struct LogInfo {
    /// Full id.
    pub id: String,
    /// Name, without the slash.
    pub name: String,
    /// Id of its image.
    pub image_id: String,
    /// Name of its image, as the user gave it.
    pub image_name: String,
    /// Program and arguments, joined by blanks.
    pub command: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its environment, `NAME=value`.
    pub env: Vec<String>,
}

/// The options `tag`, `labels`, `labels-regex`, `env` and `env-regex`.
#[derive(Debug, Clone, Default)]
pub struct Attribution {
    tag: Option<Vec<Part>>,
    labels: Vec<String>,
    labels_regex: Option<Regex>,
    env: Vec<String>,
    env_regex: Option<Regex>,
}

/// A piece of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    FullId,
    Name,
    ImageId,
    ImageFullId,
    ImageName,
    DaemonName,
    Command,
}

impl Attribution {
    /// The keys that [`Self::parse`] reads.
    pub const KEYS: [&'static str; 5] = ["tag", "labels", "labels-regex", "env", "env-regex"];

    /// Reads the options that are its own.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        let text = |key: &str| options.get(key).map(String::as_str).filter(|text| !text.is_empty());
        let list = |key: &str| text(key).map(|text| text.split(',').map(str::to_owned).collect());
        let regex = |key: &str| match text(key) {
            None => Ok(None),
            Some(text) => Regex::new(text)
                .map(Some)
                .map_err(|error| Invalid(format!("log option {key}: error parsing regexp: {error}"))),
        };
        Ok(Self {
            tag: text("tag").map(parse_tag).transpose()?,
            labels: list("labels").unwrap_or_default(),
            labels_regex: regex("labels-regex")?,
            env: list("env").unwrap_or_default(),
            env_regex: regex("env-regex")?,
        })
    }

    /// The tag; without the option the short id.
    pub fn tag(&self, info: &LogInfo) -> String {
        match &self.tag {
            Some(parts) => render(parts, info),
            None => short(&info.id).to_owned(),
        }
    }

    /// The labels and variables that are asked for; the later of two of one name stands.
    pub fn attributes(&self, info: &LogInfo) -> BTreeMap<String, String> {
        let matches =
            |regex: &Option<Regex>, key: &str| regex.as_ref().is_some_and(|regex| regex.is_match(key));
        let labels = info
            .labels
            .iter()
            .filter(|(key, _)| self.labels.contains(key) || matches(&self.labels_regex, key));
        let mut attributes: BTreeMap<String, String> =
            labels.map(|(key, value)| (key.clone(), value.clone())).collect();
        for (key, value) in info.env.iter().filter_map(|variable| variable.split_once('=')) {
            if self.env.iter().any(|wanted| wanted == key) || matches(&self.env_regex, key) {
                attributes.insert(key.to_owned(), value.to_owned());
            }
        }
        attributes
    }

    /// What is written with every line of the local log: the attributes, and the tag where the option asks for one.
    pub fn local(&self, info: &LogInfo) -> BTreeMap<String, String> {
        let mut attributes = self.attributes(info);
        let tag = self.tag.as_ref().map(|parts| render(parts, info)).filter(|tag| !tag.is_empty());
        attributes.extend(tag.map(|tag| ("tag".to_owned(), tag)));
        attributes
    }
}

/// The first twelve digits of an id.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A tag's template: text with fields, `{{.Name}}/{{.ID}}`. Docker's templates can do more; what is more is refused by name.
fn parse_tag(text: &str) -> Result<Vec<Part>, Invalid> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(end) = rest[start..].find("}}").map(|end| start + end) else {
            return invalid(format!("template: log-tag:1: unclosed action in {text:?}"));
        };
        if start > 0 {
            parts.push(Part::Text(rest[..start].to_owned()));
        }
        let action = rest[start + 2..end].trim();
        parts.push(Part::Field(match action {
            ".ID" => Field::Id,
            ".FullID" => Field::FullId,
            ".Name" => Field::Name,
            ".ImageID" => Field::ImageId,
            ".ImageFullID" => Field::ImageFullId,
            ".ImageName" => Field::ImageName,
            ".DaemonName" => Field::DaemonName,
            ".Command" => Field::Command,
            other => {
                let known = ".ID .FullID .Name .ImageID .ImageFullID .ImageName .DaemonName .Command";
                return invalid(format!("template: log-tag:1: {other:?} is none of {known}"));
            }
        }));
        rest = &rest[end + 2..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

fn render(parts: &[Part], info: &LogInfo) -> String {
    let image = info.image_id.as_str();
    let show = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Field(Field::Id) => short(&info.id).to_owned(),
        Part::Field(Field::FullId) => info.id.clone(),
        Part::Field(Field::Name) => info.name.clone(),
        Part::Field(Field::ImageId) => short(image).to_owned(),
        Part::Field(Field::ImageFullId) => image.to_owned(),
        Part::Field(Field::ImageName) => info.image_name.clone(),
        Part::Field(Field::DaemonName) => "docker".to_owned(),
        Part::Field(Field::Command) => info.command.clone(),
    };
    parts.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Attribution, Invalid> {
        Attribution::parse(&options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn info() -> LogInfo {
        LogInfo {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            image_id: "sha256:0123456789".into(),
            image_name: "nginx:1".into(),
            labels: [("app", "shop"), ("app.tier", "front"), ("x", "y")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            env: vec!["MODE=fast".into(), "MODEL=t".into(), "ODD".into()],
            ..LogInfo::default()
        }
    }

    #[test]
    fn tags_are_templates() {
        let tag = |text: &str| parse(&[("tag", text)]).map(|a| a.tag(&info()));
        assert_eq!(tag("{{.ImageName}}/{{ .Name }}/{{.ID}}!").unwrap(), "nginx:1/web/0123456789ab!");
        assert_eq!(tag("plain").unwrap(), "plain");
        assert_eq!(parse(&[]).unwrap().tag(&info()), "0123456789ab");
        assert!(tag("{{.Nmae}}").is_err() && tag("{{.ID").is_err());
    }

    #[test]
    fn attributes_are_chosen_by_name_and_expression() {
        let options = [("labels", "x,none"), ("labels-regex", "^app"), ("env", "MODEL"), ("env-regex", "E$")];
        let chosen = parse(&options).unwrap().attributes(&info());
        let keys: Vec<&str> = chosen.keys().map(String::as_str).collect();
        assert_eq!(keys, ["MODE", "MODEL", "app", "app.tier", "x"]);
        assert!(parse(&[("env-regex", "(")]).is_err());
        assert!(parse(&[]).unwrap().local(&info()).is_empty());
        assert_eq!(parse(&[("tag", "t")]).unwrap().local(&info())["tag"], "t");
    }
}
