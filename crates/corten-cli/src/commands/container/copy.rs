//! `cp`: between a container and here, as tar streams.
//!
//! Where something lands depends on what is there: into a folder that exists, it goes below it under its own name; a
//! path ending in `/.` stands for what is in the folder; a name that does not exist is the new name.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use corten_client::{Client, Request};
use serde::Deserialize;

use crate::archive::{self, Owner};
use crate::command::{Arity, Command};
use crate::download::words;
use crate::each::container;
use crate::error::{Failure, Outcome};
use crate::extract::{self, Landing, Names};
use crate::flag::{Flag, switch};
use crate::format::units::short_size;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::upload::{self, Pipe};
use crate::{output, terminal};

static FLAGS: &[Flag] = &[
    switch("archive", "Keep owners and groups").short('a'),
    switch("follow-link", "Follow links in SRC_PATH").short('L'),
    switch("quiet", "Show nothing of the copy").short('q'),
];

/// The command.
pub static COPY: Command = Command {
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-",
    usage_also: Some("[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"),
    about: "Copy files/folders between a container and the local filesystem\n\n\
            With '-' as the source, read a tar archive from STDIN and unpack it in\n\
            a folder of the container. With '-' as the destination, write a tar\n\
            archive of what is copied to STDOUT.",
    spellings: &["container cp", "cp"],
    flags: &[FLAGS],
    arity: Arity::Exactly(2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// A side of the copy.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Here(String),
    Inside(String, String),
}

/// `container:path`, unless the text is a path: absolute, or its first part begins with a dot.
fn side(text: &str) -> Side {
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with('/') && !text.starts_with('.') => {
            Side::Inside(name.to_owned(), path.to_owned())
        }
        _ => Side::Here(text.to_owned()),
    }
}

/// What the daemon tells of a path.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stat {
    name: String,
    mode: u32,
    link_target: String,
}

impl Stat {
    /// Go's bit for folders.
    fn is_dir(&self) -> bool {
        self.mode & (1 << 31) != 0
    }

    /// Go's bit for links.
    fn is_link(&self) -> bool {
        self.mode & (1 << 27) != 0
    }
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let (source, target) = (side(&m.args[0]), side(&m.args[1]));
    match (&source, &target) {
        (Side::Inside(name, path), Side::Here(to)) => from_container(session, m, name, path, to).await,
        (Side::Here(from), Side::Inside(name, path)) => to_container(session, m, from, name, path).await,
        (Side::Inside(..), Side::Inside(..)) => {
            Err(Failure::new("copying between containers is not supported"))
        }
        (Side::Here(_), Side::Here(_)) => Err(Failure::new("must specify at least one container source")),
    }
}

async fn stat(client: &Client, name: &str, path: &str) -> Outcome<Option<Stat>> {
    let request = Request::head(container(name, "/archive")).query("path", path);
    match client.send(request).await {
        Ok(response) => Ok(response.header("X-Docker-Container-Path-Stat").and_then(decode)),
        Err(error) if error.is_not_found() => {
            // A HEAD answer has no words; whether the container is what is missing, another question tells.
            client.done(Request::get(container(name, "/json"))).await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn decode(header: &str) -> Option<Stat> {
    let json = base64::engine::general_purpose::STANDARD.decode(header).ok()?;
    serde_json::from_slice(&json).ok()
}

fn ends_in_dot(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

async fn from_container(session: &Session, m: &Matches, name: &str, path: &str, to: &str) -> Outcome {
    let client = session.client()?;
    let mut path = path.to_owned();
    if m.on("follow-link")
        && let Some(link) = stat(client, name, &path).await?.filter(Stat::is_link)
    {
        path = link.link_target;
    }
    let request = Request::get(container(name, "/archive")).query("path", &path);
    let mut response = client.send(request).await?;
    if to == "-" {
        if terminal::stdout_is_terminal() {
            return Err(Failure::new("cowardly refusing to copy to a terminal"));
        }
        while let Some(chunk) = response.chunk().await? {
            output::bytes(&chunk);
        }
        return Ok(());
    }
    let found = response.header("X-Docker-Container-Path-Stat").and_then(decode).unwrap_or_default();
    let landing = landing(&found, &path, to)?;
    let (sender, receiver) = std::sync::mpsc::sync_channel::<bytes::Bytes>(8);
    let work =
        tokio::task::spawn_blocking(move || extract::extract(extract::Chunks::new(receiver), &landing));
    let mut copied = 0;
    while let Some(chunk) = response.chunk().await? {
        copied += chunk.len();
        let sender = sender.clone();
        // The thread's queue may be full; waiting for it must not hold up the connection's own work.
        if tokio::task::spawn_blocking(move || sender.send(chunk)).await.is_ok_and(|sent| sent.is_err()) {
            break;
        }
    }
    drop(sender);
    work.await.map_err(|error| Failure::new(error.to_string()))??;
    told(m, copied, to);
    Ok(())
}

fn told(m: &Matches, bytes: usize, to: &str) {
    let quiet = if m.changed("quiet") { m.on("quiet") } else { !terminal::stdout_is_terminal() };
    if !quiet {
        output::error_line(&format!("Successfully copied {} to {to}", short_size(bytes as f64)));
    }
}

/// Where a container's file or folder lands here.
fn landing(found: &Stat, path: &str, to: &str) -> Outcome<Landing> {
    let target = Path::new(to);
    if target.is_dir() {
        return Ok(Landing { root: target.to_owned(), names: Names::Own });
    }
    if target.exists() {
        if found.is_dir() {
            return Err(Failure::new("cannot copy directory"));
        }
    } else if to.ends_with('/') && !found.is_dir() {
        return Err(Failure::new("no such directory"));
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        return Err(Failure::new(format!(
            "invalid output path: directory {:?} does not exist",
            absolute(parent).display().to_string()
        )));
    }
    let name = target.file_name().ok_or_else(|| Failure::new("no such directory"))?;
    // What is in a folder comes without the folder's own name before it.
    let contents = ends_in_dot(path) && found.is_dir();
    let names = if contents { Names::Below(name.into()) } else { Names::First(name.into()) };
    Ok(Landing { root: parent.to_owned(), names })
}

async fn to_container(session: &Session, m: &Matches, from: &str, name: &str, path: &str) -> Outcome {
    let client = session.client()?;
    let mut path = path.to_owned();
    let mut there = stat(client, name, &path).await?;
    if let Some(link) = there.as_ref().filter(|stat| stat.is_link()) {
        // The last part of the destination may be a link to where things shall go.
        path = if link.link_target.starts_with('/') {
            link.link_target.clone()
        } else {
            format!("{}/{}", parent_of(&path), link.link_target)
        };
        there = stat(client, name, &path).await?;
    }
    let into_folder = there.as_ref().is_some_and(Stat::is_dir);
    if from == "-" {
        if !into_folder {
            return Err(Failure::new(format!("destination \"{name}:{path}\" must be a directory")));
        }
        return put(client, name, &path, m, upload::reader(std::io::stdin())).await;
    }
    let mut source = PathBuf::from(from);
    let meta = std::fs::symlink_metadata(&source)
        .map_err(|error| Failure::new(format!("lstat {}: {}", absolute(&source).display(), words(&error))))?;
    if m.on("follow-link") && meta.is_symlink() {
        source = source.canonicalize()?;
    }
    let is_dir = std::fs::metadata(&source).is_ok_and(|meta| meta.is_dir())
        && (!meta.is_symlink() || from.ends_with('/') || m.on("follow-link"));
    let base =
        absolute(&source).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (folder, new_name) = if into_folder {
        (path.clone(), if ends_in_dot(from) && is_dir { String::new() } else { base })
    } else if there.is_some() && is_dir {
        return Err(Failure::new("cannot copy directory"));
    } else if there.is_none() && path.ends_with('/') && !is_dir {
        return Err(Failure::new("no such directory"));
    } else {
        let trimmed = path.trim_end_matches('/');
        (parent_of(trimmed), trimmed.rsplit('/').next().unwrap_or_default().to_owned())
    };
    let (mut pipe, body) = Pipe::new();
    let counter = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = counter.clone();
    let worker = std::thread::spawn(move || {
        let result = {
            let mut archive = tar::Builder::new(Counting { inner: &mut pipe, count });
            let packed = if new_name.is_empty() {
                archive::folder(&mut archive, &source, &crate::dockerignore::Ignored::default(), Owner::Kept)
            } else {
                archive::tree(&mut archive, &source, &new_name, Owner::Kept)
            };
            packed.and_then(|()| archive.finish())
        };
        if let Err(error) = result {
            pipe.fail(error);
        }
    });
    put(client, name, &folder, m, body).await?;
    let _ = worker.join();
    told(m, counter.load(std::sync::atomic::Ordering::Relaxed), &format!("{name}:{path}"));
    Ok(())
}

struct Counting<'a> {
    inner: &'a mut Pipe,
    count: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.count.fetch_add(bytes.len(), std::sync::atomic::Ordering::Relaxed);
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

async fn put(client: &Client, name: &str, folder: &str, m: &Matches, body: corten_client::Body) -> Outcome {
    let mut request = Request::put(container(name, "/archive"))
        .query("path", folder)
        .query("noOverwriteDirNonDir", "true")
        .header("Content-Type", "application/x-tar")
        .body(body);
    if m.on("archive") {
        request = request.query("copyUIDGID", "true");
    }
    Ok(client.done(request).await?)
}

fn absolute(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    here.join(path).components().collect()
}

fn parent_of(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        assert_eq!(side("web:/etc"), Side::Inside("web".into(), "/etc".into()));
        assert_eq!(side("./web:etc"), Side::Here("./web:etc".into()));
        assert_eq!(side("/a:b"), Side::Here("/a:b".into()));
        assert_eq!(side("-"), Side::Here("-".into()));
    }

    #[test]
    fn things_land_by_what_is_there() {
        let here = tempfile::tempdir().unwrap();
        let folder = here.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(here.path().join("file"), "x").unwrap();
        let dir = Stat { name: "etc".into(), mode: 1 << 31, ..Stat::default() };
        let file = Stat { name: "f".into(), ..Stat::default() };
        let at = |found: &Stat, path: &str, to: &Path| landing(found, path, &to.display().to_string());
        assert_eq!(at(&dir, "/etc", &folder).unwrap().names, Names::Own);
        assert_eq!(at(&dir, "/etc/.", &folder).unwrap().names, Names::Own);
        assert_eq!(at(&dir, "/etc", &here.path().join("new")).unwrap().names, Names::First("new".into()));
        assert_eq!(at(&file, "/f", &here.path().join("file")).unwrap().names, Names::First("file".into()));
        assert_eq!(at(&dir, "/etc/.", &here.path().join("new")).unwrap().names, Names::Below("new".into()));
        assert!(at(&dir, "/etc", &here.path().join("file")).is_err());
        assert!(at(&file, "/f", &here.path().join("none/x")).is_err());
    }
}
