//! Build arguments: what `ARG` declares, what the caller gives, and what of it an instruction may see.

use std::collections::{BTreeMap, BTreeSet};

/// Arguments that need no `ARG`, and that the history does not show unless it was declared.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The arguments of a build, or of one of its stages.
#[derive(Debug, Clone, Default)]
pub struct BuildArgs {
    /// What the caller gave; `None` names an argument without a value.
    given: BTreeMap<String, Option<String>>,
    /// Values that every stage can declare without a default: the platform's.
    automatic: BTreeMap<String, String>,
    /// Declared before the first FROM.
    global: BTreeMap<String, Option<String>>,
    /// Declared in this stage.
    declared: BTreeMap<String, Option<String>>,
    /// Declared anywhere so far.
    consumed: BTreeSet<String>,
}

impl BuildArgs {
    /// The arguments of a build, none declared yet.
    pub fn new(given: BTreeMap<String, Option<String>>, automatic: BTreeMap<String, String>) -> Self {
        Self { given, automatic, ..Self::default() }
    }

    /// Declares an argument before the first FROM.
    pub fn declare_global(&mut self, name: &str, default: Option<String>) {
        self.consumed.insert(name.into());
        self.global.insert(name.into(), default);
    }

    /// The arguments as the next stage begins with them: its own declarations are to come.
    #[must_use]
    pub fn for_stage(&self) -> Self {
        Self { declared: BTreeMap::new(), ..self.clone() }
    }

    /// Declares an argument in this stage.
    pub fn declare(&mut self, name: &str, default: Option<String>) {
        self.consumed.insert(name.into());
        self.declared.insert(name.into(), default);
    }

    /// Remembers what a stage consumed.
    pub fn absorb(&mut self, stage: &Self) {
        self.consumed.extend(stage.consumed.iter().cloned());
    }

    /// The value of an argument in FROM lines.
    pub fn global_value(&self, name: &str) -> Option<String> {
        if !self.global.contains_key(name) {
            return self.automatic.get(name).cloned().or_else(|| self.predefined(name));
        }
        self.value(name, &self.global)
    }

    /// The arguments that an instruction of this stage sees, except those that `env` (`NAME=value`) hides.
    pub fn visible(&self, env: &[String]) -> BTreeMap<String, String> {
        let hidden: BTreeSet<&str> = env.iter().map(|entry| name_of(entry)).collect();
        let names = self.declared.keys().map(String::as_str).chain(PREDEFINED);
        names
            .filter(|name| !hidden.contains(name))
            .filter_map(|name| Some((name.to_owned(), self.value(name, &self.declared)?)))
            .collect()
    }

    /// Those of [`Self::visible`] that show in the history and count for the cache: `NAME=value`, ordered.
    pub fn shown(&self, env: &[String]) -> Vec<String> {
        let visible = self.visible(env).into_iter();
        visible
            .filter(|(name, _)| self.declared.contains_key(name) || !PREDEFINED.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    /// What the caller gave and no ARG took.
    pub fn unconsumed(&self) -> Vec<&str> {
        let names = self.given.keys().map(String::as_str);
        names.filter(|name| !self.consumed.contains(*name) && !PREDEFINED.contains(name)).collect()
    }

    fn predefined(&self, name: &str) -> Option<String> {
        PREDEFINED.contains(&name).then(|| self.given.get(name).cloned().flatten()).flatten()
    }

    fn value(&self, name: &str, declared: &BTreeMap<String, Option<String>>) -> Option<String> {
        if let Some(Some(given)) = self.given.get(name) {
            return Some(given.clone());
        }
        match declared.get(name) {
            Some(Some(default)) => Some(default.clone()),
            Some(None) => self.global_default(name).or_else(|| self.automatic.get(name).cloned()),
            None => None,
        }
    }

    fn global_default(&self, name: &str) -> Option<String> {
        self.global.get(name).cloned().flatten()
    }
}

/// The name of a `NAME=value` entry.
pub(crate) fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(given: &[(&str, Option<&str>)]) -> BuildArgs {
        let given = given.iter().map(|(name, value)| ((*name).into(), value.map(Into::into))).collect();
        BuildArgs::new(given, BTreeMap::from([("TARGETARCH".to_owned(), "amd64".to_owned())]))
    }

    #[test]
    fn what_is_given_wins_over_the_default_once_it_is_declared() {
        let mut args = args(&[("A", Some("given")), ("B", None), ("HTTP_PROXY", Some("p"))]);
        assert_eq!(args.shown(&[]), Vec::<String>::new());
        args.declare("A", Some("default".into()));
        args.declare("B", Some("b".into()));
        assert_eq!(args.shown(&[]), ["A=given", "B=b"]);
        assert_eq!(args.visible(&[])["HTTP_PROXY"], "p");
        assert_eq!(args.shown(&["A=hidden".into()]), ["B=b"]);
    }

    #[test]
    fn a_global_default_reaches_a_stage_that_declares_the_name() {
        let mut build = args(&[]);
        build.declare_global("TAG", Some("1".into()));
        assert_eq!(build.global_value("TAG").as_deref(), Some("1"));
        let mut stage = build.for_stage();
        assert!(stage.visible(&[]).is_empty());
        stage.declare("TAG", None);
        stage.declare("TARGETARCH", None);
        assert_eq!(stage.shown(&[]), ["TAG=1", "TARGETARCH=amd64"]);
    }

    #[test]
    fn what_nobody_declares_is_left_over() {
        let mut build = args(&[("A", Some("1")), ("Z", None), ("no_proxy", Some("x"))]);
        let mut stage = build.for_stage();
        stage.declare("A", None);
        build.absorb(&stage);
        assert_eq!(build.unconsumed(), ["Z"]);
    }
}
