use std::collections::BTreeMap;

use corten_api::volume::Volume;
use corten_store::Durability;
use corten_store::records::Change;
use corten_types::random_hex;

use super::options::{check_name, check_options};
use super::{ANONYMOUS_LABEL, Entry, KIND, Record, VolumeError, Volumes, make_folders, now};

/// A volume to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name; empty for an anonymous one.
    pub name: String,
    /// `local`, or empty for it.
    pub driver: String,
    /// `type`, `device`, `o`.
    pub options: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
}

impl Volumes {
    /// Makes a volume that outlives the machine's crash once this returns. One that exists is given as it is.
    pub async fn create(&self, new: NewVolume) -> Result<Volume, VolumeError> {
        self.make(new, None, Durability::Full).await
    }

    /// Makes a volume for a container, or takes the one that exists, and refers to it at once, so that no prune comes between.
    ///
    /// It becomes durable with the container's own record.
    pub async fn ensure(&self, new: NewVolume, container: &str) -> Result<Volume, VolumeError> {
        self.make(new, Some(container), Durability::None).await
    }

    async fn make(&self, new: NewVolume, user: Option<&str>, durability: Durability) -> Result<Volume, VolumeError> {
        let (name, record) = plan(new)?;
        let mut entries = self.entries.write().await;
        let is_new = !entries.contains_key(&name);
        if is_new {
            let value = serde_json::to_vec(&record).unwrap_or_default();
            let put = Change::Put { kind: KIND, id: name.clone(), value };
            let database = |source| VolumeError::Database { name: name.clone(), source };
            self.records.batch_with(durability, vec![put]).await.map_err(database)?;
            if let Err(source) = make_folders(&self.root.join(&name)) {
                // What could not be made is not remembered either; if that fails too, the next start makes the folder.
                let _ = self.records.delete(KIND, &name).await;
                return Err(VolumeError::Storage { name, operation: "create", source });
            }
        }
        let entry = entries.entry(name.clone()).or_insert_with(|| Entry::new(record));
        if let Some(user) = user {
            entry.users.insert(user.to_owned());
        }
        let volume = self.show(&name, entry);
        drop(entries);
        if is_new {
            self.emit("create", &name, &[("driver", "local")]);
        }
        Ok(volume)
    }
}

/// Checks a request, and names it when nobody did.
fn plan(new: NewVolume) -> Result<(String, Record), VolumeError> {
    let NewVolume { name, driver, options, mut labels } = new;
    if !matches!(driver.as_str(), "" | "local") {
        return Err(VolumeError::UnknownDriver { name, driver });
    }
    let name = if name.is_empty() {
        labels.get_or_insert_default().insert(ANONYMOUS_LABEL.into(), String::new());
        random_hex(32)
    } else {
        match check_name(&name) {
            Ok(()) => name,
            Err(reason) => return Err(VolumeError::BadName { name, reason }),
        }
    };
    if let Some(options) = &options {
        check_options(options).map_err(|reason| VolumeError::BadOption { name: name.clone(), reason })?;
    }
    Ok((name, Record { created_at: now(), labels, options }))
}
