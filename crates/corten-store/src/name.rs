//! Names of images: what may be one, and what a change of one does to the others.

use std::collections::BTreeMap;

use corten_types::{Digest, Reference};

use crate::oci::Descriptor;
use crate::state::{self, NameRow};

const DANGLING_PREFIX: &str = "moby-dangling@";

/// The name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// A name somebody gave: with a tag, a digest, or both.
    Reference(Reference),
    /// No name; the target keeps itself.
    Dangling(Digest),
}

impl Name {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(DANGLING_PREFIX) {
            Some(digest) => digest.parse().ok().map(Self::Dangling),
            None => text.parse().ok().map(Self::Reference),
        }
    }

    /// The reference, where somebody gave one.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Dangling(_) => None,
        }
    }

    /// Whether nobody gave this name.
    pub fn is_dangling(&self) -> bool {
        matches!(self, Self::Dangling(_))
    }

    /// The short form that people read; the digest where there is no name.
    pub fn familiar(&self) -> String {
        match self {
            Self::Reference(reference) => reference.familiar(),
            Self::Dangling(digest) => digest.to_string(),
        }
    }
}

impl std::fmt::Display for Name {
    /// The form the name is stored under.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference(reference) => reference.fmt(f),
            Self::Dangling(digest) => write!(f, "{DANGLING_PREFIX}{digest}"),
        }
    }
}

/// A name and what it points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// The name.
    pub name: Name,
    /// What it points at: an index or a manifest.
    pub target: Descriptor,
    /// Notes of the engine about the image, such as its parent in a classic build.
    pub labels: BTreeMap<String, String>,
    /// When the name was first given, nanoseconds since 1970.
    pub created: i64,
    /// When it was last pointed elsewhere, nanoseconds since 1970.
    pub updated: i64,
}

impl NamedImage {
    pub(crate) fn from_row(text: &str, row: &NameRow) -> Option<Self> {
        Some(Self {
            name: Name::parse(text)?,
            target: row.target.clone(),
            labels: row.labels.clone(),
            created: row.created,
            updated: row.updated,
        })
    }

    /// The image's id.
    pub fn id(&self) -> Digest {
        self.target.digest
    }
}

/// A name's new row, or its end.
pub(crate) type NameChange = (String, Option<NameRow>);

pub(crate) fn write_name(
    tx: &rusqlite::Transaction<'_>,
    name: &str,
    row: &Option<NameRow>,
) -> rusqlite::Result<()> {
    match row {
        Some(row) => state::put_name(tx, name, row),
        None => state::delete_name(tx, name),
    }
}

/// What pointing `name` at `target` changes among the names: the name itself, the old target's stand-in where it would
/// lose its last name, and the new target's stand-in, which is no longer needed.
pub(crate) fn plan_put(
    names: &BTreeMap<String, NameRow>,
    name: &Name,
    target: Descriptor,
    labels: BTreeMap<String, String>,
    now: i64,
) -> Vec<NameChange> {
    let text = name.to_string();
    // What is said about the target elsewhere (its platform) is not kept with a name, as in containerd.
    let mut kept = Descriptor::new(&target.media_type, target.digest, target.size);
    kept.annotations = target.annotations;
    let target = kept;
    let mut changes = Vec::new();
    let mut created = now;
    if let Some(old) = names.get(&text) {
        created = old.created;
        let last = !names.iter().any(|(other, row)| *other != text && row.target.digest == old.target.digest);
        if old.target.digest != target.digest && last && !name.is_dangling() {
            let stand_in = NameRow { updated: now, ..old.clone() };
            changes.push((Name::Dangling(old.target.digest).to_string(), Some(stand_in)));
        }
    }
    let stand_in = Name::Dangling(target.digest).to_string();
    if !name.is_dangling() && names.contains_key(&stand_in) {
        changes.push((stand_in, None));
    }
    changes.push((text, Some(NameRow { target, labels, created, updated: now })));
    changes
}

/// What removing `name` changes among the names, where its target is to be kept.
pub(crate) fn plan_untag(names: &BTreeMap<String, NameRow>, name: &Name, now: i64) -> Vec<NameChange> {
    let text = name.to_string();
    let Some(row) = names.get(&text) else { return Vec::new() };
    let mut changes = vec![(text.clone(), None)];
    if !names.iter().any(|(other, its)| *other != text && its.target.digest == row.target.digest) {
        let stand_in = NameRow { updated: now, ..row.clone() };
        changes.push((Name::Dangling(row.target.digest).to_string(), Some(stand_in)));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::media;

    fn row(target: &Descriptor) -> NameRow {
        NameRow { target: target.clone(), labels: BTreeMap::new(), created: 1, updated: 1 }
    }

    fn target(content: &[u8]) -> Descriptor {
        Descriptor::new(media::MANIFEST, Digest::of(content), content.len() as u64)
    }

    fn name(text: &str) -> Name {
        Name::Reference(text.parse().unwrap())
    }

    #[test]
    fn a_target_that_loses_its_last_name_gets_a_stand_in() {
        let (old, new) = (target(b"old"), target(b"new"));
        let names = BTreeMap::from([(name("a:1").to_string(), row(&old))]);
        let changes = plan_put(&names, &name("a:1"), new.clone(), BTreeMap::new(), 9);
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0].0, format!("moby-dangling@{}", old.digest));
        assert_eq!(changes[1].1.as_ref().map(|row| (row.created, row.updated)), Some((1, 9)));
    }

    #[test]
    fn a_target_with_another_name_needs_no_stand_in() {
        let (old, new) = (target(b"old"), target(b"new"));
        let names =
            BTreeMap::from([(name("a:1").to_string(), row(&old)), (name("b:1").to_string(), row(&old))]);
        assert_eq!(plan_put(&names, &name("a:1"), new, BTreeMap::new(), 9).len(), 1);
    }

    #[test]
    fn a_name_ends_the_stand_in_of_its_target() {
        let new = target(b"new");
        let names = BTreeMap::from([(Name::Dangling(new.digest).to_string(), row(&new))]);
        let changes = plan_put(&names, &name("a:1"), new.clone(), BTreeMap::new(), 9);
        assert_eq!(changes[0], (Name::Dangling(new.digest).to_string(), None));
    }
}
