//! The way out: what is no longer named is renamed into `trash/` at once, and deleted there by a thread of its own.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::{Mode, OFlags};

use crate::Shared;
use crate::layout::Layout;
use crate::reserve::Reserve;

/// The reaper's end; the thread ends with it.
pub(crate) struct Reaper {
    queue: Sender<PathBuf>,
}

impl Reaper {
    /// Starts the thread; whatever lies in the trash from before is deleted first.
    pub(crate) fn start(layout: &Layout, reserve: Arc<Reserve>) -> std::io::Result<Self> {
        let (queue, receiver) = channel();
        let trash = layout.trash();
        std::thread::Builder::new()
            .name("corten-reaper".into())
            .spawn(move || reap(&trash, &receiver, &reserve))?;
        Ok(Self { queue })
    }
}

/// Moves a directory or file out of the way and has it deleted. What is not there is fine.
pub(crate) fn discard(shared: &Shared, path: &Path) {
    let target = shared.layout.new_trash();
    match std::fs::rename(path, &target) {
        Ok(()) => {
            // A reaper that has ended leaves it to the next one.
            let _ = shared.reaper.queue.send(target);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "could not move to the trash"),
    }
}

fn reap(trash: &Path, receiver: &Receiver<PathBuf>, reserve: &Reserve) {
    if let Ok(entries) = std::fs::read_dir(trash) {
        for entry in entries.flatten() {
            delete(trash, &entry.path());
        }
    }
    reserve.refill();
    while let Ok(path) = receiver.recv() {
        delete(trash, &path);
        while let Ok(path) = receiver.try_recv() {
            delete(trash, &path);
        }
        reserve.refill();
    }
}

fn delete(trash: &Path, path: &Path) {
    let Some(name) = path.file_name() else { return };
    let result = open(trash).and_then(|trash| Ok(corten_archive::remove_all(&trash, name)?));
    if let Err(error) = result {
        tracing::warn!(path = %path.display(), %error, "could not delete from the trash");
    }
}

fn open(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
