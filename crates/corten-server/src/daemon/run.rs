//! Starting, serving, reloading and ending.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use corten_engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::listen::{Bound, BoundSocket, open_all};
use super::lock::{PidFile, RootLock};
use super::log::LevelSwitch;
use super::options::OPTIONS;
use super::settings::{Host, Persona, Settings, level_of, live, usual_driver};
use super::values::{
    CommandLine, ConfigError, Value, Values, merge, parse_file, parse_flags, with_environment,
};
use super::{log, notify, tls};
use crate::serve::{Listener, Origins, Server, serve_connection};

/// How long requests that are being answered may take once the containers have stopped.
const DRAIN: Duration = Duration::from_secs(2);
/// Threads of the runtime: the daemon waits far more than it computes.
const MOST_WORKERS: usize = 4;

/// Arenas of the allocator: few, because each keeps what its threads freed.
const ARENAS: i32 = 2;
/// How often memory is given back after requests were answered.
const TRIM: Duration = Duration::from_secs(30);
/// When what only the start needed is given back.
const SETTLED: Duration = Duration::from_secs(2);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The daemon. `args` are the arguments after the program's or the subcommand's name.
pub fn main(persona: Persona, args: Vec<OsString>) -> ExitCode {
    let program = match persona {
        Persona::Corten => "corten daemon",
        Persona::Docker => "dockerd",
    };
    let args: Vec<String> = args.into_iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let flags = match parse_flags(&args) {
        Ok(CommandLine::Help) => {
            print!("{}", help(program));
            return ExitCode::SUCCESS;
        }
        Ok(CommandLine::Version) => {
            println!("Corten version {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(CommandLine::Run(flags)) => flags,
        Err(error) => return refuse(program, &error, true),
    };
    let validate = flags.get("validate") == Some(&Value::Bool(true));
    let source = Source { persona, flags };
    let settings =
        match source.values().and_then(|v| Settings::from_values(&v, persona, shim_path(), usual_driver())) {
            Ok(settings) => settings,
            Err(error) => {
                let path = source.config_file();
                eprintln!("unable to configure the daemon with file {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        };
    if validate {
        println!("configuration OK");
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        return refuse(program, &"it needs to be started as root", false);
    }
    match start(&source, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(program, &chain(&*error), false),
    }
}

fn refuse(program: &str, error: &dyn std::fmt::Display, usage: bool) -> ExitCode {
    eprintln!("{program}: {error}");
    if usage {
        eprintln!("See '{program} --help'.");
    }
    ExitCode::FAILURE
}

/// An error with everything below it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let below = error.to_string();
        if !text.ends_with(&below) {
            let _ = write!(text, ": {below}");
        }
        source = error.source();
    }
    text
}

/// Where settings come from, to be read again at a reload.
struct Source {
    persona: Persona,
    flags: Values,
}

impl Source {
    fn config_file(&self) -> PathBuf {
        match self.flags.get("config-file") {
            Some(Value::Text(path)) => path.into(),
            _ => self.persona.config_file().to_owned(),
        }
    }

    /// Flags, file and environment, merged. Only a file that was named must exist.
    fn values(&self) -> Result<Values, ConfigError> {
        let path = self.config_file();
        let shown = path.display().to_string();
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => parse_file(&shown, &text)?,
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && !self.flags.contains_key("config-file") =>
            {
                Values::new()
            }
            Err(error) => return Err(ConfigError::Unreadable { path: shown, reason: error.to_string() }),
        };
        Ok(with_environment(merge(self.flags.clone(), file)?, |name| std::env::var(name).ok()))
    }
}

/// The monitor's program: beside this one, or where `make install` puts helpers.
fn shim_path() -> PathBuf {
    if let Some(path) = std::env::var_os("CORTEN_SHIM") {
        return path.into();
    }
    let here = std::env::current_exe().unwrap_or_default();
    let folder = here.parent().unwrap_or(Path::new("/usr/local/bin"));
    let places = [folder.join("corten-shim"), folder.join("../libexec/corten/corten-shim")];
    places.iter().find(|p| p.exists()).unwrap_or(&places[0]).clone()
}

fn start(source: &Source, settings: Settings) -> Result<(), AnyError> {
    let level = log::init(settings.log_format, settings.log_level);
    for name in &settings.without_effect {
        tracing::warn!(option = name, "this option is accepted for compatibility and has no effect");
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if source.persona == Persona::Docker
        && let Some(pid) = real_dockerd(&settings.engine.network.bridge)
    {
        let bridge = &settings.engine.network.bridge;
        return Err(format!("Docker's daemon (pid {pid}) runs here and holds the bridge {bridge}: stop it first, or start `corten daemon`, which can run beside it").into());
    }
    let _lock = RootLock::take(&settings.engine.data_root)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&settings.engine.exec_root)?;
    let _pidfile = PidFile::write(&settings.pidfile)?;
    let acceptor = settings.tls.as_ref().map(tls::acceptor).transpose()?;
    let sockets = open_all(&settings)?;
    corten_sys::memory::bound_arenas(ARENAS);
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, MOST_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(64)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_name("corten")
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(source, settings, sockets, acceptor, level));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The process of another `dockerd` in this network namespace, if the bridge is there.
fn real_dockerd(bridge: &str) -> Option<u32> {
    // Not from /sys: that shows the namespace in which it was mounted.
    let devices = std::fs::read_to_string("/proc/self/net/dev").ok()?;
    if !devices.lines().any(|line| line.split_once(':').is_some_and(|(name, _)| name.trim() == bridge)) {
        return None;
    }
    let namespace = std::fs::read_link("/proc/self/ns/net").ok()?;
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let is_dockerd =
            std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == "dockerd");
        let is_here = std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|theirs| theirs == namespace);
        (pid != std::process::id() && is_dockerd && is_here).then_some(pid)
    })
}

async fn serve(
    source: &Source,
    settings: Settings,
    sockets: Vec<Bound>,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    level: LevelSwitch,
) -> Result<(), AnyError> {
    // Before the engine opens, so that a signal during a long recovery is not lost.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let origins = Origins::new(known_names(&settings));
    let engine = Engine::open(settings.engine).await?;
    engine.system.warn("api", settings.warnings);
    let server = Arc::new(Server::new(engine.clone(), origins));
    let mut accepting = JoinSet::new();
    let mut to_remove = Vec::new();
    for bound in sockets {
        let listener = match bound.socket {
            BoundSocket::Unix(listener) => Listener::Unix(tokio::net::UnixListener::from_std(listener)?),
            BoundSocket::Tcp(listener) => Listener::Tcp(tokio::net::TcpListener::from_std(listener)?),
        };
        if matches!(listener, Listener::Tcp(_)) && acceptor.is_none() {
            tracing::warn!(
                host = bound.name,
                "whoever reaches this address controls this machine: it has no TLS"
            );
        }
        tracing::info!("API listen on {}", bound.name.strip_prefix("unix://").unwrap_or(&bound.name));
        to_remove.extend(bound.remove);
        accepting.spawn(accept(listener, acceptor.clone(), server.clone()));
    }
    accepting.spawn(trim(server.clone()));
    notify::notify(notify::READY);
    tracing::info!("daemon has completed initialization");
    // What restart policies want to run starts while requests are answered already.
    let starting = engine.clone();
    let starting = tokio::spawn(async move { starting.containers.start_by_policy().await });

    loop {
        let [terminate, interrupt] = &mut ends;
        tokio::select! {
            _ = hangup.recv() => reload(source, &engine, &level),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify::notify(notify::STOPPING);
    tracing::info!("the daemon is ending");
    starting.abort();
    accepting.shutdown().await;
    for path in to_remove {
        let _ = std::fs::remove_file(path);
    }
    let keep = engine.system.live().live_restore;
    tokio::select! {
        () = engine.shutdown(keep) => {}
        () = insisted(&mut ends) => tracing::warn!("told a second time to end: containers that have not stopped are left behind"),
    }
    let _ = tokio::time::timeout(DRAIN, server.drained()).await;
    Ok(())
}

/// Gives memory back to the kernel after the start, and when there has been work since the last time.
async fn trim(server: Arc<Server>) {
    let mut seen = None;
    let mut pause = SETTLED;
    loop {
        tokio::time::sleep(pause).await;
        pause = TRIM;
        let now = Some(server.requests());
        if now != seen {
            seen = now;
            // A thread of its own: it holds the allocator's locks for a moment.
            let _ = tokio::task::spawn_blocking(give_memory_back).await;
        }
    }
}

fn give_memory_back() {
    corten_sys::memory::trim();
    if let Err(error) = corten_sys::memory::release_code() {
        tracing::debug!(%error, "the program's code stays mapped");
    }
}

async fn insisted([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// The host names under which TCP clients may address this daemon.
fn known_names(settings: &Settings) -> Vec<String> {
    let mut names = Vec::new();
    if settings.hosts.iter().any(|h| matches!(h, Host::Tcp(_) | Host::Activation(_))) {
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        names.push(node);
    }
    names
}

async fn accept(listener: Listener, acceptor: Option<tokio_rustls::TlsAcceptor>, server: Arc<Server>) {
    loop {
        let socket = match listener.accept().await {
            Ok(socket) => socket,
            Err(error) => {
                // Out of descriptors or memory: others will give some back.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let server = server.clone();
        let acceptor = acceptor.clone().filter(|_| socket.is_tcp());
        tokio::spawn(async move {
            match acceptor {
                None => {
                    let check_host = socket.is_tcp();
                    serve_connection(socket.clone(), socket, server, check_host).await;
                }
                Some(acceptor) => {
                    let handshake =
                        tokio::time::timeout(Duration::from_secs(10), acceptor.accept(socket.clone())).await;
                    // A client that fails the handshake has been told so by TLS itself.
                    if let Ok(Ok(stream)) = handshake {
                        serve_connection(stream, socket, server, false).await;
                    }
                }
            }
        });
    }
}

/// Reads the configuration again. What is wrong with it is logged, and nothing changes.
fn reload(source: &Source, engine: &Engine, level: &LevelSwitch) {
    let path = source.config_file();
    tracing::info!(file = %path.display(), "reloading the configuration");
    let read = source.values().and_then(|values| {
        let (threshold, debug) = level_of(&values)?;
        Ok((live(&values, debug)?, threshold))
    });
    match read {
        Ok((live, threshold)) => {
            level.set(threshold);
            engine.reload(live);
            tracing::info!("the configuration was reloaded");
        }
        Err(error) => tracing::error!(%error, "the configuration was not reloaded"),
    }
}

fn help(program: &str) -> String {
    let mut text =
        format!("\nUsage:\t{program} [OPTIONS]\n\nA self-sufficient runtime for containers.\n\nOptions:\n");
    let rows: Vec<(String, &str)> = OPTIONS
        .iter()
        .filter(|o| !o.flag.is_empty())
        .map(|o| {
            let short = o.short.map_or_else(|| "    ".to_owned(), |c| format!("-{c}, "));
            let kind = match o.shape {
                super::options::Shape::Bool => "",
                super::options::Shape::Text => " string",
                super::options::Shape::Int => " int",
                super::options::Shape::List | super::options::Shape::Structured => " list",
                super::options::Shape::Map => " map",
            };
            (format!("  {short}--{}{kind}", o.flag), o.help)
        })
        .chain([
            ("      --help".to_owned(), "Print usage"),
            ("  -v, --version".to_owned(), "Print version information and quit"),
        ])
        .collect();
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0) + 3;
    for (left, right) in rows {
        let _ = writeln!(text, "{left:<width$}{right}");
    }
    text
}
