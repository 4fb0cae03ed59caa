use corten_store::Name;
use corten_types::Reference;

use super::{Error, Images};

impl Images {
    /// Gives an image one more name. What had the name before keeps its content, without a name if that was the last.
    pub async fn tag(&self, source: &str, name: Reference) -> Result<(), Error> {
        if name.familiar_name() == "sha256" {
            return Err(Error::AmbiguousTag);
        }
        let image = self.store.images().find(source)?;
        let name = name.or_latest();
        let shown = name.familiar();
        let id = image.id();
        self.store.images().put(Name::Reference(name), image.target, image.labels).await?;
        self.tell("tag", &id, &shown);
        Ok(())
    }
}
