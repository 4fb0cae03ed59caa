use std::collections::{BTreeMap, BTreeSet, HashMap};

use corten_api::filters::Filters;
use corten_api::image::Summary;
use corten_store::{Name, NamedImage};
use corten_types::Digest;

use super::summary::{Wanted, Whole};
use super::usage::ImageUse;
use super::{Error, Images, PARENT_LABEL, seconds, shown, signed};

/// What `GET /images/json` asks for.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Images that only stand between others too.
    pub all: bool,
    /// Which images.
    pub filters: Filters,
    /// How much each shares with others.
    pub shared_size: bool,
    /// The manifests of each.
    pub manifests: bool,
}

const KNOWN: [&str; 7] = ["dangling", "label", "label!", "before", "since", "reference", "until"];

impl Images {
    /// The images that pass the filters, newest first. Answered from memory.
    pub fn list(&self, request: &ListRequest) -> Result<Vec<Summary>, Error> {
        let filter = self.filter(&request.filters, &KNOWN)?;
        let names = self.store.images().list();
        let intermediate: BTreeSet<Digest> = if request.all {
            BTreeSet::new()
        } else {
            names.iter().filter_map(|image| image.labels.get(PARENT_LABEL)?.parse().ok()).collect()
        };
        let mut images: BTreeMap<Digest, NamedImage> = BTreeMap::new();
        let mut tags: HashMap<Digest, Vec<String>> = HashMap::new();
        for image in names {
            let id = image.id();
            let hidden = image.name.is_dangling() && intermediate.contains(&id);
            if hidden || !self.passes(&filter, &image) {
                continue;
            }
            match &image.name {
                Name::Dangling(_) => {
                    images.entry(id).or_insert(image);
                }
                Name::Reference(name) => {
                    tags.entry(id).or_default().push(name.familiar());
                    images.insert(id, image);
                }
            }
        }
        let uses = self.uses();
        let mut summaries = Vec::with_capacity(images.len());
        let mut chains = Vec::with_capacity(images.len());
        let mut sharers: HashMap<Digest, u32> = HashMap::new();
        for image in images.values() {
            let (summary, whole) = self.summary(image, tags.remove(&image.id()), request, &uses)?;
            for chain in &whole.chains {
                *sharers.entry(*chain).or_default() += 1;
            }
            summaries.push(summary);
            chains.push(whole.chains);
        }
        if request.shared_size {
            let snapshots = self.store.snapshots();
            for (summary, chains) in summaries.iter_mut().zip(&chains) {
                let shared = chains.iter().filter(|chain| sharers.get(*chain).is_some_and(|n| *n > 1));
                let size =
                    shared.filter_map(|chain| snapshots.layer_usage(chain)).map(|usage| usage.size).sum();
                summary.shared_size = signed(size);
            }
        }
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.created));
        Ok(summaries)
    }

    fn summary(
        &self,
        image: &NamedImage,
        tags: Option<Vec<String>>,
        request: &ListRequest,
        uses: &[ImageUse],
    ) -> Result<(Summary, Whole), Error> {
        let mut whole = self.whole(image, Wanted::Any, uses)?;
        let manifests = request.manifests.then(|| std::mem::take(&mut whole.manifests));
        let id = image.id();
        let mut summary = Summary {
            containers: -1,
            id: id.to_string(),
            descriptor: Some(shown(&image.target)),
            manifests,
            repo_tags: tags,
            shared_size: -1,
            size: signed(whole.size),
            ..Summary::default()
        };
        let content = self.store.content();
        match &whole.best {
            None => summary.repo_digests = Some(vec![id.to_string()]),
            Some(best) => {
                let config = content.config(&content.manifest(best)?.config)?;
                summary.containers = whole.containers;
                summary.created = seconds(config.created.as_deref());
                summary.labels = config.config.labels.clone();
                summary.parent_id = image.labels.get(PARENT_LABEL).cloned().unwrap_or_default();
                summary.repo_digests =
                    image.name.reference().map(|name| vec![name.with_digest(id).familiar()]);
            }
        }
        Ok((summary, whole))
    }
}
