use std::collections::{BTreeMap, HashMap, HashSet};

use corten_api::filters::Filters;
use corten_api::image::{Deleted, PruneReport};
use corten_store::{Name, NamedImage};
use corten_types::{Digest, Reference};

use super::usage::ImageUse;
use super::{Error, Images};

const KNOWN: [&str; 4] = ["dangling", "label", "label!", "until"];

impl Images {
    /// Removes images without a name, or with `dangling=false` all that no container uses.
    pub async fn prune(&self, filters: &Filters) -> Result<PruneReport, Error> {
        let _one = self.pruning.try_lock().map_err(|_| Error::PruneRunning)?;
        let mut filter = self.filter(filters, &KNOWN)?;
        // Here it says how much is looked at, and not what an image must be.
        let dangling_only = filters.bool("dangling")?.unwrap_or(true);
        filter.any_name();
        let all = self.store.images().list();
        let mut candidates: BTreeMap<String, NamedImage> = all
            .iter()
            .filter(|image| (!dangling_only || image.name.is_dangling()) && self.passes(&filter, image))
            .map(|image| (image.name.to_string(), image.clone()))
            .collect();
        spare_used(&mut candidates, &all, &self.uses());
        let chosen: Vec<_> = candidates.into_values().map(|image| (self.documents(&image), image)).collect();
        let names: Vec<Name> = chosen.iter().map(|(_, image)| image.name.clone()).collect();
        self.store.images().delete_all(&names).await?;
        self.store.collect().await?;
        let mut report = PruneReport::default();
        let mut seen = HashSet::new();
        for (blobs, image) in chosen {
            let id = image.id();
            let shown = image.name.familiar();
            self.tell_name("untag", &id, &shown);
            let done = report.images_deleted.get_or_insert_default();
            done.push(Deleted { untagged: shown.clone(), deleted: String::new() });
            let mut gone = false;
            for (digest, size, is_document) in blobs {
                if !self.store.content().contains(&digest) && seen.insert(digest) {
                    report.space_reclaimed += size;
                    if is_document {
                        gone = true;
                        done.push(Deleted { deleted: digest.to_string(), untagged: String::new() });
                    }
                }
            }
            if gone {
                self.tell_name("delete", &id, &shown);
            }
        }
        Ok(report)
    }
}

/// Takes out of `candidates` what containers use: the name they were made with, and where they were made with an id,
/// the last name of that id.
fn spare_used(candidates: &mut BTreeMap<String, NamedImage>, all: &[NamedImage], uses: &[ImageUse]) {
    let mut used = HashSet::new();
    for user in uses {
        candidates.remove(&Name::Dangling(user.image).to_string());
        let id = user.image.to_string();
        let by_id = format!("sha256:{}", user.reference.trim_start_matches("sha256:"));
        if id.starts_with(&by_id) || user.reference.ends_with(&format!("@{id}")) {
            used.insert(user.image);
        }
        if let Ok(name) = user.reference.parse::<Reference>() {
            let name = name.or_latest();
            candidates.remove(&Name::Reference(name.clone()).to_string());
            if let (Some(tag), Some(_)) = (name.tag(), name.digest())
                && let Ok(tagged) = name.with_tag(tag)
            {
                candidates.remove(&Name::Reference(tagged).to_string());
            }
        }
    }
    let mut names: HashMap<Digest, usize> = HashMap::new();
    for image in all {
        *names.entry(image.id()).or_default() += 1;
    }
    candidates.retain(|_, image| {
        let left = names.entry(image.id()).or_default();
        if *left > 1 {
            *left -= 1;
            return true;
        }
        !used.contains(&image.id())
    });
}
