use corten_api::image::HistoryItem;
use corten_store::NamedImage;
use corten_types::Platform;

use super::{Error, Images, PARENT_LABEL, seconds, signed};

impl Images {
    /// What made an image, the last step first.
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryItem>, Error> {
        let named = self.store.images().find(name)?;
        let image = self.store.images().image(&named, platform)?;
        let snapshots = self.store.snapshots();
        let mut sizes = image
            .config
            .chain_ids()
            .into_iter()
            .map(|chain| snapshots.layer_usage(&chain).map_or(0, |usage| usage.size));
        let mut steps = Vec::with_capacity(image.config.history.len());
        for step in &image.config.history {
            let size = if step.empty_layer {
                0
            } else {
                sizes.next().ok_or_else(|| Error::Archive("unable to find the size of the layer".into()))?
            };
            steps.push(HistoryItem {
                comment: step.comment.clone(),
                created: seconds(step.created.as_deref()),
                created_by: step.created_by.clone(),
                id: "<missing>".into(),
                size: signed(size),
                tags: None,
            });
        }
        steps.reverse();
        // What the classic builder noted about parents gives earlier steps an id too: an image is its history's last.
        let total = steps.len();
        let mut current = Some((named, total));
        while let Some((image, own)) = current {
            let Some(step) = steps.get_mut(total - own) else { break };
            step.id = image.id().to_string();
            let names = self.store.images().names_of(&image.id());
            let tags: Vec<String> =
                names.iter().filter_map(|named| named.name.reference().map(|name| name.familiar())).collect();
            step.tags = (!tags.is_empty()).then_some(tags);
            let parent = image.labels.get(PARENT_LABEL).and_then(|text| self.parent(text));
            current = parent.filter(|(_, length)| *length < own);
        }
        Ok(steps)
    }

    /// The image that a note names, and the length of its history; nothing where it has gone.
    fn parent(&self, note: &str) -> Option<(NamedImage, usize)> {
        let images = self.store.images();
        let mut names = images.names_of(&note.parse().ok()?);
        let labelled = names.iter().rposition(|name| name.labels.contains_key(PARENT_LABEL));
        let image = if names.is_empty() { return None } else { names.swap_remove(labelled.unwrap_or(0)) };
        let whole = images.resolve(&image.id().to_string()).ok()?;
        Some((image, whole.config.history.len()))
    }
}
