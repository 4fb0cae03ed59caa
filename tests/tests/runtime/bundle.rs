//! A bundle with a static busybox, and the runtime's command line on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use corten_tests::archive;
use corten_tests::engine::corten_binary;
use serde_json::{Value, json};

/// The bundle and the runtime's own directory; both are removed at the end.
pub struct Bundle {
    pub dir: PathBuf,
    pub id: String,
    runtime: PathBuf,
}

impl Bundle {
    /// A bundle whose container runs `script` in a shell, with the fields of `more` on top.
    pub fn new(name: &str, script: &str, more: &Value) -> Result<Self> {
        let id = format!("corten-tests-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(&id);
        let rootfs = dir.join("rootfs");
        std::fs::create_dir_all(&rootfs)?;
        tar::Archive::new(&archive::base()?[..]).unpack(&rootfs)?;
        let bundle = Self { dir, id, runtime: corten_binary()? };
        bundle.ok(&["spec", "--bundle", bundle.path()?])?;
        let config = bundle.dir.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&config)?)?;
        merge(&mut spec, &json!({ "process": { "terminal": false, "args": ["sh", "-c", script] } }));
        merge(&mut spec, more);
        std::fs::write(&config, serde_json::to_vec(&spec)?)?;
        Ok(bundle)
    }

    pub fn path(&self) -> Result<&str> {
        self.dir.to_str().context("a path that is text")
    }

    /// A command of the runtime.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("runtime").arg("--root").arg(self.dir.join("state")).args(args).stdin(Stdio::null());
        command
    }

    pub fn call(&self, args: &[&str]) -> Result<Output> {
        Ok(self.command(args).output()?)
    }

    /// Calls the runtime, and gives what it wrote.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let output = self.call(args)?;
        if !output.status.success() {
            bail!("{args:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Creates and starts the container in the background; its output is thrown away.
    pub fn start(&self, globals: &[&str]) -> Result<()> {
        let args = [globals, &["run", "--detach", "--bundle", self.path()?, &self.id]].concat();
        let status = self.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !status.success() {
            bail!("{args:?}: {status}");
        }
        Ok(())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Puts the fields of `more` on top of `into`, deeply.
pub fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

/// The first line of a file.
pub fn line(path: impl AsRef<Path>) -> Result<String> {
    let text = std::fs::read_to_string(&path).with_context(|| path.as_ref().display().to_string())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
