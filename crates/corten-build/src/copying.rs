//! COPY and ADD.

use std::os::fd::AsFd;
use std::sync::Arc;

use corten_dockerfile::ignore::Patterns;
use corten_dockerfile::{Add, Copy, Heredoc, Lex, Sources};
use corten_types::{ContainerId, Digest};

use crate::draft::{Draft, NewLayer};
use crate::error::{BuildError, CopyError};
use crate::executor::{Executor, ImageSource};
use crate::fingerprint::{Owners, fingerprint};
use crate::history;
use crate::owner::{Chmod, Owner, owner};
use crate::plan::earlier_stage;
use crate::select::{Selected, select};
use crate::stage::{SourceTree, StageBuild, Step, blocking};
use crate::transfer::{Options, Target};

/// A copy with everything decided but what the sources are.
struct Plan {
    keyword: &'static str,
    line: u32,
    paths: Vec<String>,
    documents: Vec<Heredoc>,
    destination: String,
    chown: Option<String>,
    chmod: Option<Chmod>,
    chmod_text: Option<String>,
    exclude: Patterns,
    parents: bool,
    unpack: bool,
    /// Keep the owners of the sources where no `--chown` says otherwise.
    keeps_owners: bool,
    /// What is not in the context is worded so.
    from_context: bool,
}

/// What the sources are.
struct Found {
    selected: Vec<Selected>,
    /// `file:…`, `dir:…` or `multi:…`.
    hash: String,
}

impl<H: Executor + ImageSource> StageBuild<'_, H> {
    pub async fn copy(&mut self, copy: Copy, line: u32) -> Result<(), BuildError> {
        let refuse = |source| BuildError::Copy { keyword: "COPY", line, source };
        if copy.sources.paths.iter().any(|path| is_url(path)) {
            return Err(refuse(CopyError::Url));
        }
        let tree = match &copy.from {
            None => self.context_tree().map_err(refuse)?,
            Some(from) => {
                let tree = self.tree_of(from).await;
                Some(tree.map_err(|error| of_from(from, line, error))?)
            }
        };
        let plan = Plan {
            keyword: "COPY",
            line,
            chmod: chmod(copy.chmod.as_deref(), line)?,
            chmod_text: copy.chmod,
            exclude: patterns(&copy.exclude, line)?,
            parents: copy.parents,
            unpack: false,
            keeps_owners: copy.from.is_some() && copy.chown.is_none(),
            from_context: copy.from.is_none(),
            chown: copy.chown,
            destination: self.destination(&copy.sources),
            paths: copy.sources.paths,
            documents: self.documents(copy.sources.documents, line)?,
        };
        self.perform(plan, tree, &copy.sources.destination).await
    }

    pub async fn add(&mut self, add: Add, line: u32) -> Result<(), BuildError> {
        let unsupported = |what: String| BuildError::Unsupported { what, line };
        if let Some(url) = add.sources.paths.iter().find(|path| is_url(path) || is_git(path)) {
            return Err(unsupported(format!("ADD of the remote source {url}")));
        }
        if add.checksum.is_some() {
            return Err(unsupported("ADD --checksum".into()));
        }
        if add.keep_git_dir.is_some() {
            return Err(unsupported("ADD --keep-git-dir".into()));
        }
        let tree = self.context_tree().map_err(|source| BuildError::Copy { keyword: "ADD", line, source })?;
        let plan = Plan {
            keyword: "ADD",
            line,
            chmod: chmod(add.chmod.as_deref(), line)?,
            chmod_text: add.chmod,
            exclude: patterns(&add.exclude, line)?,
            parents: false,
            unpack: add.unpack.unwrap_or(true),
            keeps_owners: false,
            from_context: true,
            chown: add.chown,
            destination: self.destination(&add.sources),
            paths: add.sources.paths,
            documents: self.documents(add.sources.documents, line)?,
        };
        self.perform(plan, tree, &add.sources.destination).await
    }

    fn context_tree(&self) -> Result<Option<SourceTree>, CopyError> {
        let Some(context) = &self.shared.request.context else { return Ok(None) };
        Ok(Some(Arc::new(context.root().try_clone_to_owned()?)))
    }

    /// The files of a stage or an image, read-only.
    async fn tree_of(&self, from: &str) -> Result<SourceTree, BuildError> {
        let snapshots = self.store().snapshots();
        let stage = earlier_stage(self.shared.program, self.stage.index, from)?;
        let chain = match stage.and_then(|index| self.shared.drafts[index].as_ref()) {
            Some(draft) => draft.chain(),
            None => self.image(from, self.shared.request.platform.as_ref()).await?.chain_id(),
        };
        Ok(Arc::new(snapshots.view(chain.as_ref())?))
    }

    /// The destination as an absolute path that keeps its trailing slash.
    fn destination(&mut self, sources: &Sources) -> String {
        let text = &sources.destination;
        let mut path = if text.starts_with('/') {
            text.clone()
        } else {
            let clean = corten_dockerfile::path_match::clean(&format!("{}/{text}", self.draft().workdir()));
            // `.` and `..` mean the directory itself.
            if text.ends_with('/') || text == "." || text.ends_with("/.") || text.ends_with("..") {
                format!("{clean}/")
            } else {
                clean
            }
        };
        if path.ends_with("/.") {
            path.pop();
        }
        path
    }

    fn documents(&mut self, documents: Vec<Heredoc>, line: u32) -> Result<Vec<Heredoc>, BuildError> {
        let variables = self.variables();
        let lex = Lex { plain_quotes: true, ..Lex::new(self.shared.escape) };
        documents
            .into_iter()
            .map(|mut document| {
                if document.expand {
                    document.content = lex
                        .word(&document.content, &|name| variables.get(name).cloned())
                        .map_err(|source| BuildError::Instruction { line, source: source.into() })?;
                }
                Ok(document)
            })
            .collect()
    }

    async fn perform(
        &mut self,
        plan: Plan,
        tree: Option<SourceTree>,
        written: &str,
    ) -> Result<(), BuildError> {
        let (keyword, line) = (plan.keyword, plan.line);
        let refuse = |source| BuildError::Copy { keyword, line, source };
        let plan = Arc::new(plan);
        let found = {
            let (plan, tree) = (plan.clone(), tree.clone());
            blocking(move || find(&plan, tree.as_ref())).await.map_err(refuse)?
        };
        let sources = found.selected.len() + plan.documents.len();
        if sources > 1 && !written.ends_with('/') && !is_directory_word(written) {
            return Err(BuildError::Destination { keyword, line });
        }
        let before: Draft = self.draft().clone();
        let shell = before.shell();
        let chown = plan.chown.as_ref().map(|owner| format!("--chown={owner} ")).unwrap_or_default();
        let comment = format!("{} {chown}{} in {written} ", plan.keyword, found.hash);
        let step = Step {
            created_by: history::files(&shell, &comment),
            inputs: format!(
                "{} chmod={:?} parents={} unpack={} owners={}",
                plan.destination, plan.chmod_text, plan.parents, plan.unpack, plan.keeps_owners
            ),
        };
        let key = self.key(&before, &step);
        if self.cached(&before, &step, &key)? {
            return Ok(());
        }
        let snapshot = self.snapshot(&ContainerId::random()).await?;
        let copied = match snapshot.mount() {
            Ok(rootfs) => blocking(move || transfer(&plan, &found, rootfs.as_fd())).await,
            Err(error) => Err(error),
        };
        if let Err(error) = copied {
            snapshot.discard().await;
            return Err(error);
        }
        let layer: Option<NewLayer> = snapshot.commit().await?;
        self.finish(step, &key, layer).await
    }
}

/// Wraps what went wrong with the image of `--from`; what is wrong with its name says so already.
fn of_from(name: &str, line: u32, error: BuildError) -> BuildError {
    match error {
        error @ BuildError::From { .. } => error,
        error => BuildError::FromImage { name: name.into(), line, source: Box::new(error) },
    }
}

/// Whether a destination means a directory without a trailing slash.
fn is_directory_word(written: &str) -> bool {
    matches!(written, "." | "..") || written.ends_with("/.") || written.ends_with("/..")
}

/// Finds the sources and what identifies their content.
fn find(plan: &Plan, tree: Option<&SourceTree>) -> Result<Found, CopyError> {
    let mut selected = Vec::new();
    let mut prints = Vec::new();
    if !plan.paths.is_empty() {
        let Some(tree) = tree else { return Err(CopyError::NoContext) };
        let owners = if plan.keeps_owners { Owners::Counted } else { Owners::Ignored };
        for path in &plan.paths {
            let matches = select(tree.as_fd(), path).map_err(|error| match error {
                crate::select::SelectError::NotFound { .. } if plan.from_context => {
                    CopyError::NotInContext(error)
                }
                error => CopyError::Select(error),
            })?;
            for one in matches {
                let kind = if one.is_directory() { "dir" } else { "file" };
                let mut print = fingerprint(&one, owners, &plan.exclude)?;
                if plan.parents {
                    print = Digest::of(format!("{print} {}", one.path).as_bytes());
                }
                prints.push((kind, print));
                selected.push(one);
            }
        }
    }
    for document in &plan.documents {
        prints.push(("file", Digest::of(format!("{}\0{}", document.name, document.content).as_bytes())));
    }
    let hash = match prints.as_slice() {
        [] => return Err(CopyError::NoSources),
        [(kind, print)] => format!("{kind}:{}", print.hex()),
        many => {
            let texts: Vec<String> =
                many.iter().map(|(kind, print)| format!("{kind}:{}", print.hex())).collect();
            format!("multi:{}", Digest::of(texts.join(",").as_bytes()).hex())
        }
    };
    Ok(Found { selected, hash })
}

fn transfer(plan: &Plan, found: &Found, rootfs: std::os::fd::BorrowedFd<'_>) -> Result<(), BuildError> {
    let new_owner = match &plan.chown {
        Some(text) => owner(text, rootfs).map_err(|source| BuildError::Owner { line: plan.line, source })?,
        None => Owner::ROOT,
    };
    let target = Target::new(rootfs);
    let options = Options {
        owner: (!plan.keeps_owners).then_some(new_owner),
        chmod: plan.chmod.as_ref(),
        exclude: &plan.exclude,
    };
    for one in &found.selected {
        if plan.unpack && !one.is_directory() && unpack(one, &plan.destination, &target, rootfs)? {
            continue;
        }
        let destination =
            if plan.parents { with_parents(&plan.destination, one) } else { plan.destination.clone() };
        target.copy(one, &destination, &options)?;
    }
    for document in &plan.documents {
        let mode = plan.chmod.as_ref().map_or(0o644, |chmod| chmod.apply(0o644, false));
        target.write(document.content.as_bytes(), &document.name, &plan.destination, mode, new_owner)?;
    }
    Ok(())
}

/// `--parents`: the destination with the directories of the source's path.
fn with_parents(destination: &str, selected: &Selected) -> String {
    let base = destination.trim_end_matches('/');
    if selected.is_directory() {
        return format!("{base}/{}", selected.path);
    }
    match selected.path.rsplit_once('/') {
        Some((parent, _)) => format!("{base}/{parent}/"),
        None => format!("{base}/"),
    }
}

/// Unpacks a file that is an archive into the destination; says whether it is one.
fn unpack(
    selected: &Selected,
    destination: &str,
    target: &Target<'_>,
    rootfs: std::os::fd::BorrowedFd<'_>,
) -> Result<bool, BuildError> {
    use std::io::{BufReader, Seek};
    let broken = |reason: String| BuildError::Unpack { path: selected.path.clone(), reason };
    let io = |source: std::io::Error| broken(source.to_string());
    let file = crate::fingerprint::open_file(selected.location.as_fd(), None).map_err(io)?;
    let mut file = std::fs::File::from(file);
    if !is_archive(&file) {
        return Ok(false);
    }
    file.rewind().map_err(io)?;
    target.make_directories(destination, Owner::ROOT)?;
    let limits = corten_archive::Limits::for_disk(rootfs);
    let reader = BufReader::with_capacity(256 << 10, file);
    let mut plain = corten_archive::decompress(reader).map_err(|error| broken(error.to_string()))?;
    let options = corten_archive::ApplyOptions::copy(limits);
    corten_archive::unpack(rootfs, destination.as_bytes(), &mut plain, &options)
        .map_err(|error| broken(error.to_string()))?;
    Ok(true)
}

/// Whether the first entry of a file, decompressed, is a tar header.
fn is_archive(file: &std::fs::File) -> bool {
    let reader = std::io::BufReader::with_capacity(64 << 10, file);
    let Ok(plain) = corten_archive::decompress(reader) else { return false };
    matches!(corten_archive::Reader::new(plain).next_entry(), Ok(Some(_)))
}

fn chmod(text: Option<&str>, line: u32) -> Result<Option<Chmod>, BuildError> {
    text.map(Chmod::parse).transpose().map_err(|source| BuildError::Mode { line, source })
}

fn patterns(exclude: &[String], line: u32) -> Result<Patterns, BuildError> {
    Patterns::new(exclude.iter().map(String::as_str)).map_err(|source| BuildError::Exclude { line, source })
}

fn is_url(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

fn is_git(path: &str) -> bool {
    path.starts_with("git://") || path.starts_with("git@") || path.starts_with("ssh://")
}
