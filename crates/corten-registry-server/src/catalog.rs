//! What the repositories hold, in memory: every lookup and list is answered from here.
//!
//! ```text
//!  repository ─┬─ blobs      digest → content of the store
//!              ├─ manifests  digest → content of the store, type, what it needs, its subject
//!              ├─ tags       tag → digest of a manifest
//!              └─ referrers  digest → manifests that say something about it
//! ```
//!
//! A catalog changes only by [`Change`]s, and each change is a row of the database: what is read back at start is what
//! was there. A repository exists while it holds something.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corten_store::records;
use corten_types::Digest;
use serde::{Deserialize, Serialize};

use crate::digest::ContentDigest;
use crate::name::{RepositoryName, Tag};

/// The records' kinds.
pub mod kind {
    /// A blob of a repository; id `repository@digest`.
    pub const BLOB: &str = "registry.blob";
    /// A manifest of a repository; id `repository@digest`.
    pub const MANIFEST: &str = "registry.manifest";
    /// A tag; id `repository:tag`.
    pub const TAG: &str = "registry.tag";
}

/// Seconds since 1970; goes on while others read it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(AtomicU64);

impl Moment {
    /// This moment.
    pub fn at(seconds: u64) -> Self {
        Self(AtomicU64::new(seconds))
    }

    /// Seconds since 1970.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Moves it forward.
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_max(seconds, Ordering::Relaxed);
    }
}

/// A blob that a repository holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Blob {
    /// Where it lies in the store.
    pub content: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last pushed, pulled or asked for.
    pub used: Moment,
}

/// A manifest that a repository holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Where it lies in the store.
    pub content: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// What it needs: blobs of a manifest, manifests of an index.
    pub needs: Vec<ContentDigest>,
    /// The manifest it says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<ContentDigest>,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// When it was last pushed, seconds since 1970.
    pub pushed: u64,
    /// When it was last pushed or pulled.
    pub used: Moment,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagged {
    /// The manifest.
    pub digest: ContentDigest,
    /// When the tag was last pushed, seconds since 1970.
    pub pushed: u64,
    /// When it was last seen at an upstream, seconds since 1970; tags of a cache only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<u64>,
}

/// What a repository holds.
#[derive(Debug, Default)]
pub struct Repository {
    /// Blobs by digest.
    pub blobs: HashMap<ContentDigest, Arc<Blob>>,
    /// Manifests by digest.
    pub manifests: HashMap<ContentDigest, Arc<Manifest>>,
    /// Tags, in order.
    pub tags: BTreeMap<Tag, Tagged>,
    /// Manifests by what they say something about.
    pub referrers: HashMap<ContentDigest, BTreeSet<ContentDigest>>,
}

impl Repository {
    fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.manifests.is_empty() && self.tags.is_empty()
    }
}

/// One change, and one row.
#[derive(Debug, Clone)]
pub enum Change {
    /// A repository gets a blob.
    PutBlob(RepositoryName, ContentDigest, Arc<Blob>),
    /// A repository loses a blob.
    DeleteBlob(RepositoryName, ContentDigest),
    /// A repository gets a manifest.
    PutManifest(RepositoryName, ContentDigest, Arc<Manifest>),
    /// A repository loses a manifest.
    DeleteManifest(RepositoryName, ContentDigest),
    /// A tag is made or moved.
    PutTag(RepositoryName, Tag, Tagged),
    /// A tag goes.
    DeleteTag(RepositoryName, Tag),
}

impl Change {
    /// The row.
    pub fn record(&self) -> records::Change {
        let put = |kind, id, value: serde_json::Result<Vec<u8>>| match value {
            Ok(value) => records::Change::Put { kind, id, value },
            // A struct of texts and numbers always has a JSON form.
            Err(error) => unreachable!("{error}"),
        };
        let of = |repository: &RepositoryName, digest: &ContentDigest| format!("{repository}@{digest}");
        let delete = |kind, id| records::Change::Delete { kind, id };
        match self {
            Self::PutBlob(repository, digest, blob) => {
                put(kind::BLOB, of(repository, digest), serde_json::to_vec(&**blob))
            }
            Self::DeleteBlob(repository, digest) => delete(kind::BLOB, of(repository, digest)),
            Self::PutManifest(repository, digest, manifest) => {
                put(kind::MANIFEST, of(repository, digest), serde_json::to_vec(&**manifest))
            }
            Self::DeleteManifest(repository, digest) => delete(kind::MANIFEST, of(repository, digest)),
            Self::PutTag(repository, tag, tagged) => {
                put(kind::TAG, format!("{repository}:{tag}"), serde_json::to_vec(tagged))
            }
            Self::DeleteTag(repository, tag) => delete(kind::TAG, format!("{repository}:{tag}")),
        }
    }

    /// A row read back; `None` where it is not one of ours.
    pub fn read(kind: &str, id: &str, value: &[u8]) -> Option<Self> {
        let of = || {
            let (repository, digest) = id.split_once('@')?;
            Some((repository.parse().ok()?, digest.parse().ok()?))
        };
        match kind {
            kind::BLOB => {
                let (repository, digest) = of()?;
                Some(Self::PutBlob(repository, digest, Arc::new(serde_json::from_slice(value).ok()?)))
            }
            kind::MANIFEST => {
                let (repository, digest) = of()?;
                Some(Self::PutManifest(repository, digest, Arc::new(serde_json::from_slice(value).ok()?)))
            }
            kind::TAG => {
                let (repository, tag) = id.split_once(':')?;
                let tagged = serde_json::from_slice(value).ok()?;
                Some(Self::PutTag(repository.parse().ok()?, tag.parse().ok()?, tagged))
            }
            _ => None,
        }
    }

    /// The content of the store that the change keeps.
    pub fn content(&self) -> Option<Digest> {
        match self {
            Self::PutBlob(_, _, blob) => Some(blob.content),
            Self::PutManifest(_, _, manifest) => Some(manifest.content),
            _ => None,
        }
    }
}

/// All repositories.
#[derive(Debug, Default)]
pub struct Catalog {
    repositories: BTreeMap<RepositoryName, Repository>,
    /// How many blobs and manifests of repositories are this content.
    uses: HashMap<Digest, u32>,
}

impl Catalog {
    /// A repository that holds something.
    pub fn repository(&self, name: &RepositoryName) -> Option<&Repository> {
        self.repositories.get(name)
    }

    /// The repositories in order, after `last`.
    pub fn repositories<'a>(
        &'a self,
        last: &'a str,
    ) -> impl Iterator<Item = (&'a RepositoryName, &'a Repository)> + 'a {
        use std::ops::Bound::{Excluded, Unbounded};
        self.repositories.range::<str, _>((Excluded(last), Unbounded))
    }

    /// Makes a change; gives the content that no repository holds any more.
    pub fn apply(&mut self, change: Change) -> Option<Digest> {
        match change {
            Change::PutBlob(repository, digest, blob) => {
                *self.uses.entry(blob.content).or_default() += 1;
                let old = self.entry(repository).blobs.insert(digest, blob);
                old.and_then(|old| self.unused(old.content))
            }
            Change::PutManifest(repository, digest, manifest) => {
                *self.uses.entry(manifest.content).or_default() += 1;
                let entry = self.entry(repository);
                if let Some(subject) = &manifest.subject {
                    entry.referrers.entry(subject.clone()).or_default().insert(digest.clone());
                }
                let old = entry.manifests.insert(digest, manifest);
                old.and_then(|old| self.unused(old.content))
            }
            Change::PutTag(repository, tag, tagged) => {
                self.entry(repository).tags.insert(tag, tagged);
                None
            }
            Change::DeleteBlob(name, digest) => {
                let old = self.repositories.get_mut(&name)?.blobs.remove(&digest)?;
                self.forget_empty(&name);
                self.unused(old.content)
            }
            Change::DeleteManifest(name, digest) => {
                let repository = self.repositories.get_mut(&name)?;
                let old = repository.manifests.remove(&digest)?;
                if let Some(subject) = &old.subject
                    && let Some(referrers) = repository.referrers.get_mut(subject)
                {
                    referrers.remove(&digest);
                    if referrers.is_empty() {
                        repository.referrers.remove(subject);
                    }
                }
                self.forget_empty(&name);
                self.unused(old.content)
            }
            Change::DeleteTag(name, tag) => {
                self.repositories.get_mut(&name)?.tags.remove(&tag);
                self.forget_empty(&name);
                None
            }
        }
    }

    fn entry(&mut self, repository: RepositoryName) -> &mut Repository {
        self.repositories.entry(repository).or_default()
    }

    fn forget_empty(&mut self, name: &RepositoryName) {
        if self.repositories.get(name).is_some_and(Repository::is_empty) {
            self.repositories.remove(name);
        }
    }

    fn unused(&mut self, content: Digest) -> Option<Digest> {
        let count = self.uses.get_mut(&content)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.uses.remove(&content);
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(content: &[u8]) -> Arc<Blob> {
        Arc::new(Blob { content: Digest::of(content), size: 1, used: Moment::at(5) })
    }

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn content_is_unused_when_the_last_repository_loses_it() {
        let mut catalog = Catalog::default();
        let digest = ContentDigest::from(Digest::of(b"x"));
        for repository in ["a", "b"] {
            assert_eq!(catalog.apply(Change::PutBlob(name(repository), digest.clone(), blob(b"x"))), None);
        }
        assert_eq!(catalog.apply(Change::PutBlob(name("a"), digest.clone(), blob(b"x"))), None);
        assert_eq!(catalog.apply(Change::DeleteBlob(name("a"), digest.clone())), None);
        assert!(catalog.repository(&name("a")).is_none(), "an empty repository is none");
        assert_eq!(catalog.apply(Change::DeleteBlob(name("a"), digest.clone())), None);
        assert_eq!(catalog.apply(Change::DeleteBlob(name("b"), digest)), Some(Digest::of(b"x")));
        assert!(catalog.uses.is_empty());
    }

    #[test]
    fn a_change_is_read_back_from_its_row() {
        let digest = ContentDigest::from(Digest::of(b"x"));
        let manifest = Arc::new(Manifest {
            content: Digest::of(b"x"),
            size: 7,
            media_type: "t".into(),
            needs: vec![digest.clone()],
            subject: Some(digest.clone()),
            artifact_type: "a".into(),
            pushed: 1,
            used: Moment::at(2),
        });
        let tagged = Tagged { digest: digest.clone(), pushed: 3, checked: None };
        let changes = [
            Change::PutBlob(name("a/b"), digest.clone(), blob(b"x")),
            Change::PutManifest(name("a/b"), digest, manifest),
            Change::PutTag(name("a/b"), "v1".parse().unwrap(), tagged),
        ];
        for change in changes {
            let records::Change::Put { kind, id, value } = change.record() else { panic!() };
            let again = Change::read(kind, &id, &value).unwrap();
            assert_eq!(format!("{again:?}"), format!("{change:?}"));
        }
        assert!(Change::read(kind::TAG, "a", b"{}").is_none());
    }

    #[test]
    fn referrers_are_found_by_their_subject_while_they_are_there() {
        let mut catalog = Catalog::default();
        let (digest, subject) =
            (ContentDigest::from(Digest::of(b"r")), ContentDigest::from(Digest::of(b"s")));
        let manifest = Manifest {
            content: Digest::of(b"r"),
            size: 1,
            media_type: "t".into(),
            needs: Vec::new(),
            subject: Some(subject.clone()),
            artifact_type: String::new(),
            pushed: 0,
            used: Moment::default(),
        };
        catalog.apply(Change::PutManifest(name("a"), digest.clone(), Arc::new(manifest)));
        let referrers = &catalog.repository(&name("a")).unwrap().referrers;
        assert_eq!(referrers[&subject].iter().collect::<Vec<_>>(), [&digest]);
        catalog.apply(Change::DeleteManifest(name("a"), digest));
        assert!(catalog.repository(&name("a")).is_none());
    }
}
