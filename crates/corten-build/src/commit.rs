//! `docker commit --change`: Dockerfile instructions applied to the config of a container.

use corten_dockerfile::{Ast, Item, Lex, instruction};
use corten_store::oci::RunConfig;
use corten_types::{ErrorKind, Kind, Platform};

use crate::args::name_of;
use crate::draft::Draft;
use crate::error::BuildError;

/// Instructions that change a config without a file.
const ALLOWED: [&str; 11] = [
    "cmd",
    "entrypoint",
    "healthcheck",
    "env",
    "expose",
    "label",
    "onbuild",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

/// Why changes cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The instruction does more than change a config, or is none.
    #[error("{keyword} is not a valid change command")]
    NotAllowed {
        /// Its keyword.
        keyword: String,
    },
    /// The text cannot be meant.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl Kind for ChangeError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// `config` with `changes` applied, one or more lines each.
pub fn change(config: &RunConfig, changes: &[String]) -> Result<RunConfig, ChangeError> {
    if changes.is_empty() {
        return Ok(config.clone());
    }
    let parse = |error| BuildError::Parse { name: "changes".into(), error };
    let ast = Ast::parse(changes.join("\n").as_bytes()).map_err(parse)?;
    if let Some(node) =
        ast.nodes.iter().find(|node| !ALLOWED.contains(&node.keyword.to_ascii_lowercase().as_str()))
    {
        return Err(ChangeError::NotAllowed { keyword: node.keyword.clone() });
    }
    let mut draft = Draft::scratch(&Platform::host());
    draft.config.config = config.clone();
    let lex = Lex::new(ast.directives.escape);
    for node in &ast.nodes {
        let line = node.span.first_line;
        let mut item = instruction(node).map_err(parse)?.item;
        let env = draft.env().to_vec();
        let lookup = |name: &str| {
            let entry = env.iter().rfind(|entry| name_of(entry) == name)?;
            Some(entry.split_once('=').map_or("", |(_, value)| value).to_owned())
        };
        item.expand(&mut |word| lex.word(word, &lookup))
            .map_err(|source| BuildError::Instruction { line, source })?;
        let apply = |source| BuildError::Apply { line, source };
        match &item {
            Item::Workdir(path) => {
                draft.apply_workdir(path).map_err(apply)?;
            }
            item => {
                draft.apply(item).map_err(apply)?;
            }
        }
    }
    Ok(draft.config.config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_a_subset_of_the_dockerfile() {
        let config = RunConfig { env: Some(vec!["A=1".into()]), ..RunConfig::default() };
        let changed = change(&config, &["ENV B=$A".into(), "CMD [\"x\"]\nWORKDIR /w".into()]).unwrap();
        assert_eq!(changed.env.unwrap(), ["A=1", "B=1"]);
        assert_eq!(changed.cmd.unwrap(), ["x"]);
        assert_eq!(changed.working_dir, "/w");
        let refused = |text: &str| change(&config, &[text.into()]).unwrap_err().to_string();
        assert_eq!(refused("RUN x"), "RUN is not a valid change command");
        assert_eq!(refused("bogus x"), "bogus is not a valid change command");
        assert!(refused("ENV x").contains("ENV must have two arguments"));
    }
}
