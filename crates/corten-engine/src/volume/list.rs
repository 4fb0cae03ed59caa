use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use corten_api::filters::Filters;
use corten_api::volume::Volume;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::{Entry, VolumeError, Volumes};

impl Volumes {
    /// The volumes that match, by name.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Volume>, VolumeError> {
        filters.only(&["dangling", "driver", "label", "name"])?;
        let dangling = filters.bool("dangling")?;
        let matches = |name: &str, entry: &Entry| {
            filters.part("name", name)
                && filters.exact("driver", "local")
                && filters.labels("label", |key| entry.record.label(key))
                && dangling.is_none_or(|wanted| entry.users.is_empty() == wanted)
        };
        let entries = self.entries.lock();
        Ok(entries
            .iter()
            .filter(|(name, entry)| matches(name, entry))
            .map(|(name, entry)| self.show(name, entry))
            .collect())
    }

    /// The volumes whose content is our own, with size and number of users.
    pub async fn usage(&self) -> Vec<Volume> {
        let mut volumes: Vec<Volume> = {
            let entries = self.entries.lock();
            let plain = entries.iter().filter(|(_, entry)| entry.record.is_plain());
            plain
                .map(|(name, entry)| Volume { usage_data: Some(entry.usage(-1)), ..self.show(name, entry) })
                .collect()
        };
        // One after another: a disk has nothing to gain from many readers, and nobody waits for this in a hurry.
        for volume in &mut volumes {
            let size = self.size(&volume.name).await;
            if let (Some(usage), Some(size)) = (&mut volume.usage_data, size) {
                usage.size = i64::try_from(size).unwrap_or(i64::MAX);
            }
        }
        volumes
    }

    /// Bytes of a volume's content; `None` when it cannot be read.
    pub(super) async fn size(&self, name: &str) -> Option<u64> {
        let data = self.data(name);
        let measured = tokio::task::spawn_blocking(move || {
            let root =
                rustix::fs::open(&data, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let mut seen = BTreeSet::new();
            folder_size(root, &mut seen)
        });
        measured.await.ok()?.ok()
    }
}

/// The lengths of everything below a folder that is no folder itself, each inode once. Never follows a link.
fn folder_size(folder: OwnedFd, seen: &mut BTreeSet<(u64, u64)>) -> rustix::io::Result<u64> {
    let mut total = 0_u64;
    let mut pending = vec![folder];
    while let Some(folder) = pending.pop() {
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // What vanishes meanwhile has no size.
            let Ok(stat) = rustix::fs::statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(inner) = rustix::fs::openat(folder.as_fd(), name, flags, Mode::empty()) {
                    pending.push(inner);
                }
            } else if stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
                total = total.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
            }
        }
    }
    Ok(total)
}
