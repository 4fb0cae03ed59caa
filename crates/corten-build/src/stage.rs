//! One stage: its base, then one instruction after the other, each looked up in the cache before it is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_dockerfile::{Ast, Instruction, Item, Lex};
use corten_store::oci::RunConfig;
use corten_store::{Intake, IntakeError, Snapshot, SnapshotError, Store, Sync, Upper};
use corten_types::{ContainerId, Digest};

use crate::args::{BuildArgs, name_of};
use crate::build::{Removal, Shared};
use crate::cache::{self, Entry};
use crate::draft::{Draft, NewLayer};
use crate::error::BuildError;
use crate::executor::{Executor, ImageSource};
use crate::history;
use crate::plan::{Base, PlannedStage};
use crate::progress::Event;

/// A stage that is being built.
pub(crate) struct StageBuild<'a, H> {
    pub shared: &'a Shared<'a, H>,
    pub stage: &'a PlannedStage,
    pub args: BuildArgs,
    /// The number of the next step.
    pub index: usize,
    /// The image so far; there once the base is.
    pub draft: Option<Draft>,
    /// The image that the stage begins with, if it begins with one.
    pub base: Option<Digest>,
    /// The container that the current step has spoken of.
    pub container: Option<ContainerId>,
}

/// What a step is, for history and cache, before it is done.
pub(crate) struct Step {
    /// Its line in the history.
    pub created_by: String,
    /// What else its result depends on.
    pub inputs: String,
}

impl<'a, H: Executor + ImageSource> StageBuild<'a, H> {
    pub fn new(shared: &'a Shared<'a, H>, stage: &'a PlannedStage, args: BuildArgs, index: usize) -> Self {
        Self { shared, stage, args, index, draft: None, base: None, container: None }
    }

    pub fn emit(&self, event: Event<'_>) {
        self.shared.builder.output.event(event);
    }

    pub fn store(&self) -> &'a Store {
        self.shared.builder.store
    }

    /// Builds the stage; the result is in `draft`, also when it ends early.
    pub async fn run(&mut self) -> Result<(), BuildError> {
        let stage = &self.shared.program.stages[self.stage.index];
        self.announce(&stage.code);
        let mut draft = self.base().await?;
        let triggers = draft.take_triggers();
        self.base = draft.id();
        let base = draft.clone();
        self.draft = Some(draft);
        if triggers.is_empty() {
            self.draft = Some(base);
        } else {
            self.emit(Event::Triggers(triggers.len()));
            for trigger in &triggers {
                self.instruction(&parse_trigger(trigger)?).await?;
            }
        }
        self.emit(Event::Image(self.id().as_ref()));
        for instruction in &stage.instructions {
            if self.shared.builder.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            self.announce(&instruction.code);
            self.instruction(instruction).await?;
            self.emit(Event::Image(self.id().as_ref()));
        }
        Ok(())
    }

    fn announce(&mut self, code: &str) {
        self.emit(Event::Step { index: self.index, total: self.shared.total, code });
        self.index += 1;
    }

    fn id(&self) -> Option<Digest> {
        self.draft.as_ref().and_then(Draft::id)
    }

    /// The image so far. A stage has one from its base on.
    pub fn draft(&mut self) -> &mut Draft {
        let platform = self.shared.request.platform.clone();
        self.draft
            .get_or_insert_with(|| Draft::scratch(&platform.unwrap_or_else(corten_types::Platform::host)))
    }

    async fn base(&self) -> Result<Draft, BuildError> {
        let platform = match &self.stage.platform {
            Some(text) => {
                Some(text.parse().map_err(|source| BuildError::Platform { platform: text.clone(), source })?)
            }
            None => self.shared.request.platform.clone(),
        };
        Ok(match &self.stage.base {
            Base::Scratch => Draft::scratch(&platform.unwrap_or_else(corten_types::Platform::host)),
            Base::Stage(index) => match &self.shared.drafts[*index] {
                Some(draft) => draft.branch(),
                None => Draft::scratch(&platform.unwrap_or_else(corten_types::Platform::host)),
            },
            Base::Image(name) => {
                let image = self.image(name, platform.as_ref()).await?;
                Draft::from_image(&image)
            }
        })
    }

    /// An image by name, brought once per build.
    pub async fn image(
        &self,
        name: &str,
        platform: Option<&corten_types::Platform>,
    ) -> Result<corten_store::Image, BuildError> {
        let key = format!("{name} {}", platform.map(ToString::to_string).unwrap_or_default());
        let known = |images: &BTreeMap<String, corten_store::Image>| images.get(&key).cloned();
        if let Some(image) = self.shared.images.lock().ok().and_then(|images| known(&images)) {
            return Ok(image);
        }
        let image = self.shared.builder.host.image(name, platform, self.shared.builder.output).await?;
        if let Some(chain) = image.chain_id() {
            self.shared.lease.hold_layer(&chain);
        }
        for layer in &image.layers {
            self.shared.lease.hold(&layer.descriptor.digest);
        }
        if let Ok(mut images) = self.shared.images.lock() {
            images.insert(key, image.clone());
        }
        Ok(image)
    }

    /// What variables in this stage's instructions stand for: the environment, then build arguments it does not hide.
    pub fn variables(&mut self) -> BTreeMap<String, String> {
        let env = self.draft().env().to_vec();
        let mut variables = self.args.visible(&env);
        for entry in &env {
            let value = entry.split_once('=').map_or("", |(_, value)| value);
            variables.insert(name_of(entry).to_owned(), value.to_owned());
        }
        variables
    }

    async fn instruction(&mut self, instruction: &Instruction) -> Result<(), BuildError> {
        self.container = None;
        let outcome = self.dispatch(instruction).await;
        if let Some(id) = self.container.take() {
            let say = match self.shared.request.removal {
                Removal::Always => true,
                Removal::OnSuccess => outcome.is_ok(),
                Removal::Never => false,
            };
            if say {
                self.emit(Event::Removed(&id));
            }
        }
        outcome
    }

    async fn dispatch(&mut self, instruction: &Instruction) -> Result<(), BuildError> {
        let line = instruction.span.first_line;
        let variables = self.variables();
        let lookup = |name: &str| variables.get(name).cloned();
        let lex = Lex::new(self.shared.escape);
        let mut item = instruction.item.clone();
        item.expand(&mut |word| lex.word(word, &lookup))
            .map_err(|source| BuildError::Instruction { line, source })?;
        match &mut item {
            Item::Expose(words) => {
                let mut all = Vec::new();
                for word in words.iter() {
                    let expanded = lex.words(word, &lookup);
                    all.extend(
                        expanded.map_err(|source| BuildError::Instruction { line, source: source.into() })?,
                    );
                }
                *words = all;
            }
            Item::Arg(definitions) => {
                for definition in definitions.iter() {
                    self.args.declare(&definition.name, definition.default.clone());
                }
            }
            Item::Healthcheck(_) => {
                let replaced = self.draft().run().healthcheck.as_ref().map(|check| check.test.clone());
                if let Some(test) = replaced.filter(|test| test.first().is_some_and(|first| first != "NONE"))
                {
                    self.emit(Event::HealthcheckReplaced(&test));
                }
            }
            _ => {}
        }
        match item {
            Item::Copy(copy) => self.copy(copy, line).await,
            Item::Add(add) => self.add(add, line).await,
            Item::Run(run) => self.run_command(run, line).await,
            Item::Workdir(path) => self.workdir(&path, line).await,
            item => self.metadata(&item, line).await,
        }
    }

    /// An instruction that changes the config and nothing else.
    async fn metadata(&mut self, item: &Item, line: u32) -> Result<(), BuildError> {
        let before = self.draft().clone();
        let comment = self.draft().apply(item).map_err(|source| BuildError::Apply { line, source })?;
        let shell = self.draft().shell();
        let step = Step {
            created_by: history::metadata(&shell, &comment.unwrap_or_default()),
            inputs: String::new(),
        };
        let key = self.key(&before, &step);
        if self.cached(&before, &step, &key)? {
            return Ok(());
        }
        self.announce_container(ContainerId::random());
        self.finish(step, &key, None).await
    }

    pub fn announce_container(&mut self, id: ContainerId) {
        self.emit(Event::Running(&id));
        self.container = Some(id);
    }

    /// The cache's key of a step on `before`; the draft is already as it will be run.
    pub fn key(&mut self, before: &Draft, step: &Step) -> Digest {
        let run: RunConfig = self.draft().run().clone();
        cache::key(before, &run, &step.created_by, &step.inputs)
    }

    /// Takes the step's result from the cache, if it is there.
    pub fn cached(&mut self, before: &Draft, step: &Step, key: &Digest) -> Result<bool, BuildError> {
        if self.shared.request.no_cache {
            return Ok(false);
        }
        let Some(entry) = self.shared.cache.find(key, before)? else { return Ok(false) };
        if let Some(layer) = entry.layer() {
            let chain = Digest::chain(before.chain().as_ref(), &layer.diff_id);
            // The collector may have been faster.
            if !self.shared.lease.hold_layer(&chain) || !self.shared.lease.hold(&layer.descriptor.digest) {
                return Ok(false);
            }
        }
        self.emit(Event::Cached);
        self.draft().commit(&entry.created, step.created_by.clone(), "", entry.layer());
        Ok(true)
    }

    /// Ends a step that was done, and remembers it.
    pub async fn finish(
        &mut self,
        step: Step,
        key: &Digest,
        layer: Option<NewLayer>,
    ) -> Result<(), BuildError> {
        let created = jiff::Timestamp::now().to_string();
        let entry = Entry::new(&created, layer.as_ref());
        self.draft().commit(&created, step.created_by, "", layer);
        Ok(self.shared.cache.put(key, &entry).await?)
    }

    /// A writable tree on the image so far.
    pub async fn snapshot(&mut self, id: &ContainerId) -> Result<StepSnapshot, BuildError> {
        let chain = self.draft().chain();
        let snapshot = self.store().snapshots().prepare(id.as_str(), chain.as_ref()).await?;
        Ok(StepSnapshot {
            store: self.store().clone(),
            lease: self.shared.lease.clone(),
            snapshot: Some(snapshot),
        })
    }
}

/// The tree that a step writes into; gone when the step is.
pub(crate) struct StepSnapshot {
    store: Store,
    lease: Arc<Intake>,
    snapshot: Option<Snapshot>,
}

impl StepSnapshot {
    /// Mounts it.
    pub fn mount(&self) -> Result<std::os::fd::OwnedFd, BuildError> {
        match &self.snapshot {
            Some(snapshot) => Ok(snapshot.mount(Sync::Volatile)?),
            None => Err(BuildError::Cancelled),
        }
    }

    /// Makes a layer of what was written, if anything was, and holds it for the build. Its mounts are gone.
    pub async fn commit(mut self) -> Result<Option<NewLayer>, BuildError> {
        let Some(snapshot) = self.snapshot.take() else { return Ok(None) };
        let (store, lease) = (self.store.clone(), self.lease.clone());
        let key = snapshot.key().to_owned();
        let made = blocking(move || -> Result<Option<NewLayer>, IntakeError> {
            let intake = store.intake();
            let Some(layer) = intake.commit_snapshot(snapshot.key(), Upper::Becomes)? else {
                return Ok(None);
            };
            intake.commit_under(&lease)?;
            Ok(Some(NewLayer { diff_id: layer.diff_id, descriptor: layer.descriptor }))
        })
        .await;
        match self.store.snapshots().remove(&key).await {
            // It is the layer's tree.
            Err(SnapshotError::NotFound { .. }) if matches!(made, Ok(Some(_))) => {}
            removed => removed?,
        }
        Ok(made?)
    }

    /// Throws away what was written.
    pub async fn discard(mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            remove(&self.store, snapshot.key()).await;
        }
    }
}

impl Drop for StepSnapshot {
    fn drop(&mut self) {
        // Only when the build's future is dropped in the middle of a step.
        if let Some(snapshot) = self.snapshot.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let store = self.store.clone();
            runtime.spawn(async move { remove(&store, snapshot.key()).await });
        }
    }
}

async fn remove(store: &Store, key: &str) {
    if let Err(error) = store.snapshots().remove(key).await {
        tracing::warn!(key, %error, "a build step's tree could not be removed");
    }
}

/// Runs file work on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends; nobody reads the answer.
            Err(_) => std::future::pending().await,
        },
    }
}

fn parse_trigger(text: &str) -> Result<Instruction, BuildError> {
    let parse = |error| BuildError::Parse { name: "ONBUILD".into(), error };
    let ast = Ast::parse(text.as_bytes()).map_err(parse)?;
    match ast.nodes.as_slice() {
        [node] => corten_dockerfile::instruction(node).map_err(parse),
        _ => Err(BuildError::Trigger),
    }
}

/// The files below a tree that a step copies from; kept open while it does.
pub(crate) type SourceTree = Arc<std::os::fd::OwnedFd>;
