use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_types::{Digest, ErrorKind, Kind};
use parking_lot::{Mutex, RwLock};
use rustix::fs::{IFlags, Mode, OFlags};

use crate::boot::Boot;
use crate::check::{Checked, Repair, check, reseal};
use crate::collect::{Collected, collect};
use crate::content::{Content, Documents};
use crate::database::{Database, DatabaseError, Durability};
use crate::image::{Image, Images};
use crate::intake::{Intake, IntakeError, partial};
use crate::layout::Layout;
use crate::records::{self, Records};
use crate::reserve::Reserve;
use crate::seal::{Sealer, rebuild};
use crate::snapshot::Snapshots;
use crate::state::{self, State};
use crate::trash::{self, Reaper};
use crate::unpacker::Unpack;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory could not be made or read.
    #[error("could not {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database could not be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// What an unclean stop has left could not be looked through.
    #[error(transparent)]
    Reseal(#[from] IntakeError),
}

impl Kind for OpenError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// What all handles of one store share.
pub(crate) struct Shared {
    pub layout: Layout,
    pub database: Database,
    pub state: RwLock<State>,
    pub documents: Documents,
    pub unpacker: Arc<dyn Unpack>,
    pub partials: partial::Partials,
    pub sealer: Sealer,
    pub reaper: Reaper,
    /// Held by an intake while it publishes, and by the collector.
    pub gate: Mutex<()>,
}

impl Shared {
    /// Whether a layer is known and its tree is there.
    pub(crate) fn has_tree(&self, state: &State, chain: &Digest) -> bool {
        state.layers.get(chain).is_some_and(|layer| self.layout.tree(layer.dir).is_dir())
    }
}

/// Content, images and snapshots of one data root; clones share it.
#[derive(Clone)]
pub struct Store {
    records: Records,
    content: Content,
    images: Images,
    snapshots: Snapshots,
    shared: Arc<Shared>,
}

impl Store {
    /// Opens the store of a data root, making it where there is none, and removes what an unclean end left behind.
    /// The caller holds the daemon's lock on the root.
    ///
    /// `unpacker` is who takes the layers of strangers apart.
    pub async fn open(root: &Path, unpacker: Arc<dyn Unpack>) -> Result<Store, OpenError> {
        Self::open_beside(root, None, unpacker).await
    }

    /// [`Store::open`] with a folder that dies with the machine, by which an unclean stop is noticed.
    pub async fn open_beside(
        root: &Path,
        volatile: Option<&Path>,
        unpacker: Arc<dyn Unpack>,
    ) -> Result<Store, OpenError> {
        let (root, volatile) = (root.to_owned(), volatile.map(Path::to_owned));
        let open = move || Self::open_here(&root, volatile.as_deref(), unpacker);
        match tokio::task::spawn_blocking(open).await {
            Ok(store) => store,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// [`Store::open`] for threads outside the async runtime.
    pub fn open_blocking(root: &Path, unpacker: Arc<dyn Unpack>) -> Result<Store, OpenError> {
        Self::open_here(root, None, unpacker)
    }

    fn open_here(
        root: &Path,
        volatile: Option<&Path>,
        unpacker: Arc<dyn Unpack>,
    ) -> Result<Store, OpenError> {
        let layout = Layout::new(root);
        let reserve = Arc::new(Reserve::new(layout.reserve()));
        // Opening the database takes room for its log.
        reserve.release_if_low();
        make_directories(&layout)?;
        let database = Database::open(
            &layout.database(),
            Durability::Full,
            &[records::SCHEMA, state::SCHEMA, state::SEALED],
        )?;
        let state = database.read(State::load)?;
        let reaper = Reaper::start(&layout, reserve).map_err(|source| OpenError::Io {
            operation: "start the reaper of",
            path: layout.trash(),
            source,
        })?;
        let (sealer, unsealed) = Sealer::new();
        let partials = partial::Partials::new(layout.ingest());
        let shared = Arc::new(Shared {
            layout,
            database: database.clone(),
            state: RwLock::new(state),
            documents: Documents::default(),
            unpacker,
            partials,
            sealer,
            reaper,
            gate: Mutex::new(()),
        });
        reconcile(&shared)?;
        let boot = Boot::new(shared.layout.boot(), volatile);
        if boot.was_lost() {
            reseal(&shared)?;
            rebuild(&shared)?;
        }
        boot.remember();
        Sealer::run(Arc::downgrade(&shared), unsealed).map_err(|source| OpenError::Io {
            operation: "start the sealer of",
            path: shared.layout.snapshots(),
            source,
        })?;
        shared.sealer.wake();
        Ok(Store {
            records: Records::in_database(database),
            content: Content { shared: shared.clone() },
            images: Images { shared: shared.clone() },
            snapshots: Snapshots { shared: shared.clone() },
            shared,
        })
    }

    /// Durable rows of the engine.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Blobs by digest.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Images by name.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Trees of layers and containers.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// How many blobs there are, and how many bytes they have together.
    pub fn usage_of_content(&self) -> (u64, u64) {
        let state = self.shared.state.read();
        (state.blobs.len() as u64, state.blobs.values().sum())
    }

    /// Begins to take something in. An intake that is kept without a commit is a lease on what it holds.
    pub fn intake(&self) -> Intake {
        Intake::new(self.shared.clone())
    }

    /// Unpacks an image that is not unpacked yet, before a container is made from it.
    pub async fn ensure_unpacked(&self, image: &Image) -> Result<(), IntakeError> {
        if image.chain_id().is_none_or(|chain| self.snapshots.has_chain(&chain)) {
            return Ok(());
        }
        let (intake, layers) = (self.intake(), image.layers.clone());
        let unpacked = tokio::task::spawn_blocking(move || {
            intake.unpack(&layers)?;
            intake.commit()
        });
        match unpacked.await {
            Ok(unpacked) => unpacked,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Compares everything that is here with what it should be, and mends what can be mended where that is wanted.
    pub async fn check(&self, repair: Repair) -> Result<Checked, IntakeError> {
        let layers = self.images.all_layers();
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || check(&shared, &layers, repair)).await {
            Ok(checked) => checked,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Removes blobs and layers that nothing names, and says which. The files are deleted later.
    pub async fn collect(&self) -> Result<Collected, DatabaseError> {
        self.give_up(HashSet::new()).await
    }

    /// [`Store::collect`], and these manifests with all that only they need, although an index names them.
    pub async fn give_up(&self, manifests: HashSet<Digest>) -> Result<Collected, DatabaseError> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || collect(&shared, &manifests)).await {
            Ok(collected) => collected,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn make_directories(layout: &Layout) -> Result<(), OpenError> {
    let private = [layout.root().to_owned(), layout.blobs(), layout.ingest(), layout.trash()];
    for path in private.iter().chain([&layout.snapshots()]) {
        std::fs::create_dir_all(path).map_err(|source| OpenError::Io {
            operation: "create",
            path: path.clone(),
            source,
        })?;
    }
    // Programs in user namespaces reach their root through these; what lies beside them is nobody's business.
    for (path, mode) in [
        (layout.root().to_owned(), 0o711),
        (layout.root().join("content"), 0o700),
        (layout.trash(), 0o700),
        (layout.snapshots(), 0o711),
    ] {
        rustix::fs::chmod(&path, Mode::from_raw_mode(mode)).map_err(|errno| OpenError::Io {
            operation: "set the mode of",
            path: path.clone(),
            source: errno.into(),
        })?;
    }
    spread_directories(&layout.snapshots());
    make_mount_points(&layout.init())
}

/// Makes the tree that lies at the bottom of every container, as far as it is not there.
fn make_mount_points(root: &Path) -> Result<(), OpenError> {
    const DIRECTORIES: [&str; 7] = ["", "dev", "dev/pts", "dev/shm", "etc", "proc", "sys"];
    const FILES: [&str; 5] = [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |errno: rustix::io::Errno| OpenError::Io { operation: "create", path, source: errno.into() }
    };
    let unless_there = |made: rustix::io::Result<()>| match made {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        made => made,
    };
    for name in DIRECTORIES {
        let path = root.join(name);
        unless_there(rustix::fs::mkdir(&path, Mode::empty())).map_err(failed(&path))?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o755)).map_err(failed(&path))?;
    }
    for name in FILES {
        let path = root.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed(&path))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o755)).map_err(failed(&path))?;
    }
    let mtab = root.join("etc/mtab");
    unless_there(rustix::fs::symlink("/proc/mounts", &mtab)).map_err(failed(&mtab))
}

/// On ext4, spreads the directories beneath `path` over the block groups: creating files where others were deleted a
/// moment ago is slow there. Other file systems refuse the attribute, which is fine.
fn spread_directories(path: &Path) {
    let spread = || -> rustix::io::Result<()> {
        let directory = open(path)?;
        let flags = rustix::fs::ioctl_getflags(&directory)?;
        if !flags.contains(IFlags::TOPDIR) {
            rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR)?;
        }
        Ok(())
    };
    if let Err(error) = spread() {
        tracing::debug!(path = %path.display(), %error, "no spreading of directories on this file system");
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn names_in(path: &Path) -> Result<Vec<std::ffi::OsString>, OpenError> {
    let failed = |source| OpenError::Io { operation: "list", path: path.to_owned(), source };
    std::fs::read_dir(path)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()
        .map_err(failed)
}

/// Makes disk and index agree after whatever has happened.
fn reconcile(shared: &Arc<Shared>) -> Result<(), OpenError> {
    let layout = &shared.layout;
    for name in names_in(&layout.ingest())? {
        partial::discard_unusable(shared, &layout.ingest().join(name));
    }
    let mut lost_blobs = Vec::new();
    let mut lost_layers = Vec::new();
    {
        let mut state = shared.state.write();
        let mut on_disk = HashSet::new();
        for name in names_in(&layout.blobs())? {
            let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
            match digest.filter(|digest| state.blobs.contains_key(digest)) {
                Some(digest) => {
                    on_disk.insert(digest);
                }
                None => trash::discard(shared, &layout.blobs().join(name)),
            }
        }
        lost_blobs.extend(state.blobs.keys().filter(|digest| !on_disk.contains(digest)).copied());
        let known: HashSet<u64> = state
            .layers
            .values()
            .map(|layer| layer.dir)
            .chain(state.snapshots.values().map(|snapshot| snapshot.dir))
            .collect();
        let mut trees = HashSet::new();
        for name in names_in(&layout.snapshots())? {
            let dir = name.to_str().and_then(|text| text.parse::<u64>().ok());
            match dir.filter(|dir| known.contains(dir)) {
                Some(dir) => {
                    trees.insert(dir);
                }
                None if layout.snapshots().join(&name) == layout.init() => {}
                None => trash::discard(shared, &layout.snapshots().join(name)),
            }
        }
        let lost = state.layers.iter().filter(|(_, layer)| !trees.contains(&layer.dir));
        lost_layers.extend(lost.map(|(chain, _)| *chain));
        for digest in &lost_blobs {
            state.blobs.remove(digest);
        }
        for chain in &lost_layers {
            state.layers.remove(chain);
        }
        for (key, snapshot) in &state.snapshots {
            if !trees.contains(&snapshot.dir) {
                tracing::warn!(snapshot = %key, "the tree of a container is lost; it gets an empty one");
                for path in
                    [layout.snapshot(snapshot.dir), layout.tree(snapshot.dir), layout.work(snapshot.dir)]
                {
                    std::fs::create_dir_all(&path).map_err(|source| OpenError::Io {
                        operation: "create",
                        path: path.clone(),
                        source,
                    })?;
                }
            }
        }
    }
    if lost_blobs.is_empty() && lost_layers.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        blobs = lost_blobs.len(),
        layers = lost_layers.len(),
        "content is missing on disk; pulling its images again brings it back"
    );
    shared.database.write_blocking(Durability::Full, move |tx| {
        lost_blobs.iter().try_for_each(|digest| state::delete_blob(tx, digest))?;
        lost_layers.iter().try_for_each(|chain| state::delete_layer(tx, chain))
    })?;
    Ok(())
}
