use serde::Deserialize;

use super::Wish;
use super::pattern::Pattern;

/// What can be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Delete.
    Delete,
}

impl Action {
    /// The word in scopes and rules.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// Whom a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Everybody, also without a name.
    Anyone,
    /// Everybody with a name.
    Users,
    /// One user.
    User(String),
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "anonymous" => Self::Anyone,
            "*" => Self::Users,
            _ => Self::User(text),
        })
    }
}

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// To whom: a user, `*` for all users, `anonymous` for everybody.
    pub user: Who,
    /// In which repositories.
    pub repositories: Vec<Pattern>,
    /// What.
    pub actions: Vec<Action>,
}

/// All that is allowed. What no rule allows is not.
#[derive(Debug, Clone, Default)]
pub struct Rules(Option<Vec<Rule>>);

impl Rules {
    /// These rules and no others; none at all allow users everything.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(if rules.is_empty() { None } else { Some(rules) })
    }

    /// Whether a user, or somebody without a name, may do what is wished.
    pub fn allow(&self, user: Option<&str>, wish: &Wish) -> bool {
        let Some(rules) = &self.0 else { return user.is_some() };
        let mut theirs = rules.iter().filter(|rule| match (&rule.user, user) {
            (Who::Anyone, _) | (Who::Users, Some(_)) => true,
            (Who::User(name), Some(user)) => name == user,
            _ => false,
        });
        match wish {
            Wish::Base => user.is_some() || theirs.next().is_some(),
            // The list shows only what may be pulled.
            Wish::Catalog => theirs.any(|rule| rule.actions.contains(&Action::Pull)),
            Wish::Repository(name, action) => theirs.any(|rule| {
                rule.actions.contains(action) && rule.repositories.iter().any(|p| p.matches(name.as_str()))
            }),
        }
    }
}
