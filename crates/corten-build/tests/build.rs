//! Whole builds on a real store, with a host whose commands are `write PATH TEXT` and `fail CODE`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use corten_build::{
    BuildError, Builder, Context, Event, Executor, HostError, ImageSource, Output, Piece, Request, RunStep,
    Stream, classic,
};
use corten_store::{Image, Store};
use corten_sys::path::Root;
use corten_types::{Digest, ErrorKind, Kind, Platform, Reference};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Transcript(Mutex<String>);

impl Output for Transcript {
    fn event(&self, event: Event<'_>) {
        for piece in classic(&event) {
            if let Piece::Text(text) = piece {
                self.0.lock().unwrap().push_str(&text);
            }
        }
    }
}

struct Host {
    store: Store,
    ran: Mutex<usize>,
}

impl Executor for Host {
    async fn run(&self, step: RunStep, output: &dyn Output, _: &CancellationToken) -> Result<i64, HostError> {
        *self.ran.lock().unwrap() += 1;
        let root = Root::new(step.rootfs.as_fd());
        let words: Vec<&str> = step.command.iter().flat_map(|word| word.split(' ')).collect();
        match words[..] {
            [.., "write", path, text] => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
                let file =
                    root.open_with(path, flags, Mode::from_raw_mode(0o644), ResolveFlags::empty()).unwrap();
                std::io::Write::write_all(&mut std::fs::File::from(file), text.as_bytes()).unwrap();
                output.event(Event::Output(Stream::Stdout, b"written\n"));
                Ok(0)
            }
            [.., "fail", code] => Ok(code.parse().unwrap()),
            _ => Ok(0),
        }
    }
}

impl ImageSource for Host {
    async fn image(
        &self,
        name: &str,
        platform: Option<&Platform>,
        _: &dyn Output,
    ) -> Result<Image, HostError> {
        self.store.images().resolve_for(name, platform).map_err(|error| HostError::new(&error))
    }
}

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    host: Host,
}

struct Built {
    id: Result<Digest, BuildError>,
    text: String,
    ran: usize,
}

impl Bench {
    /// `None`, with a notice, where overlays cannot be mounted.
    async fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: overlay mounts need root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data"), std::sync::Arc::new(corten_store::InProcess))
            .await
            .unwrap();
        let host = Host { store: store.clone(), ran: Mutex::default() };
        std::fs::create_dir(dir.path().join("context")).unwrap();
        Some(Self { dir, store, host })
    }

    fn file(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join("context").join(name), content).unwrap();
    }

    async fn build(&self, dockerfile: &str, adjust: impl FnOnce(&mut Request)) -> Built {
        let context = std::fs::File::open(self.dir.path().join("context")).unwrap();
        let mut request = Request {
            context: Some(Arc::new(Context::new(context.into()))),
            dockerfile: dockerfile.into(),
            dockerfile_name: "Dockerfile".into(),
            ..Request::default()
        };
        adjust(&mut request);
        let (output, cancel) = (Transcript::default(), CancellationToken::new());
        let builder = Builder { store: &self.store, host: &self.host, output: &output, cancel: &cancel };
        let before = *self.host.ran.lock().unwrap();
        let id = builder.build(&request).await;
        let ran = *self.host.ran.lock().unwrap() - before;
        Built { id, text: output.0.into_inner().unwrap(), ran }
    }

    async fn ok(&self, dockerfile: &str) -> (Digest, String, usize) {
        let Built { id, text, ran } = self.build(dockerfile, |_| ()).await;
        (id.unwrap_or_else(|error| panic!("{error}\n{text}")), text, ran)
    }

    /// A file of a built image.
    fn read(&self, id: &Digest, path: &str) -> Option<String> {
        let image = self.store.images().resolve(&id.to_string()).unwrap();
        let root = self.store.snapshots().view(image.chain_id().as_ref()).unwrap();
        let file = Root::new(root.as_fd()).open(path, OFlags::RDONLY).ok()?;
        std::io::read_to_string(std::fs::File::from(file)).ok()
    }
}

const FILE: &str =
    "FROM scratch\nCOPY a.txt /a\nRUN [\"write\", \"/made\", \"first\"]\nCOPY b.txt /b\nCMD [\"/a\"]\n";

#[tokio::test]
async fn only_what_changed_is_built_again() {
    let Some(bench) = Bench::new().await else { return };
    bench.file("a.txt", "a");
    bench.file("b.txt", "b");
    let (first, text, ran) = bench.ok(FILE).await;
    assert_eq!(ran, 1);
    assert!(!text.contains("Using cache"), "{text}");
    assert_eq!(bench.read(&first, "/a").as_deref(), Some("a"));
    assert_eq!(bench.read(&first, "/made").as_deref(), Some("first"));

    let (second, text, ran) = bench.ok(FILE).await;
    assert_eq!((second, ran), (first, 0));
    assert_eq!(text.matches(" ---> Using cache\n").count(), 4, "{text}");

    bench.file("b.txt", "changed");
    let (third, text, ran) = bench.ok(FILE).await;
    assert_eq!(ran, 0);
    assert_eq!(text.matches(" ---> Using cache\n").count(), 2, "{text}");
    assert_ne!(third, first);
    assert_eq!(bench.read(&third, "/b").as_deref(), Some("changed"));
    let layers = |id: &Digest| bench.store.images().resolve(&id.to_string()).unwrap().layers;
    assert_eq!(layers(&third)[..2], layers(&first)[..2]);

    let none = bench.build(FILE, |request| request.no_cache = true).await;
    assert_eq!(none.ran, 1);
}

#[tokio::test]
async fn the_stream_is_that_of_dockers_builder() {
    let Some(bench) = Bench::new().await else { return };
    bench.file("a.txt", "a");
    bench.file("b.txt", "b");
    let named = |request: &mut Request| request.names = vec!["app:1".parse::<Reference>().unwrap()];
    let built = bench.build(FILE, named).await;
    let id = built.id.unwrap();
    // Ids of containers and images differ from run to run.
    let hex = |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let lines: Vec<String> = built
        .text
        .lines()
        .map(|line| {
            line.split(' ').map(|word| if hex(word) { "ID" } else { word }).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(
        lines,
        [
            "Step 1/5 : FROM scratch",
            " ---> ",
            "Step 2/5 : COPY a.txt /a",
            " ---> ID",
            "Step 3/5 : RUN [\"write\", \"/made\", \"first\"]",
            " ---> Running in ID",
            "written",
            " ---> Removed intermediate container ID",
            " ---> ID",
            "Step 4/5 : COPY b.txt /b",
            " ---> ID",
            "Step 5/5 : CMD [\"/a\"]",
            " ---> Running in ID",
            " ---> Removed intermediate container ID",
            " ---> ID",
            "Successfully built ID",
            "Successfully tagged app:1",
        ]
    );
    let image = bench.store.images().resolve("app:1").unwrap();
    assert_eq!(image.id, id);
    let history: Vec<&str> = image.config.history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert!(history[0].starts_with("/bin/sh -c #(nop) COPY file:") && history[0].ends_with(" in /a "));
    assert_eq!(history[1], "write /made first");
    assert_eq!(history[3], "/bin/sh -c #(nop)  CMD [\"/a\"]");
    assert!(image.config.history[3].empty_layer);
    assert!(bench.store.snapshots().keys().is_empty());
}

#[tokio::test]
async fn stages_copy_from_each_other_and_unneeded_ones_are_left_out() {
    let Some(bench) = Bench::new().await else { return };
    let file = "FROM scratch AS make\nRUN [\"write\", \"/out\", \"made\"]\nFROM scratch AS unused\nRUN [\"fail\", \"9\"]\n\
                FROM scratch\nWORKDIR /in/side\nCOPY --from=make --chmod=0700 /out .\nARG WHO=me\nRUN [\"write\", \"/x\", \"y\"]\n";
    let (id, text, ran) = bench.ok(file).await;
    assert_eq!(ran, 2);
    assert!(text.starts_with("Step 1/7 : FROM scratch AS make\n"), "{text}");
    assert_eq!(bench.read(&id, "/in/side/out").as_deref(), Some("made"));
    let image = bench.store.images().resolve(&id.to_string()).unwrap();
    assert_eq!(image.config.config.working_dir, "/in/side");
    assert_eq!(image.config.history.last().unwrap().created_by, "|1 WHO=me write /x y");

    // A value that RUN sees is part of its key; one that nothing declares is not.
    let args = |value: &str| BTreeMap::from([("WHO".to_owned(), Some(value.to_owned()))]);
    assert_eq!(bench.build(file, |request| request.args = args("me")).await.ran, 0);
    assert_eq!(bench.build(file, |request| request.args = args("you")).await.ran, 1);
    let stray = bench.build(file, |request| request.args = BTreeMap::from([("NO".to_owned(), None)])).await;
    assert!(stray.text.contains("[Warning] One or more build-args [NO] were not consumed\n"));

    let target = bench.build(file, |request| request.target = Some("unused".into())).await;
    let error = target.id.unwrap_err();
    assert_eq!(error.to_string(), "The command 'fail 9' returned a non-zero code: 9");
    assert_eq!((error.code(), error.line()), (Some(9), Some(4)));
}

#[tokio::test]
async fn a_failure_names_its_line_and_leaves_the_steps_before_it() {
    let Some(bench) = Bench::new().await else { return };
    bench.file("a.txt", "a");
    let file = "FROM scratch\nRUN [\"write\", \"/x\", \"y\"]\n\nCOPY missing /\n";
    let failed = bench.build(file, |_| ()).await;
    let error = failed.id.unwrap_err();
    assert_eq!(
        error.to_string(),
        "COPY failed: file not found in build context or excluded by .dockerignore: stat missing: file does not exist"
    );
    assert_eq!((error.line(), error.kind()), (Some(4), ErrorKind::InvalidArgument));
    bench.store.collect().await.unwrap();
    let again = bench.build(file, |_| ()).await;
    assert_eq!(again.ran, 0, "{}", again.text);
    assert!(bench.store.snapshots().keys().is_empty());

    for (file, text) in [
        ("FROM scratch\nCOPY *.none /\n", "COPY failed: no source files were specified"),
        (
            "FROM scratch\nCOPY a.txt a.txt /x\n",
            "When using COPY with more than one source file, the destination must be a directory and end with a /",
        ),
        (
            "FROM scratch\nCOPY --chown=nobody a.txt /\n",
            "unable to convert uid/gid chown string to host mapping: can't find uid for user nobody: no such user: nobody",
        ),
        (
            "FROM scratch\nADD https://example.com/x /\n",
            "ADD of the remote source https://example.com/x is not supported by this builder",
        ),
        (
            "FROM scratch\nRUN --mount=type=cache,target=/c x\n",
            "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled",
        ),
        ("FROM scratch\nEXPOSE 80/x\n", "Invalid proto: x"),
        ("FROM none-such\n", "No such image: none-such:latest"),
        (
            "FROM scratch\nENV a\n",
            "failed to parse Dockerfile: dockerfile parse error on line 2: ENV must have two arguments",
        ),
    ] {
        assert_eq!(bench.build(file, |_| ()).await.id.unwrap_err().to_string(), text);
    }
}

#[tokio::test]
async fn add_unpacks_archives_and_heredocs_become_files() {
    let Some(bench) = Bench::new().await else { return };
    let plain = {
        let mut writer = corten_archive::Writer::new(Vec::new());
        let entry = corten_archive::Entry::new("inner", corten_archive::EntryKind::Directory, 0o755);
        writer.append(&entry, &mut std::io::empty()).unwrap();
        writer.finish().unwrap()
    };
    std::fs::write(bench.dir.path().join("context/files.tar"), plain).unwrap();
    bench.file("plain.txt", "not an archive");
    let (id, ..) = bench
        .ok("FROM scratch\nENV WHO=me\nADD files.tar plain.txt /to/\nCOPY <<one <<'two' /docs/\nfor $WHO\none\nfor $WHO\ntwo\n")
        .await;
    let image = bench.store.images().resolve(&id.to_string()).unwrap();
    let root = bench.store.snapshots().view(image.chain_id().as_ref()).unwrap();
    assert!(Root::new(root.as_fd()).open("/to/inner", OFlags::PATH | OFlags::DIRECTORY).is_ok());
    assert_eq!(bench.read(&id, "/to/plain.txt").as_deref(), Some("not an archive"));
    assert_eq!(bench.read(&id, "/docs/one").as_deref(), Some("for me\n"));
    assert_eq!(bench.read(&id, "/docs/two").as_deref(), Some("for $WHO\n"));
}

#[tokio::test]
async fn a_base_image_brings_its_config_and_its_triggers() {
    let Some(bench) = Bench::new().await else { return };
    bench.file("a.txt", "a");
    let base = "FROM scratch\nENV A=1\nLABEL l=base\nCMD [\"x\"]\nONBUILD COPY a.txt /triggered\n";
    bench.build(base, |request| request.names = vec!["base:1".parse().unwrap()]).await.id.unwrap();
    let labels =
        |request: &mut Request| request.labels = BTreeMap::from([("given".to_owned(), "$A".to_owned())]);
    let built = bench.build("ARG V=1\nFROM base:$V\nENV B=${A}2\n", labels).await;
    let id = built.id.unwrap_or_else(|error| panic!("{error}\n{}", built.text));
    assert!(built.text.contains("# Executing 1 build trigger\n"), "{}", built.text);
    assert_eq!(bench.read(&id, "/triggered").as_deref(), Some("a"));
    let config = bench.store.images().resolve(&id.to_string()).unwrap().config.config.clone();
    assert!(config.env.unwrap().contains(&"B=12".to_owned()));
    assert_eq!(config.cmd, Some(vec!["x".into()]));
    assert_eq!(config.on_build, None);
    assert_eq!(config.labels.unwrap()["given"], "$A");
}
