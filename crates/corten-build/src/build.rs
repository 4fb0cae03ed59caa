//! A whole build: Dockerfile to stored image, stage after stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_dockerfile::instruction::Item;
use corten_dockerfile::{Ast, GlobalArg, Instruction, Lex, Pair, Program, Span};
use corten_store::{Intake, Name, Store};
use corten_types::{Digest, Platform, Reference};
use tokio_util::sync::CancellationToken;

use crate::args::BuildArgs;
use crate::cache::Cache;
use crate::context::Context;
use crate::draft::Draft;
use crate::error::BuildError;
use crate::executor::{Executor, ImageSource};
use crate::plan::plan;
use crate::progress::{Event, Output};
use crate::stage::StageBuild;

/// When a step says that its container is gone. (It is gone in any case.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Removal {
    /// Never.
    Never,
    /// After a step that went well.
    #[default]
    OnSuccess,
    /// After every step.
    Always,
}

/// What is asked for.
#[derive(Debug, Default)]
pub struct Request {
    /// The files that COPY and ADD take; a Dockerfile alone has none.
    pub context: Option<Arc<Context>>,
    /// The Dockerfile's bytes.
    pub dockerfile: Vec<u8>,
    /// Its name, for errors.
    pub dockerfile_name: String,
    /// `--target`.
    pub target: Option<String>,
    /// `--build-arg`; `None` names an argument without a value.
    pub args: BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--platform`.
    pub platform: Option<Platform>,
    /// `--rm`, `--force-rm`.
    pub removal: Removal,
    /// Names for the image.
    pub names: Vec<Reference>,
}

/// Builds images of one store with one host.
pub struct Builder<'a, H> {
    /// Where images are kept.
    pub store: &'a Store,
    /// Who runs commands and brings images.
    pub host: &'a H,
    /// Who listens.
    pub output: &'a dyn Output,
    /// Ends the build early.
    pub cancel: &'a CancellationToken,
}

/// The note about an image's parent that the classic builder leaves with its name: the image that its last stage began
/// with. Docker's own name for it.
pub const PARENT_LABEL: &str = "org.mobyproject.image.parent";

/// The results of the stages that are done, and what all stages share.
pub(crate) struct Shared<'a, H> {
    pub builder: &'a Builder<'a, H>,
    pub request: &'a Request,
    pub program: &'a Program,
    pub escape: char,
    pub cache: Cache,
    /// Keeps what the build uses from the store's collector.
    pub lease: Arc<Intake>,
    /// Results by stage.
    pub drafts: Vec<Option<Draft>>,
    /// Images that were brought, by name.
    pub images: std::sync::Mutex<BTreeMap<String, corten_store::Image>>,
    pub total: usize,
}

impl<H: Executor + ImageSource> Builder<'_, H> {
    /// Builds and names the image; gives its id.
    pub async fn build(&self, request: &Request) -> Result<Digest, BuildError> {
        let parse = |error| BuildError::Parse { name: request.dockerfile_name.clone(), error };
        let ast = Ast::parse(&request.dockerfile).map_err(parse)?;
        let mut program = Program::from_ast(&ast).map_err(parse)?;
        let escape = ast.directives.escape;
        let platform = request.platform.clone().unwrap_or_else(Platform::host);

        let mut args = BuildArgs::new(request.args.clone(), automatic(&platform));
        for global in &program.global_args {
            declare_global(&mut args, global, escape)?;
        }
        let planned = plan(&program, request.target.as_deref(), &args, escape)?;
        let Some(target) = planned.last().map(|stage| stage.index) else { return Err(BuildError::Cancelled) };
        let span = program.stages[target].span;
        program.stages[target].instructions.extend(labels(&request.labels, span));

        let steps = planned.iter().map(|stage| 1 + program.stages[stage.index].instructions.len());
        let mut shared = Shared {
            builder: self,
            request,
            program: &program,
            escape,
            cache: Cache::new(self.store),
            lease: Arc::new(self.store.intake()),
            drafts: vec![None; program.stages.len()],
            images: std::sync::Mutex::default(),
            total: program.global_args.len() + steps.sum::<usize>(),
        };
        for warning in &ast.warnings {
            self.output.event(Event::Warning(&warning.to_string()));
        }
        if !ast.warnings.is_empty() {
            self.output
                .event(Event::Warning("Empty continuation lines will become errors in a future release."));
        }
        let mut index = 1;
        for global in &program.global_args {
            self.output.event(Event::Step { index, total: shared.total, code: &global.code });
            index += 1;
        }
        let mut parents: Vec<Option<Digest>> = vec![None; program.stages.len()];
        for stage in &planned {
            let mut build = StageBuild::new(&shared, stage, args.for_stage(), index);
            let outcome = build.run().await;
            let StageBuild { draft, base: parent, index: next, args: stage_args, .. } = build;
            index = next;
            args.absorb(&stage_args);
            if let Err(error) = outcome {
                // What was built so far serves the next attempt.
                if let Some(draft) = draft.filter(|draft| !draft.is_unchanged()) {
                    self.keep(&draft, parent, &[])?;
                }
                return Err(error);
            }
            let Some(draft) = draft else { return Err(BuildError::Cancelled) };
            if let Some(id) = draft.id() {
                self.output.event(Event::Stage(&id));
            }
            if stage.index != target {
                self.keep(&draft, parent, &[])?;
            }
            parents[stage.index] = parent;
            shared.drafts[stage.index] = Some(draft);
        }
        let unconsumed = args.unconsumed();
        if !unconsumed.is_empty() {
            self.output.event(Event::Unconsumed(&unconsumed));
        }
        let Some(draft) = shared.drafts[target].take() else { return Err(BuildError::Cancelled) };
        let id = self.keep(&draft, parents[target], &request.names)?;
        self.output.event(Event::Built(&id));
        for name in &request.names {
            self.output.event(Event::Tagged(&name.familiar()));
        }
        Ok(id)
    }

    /// Stores a draft as an image with these names, or with none, and notes the image it began with.
    fn keep(&self, draft: &Draft, parent: Option<Digest>, names: &[Reference]) -> Result<Digest, BuildError> {
        if let Some(base) = draft.id().filter(|_| draft.is_unchanged()) {
            // The image is there already; only names may be new.
            let Some(known) = self.store.images().names_of(&base).into_iter().next() else { return Ok(base) };
            let intake = self.store.intake();
            for name in names {
                intake.name(Name::Reference(name.clone()), known.target.clone(), known.labels.clone());
            }
            intake.commit()?;
            return Ok(base);
        }
        let documents = draft.documents();
        let intake = self.store.intake();
        intake.bytes(corten_store::oci::media::CONFIG, &documents.config)?;
        intake.bytes(corten_store::oci::media::MANIFEST, &documents.manifest)?;
        let id = documents.descriptor.digest;
        let labels: BTreeMap<String, String> =
            parent.into_iter().map(|parent| (PARENT_LABEL.to_owned(), parent.to_string())).collect();
        if names.is_empty() && self.store.images().names_of(&id).is_empty() {
            intake.name(Name::Dangling(id), documents.descriptor.clone(), labels.clone());
        }
        for name in names {
            intake.name(Name::Reference(name.clone()), documents.descriptor.clone(), labels.clone());
        }
        intake.commit()?;
        Ok(id)
    }
}

fn declare_global(args: &mut BuildArgs, global: &GlobalArg, escape: char) -> Result<(), BuildError> {
    let expand = |args: &BuildArgs, word: &str| {
        let line = global.span.first_line;
        Lex::new(escape)
            .word(word, &|name| args.global_value(name))
            .map_err(|source| BuildError::Instruction { line, source: source.into() })
    };
    for definition in &global.definitions {
        let name = expand(args, &definition.name)?;
        let default = definition.default.as_deref().map(|text| expand(args, text)).transpose()?;
        args.declare_global(&name, default);
    }
    Ok(())
}

/// The values that `ARG TARGETARCH` and its like have.
fn automatic(target: &Platform) -> BTreeMap<String, String> {
    let host = Platform::host();
    let mut args = BTreeMap::new();
    for (prefix, platform) in [("TARGET", target), ("BUILD", &host)] {
        args.insert(format!("{prefix}PLATFORM"), platform.to_string());
        args.insert(format!("{prefix}OS"), platform.os.clone());
        args.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        args.insert(format!("{prefix}VARIANT"), platform.variant.clone());
    }
    args
}

/// `LABEL` instructions for labels that come from outside the file, ordered by name.
fn labels(labels: &BTreeMap<String, String>, span: Span) -> Vec<Instruction> {
    labels
        .iter()
        .map(|(key, value)| Instruction {
            code: format!("LABEL {key}={value}"),
            span,
            item: Item::Label {
                pairs: vec![Pair { key: key.clone(), value: value.clone(), old_form: false }],
                literal: true,
            },
        })
        .collect()
}
