//! What a container sees under `/sys/fs/cgroup`.
//!
//! With a cgroup namespace of its own it sees its cgroup as the root; without one, on v1, each of its own directories
//! is shown in the place of the hierarchy's root, so that it finds its limits and nobody else's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use corten_sys::mount::{Attributes, Change, Extent, Filesystem, attach, clone_host_tree, set_attributes};
use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};

use super::Cgroup;

/// What a container sees of its cgroups.
#[derive(Debug, Clone, Default)]
pub struct View {
    private: bool,
    unified: bool,
    legacy: Vec<Shown>,
}

/// One v1 hierarchy as it is shown.
#[derive(Debug, Clone)]
struct Shown {
    name: String,
    controllers: Vec<String>,
    directory: PathBuf,
}

impl View {
    pub(super) fn of(cgroup: &Cgroup, private: bool) -> Self {
        Self {
            private,
            unified: cgroup.layout.is_unified(),
            legacy: cgroup
                .legacy
                .iter()
                .map(|(legacy, directory)| Shown {
                    name: legacy.name.clone(),
                    controllers: legacy.controllers.clone(),
                    directory: directory.clone(),
                })
                .collect(),
        }
    }

    /// Mounts the view on the directory `target`, from inside the container's namespaces.
    pub(crate) fn mount(&self, target: BorrowedFd<'_>, attributes: Attributes) -> io::Result<()> {
        if self.unified {
            let filesystem = Filesystem::open("cgroup2")?;
            filesystem.set("source", "cgroup")?;
            return attach(filesystem.mount(attributes)?, target);
        }
        if self.legacy.is_empty() {
            return Ok(());
        }
        let cover = Filesystem::open("tmpfs")?;
        cover.set("source", "tmpfs")?.set("mode", "755")?;
        let cover = cover.mount(Attributes(attributes.0 & !Attributes::RDONLY.0))?;
        attach(&cover, target)?;
        for shown in &self.legacy {
            mkdirat(&cover, shown.name.as_str(), Mode::from_raw_mode(0o755))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = openat(&cover, shown.name.as_str(), flags, Mode::empty())?;
            let mount = if self.private {
                let filesystem = Filesystem::open("cgroup")?;
                filesystem.set("source", "cgroup")?;
                for controller in &shown.controllers {
                    match controller.split_once('=') {
                        Some((key, value)) => filesystem.flag("none")?.set(key, value)?,
                        None => filesystem.flag(controller)?,
                    };
                }
                filesystem.mount(attributes)?
            } else {
                let mount = clone_host_tree(&shown.directory, Extent::One)?;
                set_attributes(&mount, &Change { set: attributes, ..Change::default() }, Extent::One)?;
                mount
            };
            attach(mount, place.as_fd())?;
            if shown.controllers.len() > 1 {
                for controller in &shown.controllers {
                    symlinkat(shown.name.as_str(), &cover, controller.as_str())?;
                }
            }
        }
        if attributes.contains(Attributes::RDONLY) {
            set_attributes(&cover, &Change { set: Attributes::RDONLY, ..Change::default() }, Extent::One)?;
        }
        Ok(())
    }
}
