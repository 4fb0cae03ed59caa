//! Removing names and images.
//!
//! Docker's rules: a name goes alone while its image has other names; with the last name the image goes, unless
//! containers use it (a running one always forbids it, a stopped one unless forced).

use std::collections::HashSet;

use corten_api::image::Deleted;
use corten_store::oci::media;
use corten_store::{ImageError, Name, NamedImage};
use corten_types::{Digest, Platform, Reference};

use super::usage::{ImageUse, State};
use super::{Error, Images, PARENT_LABEL, short};

/// What `DELETE /images/{name}` asks for.
#[derive(Debug, Clone, Default)]
pub struct RemoveRequest {
    /// The name or id.
    pub name: String,
    /// Also where a stopped container uses it, or it has several names.
    pub force: bool,
    /// Also the nameless images it was built on.
    pub prune: bool,
    /// Only these platforms of it.
    pub platforms: Vec<Platform>,
}

/// What forbids a removal unless it is overlooked.
#[derive(Debug, Clone, Copy)]
struct Heed {
    stopped: bool,
    names: bool,
}

impl Images {
    /// Removes a name, or an image with all its names.
    pub async fn remove(&self, request: &RemoveRequest) -> Result<Vec<Deleted>, Error> {
        if !request.platforms.is_empty() && !request.force {
            return Err(Error::PlatformsNeedForce);
        }
        let (exact, all) = self.store.images().find_all(&request.name)?;
        let uses = self.uses();
        let mut heed = Heed { stopped: !request.force, names: !request.force };
        let not_found = || -> Error {
            let reference = request
                .name
                .parse::<Reference>()
                .map_or_else(|_| request.name.clone(), |name| name.or_latest().familiar());
            ImageError::NotFound { reference }.into()
        };
        let id = match (&exact, all.first()) {
            (Some(image), _) | (None, Some(image)) => image.id(),
            (None, None) => return Err(not_found()),
        };
        if !request.platforms.is_empty() {
            let image = exact.as_ref().or_else(|| all.first()).ok_or_else(not_found)?;
            return self.remove_platforms(image, &request.platforms).await;
        }
        let by_id = is_prefix(&id, &request.name);
        match &exact {
            None => {
                let named = if by_id { None } else { request.name.parse::<Reference>().ok() };
                let same = same_names(named.as_ref(), &all);
                if same.is_empty() && named.is_some() {
                    return Err(not_found());
                }
                if same.len() == all.len() && !request.force {
                    heed.names = false;
                }
                if named.is_some() && !same.is_empty() && same.len() != all.len() {
                    return self.remove_names(&same).await;
                }
            }
            Some(image) if !by_id => {
                let name = image.name.reference();
                let same = same_names(name, &all);
                if same.len() != all.len() {
                    return self.remove_names(&same).await;
                }
                if all.len() > 1 && !request.force {
                    heed.names = false;
                }
                let user = uses.iter().find(|user| {
                    user.image == id || user.mounted.iter().any(|mounted| *mounted == id.to_string())
                });
                if let Some(user) = user {
                    let shown = image.name.familiar();
                    if !request.force {
                        return Err(Error::InUse {
                            reference: shown,
                            force: "must be forced",
                            reason: format!(
                                "container {} is using its referenced image {}",
                                user.short(),
                                short(&id)
                            ),
                        });
                    }
                    self.store.images().untag(&image.name).await?;
                    self.tell_name("untag", &id, &shown);
                    return Ok(vec![Deleted { untagged: shown, deleted: String::new() }]);
                }
            }
            Some(_) => {}
        }
        self.remove_all(&id, &all, heed, request.prune, &uses).await
    }

    /// Removes the content of some platforms; the image stays for the others.
    async fn remove_platforms(
        &self,
        image: &NamedImage,
        platforms: &[Platform],
    ) -> Result<Vec<Deleted>, Error> {
        let mut manifests = HashSet::new();
        for platform in platforms {
            manifests.insert(self.store.images().image(image, Some(platform))?.manifest_descriptor.digest);
        }
        let collected = self.store.give_up(manifests.clone()).await?;
        let gone = collected.blobs.iter().filter(|(digest, _)| manifests.contains(digest));
        Ok(gone.map(|(digest, _)| Deleted { deleted: digest.to_string(), untagged: String::new() }).collect())
    }

    /// Removes names of an image that has others.
    async fn remove_names(&self, names: &[NamedImage]) -> Result<Vec<Deleted>, Error> {
        let mut done = Vec::new();
        for image in names {
            self.store.images().delete(&image.name).await?;
            let shown = image.name.familiar();
            self.tell_name("untag", &image.id(), &shown);
            done.push(Deleted { untagged: shown, deleted: String::new() });
        }
        self.store.collect().await?;
        Ok(done)
    }

    /// Removes an image with all its names, and the nameless images it was built on.
    async fn remove_all(
        &self,
        id: &Digest,
        all: &[NamedImage],
        heed: Heed,
        prune: bool,
        uses: &[ImageUse],
    ) -> Result<Vec<Deleted>, Error> {
        let parents = if prune { self.parents(id) } else { Vec::new() };
        let mut done = Vec::new();
        check(id, all, heed, uses)?;
        for image in all {
            self.drop_name(image, all, heed, &mut done).await?;
        }
        self.tell("delete", id, &id.to_string());
        done.push(Deleted { deleted: id.to_string(), untagged: String::new() });
        for parent in parents {
            let parent_id = parent.id();
            let quiet = Heed { stopped: true, names: false };
            if !parent.name.is_dangling()
                || !self.children(&parent_id).is_empty()
                || check(&parent_id, std::slice::from_ref(&parent), quiet, uses).is_err()
            {
                break;
            }
            self.store.images().delete(&parent.name).await?;
            self.tell("delete", &parent_id, &parent_id.to_string());
            done.push(Deleted { deleted: parent_id.to_string(), untagged: String::new() });
        }
        self.store.collect().await?;
        Ok(done)
    }

    async fn drop_name(
        &self,
        image: &NamedImage,
        all: &[NamedImage],
        heed: Heed,
        done: &mut Vec<Deleted>,
    ) -> Result<(), Error> {
        let keep = !image.name.is_dangling()
            && all.len() == 1
            && heed.names
            && !self.children(&image.id()).is_empty();
        if keep {
            self.store.images().untag(&image.name).await?;
        } else {
            self.store.images().delete(&image.name).await?;
        }
        if let Name::Reference(name) = &image.name {
            let shown = name.familiar();
            self.tell_name("untag", &image.id(), &shown);
            done.push(Deleted { untagged: shown, deleted: String::new() });
        }
        Ok(())
    }

    /// Images that the classic builder built on this one.
    fn children(&self, id: &Digest) -> Vec<NamedImage> {
        let id = id.to_string();
        let mut images = self.store.images().list();
        images.retain(|image| image.labels.get(PARENT_LABEL) == Some(&id));
        images
    }

    /// The images this one was built on by the classic builder, nearest first.
    fn parents(&self, id: &Digest) -> Vec<NamedImage> {
        const MOST: usize = 512;
        let mut parents: Vec<NamedImage> = Vec::new();
        let mut current = self.store.images().names_of(id).into_iter().next();
        while let Some(image) = current
            && parents.len() < MOST
        {
            let parent: Option<Digest> = image.labels.get(PARENT_LABEL).and_then(|text| text.parse().ok());
            current = parent.and_then(|parent| self.store.images().names_of(&parent).into_iter().next());
            parents.extend(current.clone());
        }
        parents
    }

    /// The manifests and indexes of an image that are here.
    pub(super) fn documents(&self, image: &NamedImage) -> Vec<(Digest, u64, bool)> {
        let present = self.store.content().present(&image.target).unwrap_or_default();
        let is_document = |media_type: &str| media::is_manifest(media_type) || media::is_index(media_type);
        present.into_iter().map(|blob| (blob.digest, blob.size, is_document(&blob.media_type))).collect()
    }
}

/// Whether the text is the beginning of the id.
fn is_prefix(id: &Digest, text: &str) -> bool {
    id.to_string().starts_with(text) || id.hex().starts_with(text)
}

/// Those names that mean the same as `named`: the same tag of the same repository, its digests where it has no other
/// tag, and stand-ins. Without `named`, the first name gives it.
fn same_names(named: Option<&Reference>, all: &[NamedImage]) -> Vec<NamedImage> {
    let mut named = named.cloned();
    let mut tag = named.as_ref().and_then(|name| name.tag().map(str::to_owned));
    let all_tags = named.as_ref().is_some_and(|name| name.tag().is_none() && name.digest().is_some());
    let mut same = Vec::new();
    let mut digested = Some(Vec::new());
    for image in all {
        if let Name::Reference(name) = &image.name {
            match &named {
                None => {
                    tag = name.tag().map(str::to_owned);
                    named = Some(name.clone());
                }
                Some(wanted) if wanted.repository() != name.repository() => continue,
                Some(_) if !all_tags => match (name.tag(), &tag) {
                    (Some(found), None) => tag = Some(found.to_owned()),
                    (Some(found), Some(wanted)) if found != wanted => {
                        digested = None;
                        continue;
                    }
                    (Some(_), Some(_)) => {}
                    (None, _) => {
                        if let Some(digested) = &mut digested {
                            digested.push(image.clone());
                        }
                        continue;
                    }
                },
                Some(_) => {}
            }
        }
        same.push(image.clone());
    }
    same.extend(digested.into_iter().flatten());
    same
}

/// Says what forbids the removal of an image.
fn check(id: &Digest, all: &[NamedImage], heed: Heed, uses: &[ImageUse]) -> Result<(), Error> {
    let user = |state| uses.iter().find(|user| user.image == *id && user.state == state);
    let refuse = |force, reason| Err(Error::InUse { reference: short(id), force, reason });
    if let Some(user) = user(State::Running) {
        let reason = format!("image is being used by running container {}", user.short());
        return refuse("cannot be forced", reason);
    }
    if heed.stopped
        && let Some(user) = user(State::Stopped)
    {
        return refuse(
            "must be forced",
            format!("image is being used by stopped container {}", user.short()),
        );
    }
    if heed.names && all.len() > 1 {
        return refuse("must be forced", "image is referenced in multiple repositories".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use corten_store::oci::Descriptor;

    use super::*;

    fn image(text: &str) -> NamedImage {
        NamedImage {
            name: Name::Reference(text.parse().unwrap()),
            target: Descriptor::new(media::MANIFEST, Digest::of(b"x"), 1),
            labels: BTreeMap::new(),
            created: 0,
            updated: 0,
        }
    }

    fn same(named: Option<&str>, all: &[&str]) -> Vec<String> {
        let named: Option<Reference> = named.map(|text| text.parse().unwrap());
        let all: Vec<NamedImage> = all.iter().map(|text| image(text)).collect();
        same_names(named.as_ref(), &all).into_iter().map(|image| image.name.familiar()).collect()
    }

    #[test]
    fn names_that_mean_the_same() {
        let digest = Digest::of(b"x");
        let digested = format!("a@{digest}");
        assert_eq!(same(Some("a:1"), &["a:1", "a:2", "b:1"]), ["a:1"]);
        assert_eq!(same(Some("a:1"), &["a:1", &digested]), ["a:1", digested.as_str()]);
        assert_eq!(same(Some("a:1"), &["a:1", "a:2", &digested]), ["a:1"]);
        assert_eq!(same(Some(&digested), &["a:1", "a:2", "b:1"]), ["a:1", "a:2"]);
        assert_eq!(same(None, &["a:1", "a:2"]), ["a:1"]);
    }

    #[test]
    fn what_forbids_a_removal_is_named() {
        let id = Digest::of(b"x");
        let user = |state| ImageUse {
            container: "c".repeat(64),
            state,
            image: id,
            manifest: None,
            reference: "a".into(),
            platform: None,
            mounted: Vec::new(),
        };
        let one = [image("a:1")];
        let strict = Heed { stopped: true, names: true };
        let lax = Heed { stopped: false, names: false };
        let text = |result: Result<(), Error>| result.unwrap_err().to_string();
        let short = short(&id);
        assert_eq!(
            text(check(&id, &one, lax, &[user(State::Running)])),
            format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container cccccccccccc"
            )
        );
        assert_eq!(
            text(check(&id, &one, strict, &[user(State::Stopped)])),
            format!(
                "conflict: unable to delete {short} (must be forced) - image is being used by stopped container cccccccccccc"
            )
        );
        assert!(check(&id, &one, lax, &[user(State::Stopped)]).is_ok());
        assert_eq!(
            text(check(&id, &[image("a:1"), image("b:1")], strict, &[])),
            format!(
                "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            )
        );
    }
}
