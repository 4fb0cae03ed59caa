//! Network namespaces for engines: made by a thread, kept by a bind mount, entered by other threads.

use std::path::Path;
use std::sync::mpsc;

use anyhow::{Context, Result, anyhow};
use corten_sys::namespace::{Kind, join, unshare};
use corten_sys::netlink::{Batch, Protocol, Socket};

/// Makes a network namespace whose loopback is up, and binds it at `path`.
pub fn make(path: &Path) -> Result<()> {
    std::fs::File::create(path)?;
    on_a_thread(|| {
        unshare(Kind::Net.flag())?;
        let mut batch = Batch::new();
        batch.set_up_by_name("lo");
        Socket::open(Protocol::Route)?.transact(&batch)?;
        Ok(rustix::mount::mount_bind("/proc/thread-self/ns/net", path)?)
    })
    .with_context(|| format!("network namespace {}", path.display()))
}

/// Covers files with another, for the calling thread and what it starts.
pub fn cover(file: &Path, targets: &[&str]) -> std::io::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
    unshare(Kind::Mount.flag())?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    for target in targets {
        mount_bind(file, *target)?;
    }
    Ok(())
}

/// Runs `body` on a thread in the network namespace at `path`; what it spawns lives there too.
pub fn within<T: Send>(path: &Path, body: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T> {
    on_a_thread(|| {
        join(std::fs::File::open(path)?, Kind::Net.flag())?;
        Ok(body()?)
    })
}

fn on_a_thread<T: Send>(body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(body()));
        receiver.recv().map_err(|_| anyhow!("the thread in the namespace panicked"))?
    })
}
