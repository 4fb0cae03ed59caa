//! Sources of bind mounts that the parent takes out of the host's tree for the child: those which the root of a new user
//! namespace could not reach, those whose ids are mapped, which needs the host's privileges, and those that share their
//! mounts with the host.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use corten_sys::mount::{Attributes, Change, Extent, Propagation, clone_host_tree, set_attributes};
use corten_sys::namespace::Kind;
use corten_sys::process::{ForkError, Forked, Wait, exit_now, fork, send_signal, wait};
use rustix::fs::{Mode, OFlags};

use super::create::write_maps;
use super::mount_plan::{IdMap, MountPlan, Source};

/// For each mount, what the parent has taken out for it.
pub(super) type Taken = Vec<Option<OwnedFd>>;

/// Takes out the sources of `mounts` that need it: all binds when `all`, else those with mapped ids.
///
/// What is taken out gets `propagation`; without one, it stays in its peer group.
pub(super) fn take_out(
    mounts: &[MountPlan],
    all: bool,
    propagation: Option<Propagation>,
) -> Result<Taken, (String, io::Error)> {
    mounts
        .iter()
        .map(|mount| {
            let Source::Bind { path, extent } = &mount.source else { return Ok(None) };
            if !all && mount.id_map.is_none() {
                return Ok(None);
            }
            take_out_one(path, *extent, mount.id_map.as_ref(), propagation).map(Some).map_err(|e| {
                let to = mount.destination.display();
                (format!("error mounting {:?} to rootfs at \"{to}\"", path.display().to_string()), e)
            })
        })
        .collect()
}

fn take_out_one(
    path: &Path,
    extent: Extent,
    map: Option<&IdMap>,
    propagation: Option<Propagation>,
) -> io::Result<OwnedFd> {
    let mount = clone_host_tree(path, extent)?;
    if let Some(map) = map {
        let namespace = user_namespace(map)?;
        let change = Change {
            set: Attributes::IDMAP,
            user_namespace: Some(std::os::fd::AsFd::as_fd(&namespace)),
            ..Change::default()
        };
        set_attributes(&mount, &change, map.extent).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL | libc::EPERM) => {
                io::Error::new(error.kind(), "its file system cannot map user and group ids")
            }
            _ => error,
        })?;
    }
    if propagation.is_some() {
        set_attributes(&mount, &Change { propagation, ..Change::default() }, Extent::Tree)?;
    }
    Ok(mount)
}

/// A user namespace with this mapping. It lives as long as the descriptor or a mount that uses it.
fn user_namespace(map: &IdMap) -> io::Result<OwnedFd> {
    let pidfd_and_pid = match fork(Kind::User.flag(), None) {
        Ok(Forked::Child) => {
            // It only holds the namespace until the parent has opened it.
            let _ = rustix::event::poll(&mut [], None);
            exit_now(0)
        }
        Ok(Forked::Parent { pid, pidfd }) => (pid, pidfd),
        Err(ForkError::Clone(e)) => return Err(e),
        Err(e @ ForkError::Threads) => return Err(io::Error::other(e)),
    };
    let (pid, pidfd) = pidfd_and_pid;
    let opened = write_maps(pid, &map.users, &map.groups).map_err(|(_, e)| e).and_then(|()| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())?)
    });
    let _ = send_signal(&pidfd, libc::SIGKILL);
    let _ = wait(&pidfd, Wait::Block);
    opened
}
