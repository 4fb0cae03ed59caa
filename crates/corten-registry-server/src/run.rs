//! The life of the registry's process: open, listen, serve, end.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::access_log::AccessLog;
use crate::auth::{AuthError, Guard, Issuer, Realm, Rules, Users, Verifier};
use crate::cache::Cache;
use crate::collect;
use crate::config::{ConfigError, Settings, read_file};
use crate::flags::{self, Asked};
use crate::http::connection::{self, Answers};
use crate::metrics::Metrics;
use crate::server::{Gauge, Server};
use crate::storage::{Storage, StorageError};
use crate::time::now;
use crate::tls::{Certificates, TlsError};
use crate::uploads::Uploads;

/// The most connections at once.
const CONNECTIONS: usize = 16 << 10;
/// How many arenas the allocator makes.
const ARENAS: i32 = 2;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often files are looked at for changes.
const REFRESH: Duration = Duration::from_secs(30);

/// Why the registry does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It was told something that makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its storage cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its users or keys cannot be read.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Its certificate cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It cannot listen.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The access log cannot be opened.
    #[error("could not open the access log: {0}")]
    AccessLog(#[source] std::io::Error),
    /// Threads or signals are not to be had.
    #[error("could not start: {0}")]
    Start(#[source] std::io::Error),
}

/// The program `corten registry serve`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let asked = flags::parse(args).and_then(|asked| match asked {
        Asked::Help => Ok(None),
        Asked::Serve(given, None) => given.settle().map(Some),
        Asked::Serve(given, Some(path)) => given.over(read_file(&path)?).settle().map(Some),
    });
    let settings = match asked {
        Ok(None) => {
            print!("{}", flags::help());
            return ExitCode::SUCCESS;
        }
        Ok(Some(settings)) => settings,
        Err(error) => {
            eprintln!("corten registry serve: {error}");
            return ExitCode::from(125);
        }
    };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(settings.log_level);
    log.with_ansi(std::io::stderr().is_terminal()).init();
    // Blobs never pass through the allocator: few arenas are enough, and keep little.
    corten_sys::memory::bound_arenas(ARENAS);
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten registry serve: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "multi_thread")]
async fn serve(settings: Settings) -> Result<(), ServeError> {
    let mut end = signal(SignalKind::terminate()).map_err(ServeError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Start)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServeError::Start)?;
    let registry = Registry::start(settings).await?;
    corten_sys::memory::trim();
    if let Err(error) = corten_sys::memory::release_code() {
        tracing::debug!(%error, "the code of the start stays mapped");
    }
    loop {
        tokio::select! {
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => registry.reload(),
        }
    }
    registry.stop().await;
    Ok(())
}

/// A registry that serves.
pub struct Registry {
    server: Arc<Server>,
    settings: Settings,
    certificates: Option<Arc<Certificates>>,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// Those that accept connections, and end once these have.
    tasks: JoinSet<()>,
    /// Those that go on until they are told to end.
    background: JoinSet<()>,
}

impl Registry {
    /// Opens everything and begins to serve.
    pub async fn start(settings: Settings) -> Result<Self, ServeError> {
        let certificates = match &settings.tls {
            Some((certificate, key)) => Some(Arc::new(Certificates::open(certificate, key)?)),
            None => None,
        };
        let storage = Storage::open(&settings.data_root).await?;
        let guard = guard(&settings)?;
        let metrics = Arc::default();
        let log = AccessLog::open(settings.access_log.clone()).map_err(ServeError::AccessLog)?;
        let server = Arc::new(Server {
            uploads: Uploads::new(settings.max_blob_size),
            guard: Arc::new(guard),
            cache: Cache::new(settings.upstreams.clone(), storage.clone(), Arc::clone(&metrics)),
            storage,
            read_only: settings.read_only,
            deletes: settings.deletes,
            metrics,
            log: Arc::new(log),
            tls: certificates.is_some(),
            uses_written: now().into(),
            metrics_apart: settings.metrics_listen.is_some(),
        });
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for address in &settings.listen {
            let (listener, bound) = listen(address).await?;
            tracing::info!(address = %bound, "the registry listens");
            addresses.push(bound);
            let accept = Accept {
                answers: server.clone(),
                metrics: server.metrics.clone(),
                certificates: certificates.clone(),
                stopping: stopping.clone(),
            };
            tasks.spawn(accept.run(listener));
        }
        if let Some(address) = &settings.metrics_listen {
            let (listener, bound) = listen(address).await?;
            tracing::info!(address = %bound, "metrics are told");
            addresses.push(bound);
            let accept = Accept {
                answers: Arc::new(Gauge(server.clone())),
                metrics: server.metrics.clone(),
                certificates: None,
                stopping: stopping.clone(),
            };
            tasks.spawn(accept.run(listener));
        }
        let mut background = JoinSet::new();
        background.spawn(collect::keep_collecting(server.clone(), settings.collection.clone()));
        if let Some(certificates) = certificates.clone() {
            background.spawn(async move {
                loop {
                    tokio::time::sleep(REFRESH).await;
                    certificates.refresh();
                }
            });
        }
        Ok(Self { server, settings, certificates, addresses, stop, tasks, background })
    }

    /// Where it listens, in the order of the settings; that of the metrics last.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads users and certificate again, and opens the access log again.
    pub fn reload(&self) {
        if let Some(users) = &self.server.guard.users
            && let Err(error) = users.reload()
        {
            tracing::warn!(%error, "the users stay as they were");
        }
        if let Some(certificates) = &self.certificates {
            certificates.refresh();
        }
        if let Err(error) = self.server.log.reopen() {
            tracing::warn!(%error, "the access log stays as it was");
        }
    }

    /// Collects now; for tests and for whoever does not want to wait.
    pub async fn collect(&self) -> Result<u64, String> {
        let collected = collect::collect(&self.server, &self.settings.collection).await;
        collected.map(|collected| collected.bytes).map_err(|error| error.to_string())
    }

    /// Takes no more connections, lets requests end, and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.shutdown_timeout, ended).await.is_err() {
            tracing::warn!("requests that did not end are broken off");
        }
        self.background.shutdown().await;
        collect::remember_use(&self.server).await;
    }
}

async fn listen(address: &str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address: address.into(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn guard(settings: &Settings) -> Result<Guard, ServeError> {
    let users = settings.htpasswd.as_deref().map(Users::open).transpose()?;
    let mut guard = Guard { users, rules: Rules::new(settings.access.clone()), ..Guard::default() };
    if let Some(tokens) = &settings.tokens {
        if let Some((issuer, keys, realm)) = &tokens.foreign {
            guard.verifier = Some(Verifier::open(keys, issuer, &tokens.service)?);
            guard.realm = Some((Realm::Address(realm.clone()), tokens.service.clone()));
        }
        if tokens.own {
            let key = settings.data_root.join("token-key");
            let (issuer, verifier) = Issuer::open(&key, &tokens.service)?;
            (guard.issuer, guard.verifier) = (Some(issuer), Some(verifier));
            let realm = tokens.realm.clone().map_or(Realm::Own, Realm::Address);
            guard.realm = Some((realm, tokens.service.clone()));
        }
    }
    Ok(guard)
}

struct Accept<A> {
    answers: Arc<A>,
    metrics: Arc<Metrics>,
    certificates: Option<Arc<Certificates>>,
    stopping: watch::Receiver<bool>,
}

impl<A: Answers> Accept<A> {
    async fn run(mut self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.stopping.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((socket, remote)) => {
                    let (answers, metrics) = (self.answers.clone(), self.metrics.clone());
                    let certificates = self.certificates.clone();
                    let stopping = self.stopping.clone();
                    connections.spawn(async move {
                        metrics.connections.fetch_add(1, Ordering::Relaxed);
                        serve_socket(socket, remote, answers, certificates.as_deref(), stopping).await;
                        metrics.connections.fetch_sub(1, Ordering::Relaxed);
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of descriptors: those in use come back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        while connections.join_next().await.is_some() {}
    }
}

async fn serve_socket(
    socket: TcpStream,
    remote: SocketAddr,
    answers: Arc<impl Answers>,
    certificates: Option<&Certificates>,
    stopping: watch::Receiver<bool>,
) {
    // Without it small answers are slower, and nothing else changes.
    let _ = socket.set_nodelay(true);
    match certificates {
        None => connection::serve(socket, remote, answers, stopping).await,
        Some(certificates) => {
            match tokio::time::timeout(HANDSHAKE, certificates.acceptor().accept(socket)).await {
                Ok(Ok(stream)) => connection::serve(stream, remote, answers, stopping).await,
                Ok(Err(error)) => tracing::debug!(%error, %remote, "no TLS handshake"),
                Err(_) => tracing::debug!(%remote, "the TLS handshake took too long"),
            }
        }
    }
}
