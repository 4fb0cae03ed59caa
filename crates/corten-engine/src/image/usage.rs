use corten_types::{Digest, Platform};

/// Whether a container's processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They do, or are paused.
    Running,
    /// They do not.
    Stopped,
}

/// That a container uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// The container.
    pub container: String,
    /// Whether it runs.
    pub state: State,
    /// The image's id.
    pub image: Digest,
    /// The manifest it was made from.
    pub manifest: Option<Digest>,
    /// The image as it was named when the container was made.
    pub reference: String,
    /// What the image runs on.
    pub platform: Option<Platform>,
    /// Ids of images that are mounted into it.
    pub mounted: Vec<String>,
}

impl ImageUse {
    /// The first twelve digits of the container's id.
    pub fn short(&self) -> &str {
        self.container.get(..12).unwrap_or(&self.container)
    }
}
