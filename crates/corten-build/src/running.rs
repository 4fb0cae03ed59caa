//! RUN and WORKDIR.

use std::os::fd::AsFd;

use corten_dockerfile::{CommandLine, Heredoc, Run};
use corten_types::ContainerId;

use crate::draft::{Draft, command};
use crate::error::BuildError;
use crate::executor::{Executor, ImageSource, RunStep};
use crate::history;
use crate::owner::Owner;
use crate::stage::{StageBuild, Step, blocking};
use crate::transfer::{Target, remove_all};

/// The file that a here-document with a `#!` line becomes while its command runs.
const SCRIPT: &str = ".corten-heredoc";

/// What a RUN runs.
struct Command {
    line: CommandLine,
    /// A script that must be there as [`SCRIPT`].
    script: Option<String>,
}

impl<H: Executor + ImageSource> StageBuild<'_, H> {
    pub async fn run_command(&mut self, run: Run, line: u32) -> Result<(), BuildError> {
        let needs_buildkit = |flag| BuildError::RunFlag { flag, line };
        if !run.mounts.is_empty() {
            return Err(needs_buildkit("mount"));
        }
        if run.security.is_some() {
            return Err(needs_buildkit("security"));
        }
        if !run.devices.is_empty() {
            return Err(needs_buildkit("device"));
        }
        let before: Draft = self.draft().clone();
        let Command { line: command_line, script } = resolve(run.command, &run.documents);
        let words = command(&command_line, &before.shell());
        let shown = self.args.shown(before.env());
        let step = Step {
            created_by: history::run(&words, &shown),
            inputs: format!("network={:?} script={:?}", run.network, script),
        };
        let key = self.key(&before, &step);
        if self.cached(&before, &step, &key)? {
            return Ok(());
        }
        let id = ContainerId::random();
        self.announce_container(id.clone());
        let snapshot = self.snapshot(&id).await?;
        let mut config = before.run().clone();
        let visible = self.args.visible(before.env());
        config
            .env
            .get_or_insert_default()
            .extend(visible.iter().map(|(name, value)| format!("{name}={value}")));
        let outcome = async {
            let rootfs = snapshot.mount()?;
            // The command may leave the mount; what surrounds it is cleaned through a descriptor of our own.
            let root = rootfs.try_clone().map_err(|source| image_error("open", "/", source))?;
            let stubs = {
                let (root, script) =
                    (root.try_clone().map_err(|source| image_error("open", "/", source))?, script.clone());
                blocking(move || prepare(root.as_fd(), script.as_deref())).await?
            };
            let step =
                RunStep { id: id.clone(), rootfs, config, command: words.clone(), network: run.network };
            let builder = self.shared.builder;
            let code = builder.host.run(step, builder.output, builder.cancel).await?;
            if builder.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            if code != 0 {
                return Err(BuildError::Command { command: words.join(" "), code, line });
            }
            blocking(move || clean(root.as_fd(), &stubs))
                .await
                .map_err(|source| image_error("clean", "/", source))
        }
        .await;
        if let Err(error) = outcome {
            snapshot.discard().await;
            return Err(error);
        }
        let layer = snapshot.commit().await?;
        self.finish(step, &key, layer).await
    }

    pub async fn workdir(&mut self, path: &str, line: u32) -> Result<(), BuildError> {
        let before: Draft = self.draft().clone();
        let dir = self.draft().apply_workdir(path).map_err(|source| BuildError::Apply { line, source })?;
        let step = Step {
            created_by: history::files(&before.shell(), &format!("WORKDIR {dir}")),
            inputs: String::new(),
        };
        let key = self.key(&before, &step);
        if self.cached(&before, &step, &key)? {
            return Ok(());
        }
        let id = ContainerId::random();
        self.announce_container(id.clone());
        let snapshot = self.snapshot(&id).await?;
        let made = match snapshot.mount() {
            Ok(rootfs) => {
                let make = move || match Target::new(rootfs.as_fd()).make_directories(&dir, Owner::ROOT) {
                    Ok(_) => Ok(()),
                    Err(error) if error.is_in_the_way() => Err(BuildError::Workdir { path: dir, line }),
                    Err(error) => Err(error.into()),
                };
                blocking(make).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = made {
            snapshot.discard().await;
            return Err(error);
        }
        let layer = snapshot.commit().await?;
        self.finish(step, &key, layer).await
    }
}

fn image_error(operation: &'static str, path: &str, source: std::io::Error) -> BuildError {
    BuildError::Image { operation, path: path.into(), source }
}

/// A command with its here-documents worked in, as BuildKit does it: one alone is the script itself, or with a `#!`
/// line a program; others are given back to the shell.
fn resolve(line: CommandLine, documents: &[Heredoc]) -> Command {
    let CommandLine::Shell(text) = line else { return Command { line, script: None } };
    let [first, ..] = documents else { return Command { line: CommandLine::Shell(text), script: None } };
    let alone = documents.len() == 1 && is_only_heredoc(&text);
    if alone && first.content.starts_with("#!") {
        let program = CommandLine::Exec(vec![format!("/{SCRIPT}")]);
        return Command { line: program, script: Some(first.content.clone()) };
    }
    if alone {
        return Command { line: CommandLine::Shell(first.content.clone()), script: None };
    }
    let mut whole = text;
    for document in documents {
        whole.push('\n');
        whole.push_str(&document.content);
        whole.push_str(&document.name);
    }
    Command { line: CommandLine::Shell(whole), script: None }
}

/// Whether a command is nothing but the announcement of a here-document.
fn is_only_heredoc(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.strip_prefix("<<").is_some_and(|name| {
        let name = name.strip_prefix('-').unwrap_or(name).trim();
        let quoted = name.len() > 1 && (name.starts_with('"') || name.starts_with('\''));
        !name.is_empty() && !name.contains('<') && (quoted || !name.contains(char::is_whitespace))
    })
}

/// Paths that a container gets mounts on; what of them is not in the image must not be in the layer either.
const MOUNT_POINTS: [&str; 8] =
    ["dev", "proc", "sys", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"];

/// Puts the script in place and says which mount points are missing, deepest first.
fn prepare(root: std::os::fd::BorrowedFd<'_>, script: Option<&str>) -> Result<Vec<&'static str>, BuildError> {
    let mut missing: Vec<&'static str> = MOUNT_POINTS
        .into_iter()
        .filter(|path| corten_sys::path::Root::new(root).locate_without_links(path).is_err())
        .collect();
    missing.reverse();
    if let Some(script) = script {
        Target::new(root).write(script.as_bytes(), SCRIPT, "/", 0o755, Owner::ROOT)?;
        missing.push(SCRIPT);
    }
    Ok(missing)
}

/// Takes away what was only there to be mounted on: empty files and directories that the image did not have.
fn clean(root: std::os::fd::BorrowedFd<'_>, stubs: &[&str]) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, FileType};
    for path in stubs {
        let Ok(place) = corten_sys::path::Root::new(root).place(path) else { continue };
        let name = place.name.as_os_str();
        if *path == SCRIPT {
            remove_all(place.parent.as_fd(), name, 0)?;
            continue;
        }
        let Ok(stat) = rustix::fs::statat(&place.parent, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let flags = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => AtFlags::REMOVEDIR,
            FileType::RegularFile if stat.st_size == 0 => AtFlags::empty(),
            _ => continue,
        };
        // A directory that is not empty stays.
        let _ = rustix::fs::unlinkat(&place.parent, name, flags);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(content: &str) -> Heredoc {
        Heredoc { name: "EOF".into(), fd: 0, expand: true, chomp: false, content: content.into() }
    }

    #[test]
    fn heredocs_become_scripts_programs_or_stay_with_the_shell() {
        let run = |text: &str, content: &str| resolve(CommandLine::Shell(text.into()), &[document(content)]);
        assert_eq!(run("<<EOF", "a\nb\n").line, CommandLine::Shell("a\nb\n".into()));
        assert_eq!(run("<<-'EOF'", "a\n").line, CommandLine::Shell("a\n".into()));
        let program = run("<<EOF", "#!/bin/sh\na\n");
        assert_eq!(program.line, CommandLine::Exec(vec!["/.corten-heredoc".into()]));
        assert_eq!(program.script.as_deref(), Some("#!/bin/sh\na\n"));
        assert_eq!(run("cat <<EOF", "a\n").line, CommandLine::Shell("cat <<EOF\na\nEOF".into()));
    }

    #[test]
    fn mount_points_that_the_image_lacks_leave_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("proc")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let stubs = prepare(root.as_fd(), Some("#!/bin/sh")).unwrap();
        for name in ["dev", "sys", "etc"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("etc/hosts"), "").unwrap();
        std::fs::write(dir.path().join("etc/hostname"), "written by the command").unwrap();
        clean(root.as_fd(), &stubs).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["etc", "proc"]);
        assert_eq!(std::fs::read_dir(dir.path().join("etc")).unwrap().count(), 1);
    }
}
