//! An engine of the test's own: sealed in its own network namespace, folders and cgroup, and gone when it is dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::http::{self, Body, Response};

/// How long a daemon may take until it answers, or to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// Name of the file that the daemon finds as `/etc/subuid` and `/etc/subgid`, in its folder.
const SUBORDINATE: &str = "subordinate-ids";

/// Which engine a case runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The real Docker, the reference.
    Docker,
    /// Ours.
    Corten,
}

/// A running daemon.
pub struct Engine {
    /// Which one it is.
    pub which: Which,
    /// Its folders and its socket lie here.
    pub dir: PathBuf,
    daemon: Child,
}

impl Engine {
    /// Starts the real Docker, if `$CORTEN_PEERS/bin` or `PATH` has one.
    pub fn docker() -> Result<Option<Self>> {
        Self::docker_with(&Value::Object(serde_json::Map::new()))
    }

    /// The same with further settings in its `daemon.json`.
    pub fn docker_with(more: &Value) -> Result<Option<Self>> {
        let Some(dockerd) = find_dockerd() else { return Ok(None) };
        let dir = tempdir("docker")?;
        let mut settings = serde_json::json!({ "features": { "containerd-snapshotter": true } });
        for (key, value) in more.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        std::fs::write(dir.join("daemon.json"), settings.to_string())?;
        let mut command = Command::new(&dockerd);
        command.args(["--config-file", &text(&dir.join("daemon.json"))]);
        if let Some(bin) = dockerd.parent() {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", bin.display()));
        }
        Self::start(Which::Docker, dir, command).map(Some)
    }

    /// Starts ours, from `$CORTEN_BIN`.
    pub fn corten() -> Result<Self> {
        Self::corten_with(&[])
    }

    /// Starts ours with further flags.
    pub fn corten_with(flags: &[&str]) -> Result<Self> {
        let dir = tempdir("corten")?;
        std::fs::write(dir.join("daemon.json"), "{}")?;
        let mut command = Command::new(corten_binary()?);
        command.arg("daemon").args(["--config-file", &text(&dir.join("daemon.json"))]).args(flags);
        Self::start(Which::Corten, dir, command)
    }

    /// A second one of the same kind with these settings in its `daemon.json`; `name` is its folder's. The base image is
    /// not there yet.
    pub fn beside(&self, name: &str, settings: &Value) -> Result<Self> {
        self.beside_with_ids(name, settings, None)
    }

    /// The same, which finds `ids` in `/etc/subuid` and `/etc/subgid`.
    pub fn beside_with_ids(&self, name: &str, settings: &Value, ids: Option<&str>) -> Result<Self> {
        let dir = tempdir(name)?;
        if let Some(ids) = ids {
            std::fs::write(dir.join(SUBORDINATE), ids)?;
        }
        let mut settings = settings.clone();
        let mut command = match self.which {
            Which::Docker => {
                settings["features"] = serde_json::json!({ "containerd-snapshotter": true });
                let dockerd = find_dockerd().context("no dockerd")?;
                let mut command = Command::new(&dockerd);
                if let Some(bin) = dockerd.parent() {
                    let path = std::env::var("PATH").unwrap_or_default();
                    command.env("PATH", format!("{}:{path}", bin.display()));
                }
                command
            }
            Which::Corten => {
                let mut command = Command::new(corten_binary()?);
                command.arg("daemon");
                command
            }
        };
        std::fs::write(dir.join("daemon.json"), settings.to_string())?;
        command.args(["--config-file", &text(&dir.join("daemon.json"))]);
        Self::start(self.which, dir, command)
    }

    /// Changes the settings in `daemon.json` and has the daemon read them again.
    pub fn reload(&self, settings: &Value) -> Result<()> {
        std::fs::write(self.dir.join("daemon.json"), settings.to_string())?;
        let pid = rustix::process::Pid::from_child(&self.daemon);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::HUP)?)
    }

    /// A second one of ours, beside [`Engine::corten`].
    pub fn another() -> Result<Self> {
        let dir = tempdir("another")?;
        std::fs::write(dir.join("daemon.json"), "{}")?;
        let mut command = Command::new(corten_binary()?);
        command.arg("daemon").args(["--config-file", &text(&dir.join("daemon.json"))]);
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
        command.args(["--cgroup-parent", &format!("/corten-another-{}", std::process::id())]);
        Self::start(Which::Corten, dir, command)
    }

    fn start(which: Which, dir: PathBuf, mut command: Command) -> Result<Self> {
        command
            .args(["--data-root", &text(&dir.join("data")), "--exec-root", &text(&dir.join("run"))])
            .args(["--pidfile", &text(&dir.join("pid"))])
            .args(["-H", &format!("unix://{}", dir.join("engine.sock").display())]);
        let daemon = spawn(&dir, command)?;
        let mut engine = Self { which, dir, daemon };
        engine.await_ping()?;
        Ok(engine)
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("engine.sock")
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Kills the daemon at once, as the kernel would, and starts it again on the same folders.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.daemon.kill()?;
        self.daemon.wait()?;
        let line = std::fs::read(self.dir.join("command"))?;
        let mut words = line.split(|&b| b == 0).map(|w| String::from_utf8_lossy(w).into_owned());
        let mut command = Command::new(words.next().context("no command")?);
        command.args(words);
        self.daemon = spawn_within(&self.dir, command)?;
        self.await_ping()
    }

    fn await_ping(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Ok(answer) = http::request(&self.socket(), "GET", "/_ping", Body::None)
                && answer.status == 200
            {
                return Ok(());
            }
            let log = || std::fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default();
            if let Some(status) = self.daemon.try_wait()? {
                bail!("{:?} ended with {status}: {}", self.which, log());
            }
            if start.elapsed() > DEADLINE {
                bail!("{:?} does not answer: {}", self.which, log());
            }
            // A listening socket cannot be waited for by a client that does not exist yet.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `GET path`
    pub fn get(&self, path: &str) -> Result<Response> {
        http::request(&self.socket(), "GET", path, Body::None)
    }

    /// `POST path` without a body.
    pub fn post(&self, path: &str) -> Result<Response> {
        http::request(&self.socket(), "POST", path, Body::None)
    }

    /// `POST path` with a JSON body.
    pub fn post_json(&self, path: &str, body: Value) -> Result<Response> {
        http::request(&self.socket(), "POST", path, Body::Json(body))
    }

    /// `POST path` with a tar as body.
    pub fn post_tar(&self, path: &str, tar: &[u8]) -> Result<Response> {
        http::request(&self.socket(), "POST", path, Body::Bytes("application/x-tar", tar))
    }

    /// `PUT path` with a tar as body.
    pub fn put_tar(&self, path: &str, tar: &[u8]) -> Result<Response> {
        http::request(&self.socket(), "PUT", path, Body::Bytes("application/x-tar", tar))
    }

    /// `HEAD path`
    pub fn head(&self, path: &str) -> Result<Response> {
        http::request(&self.socket(), "HEAD", path, Body::None)
    }

    /// `DELETE path`
    pub fn delete(&self, path: &str) -> Result<Response> {
        http::request(&self.socket(), "DELETE", path, Body::None)
    }

    /// Creates a container and gives its id.
    pub fn create(&self, name: &str, body: Value) -> Result<String> {
        let path = if name.is_empty() {
            "/containers/create".into()
        } else {
            format!("/containers/create?name={name}")
        };
        let answer = self.post_json(&path, body)?.expect(201)?.json()?;
        Ok(answer["Id"].as_str().context("no Id")?.to_owned())
    }

    /// Creates and starts a container and gives its id.
    pub fn run(&self, name: &str, body: Value) -> Result<String> {
        let id = self.create(name, body)?;
        self.post(&format!("/containers/{id}/start"))?.expect(204)?;
        Ok(id)
    }

    /// Waits until a container has ended, and gives its exit code.
    pub fn wait(&self, id: &str) -> Result<i64> {
        let answer = self.post(&format!("/containers/{id}/wait"))?.expect(200)?.json()?;
        answer["StatusCode"].as_i64().context("no StatusCode")
    }

    /// What a container wrote, without frames: stdout and stderr.
    pub fn logs(&self, id: &str) -> Result<(String, String)> {
        let answer = self.get(&format!("/containers/{id}/logs?stdout=1&stderr=1"))?.expect(200)?;
        let (out, err) = http::demultiplex(&answer.body)?;
        Ok((String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned()))
    }

    /// Removes a container with force, if it is there.
    pub fn remove(&self, id: &str) -> Result<()> {
        let answer = self.delete(&format!("/containers/{id}?force=1&v=1"))?;
        if matches!(answer.status, 204 | 404) { Ok(()) } else { bail!("remove {id}: {}", answer.text()) }
    }

    /// Asks again until `check` gives a value; an error after the deadline.
    pub fn until<T>(&self, what: &str, check: impl Fn() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(value) = check()? {
                return Ok(value);
            }
            if start.elapsed() > DEADLINE {
                bail!("not within {DEADLINE:?}: {what}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs `body` in the engine's network namespace.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        crate::namespace::within(&self.dir.join("netns"), || Ok(body()))
    }

    /// Stops the daemon with SIGTERM and waits for its end.
    pub fn stop(&mut self) -> Result<()> {
        if self.daemon.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = rustix::process::Pid::from_child(&self.daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let start = Instant::now();
        while self.daemon.try_wait()?.is_none() {
            if start.elapsed() > DEADLINE {
                self.daemon.kill()?;
                self.daemon.wait()?;
                bail!("{:?} did not end on SIGTERM", self.which);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
        // Docker leaves the namespaces of its networks mounted.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for target in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(target).starts_with(&self.dir) {
                let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
            }
        }
        if std::env::var_os("CORTEN_TEST_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The `corten` that is tested: `$CORTEN_BIN/corten`.
pub fn corten_binary() -> Result<PathBuf> {
    let dir =
        std::env::var_os("CORTEN_BIN").context("CORTEN_BIN is not set: run the tests by `make test`")?;
    Ok(PathBuf::from(dir).join("corten"))
}

/// The real docker command, if there is one beside the real dockerd.
pub fn docker_binary() -> Option<PathBuf> {
    Some(find_dockerd()?.with_file_name("docker")).filter(|p| p.exists())
}

fn find_dockerd() -> Option<PathBuf> {
    let peers = std::env::var_os("CORTEN_PEERS").map(|dir| PathBuf::from(dir).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    peers.into_iter().chain(std::env::split_paths(&path)).map(|dir| dir.join("dockerd")).find(|p| p.exists())
}

fn spawn(dir: &Path, command: Command) -> Result<Child> {
    let line: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    std::fs::write(dir.join("command"), line.join("\0"))?;
    crate::namespace::make(&dir.join("netns"))?;
    spawn_within(dir, command)
}

/// Starts the daemon in the network namespace of its folder, with its own subordinate ids where it has some.
fn spawn_within(dir: &Path, mut command: Command) -> Result<Child> {
    let ids = dir.join(SUBORDINATE);
    crate::namespace::within(&dir.join("netns"), || {
        if ids.exists() {
            crate::namespace::cover(&ids, &["/etc/subuid", "/etc/subgid"])?;
        }
        log_to(dir, &mut command)?.spawn()
    })
}

fn log_to<'a>(dir: &Path, command: &'a mut Command) -> std::io::Result<&'a mut Command> {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("daemon.log"))?;
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
}

fn tempdir(name: &str) -> Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("corten-tests-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
