//! Volumes that are mounts: `type`, `device` and `o` of the local driver.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use corten_sys::path::Root;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::copy_up::copy_up;
use super::options::{MS_BIND, MountPlan};
use super::{VolumeError, Volumes};

impl Volumes {
    /// Makes the content of a volume available for a container that starts, and tells where it lies.
    ///
    /// Only volumes with driver options need anything; the first container mounts, [`Volumes::unmount`] of the last unmounts.
    pub async fn mount(&self, name: &str, container: &str) -> Result<PathBuf, VolumeError> {
        let not_found = || VolumeError::NotFound { name: name.to_owned() };
        let target = self.data(name);
        let plan = {
            let entries = self.entries.lock();
            entries.get(name).ok_or_else(not_found)?.record.options.as_ref().and_then(MountPlan::new)
        };
        let Some(plan) = plan else { return Ok(target) };
        let _changing = self.changes.lock().await;
        // After a restart of the daemon the mount may be there already.
        if !is_mount_point(&target) {
            let place = target.clone();
            let attempt = plan.clone();
            let mounted = tokio::task::spawn_blocking(move || attempt.mount(&place)).await;
            mounted.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into())).map_err(|source| {
                VolumeError::Mount {
                    name: name.to_owned(),
                    device: plan.device.clone(),
                    target: target.to_string_lossy().into_owned(),
                    data: plan.shown_data(),
                    source,
                }
            })?;
        }
        self.entries.lock().get_mut(name).ok_or_else(not_found)?.mounted_for.insert(container.to_owned());
        Ok(target)
    }

    /// Notes that a container has stopped: what was mounted for it alone is unmounted.
    pub async fn unmount(&self, container: &str) {
        let _changing = self.changes.lock().await;
        for (name, entry) in self.entries.lock().iter_mut() {
            // After a restart of the daemon it is not known for whom a volume was mounted, only who has it. Taking the mount from this
            // path does not take it from containers that have it already.
            let noted = entry.mounted_for.remove(container) || entry.users.contains(container);
            if noted && !entry.record.is_plain() && entry.mounted_for.is_empty() {
                let target = self.data(name);
                if !is_mount_point(&target) {
                    continue;
                }
                if let Err(error) = rustix::mount::unmount(&target, UnmountFlags::DETACH) {
                    tracing::warn!(volume = name, %error, "a volume was not unmounted");
                }
            }
        }
    }
}

impl Volumes {
    /// Copies what lies at `path` beneath `root` into the volume, if that is empty and the path is a folder.
    pub async fn populate(&self, name: &str, root: BorrowedFd<'_>, path: &str) -> Result<(), VolumeError> {
        let storage =
            |source: io::Error| VolumeError::Storage { name: name.to_owned(), operation: "fill", source };
        let from = match Root::new(root).open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC) {
            Ok(folder) => folder,
            // The image has nothing there, or something that is no folder.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(storage(error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = rustix::fs::open(self.data(name), flags, Mode::empty()).map_err(|e| storage(e.into()))?;
        let copied = tokio::task::spawn_blocking(move || copy_up(from.as_fd(), to.as_fd())).await;
        copied.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into())).map(|_| ()).map_err(storage)
    }
}

impl MountPlan {
    fn mount(&self, target: &Path) -> io::Result<()> {
        let text = |t: &str| CString::new(t).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let data = (!self.data.is_empty()).then(|| text(&self.data)).transpose()?;
        let bind = self.flags.bits() & MS_BIND != 0;
        rustix::mount::mount(
            self.device.as_str(),
            target,
            self.fs_type.as_str(),
            self.flags,
            data.as_deref(),
        )?;
        let restrictions = self.flags & !(MountFlags::from_bits_retain(MS_BIND | 0x4000));
        if bind && !restrictions.is_empty() {
            // A bind takes its own flags only when it is mounted again.
            let again = rustix::mount::mount_remount(
                target,
                restrictions | MountFlags::from_bits_retain(MS_BIND),
                "",
            );
            if let Err(error) = again {
                let _ = rustix::mount::unmount(target, UnmountFlags::DETACH);
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Whether something is mounted exactly here.
pub(super) fn is_mount_point(path: &Path) -> bool {
    let stat =
        rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::empty());
    stat.is_ok_and(|s| s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
