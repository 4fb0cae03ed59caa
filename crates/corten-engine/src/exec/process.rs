//! What an exec runs, made of the container's own process and the request.

use std::os::fd::AsFd as _;
use std::path::Path;

use corten_runtime::spec::{Capabilities, Process, User};
use corten_sys::path::Root;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use super::{Exec, ExecError};
use crate::container::oci_spec::{environment, replace_or_append};
use crate::container::{Container, caps, read_text, user as users};

/// The part of a container's specification that an exec inherits.
#[derive(Deserialize)]
struct Inherited {
    process: Process,
}

/// The process of an exec in a running container whose specification lies at `config`.
pub(super) fn plan(
    container: &Container,
    exec: &Exec,
    config: &Path,
    links: &[String],
) -> Result<Process, ExecError> {
    let io = |operation, source| ExecError::Io { container: container.id().to_owned(), operation, source };
    let text = std::fs::read(config).map_err(|e| io("read its specification", e))?;
    let Inherited { mut process } =
        serde_json::from_slice(&text).map_err(|e| io("read its specification", e.into()))?;
    let view = container.view();
    let record = &view.record;
    let options = &exec.options;
    let name = if options.user.is_empty() { &record.config.user } else { &options.user };
    let user = user(container, name)?;
    let config = corten_api::container::Config { tty: options.tty, ..record.config.clone() };
    process.args = std::iter::once(&exec.program).chain(&exec.arguments).cloned().collect();
    process.env = replace_or_append(environment(&config, &user.home, links), options.env.iter().flatten());
    process.user = User { uid: user.uid, gid: user.gid, additional_gids: user.groups, ..process.user };
    process.terminal = options.tty;
    process.console_size = None;
    let directories = [&options.working_dir, &record.config.working_dir];
    let directory = directories.into_iter().find(|directory| !directory.is_empty());
    process.cwd = directory.map_or("/", |directory| directory).to_owned();
    if options.privileged {
        let all: Vec<String> = caps::ALL.iter().map(|name| (*name).to_owned()).collect();
        process.capabilities = Some(Capabilities {
            bounding: all.clone(),
            permitted: all.clone(),
            effective: all,
            ..Capabilities::default()
        });
    }
    Ok(process)
}

/// Finds a user in the running container's own files.
pub(super) fn user(container: &Container, name: &str) -> Result<users::User, ExecError> {
    let view = container.view();
    let groups = view.record.host.group_add.as_deref().unwrap_or_default();
    let (mut passwd, mut group) = (String::new(), String::new());
    if let Some(run) = view.live.state.run() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(root) = rustix::fs::open(format!("/proc/{}/root", run.pid), flags, Mode::empty()) {
            passwd = read_text(Root::new(root.as_fd()), "/etc/passwd");
            group = read_text(Root::new(root.as_fd()), "/etc/group");
        }
    }
    Ok(users::resolve(name, groups, &passwd, &group)?)
}
