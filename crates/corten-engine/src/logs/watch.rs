use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// What happens to a directory when a log is rotated in it.
const ROTATION: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);

/// Tells who follows a log that something in its directory changed. One inotify instance for all (the kernel allows a
/// user few of them), opened when first needed.
#[derive(Debug)]
pub struct Watcher {
    flags: WatchFlags,
    shared: Mutex<Option<Arc<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    inotify: AsyncFd<OwnedFd>,
    directories: Mutex<HashMap<i32, (watch::Sender<()>, usize)>>,
}

/// A place in the line of those who are told; leaving it ends the watch when it was the last.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    descriptor: i32,
    changes: watch::Receiver<()>,
}

impl Watcher {
    /// Nothing is watched yet.
    #[expect(clippy::new_without_default, reason = "an engine has one, made on purpose")]
    pub fn new() -> Self {
        Self { flags: WatchFlags::MODIFY | ROTATION, shared: Mutex::new(None) }
    }

    /// Tells of files that come or change their names, not of what is written to them.
    pub(super) fn for_rotations() -> Self {
        Self { flags: ROTATION, shared: Mutex::new(None) }
    }

    /// Watches a directory from now on.
    pub fn watch(&self, directory: &Path) -> io::Result<Watch> {
        let shared = self.shared()?;
        let flags = self.flags | WatchFlags::ONLYDIR;
        // Under the lock: the same directory's last watch may be on its way out.
        let mut directories = shared.directories.lock();
        let descriptor = inotify::add_watch(shared.inotify.get_ref(), directory, flags)?;
        let (sender, users) = directories.entry(descriptor).or_insert_with(|| (watch::channel(()).0, 0));
        *users += 1;
        let changes = sender.subscribe();
        drop(directories);
        Ok(Watch { shared, descriptor, changes })
    }

    fn shared(&self) -> io::Result<Arc<Shared>> {
        let mut place = self.shared.lock();
        if let Some(shared) = &*place {
            return Ok(shared.clone());
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            inotify: crate::ready::watched(inotify, Interest::READABLE)?,
            directories: Mutex::new(HashMap::new()),
        });
        tokio::spawn(tell(Arc::downgrade(&shared)));
        *place = Some(shared.clone());
        Ok(shared)
    }
}

impl Watch {
    /// Resolves when something changed since the last time.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut directories = self.shared.directories.lock();
        if let Some((_, users)) = directories.get_mut(&self.descriptor) {
            *users -= 1;
            if *users == 0 {
                directories.remove(&self.descriptor);
                // An error: the directory is gone, and the watch with it.
                inotify::remove_watch(self.shared.inotify.get_ref(), self.descriptor).ok();
            }
        }
    }
}

/// Passes the kernel's word on for as long as the engine lives.
async fn tell(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let mut changed = Vec::new();
        let read = shared.inotify.async_io(Interest::READABLE, |fd| {
            let mut space = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(fd, &mut space);
            changed.push(reader.next()?.wd());
            while !reader.is_buffer_empty() {
                changed.push(reader.next()?.wd());
            }
            Ok(())
        });
        if read.await.is_err() {
            return;
        }
        let directories = shared.directories.lock();
        for descriptor in changed {
            match directories.get(&descriptor) {
                Some((sender, _)) => {
                    sender.send_replace(());
                }
                // The queue overflowed (-1): anything may have changed.
                None if descriptor < 0 => {
                    for (sender, _) in directories.values() {
                        sender.send_replace(());
                    }
                }
                None => {}
            }
        }
    }
}
