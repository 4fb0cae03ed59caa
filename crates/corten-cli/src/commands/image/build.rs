//! `build`: the context as a tar stream, the classic builder's messages shown.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corten_client::{Body, Request};
use serde_json::{Map, Value, json};

use crate::archive::{self, Owner};
use crate::build_view::View;
use crate::command::{Arity, Command};
use crate::commands::login;
use crate::dockerignore::Ignored;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::units::human_size;
use crate::options::{key_values, label_map, refuse_content_trust, ulimit};
use crate::parse::{Matches, Order};
use crate::progress::{Message, problem};
use crate::session::{Persona, Session};
use crate::upload::Pipe;
use crate::{download, output};

static FLAGS: &[Flag] = &[
    flag("add-host", Kind::ExtraHost, "Add a line to /etc/hosts (\"host:ip\")"),
    flag("build-arg", Kind::List, "Set a build argument"),
    flag("cache-from", Kind::Strings, "Images whose layers may serve as cache"),
    flag("cgroup-parent", Kind::Text, "Cgroup of the RUN instructions"),
    switch("compress", "Send the context compressed with gzip"),
    flag("cpu-period", Kind::Int, "Period of the CPU quota in microseconds"),
    flag("cpu-quota", Kind::Int, "CPU time per period in microseconds"),
    flag("cpu-shares", Kind::Int, "Relative weight of CPU").short('c'),
    flag("cpuset-cpus", Kind::Text, "CPUs to run on (0-3, 0,1)"),
    flag("cpuset-mems", Kind::Text, "Memory nodes to use (0-3, 0,1)"),
    switch("disable-content-trust", "Do not verify images").default("true"),
    flag("file", Kind::Text, "Path of the Dockerfile (\"PATH/Dockerfile\" where empty)").short('f'),
    switch("force-rm", "Always remove containers of the build"),
    flag("iidfile", Kind::Text, "Write the image's ID to this file"),
    flag("isolation", Kind::Text, "Isolation technology"),
    flag("label", Kind::List, "Set a label of the image"),
    flag("memory", Kind::Bytes, "Limit of memory").short('m'),
    flag("memory-swap", Kind::Bytes, "Limit of memory and swap together: -1 for unlimited swap"),
    flag("network", Kind::Text, "Network of the RUN instructions").default("default"),
    switch("no-cache", "Do every step again"),
    flag("platform", Kind::Text, "Platform to build for"),
    switch("pull", "Look for newer base images"),
    switch("quiet", "Show only the image's ID").short('q'),
    switch("rm", "Remove containers of the build after it went well").default("true"),
    flag("security-opt", Kind::Strings, "Security options"),
    flag("shm-size", Kind::Bytes, "Size of /dev/shm"),
    switch("squash", "Make one layer of all new ones"),
    flag("tag", Kind::Reference, "Name of the image (\"name:tag\")").short('t'),
    flag("target", Kind::Text, "Stage to build"),
    flag("ulimit", Kind::Ulimit, "Limits of processes").default("[]"),
];

/// The command.
pub static BUILD: Command = Command {
    usage: "[OPTIONS] PATH | URL | -",
    usage_also: None,
    about: "Build an image from a Dockerfile",
    spellings: &["image build", "build", "builder build"],
    flags: &[FLAGS],
    arity: Arity::Exactly(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// Where the context comes from.
enum Source {
    /// A folder, and the Dockerfile's path in it.
    Folder(PathBuf, Dockerfile),
    /// Standard input.
    Stdin,
    /// The daemon fetches it.
    Remote(String),
}

enum Dockerfile {
    /// In the context.
    Inside(String),
    /// From elsewhere; it is added under a name that nobody uses.
    Given(Vec<u8>),
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    refuse_content_trust(m)?;
    if session.persona == Persona::Docker
        && std::env::var_os("DOCKER_BUILDKIT").is_some_and(|value| value == "0")
    {
        output::error_line(DEPRECATED);
    }
    let source = source(m)?;
    if let Some(file) = m.given("iidfile").filter(|file| !file.is_empty()) {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::new(format!("Removing image ID file: {error}")));
            }
            _ => {}
        }
    }
    let quiet = m.on("quiet");
    let mut request = parameters(session, m)?;
    let sent = Arc::new(AtomicU64::new(0));
    match source {
        Source::Remote(url) => {
            request = request.query("remote", url).query_some("dockerfile", m.given("file"));
        }
        Source::Stdin => {
            let (name, body) = from_stdin(m.text("file"), &sent)?;
            request = request.query("dockerfile", name).body(body);
        }
        Source::Folder(root, dockerfile) => {
            let (name, body) = from_folder(root, dockerfile, m.on("compress"), &sent)?;
            request = request.query("dockerfile", name).body(body);
        }
    }
    let answer = session.client()?.stream::<Message>(request).await;
    let mut view = View::new(session.persona);
    let mut said = String::new();
    let bytes = sent.load(Ordering::Relaxed);
    if session.persona == Persona::Docker && bytes > 0 {
        said = format!("Sending build context to Docker daemon  {}\r\r\n", human_size(bytes as f64));
    }
    let mut id = String::new();
    let mut progress = String::new();
    if !quiet {
        output::put(&std::mem::take(&mut said));
    }
    let mut lines = answer?;
    while let Some(message) = lines.next().await? {
        if let Some(aux) = &message.aux {
            if let Some(found) = aux.get("ID").and_then(Value::as_str) {
                found.clone_into(&mut id);
            }
            continue;
        }
        if let Some(text) = problem(&message) {
            if quiet {
                output::error_bytes(said.as_bytes());
            } else {
                output::put(&view.finish());
            }
            let code = message.failure.map_or(0, |detail| detail.code);
            return Err(Failure::new(text).with_code(if code == 0 {
                1
            } else {
                u8::try_from(code & 0xff).unwrap_or(1)
            }));
        }
        let text = if message.stream.is_empty() { status_line(&message) } else { view.show(&message.stream) };
        if quiet {
            progress.push_str(&message.stream);
        } else {
            output::put(&text);
        }
    }
    if quiet {
        // With q, all the daemon says is the image's id.
        output::put(&progress);
        if id.is_empty() {
            progress.trim().clone_into(&mut id);
        }
    } else {
        output::put(&view.finish());
    }
    if let Some(file) = m.given("iidfile").filter(|file| !file.is_empty()) {
        if id.is_empty() {
            return Err(Failure::new(format!("Server did not provide an image ID. Cannot write {file}")));
        }
        std::fs::write(file, id)?;
    }
    Ok(())
}

const DEPRECATED: &str = "DEPRECATED: The legacy builder is deprecated and will be removed in a future release.\n            \
                          BuildKit is currently disabled; enable it by removing the DOCKER_BUILDKIT=0\n            \
                          environment-variable.\n";

/// A line of the pull of a base image; what only moves a bar is left out.
fn status_line(message: &Message) -> String {
    if message.progress.is_some() && !matches!(message.status.as_str(), "Pull complete" | "Already exists") {
        return String::new();
    }
    if message.id.is_empty() {
        format!("{}\n", message.status)
    } else {
        format!("{}: {}\n", message.id, message.status)
    }
}

fn source(m: &Matches) -> Outcome<Source> {
    let path = m.args[0].as_str();
    let file = m.text("file");
    if path == "-" {
        if file == "-" {
            return Err(Failure::new(
                "invalid argument: can't use stdin for both build context and dockerfile",
            ));
        }
        return Ok(Source::Stdin);
    }
    let remote =
        ["http://", "https://", "git://", "git@", "github.com/"].iter().any(|head| path.starts_with(head));
    if remote && !Path::new(path).is_dir() {
        return Ok(Source::Remote(path.to_owned()));
    }
    let prepare = |text: String| Failure::new(format!("unable to prepare context: {text}"));
    let root = Path::new(path);
    if !root.exists() {
        return Err(prepare(format!("path {path:?} not found")));
    }
    if !root.is_dir() {
        return Err(prepare(format!("context must be a directory: {path}")));
    }
    let root = root.canonicalize()?;
    if file == "-" {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text)?;
        return Ok(Source::Folder(root, Dockerfile::Given(text)));
    }
    let named = if file.is_empty() {
        let usual = root.join("Dockerfile");
        if usual.exists() || !root.join("dockerfile").exists() { usual } else { root.join("dockerfile") }
    } else {
        std::env::current_dir()?.join(file)
    };
    let full = named.canonicalize().map_err(|error| {
        prepare(format!(
            "unable to evaluate symlinks in Dockerfile path: lstat {}: {}",
            named.display(),
            download::words(&error)
        ))
    })?;
    // The file's own folder is resolved, its name is not: a link inside the context is sent as it is.
    let parent = named.parent().and_then(|parent| parent.canonicalize().ok());
    let inside = parent
        .as_deref()
        .zip(named.file_name())
        .and_then(|(parent, name)| parent.join(name).strip_prefix(&root).ok().map(Path::to_path_buf));
    match inside {
        Some(relative) => {
            Ok(Source::Folder(root, Dockerfile::Inside(relative.to_string_lossy().into_owned())))
        }
        None => {
            let text = std::fs::read(&full)
                .map_err(|error| Failure::new(format!("unable to open Dockerfile: {error}")))?;
            Ok(Source::Folder(root, Dockerfile::Given(text)))
        }
    }
}

/// A folder as a body: made by a thread while it is sent.
fn from_folder(
    root: PathBuf,
    dockerfile: Dockerfile,
    compress: bool,
    sent: &Arc<AtomicU64>,
) -> Outcome<(String, Body)> {
    let mut ignored = match std::fs::read_to_string(root.join(".dockerignore")) {
        Ok(text) => Ignored::parse(&text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ignored::default(),
        Err(error) => return Err(Failure::new(format!("error reading .dockerignore: {error}"))),
    };
    ignored.keep(".dockerignore");
    let (name, given) = match dockerfile {
        Dockerfile::Inside(name) => {
            ignored.keep(&name);
            (name, None)
        }
        Dockerfile::Given(text) => {
            let name = format!(".dockerfile.{:x}", std::process::id());
            (name.clone(), Some((name, text)))
        }
    };
    let (mut pipe, body) = Pipe::new();
    let sent = sent.clone();
    std::thread::spawn(move || {
        let result = if compress {
            let mut packed = flate2::write::GzEncoder::new(
                Counted { inner: &mut pipe, sent },
                flate2::Compression::default(),
            );
            pack(&mut packed, &root, &ignored, given).and_then(|()| packed.finish().map(drop))
        } else {
            pack(&mut Counted { inner: &mut pipe, sent }, &root, &ignored, given)
        };
        if let Err(error) = result {
            pipe.fail(error);
        }
    });
    Ok((name, body))
}

fn pack(
    out: &mut impl Write,
    root: &Path,
    ignored: &Ignored,
    given: Option<(String, Vec<u8>)>,
) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(out);
    archive::folder(&mut archive, root, ignored, Owner::Root)?;
    if let Some((name, text)) = given {
        archive::text(&mut archive, &name, &text)?;
    }
    archive.finish()
}

/// Counts what passes.
struct Counted<'a, W> {
    inner: &'a mut W,
    sent: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sent.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Standard input: an archive is passed on, anything else is a Dockerfile without a context.
fn from_stdin(file: &str, sent: &Arc<AtomicU64>) -> Outcome<(String, Body)> {
    let mut head = Vec::new();
    let mut stdin = std::io::stdin();
    (&mut stdin).take(1024).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(Failure::new(
            "unable to prepare context from STDIN: failed to peek context header from STDIN: EOF",
        ));
    }
    if is_archive(&head) {
        let name = if file.is_empty() { "Dockerfile" } else { file };
        return Ok((name.to_owned(), crate::upload::reader(std::io::Cursor::new(head).chain(stdin))));
    }
    stdin.read_to_end(&mut head)?;
    let mut packed = Vec::new();
    let mut archive = tar::Builder::new(&mut packed);
    archive::text(&mut archive, "Dockerfile", &head)?;
    archive.finish()?;
    drop(archive);
    sent.store(packed.len() as u64, Ordering::Relaxed);
    Ok(("Dockerfile".to_owned(), Body::Bytes(packed.into())))
}

fn is_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [
        &[0x1f, 0x8b, 0x08],
        &[0x42, 0x5a, 0x68],
        &[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
        &[0x28, 0xb5, 0x2f, 0xfd],
    ];
    MAGIC.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

fn parameters(session: &Session, m: &Matches) -> Outcome<Request> {
    let mut request = Request::post("/build");
    for tag in m.list("tag") {
        request = request.query("t", tag);
    }
    for host in m.list("add-host") {
        request = request.query("extrahosts", host.replacen('=', ":", 1));
    }
    for option in m.list("security-opt") {
        request = request.query("securityopt", option);
    }
    request = request
        .query_if("q", m.on("quiet"))
        .query_if("nocache", m.on("no-cache"))
        .query_if("forcerm", m.on("force-rm"))
        .query("rm", if m.on("rm") { "1" } else { "0" })
        .query_if("pull", m.on("pull"))
        .query_if("squash", m.on("squash"))
        .query("version", "1");
    for (flag, key) in [
        ("cgroup-parent", "cgroupparent"),
        ("cpuset-cpus", "cpusetcpus"),
        ("cpuset-mems", "cpusetmems"),
        ("cpu-period", "cpuperiod"),
        ("cpu-quota", "cpuquota"),
        ("cpu-shares", "cpushares"),
        ("isolation", "isolation"),
        ("platform", "platform"),
        ("target", "target"),
    ] {
        request = request.query_some(key, m.given(flag).filter(|value| !value.is_empty()));
    }
    for (flag, key) in [("memory", "memory"), ("memory-swap", "memswap"), ("shm-size", "shmsize")] {
        request = request.query_some(key, m.bytes(flag).map(|bytes| bytes.to_string()));
    }
    request = request.query("networkmode", m.text("network"));
    let mut arguments: Map<String, Value> = Map::new();
    for argument in m.list("build-arg") {
        match argument.split_once('=') {
            Some((name, value)) => arguments.insert(name.to_owned(), value.into()),
            // A name alone takes this process's value.
            None => arguments
                .insert(argument.to_owned(), std::env::var(argument).map_or(Value::Null, Value::from)),
        };
    }
    for (name, value) in session.config.proxies(&session.host()?) {
        arguments.entry(name).or_insert_with(|| value.into());
    }
    if !arguments.is_empty() {
        request = request.query("buildargs", Value::from(arguments).to_string());
    }
    let labels = label_map(&key_values(std::iter::empty(), m.list("label"))?);
    if !labels.is_empty() {
        request = request.query("labels", json!(labels).to_string());
    }
    if m.changed("cache-from") {
        request = request.query("cachefrom", json!(m.texts("cache-from")).to_string());
    }
    if m.changed("ulimit") {
        let limits = m.list("ulimit").map(ulimit).collect::<Result<Vec<_>, _>>()?;
        request = request.query("ulimits", json!(limits).to_string());
    }
    let known = login::registry_config(session);
    Ok(request.header("X-Registry-Config", &known).header("Content-Type", "application/x-tar"))
}
