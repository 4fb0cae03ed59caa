//! What a collection takes out of a repository: a plan, made from what is there, the rule and the time.
//!
//! A manifest stays while a tag, an index that stays, or its subject's staying keeps it. Blobs stay while a manifest
//! that stays needs them, or somebody may be about to push one that does.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;

use crate::auth::Pattern;
use crate::catalog::{Change, Repository, Tagged};
use crate::digest::ContentDigest;
use crate::name::{RepositoryName, Tag};

/// What is kept in some repositories. A tag stays when any of the `keep_` says so.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rule {
    /// In which repositories. The first rule that fits a repository is its rule.
    pub repositories: Vec<Pattern>,
    /// Tags that never go.
    #[serde(default)]
    pub keep_tags: Vec<Pattern>,
    /// How many tags stay, the last pushed ones.
    pub keep_last: Option<usize>,
    /// Tags pushed within this time stay.
    #[serde(default, deserialize_with = "crate::config::duration")]
    pub keep_pushed_within: Option<Duration>,
    /// Tags pulled within this time stay.
    #[serde(default, deserialize_with = "crate::config::duration")]
    pub keep_pulled_within: Option<Duration>,
    /// Manifests without a tag go this long after they were last pushed or pulled.
    #[serde(default, deserialize_with = "crate::config::duration")]
    pub delete_untagged_after: Option<Duration>,
}

impl Rule {
    fn judges_tags(&self) -> bool {
        self.keep_last.is_some() || self.keep_pushed_within.is_some() || self.keep_pulled_within.is_some()
    }
}

/// The changes that a collection makes. `grace` is how long a blob stays that no manifest needs, in seconds.
pub fn plan(
    name: &RepositoryName,
    repository: &Repository,
    rule: Option<&Rule>,
    grace: u64,
    now: u64,
) -> Vec<Change> {
    let doomed = rule.map(|rule| doomed_tags(repository, rule, now)).unwrap_or_default();
    let mut kept = HashSet::new();
    for (tag, tagged) in &repository.tags {
        if !doomed.contains(tag) && attached_to(tag.as_str()).is_none() {
            keep(repository, &tagged.digest, &mut kept);
        }
    }
    let mut freed = HashSet::new();
    for tagged in doomed.iter().filter_map(|tag| repository.tags.get(tag)) {
        keep(repository, &tagged.digest, &mut freed);
    }
    // Signatures of old tools hang on a manifest by their tag's name, and go with it.
    let orphaned: HashSet<&Tag> = repository
        .tags
        .keys()
        .filter(|tag| attached_to(tag.as_str()).is_some_and(|to| freed.contains(&to) && !kept.contains(&to)))
        .collect();
    for tagged in orphaned.iter().filter_map(|tag| repository.tags.get(*tag)) {
        keep(repository, &tagged.digest, &mut freed);
    }
    let untagged = rule.and_then(|rule| rule.delete_untagged_after);
    for (digest, manifest) in &repository.manifests {
        let old = untagged.is_some_and(|after| manifest.used.get() + after.as_secs() <= now);
        if !kept.contains(digest) && !freed.contains(digest) && !old {
            keep(repository, digest, &mut kept);
        }
    }
    let mut changes: Vec<Change> = Vec::new();
    let mut gone_tags: Vec<&Tag> = Vec::new();
    for (tag, tagged) in &repository.tags {
        if doomed.contains(tag) || orphaned.contains(tag) {
            gone_tags.push(tag);
        } else {
            keep(repository, &tagged.digest, &mut kept);
        }
    }
    changes.extend(gone_tags.into_iter().map(|tag| Change::DeleteTag(name.clone(), tag.clone())));
    let mut needed: HashSet<&ContentDigest> = HashSet::new();
    for (digest, manifest) in &repository.manifests {
        if kept.contains(digest) {
            needed.extend(&manifest.needs);
        } else {
            changes.push(Change::DeleteManifest(name.clone(), digest.clone()));
        }
    }
    for (digest, blob) in &repository.blobs {
        if !needed.contains(digest) && blob.used.get() + grace <= now {
            changes.push(Change::DeleteBlob(name.clone(), digest.clone()));
        }
    }
    changes
}

/// The tags that the rule does not keep.
fn doomed_tags(repository: &Repository, rule: &Rule, now: u64) -> HashSet<Tag> {
    if !rule.judges_tags() {
        return HashSet::new();
    }
    let mut candidates: Vec<(&Tag, &Tagged)> = repository
        .tags
        .iter()
        .filter(|(tag, _)| attached_to(tag.as_str()).is_none())
        .filter(|(tag, _)| !rule.keep_tags.iter().any(|pattern| pattern.matches(tag.as_str())))
        .collect();
    candidates.sort_by(|(a, x), (b, y)| y.pushed.cmp(&x.pushed).then(b.cmp(a)));
    let within = |at: u64, time: Option<Duration>| time.is_some_and(|time| at + time.as_secs() > now);
    candidates
        .into_iter()
        .enumerate()
        .filter(|(place, (_, tagged))| {
            let pulled = repository.manifests.get(&tagged.digest).map_or(0, |manifest| manifest.used.get());
            !(rule.keep_last.is_some_and(|last| *place < last)
                || within(tagged.pushed, rule.keep_pushed_within)
                || within(pulled, rule.keep_pulled_within))
        })
        .map(|(_, (tag, _))| tag.clone())
        .collect()
}

/// The manifest that a tag like `sha256-<hex>.sig` belongs to (the referrers tag schema, and cosign's).
fn attached_to(tag: &str) -> Option<ContentDigest> {
    let (algorithm, rest) = tag.split_once('-')?;
    let hex = rest.split('.').next()?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// Keeps a manifest, what it needs, and what says something about it.
fn keep(repository: &Repository, root: &ContentDigest, kept: &mut HashSet<ContentDigest>) {
    let mut next = vec![root.clone()];
    while let Some(digest) = next.pop() {
        let Some(manifest) = repository.manifests.get(&digest) else { continue };
        if !kept.insert(digest.clone()) {
            continue;
        }
        next.extend(manifest.needs.iter().cloned());
        next.extend(repository.referrers.get(&digest).into_iter().flatten().cloned());
    }
}

#[cfg(test)]
mod tests;
