use corten_api::image::HistoryItem;
use corten_types::{Digest, Platform};

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
        // What the classic builder noted about parents gives earlier steps an id too.
        let mut current = Some(named);
        for step in &mut steps {
            let Some(image) = current else { break };
            step.id = image.id().to_string();
            let names = self.store.images().names_of(&image.id());
            let tags: Vec<String> =
                names.iter().filter_map(|named| named.name.reference().map(|name| name.familiar())).collect();
            step.tags = (!tags.is_empty()).then_some(tags);
            let parent: Option<Digest> = image.labels.get(PARENT_LABEL).and_then(|text| text.parse().ok());
            current = parent.and_then(|parent| {
                let mut parents = self.store.images().names_of(&parent);
                let labelled = parents.iter().rposition(|parent| parent.labels.contains_key(PARENT_LABEL));
                if parents.is_empty() { None } else { Some(parents.swap_remove(labelled.unwrap_or(0))) }
            });
        }
        Ok(steps)
    }
}
