//! Which stages a target needs, and in which order.

use corten_dockerfile::{Item, Lex, Mount, Program, Stage};

use crate::args::BuildArgs;
use crate::error::BuildError;

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// The result of an earlier stage.
    Stage(usize),
    /// An image, by what was written with variables replaced.
    Image(String),
}

/// One stage that is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStage {
    /// Its index in the program.
    pub index: usize,
    /// What it begins with.
    pub base: Base,
    /// `--platform`, variables replaced.
    pub platform: Option<String>,
}

/// The stages that the target needs, in the order of the file; the target is last.
pub fn plan(
    program: &Program,
    target: Option<&str>,
    args: &BuildArgs,
    escape: char,
) -> Result<Vec<PlannedStage>, BuildError> {
    for (index, stage) in program.stages.iter().enumerate() {
        let taken =
            |name: &String| program.stages[..index].iter().any(|earlier| earlier.name.as_ref() == Some(name));
        if let Some(name) = stage.name.as_ref().filter(|name| taken(name)) {
            return Err(BuildError::StageNameTaken { name: name.clone(), line: stage.span.first_line });
        }
    }
    let target = match target {
        Some(name) => program.stage(name).ok_or_else(|| BuildError::NoSuchTarget { name: name.into() })?,
        None => program.stages.len() - 1,
    };
    let mut bases = Vec::with_capacity(target + 1);
    for index in 0..=target {
        bases.push(base(program, index, args, escape)?);
    }
    let mut needed = vec![false; target + 1];
    needed[target] = true;
    // References only go backwards, so one pass from the target down sees every need before its stage.
    for index in (0..=target).rev() {
        if !needed[index] {
            continue;
        }
        if let Base::Stage(stage) = &bases[index].base {
            needed[*stage] = true;
        }
        for from in references(&program.stages[index]) {
            if let Some(stage) = earlier_stage(program, index, &from)? {
                needed[stage] = true;
            }
        }
    }
    Ok(bases.into_iter().filter(|stage| needed[stage.index]).collect())
}

/// The stage before `current` that `name` means: by name, or by number. `None`: it names an image.
pub fn earlier_stage(program: &Program, current: usize, name: &str) -> Result<Option<usize>, BuildError> {
    let named = |stage: &Stage| stage.name.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name));
    if let Some(index) = program.stages[..current].iter().position(named) {
        return Ok(Some(index));
    }
    match name.parse::<i64>() {
        Ok(index) if usize::try_from(index).is_ok_and(|index| index < current) => {
            Ok(usize::try_from(index).ok())
        }
        Ok(index) if usize::try_from(index).is_ok_and(|index| index == current) => {
            Err(BuildError::From { name: name.into(), reason: "refers to current build stage" })
        }
        Ok(_) => Err(BuildError::From { name: name.into(), reason: "index out of bounds" }),
        Err(_) => Ok(None),
    }
}

fn base(program: &Program, index: usize, args: &BuildArgs, escape: char) -> Result<PlannedStage, BuildError> {
    let stage = &program.stages[index];
    let expand = |text: &str| {
        let line = stage.span.first_line;
        Lex::new(escape)
            .word(text, &|name| args.global_value(name))
            .map_err(|source| BuildError::Instruction { line, source: source.into() })
    };
    let name = expand(&stage.base)?;
    let platform = stage.platform.as_deref().map(expand).transpose()?.filter(|platform| !platform.is_empty());
    let named =
        |earlier: &Stage| earlier.name.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(&name));
    let base = if let Some(earlier) = program.stages[..index].iter().position(named) {
        Base::Stage(earlier)
    } else if name == "scratch" {
        Base::Scratch
    } else if name.is_empty() {
        return Err(BuildError::BlankBase { written: stage.base.clone() });
    } else {
        Base::Image(name)
    };
    Ok(PlannedStage { index, base, platform })
}

/// What the instructions of a stage take files from, by `--from` or `from=`.
fn references(stage: &Stage) -> Vec<String> {
    let mut names = Vec::new();
    for instruction in &stage.instructions {
        match &instruction.item {
            Item::Copy(copy) => names.extend(copy.from.clone()),
            Item::Run(run) => {
                names.extend(run.mounts.iter().filter_map(|mount| Mount::parse(mount, None).ok()?.from));
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn planned(file: &str, target: Option<&str>) -> Result<Vec<PlannedStage>, String> {
        let (_, program) = corten_dockerfile::program(file.as_bytes()).unwrap();
        let mut args = BuildArgs::new(BTreeMap::new(), BTreeMap::new());
        for global in &program.global_args {
            for definition in &global.definitions {
                args.declare_global(&definition.name, definition.default.clone());
            }
        }
        plan(&program, target, &args, '\\').map_err(|error| error.to_string())
    }

    fn indexes(file: &str, target: Option<&str>) -> Vec<usize> {
        planned(file, target).unwrap().into_iter().map(|stage| stage.index).collect()
    }

    const FILE: &str = "ARG BASE=busybox\nFROM $BASE AS a\nFROM a AS unused\nFROM scratch AS c\nCOPY --from=a /x /\n\
                        FROM scratch\nCOPY --from=2 /x /\n";

    #[test]
    fn stages_that_the_target_does_not_need_are_left_out() {
        assert_eq!(indexes(FILE, None), [0, 2, 3]);
        assert_eq!(indexes(FILE, Some("C")), [0, 2]);
        assert_eq!(indexes(FILE, Some("a")), [0]);
        assert_eq!(indexes(FILE, Some("1")), [0, 1]);
        assert_eq!(planned(FILE, Some("unused")).unwrap()[1].base, Base::Stage(0));
        assert_eq!(planned(FILE, Some("a")).unwrap()[0].base, Base::Image("busybox".into()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(planned(FILE, Some("x")).unwrap_err(), "target stage \"x\" could not be found");
        assert_eq!(planned("FROM a AS b\nFROM a AS B\n", None).unwrap_err(), "b stage name already used");
        assert_eq!(
            planned("FROM a\nCOPY --from=0 x y\n", None).unwrap_err(),
            "invalid from flag value 0: refers to current build stage"
        );
        assert_eq!(planned("FROM ${none}\n", None).unwrap_err(), "base name (${none}) should not be blank");
    }
}
