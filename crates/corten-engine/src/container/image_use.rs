use super::Containers;
use super::mounts::MountKind;
use crate::image::{ImageUse, State};

impl Containers {
    /// Which images the containers use.
    pub fn image_uses(&self) -> Vec<ImageUse> {
        let views = self.views();
        let uses = views.iter().filter_map(|view| {
            let record = &view.record;
            let mounted = record.mounts.iter().filter(|mount| mount.kind == MountKind::Image);
            Some(ImageUse {
                container: record.id.clone(),
                state: if view.live.state.is_active() { State::Running } else { State::Stopped },
                image: record.image.parse().ok()?,
                manifest: record.manifest.as_ref().map(|manifest| manifest.digest),
                reference: record.config.image.clone(),
                platform: Some(record.platform.clone()),
                mounted: mounted.map(|mount| mount.source.clone()).collect(),
            })
        });
        uses.collect()
    }
}
