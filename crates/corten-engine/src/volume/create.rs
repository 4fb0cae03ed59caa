use std::collections::BTreeMap;
use std::path::PathBuf;

use corten_api::volume::Volume;
use corten_store::Durability;
use corten_store::records::Change;
use corten_types::random_hex;

use super::options::{check_name, check_options};
use super::{ANONYMOUS_LABEL, Entry, KIND, Record, VolumeError, Volumes, make_folders, now};

/// A volume that somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Name; empty for a new anonymous one.
    pub name: String,
    /// Driver; empty for `local`.
    pub driver: String,
    /// Options of the driver (`type`, `device`, `o`), for a volume that is made now.
    pub options: BTreeMap<String, String>,
    /// Labels, for a volume that is made now.
    pub labels: BTreeMap<String, String>,
}

/// A volume that a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquired {
    /// Name.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// Its content on the host.
    pub mountpoint: PathBuf,
    /// It was made now.
    pub created: bool,
}

impl Volumes {
    /// Makes a volume that outlives the machine's crash once this returns. One that exists is given as it is.
    pub async fn create(&self, request: VolumeRequest) -> Result<Volume, VolumeError> {
        let (name, _) = self.make(request, None, Durability::Full).await?;
        self.inspect(&name)
    }

    /// Takes a volume for a container, making it if there is none of that name. It cannot be removed until [`Self::release`].
    ///
    /// A volume made here becomes durable with the container's own record.
    pub async fn acquire(&self, request: &VolumeRequest, container: &str) -> Result<Acquired, VolumeError> {
        let (name, created) = self.make(request.clone(), Some(container), Durability::None).await?;
        Ok(Acquired { mountpoint: self.data(&name), driver: "local".into(), name, created })
    }

    /// The volume's name, and whether it was made now. `user` is noted before anyone could remove it again.
    async fn make(
        &self,
        request: VolumeRequest,
        user: Option<&str>,
        durability: Durability,
    ) -> Result<(String, bool), VolumeError> {
        let (name, record) = plan(request)?;
        let _changing = self.changes.lock().await;
        if let Some(entry) = self.entries.lock().get_mut(&name) {
            entry.users.extend(user.map(str::to_owned));
            return Ok((name, false));
        }
        let value = serde_json::to_vec(&record).unwrap_or_default();
        let put = Change::Put { kind: KIND, id: name.clone(), value };
        let database = |source| VolumeError::Database { name: name.clone(), source };
        self.records.batch_with(durability, vec![put]).await.map_err(database)?;
        if let Err(source) = make_folders(&self.root.join(&name)) {
            // What could not be made is not remembered either; if that fails too, the next start makes the folder.
            let _ = self.records.delete(KIND, &name).await;
            return Err(VolumeError::Storage { name, operation: "create", source });
        }
        let mut entry = Entry::new(record);
        entry.users.extend(user.map(str::to_owned));
        self.entries.lock().insert(name.clone(), entry);
        self.emit("create", &name, &[("driver", "local")]);
        Ok((name, true))
    }
}

/// Checks a request, and names it when nobody did.
fn plan(request: VolumeRequest) -> Result<(String, Record), VolumeError> {
    let VolumeRequest { name, driver, options, mut labels } = request;
    if !matches!(driver.as_str(), "" | "local") {
        return Err(VolumeError::UnknownDriver { name, driver });
    }
    let name = if name.is_empty() {
        labels.insert(ANONYMOUS_LABEL.into(), String::new());
        random_hex(32)
    } else {
        match check_name(&name) {
            Ok(()) => name,
            Err(reason) => return Err(VolumeError::BadName { name, reason }),
        }
    };
    check_options(&options).map_err(|reason| VolumeError::BadOption { name: name.clone(), reason })?;
    let some = |map: BTreeMap<String, String>| (!map.is_empty()).then_some(map);
    Ok((name, Record { created_at: now(), labels: some(labels), options: some(options) }))
}
