use std::sync::Arc;

use corten_store::{DatabaseError, Durability, Records, Store};
use corten_types::{ErrorKind, Kind};

use crate::build::Builds;
use crate::config::{EngineConfig, Paths};
use crate::container::{ContainerError, Containers, Parts};
use crate::events::Events;
use crate::exec::{Execs, Remembered};
use crate::image::Images;
use crate::image::pull::Puller;
use crate::image::transfer::Transfers;
use crate::logs::shipping::Shipping;
use crate::logs::{Logs, Watcher};
use crate::network::Networks;
use crate::system::System;
use crate::volume::Volumes;

/// Everything the daemon can do. One per data root.
pub struct Engine {
    /// What the daemon was told.
    pub config: Arc<EngineConfig>,
    /// Where things lie.
    pub paths: Arc<Paths>,
    /// Records of the running machine; never synced.
    pub runtime: Records,
    /// Content, images, snapshots and durable records.
    pub store: Store,
    /// The daemon as such.
    pub system: System,
    /// What happened, for whoever listens.
    pub events: Arc<Events>,
    /// Images.
    pub images: Arc<Images>,
    /// Volumes.
    pub volumes: Arc<Volumes>,
    /// Networks.
    pub networks: Arc<Networks>,
    /// Containers.
    pub containers: Arc<Containers>,
    /// Processes executed in containers.
    pub execs: Arc<Execs>,
    /// Images from and to other daemons.
    pub transfers: Transfers,
    /// Brings images from registries.
    pub puller: Arc<Puller>,
    /// Logs of containers.
    pub logs: Arc<Logs>,
    /// Builds.
    pub builds: Arc<Builds>,
}

/// Why an engine does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder of the daemon's own could not be made.
    #[error("cannot prepare {path}")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Content, images and snapshots do not open.
    #[error(transparent)]
    Store(#[from] corten_store::OpenError),
    /// The volumes cannot be read.
    #[error(transparent)]
    Volumes(#[from] crate::volume::VolumeError),
    /// The host's network cannot be made ready.
    #[error(transparent)]
    Networks(#[from] crate::network::NetworkError),
    /// The containers on record cannot be read.
    #[error(transparent)]
    Containers(#[from] ContainerError),
    /// A database does not open.
    #[error("cannot open the database {path}")]
    Database {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: DatabaseError,
    },
}

impl Kind for OpenError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// Who takes layers apart.
fn unpacker(config: &EngineConfig) -> Arc<dyn corten_store::Unpack> {
    match &config.worker {
        Some(program) => Arc::new(corten_worker::Workers::of(program)),
        None => Arc::new(corten_store::InProcess),
    }
}

impl Engine {
    /// Changes the settings that can change while the daemon runs, and tells so.
    pub fn reload(&self, live: crate::config::Live) {
        self.puller.configure(&live);
        self.containers.set_runtimes(live.runtimes.clone());
        self.system.reload(live, &self.events);
    }

    /// Opens both roots, reads the records, meets the living shims and starts the sweeper.
    pub async fn open(config: EngineConfig) -> Result<Arc<Self>, OpenError> {
        let paths =
            Arc::new(Paths { data_root: config.data_root.clone(), exec_root: config.exec_root.clone() });
        let config = Arc::new(config);
        make_folders(&paths)?;
        let runtime_path = paths.runtime_database();
        let runtime = Records::open(&runtime_path, Durability::None)
            .map_err(|source| OpenError::Database { path: runtime_path, source })?;
        let store = Store::open_beside(&paths.data_root, Some(&paths.exec_root), unpacker(&config)).await?;
        let folder = paths.events();
        let events = Events::open(&folder).map_err(|source| OpenError::Folder { path: folder, source })?;
        let events = Arc::new(events);
        let volumes = Volumes::open(store.records().clone(), &paths.data_root, events.clone())?;
        let volumes = Arc::new(volumes);
        let records = store.records().clone();
        let networks =
            Networks::open(config.clone(), paths.clone(), records, runtime.clone(), events.clone()).await?;
        let networks = Arc::new(networks);
        let watcher = Arc::new(Watcher::new());
        let containers = Arc::new(Containers::new(Parts {
            config: config.clone(),
            paths: paths.clone(),
            store: store.clone(),
            events: events.clone(),
            volumes: volumes.clone(),
            networks: networks.clone(),
            shipping: Arc::new(Shipping::new(watcher.clone())),
        }));
        let images = Arc::new(Images::new(store.clone(), events.clone()));
        let users = Arc::downgrade(&containers);
        images
            .ask_users(Box::new(move || users.upgrade().map(|users| users.image_uses()).unwrap_or_default()));
        let remembered = Remembered::read(&runtime, &paths);
        containers.restore().await?;
        containers.start_sweeper();
        let puller = Arc::new(Puller::new(store.clone(), events.clone(), &config.live));
        let builds =
            Builds::new(store.clone(), paths.clone(), containers.clone(), puller.clone(), events.clone());
        let builds = Arc::new(builds);
        let execs = Arc::new(Execs::new(containers.clone(), events.clone(), paths.clone(), runtime.clone()));
        execs.restore(remembered).await;
        Ok(Arc::new(Self {
            system: System::new(config.live.clone(), &paths.data_root),
            config,
            paths,
            runtime,
            transfers: Transfers::new(images.clone()),
            images,
            store,
            events,
            volumes,
            networks,
            containers,
            puller,
            builds,
            execs,
            logs: Arc::new(Logs::new(watcher)),
        }))
    }
}

impl Engine {
    /// Ends in order: stops the containers at once, each with its own time-out, unless they are to be kept.
    pub async fn shutdown(&self, keep_containers: bool) {
        self.containers.shutdown(keep_containers).await;
        self.networks.close().await;
        if let Ok(parent) = corten_runtime::cgroup::Cgroup::open(&self.config.cgroup_parent) {
            parent.release();
        }
    }
}

/// The folders of both roots, for root only.
fn make_folders(paths: &Paths) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt;
    let folders = [
        paths.data_root.clone(),
        paths.exec_root.clone(),
        paths.data_root.join("containers"),
        paths.exec_root.join("containers"),
        paths.exec_root.join("netns"),
        paths.exec_root.join("mounts"),
        paths.volumes(),
        paths.tmp(),
    ];
    for path in folders {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| OpenError::Folder { path, source })?;
    }
    Ok(())
}
