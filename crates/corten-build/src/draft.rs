//! The image under construction, and what each instruction changes in it. Pure: no clock, no disk.

use std::collections::BTreeMap;

use corten_dockerfile::{CommandLine, Healthcheck, Item, Pair, path_match};
use corten_store::Image;
use corten_store::oci::{Descriptor, Empty, History, ImageConfig, Manifest, RootFs, RunConfig, media};
use corten_types::{Digest, Platform};

use crate::args::name_of;
use crate::expose::{self, ExposeError};
use crate::history;

/// The search path of an image that sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image that is being made: the config and layers so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The config, history included.
    pub config: ImageConfig,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// Whether a CMD of this stage set the command; then ENTRYPOINT leaves it.
    cmd_set: bool,
    /// What the draft is an unchanged copy of.
    base: Option<Digest>,
}

/// The documents that make a draft an image.
pub struct Documents {
    /// The config's bytes.
    pub config: Vec<u8>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// What names the manifest.
    pub descriptor: Descriptor,
}

/// A layer that a step made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of its plain tar.
    pub diff_id: Digest,
}

/// A config that an instruction cannot be applied to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A port cannot be meant.
    #[error(transparent)]
    Expose(#[from] ExposeError),
    /// A signal that does not exist.
    #[error("invalid signal: {0}")]
    Signal(String),
    /// `WORKDIR` of nothing.
    #[error("cannot normalize nothing")]
    EmptyWorkdir,
}

impl Draft {
    /// Nothing, for `platform`: `FROM scratch`.
    pub fn scratch(platform: &Platform) -> Self {
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            rootfs: RootFs { kind: "layers".into(), diff_ids: Vec::new() },
            ..ImageConfig::default()
        };
        let mut draft = Self { config, layers: Vec::new(), cmd_set: false, base: None };
        draft.set_default_path();
        draft
    }

    /// A copy of `image`.
    pub fn from_image(image: &Image) -> Self {
        let mut config = (*image.config).clone();
        config.rootfs.kind = "layers".into();
        let mut draft =
            Self { config, layers: image.manifest.layers.clone(), cmd_set: false, base: Some(image.id) };
        draft.set_default_path();
        draft
    }

    /// A copy of another stage's result, for a stage that begins with it.
    #[must_use]
    pub fn branch(&self) -> Self {
        Self { cmd_set: false, ..self.clone() }
    }

    fn set_default_path(&mut self) {
        let env = self.config.config.env.get_or_insert_default();
        if !env.iter().any(|entry| name_of(entry) == "PATH") {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
    }

    /// How the image is run.
    pub fn run(&self) -> &RunConfig {
        &self.config.config
    }

    /// The environment, `NAME=value`.
    pub fn env(&self) -> &[String] {
        self.config.config.env.as_deref().unwrap_or_default()
    }

    /// The shell of shell forms.
    pub fn shell(&self) -> Vec<String> {
        history::shell(self.config.config.shell.as_deref())
    }

    /// The working directory, `/` where none is set.
    pub fn workdir(&self) -> &str {
        match self.config.config.working_dir.as_str() {
            "" => "/",
            dir => dir,
        }
    }

    /// The ChainID of the layers so far.
    pub fn chain(&self) -> Option<Digest> {
        self.config
            .rootfs
            .diff_ids
            .iter()
            .fold(None, |parent, diff_id| Some(Digest::chain(parent.as_ref(), diff_id)))
    }

    /// What the image's id is, or would be if it were stored as it stands; nothing for an empty draft.
    pub fn id(&self) -> Option<Digest> {
        match self.base {
            Some(base) => Some(base),
            None if self.config.history.is_empty() => None,
            None => Some(self.documents().descriptor.digest),
        }
    }

    /// Whether no instruction has changed anything since the draft was made of an image.
    pub fn is_unchanged(&self) -> bool {
        self.base.is_some()
    }

    /// Takes the triggers that the base image left for whoever builds on it.
    pub fn take_triggers(&mut self) -> Vec<String> {
        self.config.config.on_build.take().unwrap_or_default()
    }

    /// Ends a step: its layer, if it made one, and its line in the history.
    pub fn commit(&mut self, created: &str, created_by: String, comment: &str, layer: Option<NewLayer>) {
        self.base = None;
        self.config.created = Some(created.into());
        self.config.history.push(History {
            created: Some(created.into()),
            created_by,
            author: self.config.author.clone(),
            comment: comment.into(),
            empty_layer: layer.is_none(),
        });
        if let Some(layer) = layer {
            self.layers.push(layer.descriptor);
            self.config.rootfs.diff_ids.push(layer.diff_id);
        }
    }

    /// The config and manifest as bytes.
    pub fn documents(&self) -> Documents {
        // The types serialize without fail: string keys, no floats.
        let config = serde_json::to_vec(&self.config).unwrap_or_default();
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::MANIFEST.into(),
            artifact_type: String::new(),
            config: Descriptor::new(media::CONFIG, Digest::of(&config), config.len() as u64),
            layers: self.layers.clone(),
            subject: None,
            annotations: BTreeMap::new(),
        };
        let manifest = serde_json::to_vec(&manifest).unwrap_or_default();
        let mut descriptor = Descriptor::new(media::MANIFEST, Digest::of(&manifest), manifest.len() as u64);
        descriptor.platform = None;
        Documents { config, manifest, descriptor }
    }

    /// Applies an instruction that changes only the config; gives the text for the history. Variables are replaced
    /// already. `None`: the instruction is of another kind.
    pub fn apply(&mut self, item: &Item) -> Result<Option<String>, ApplyError> {
        let run = &mut self.config.config;
        Ok(Some(match item {
            Item::Env(pairs) => {
                let env = run.env.get_or_insert_default();
                for pair in pairs {
                    let entry = format!("{}={}", pair.key, pair.value);
                    match env.iter_mut().find(|existing| name_of(existing) == pair.key) {
                        Some(existing) => *existing = entry,
                        None => env.push(entry),
                    }
                }
                comment("ENV", pairs)
            }
            Item::Label { pairs, .. } => {
                let labels = run.labels.get_or_insert_default();
                labels.extend(pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())));
                comment("LABEL", pairs)
            }
            Item::Maintainer(author) => {
                self.config.author.clone_from(author);
                format!("MAINTAINER {author}")
            }
            Item::Cmd(line) => {
                let command = command(line, &history::shell(run.shell.as_deref()));
                let text = format!("CMD {}", history::quoted_list(&command));
                run.cmd = Some(command);
                self.cmd_set |= !matches!(line, CommandLine::Empty)
                    && run.cmd.as_ref().is_some_and(|cmd| !cmd.is_empty());
                text
            }
            Item::Entrypoint(line) => {
                let entrypoint = match line {
                    CommandLine::Empty => Vec::new(),
                    line => command(line, &history::shell(run.shell.as_deref())),
                };
                let text = format!("ENTRYPOINT {}", history::quoted_list(&entrypoint));
                run.entrypoint = Some(entrypoint);
                if !self.cmd_set {
                    run.cmd = None;
                }
                text
            }
            Item::Expose(words) => {
                for word in words {
                    run.exposed_ports.extend(expose::ports(word)?.into_iter().map(|port| (port, Empty {})));
                }
                format!("EXPOSE {}", words.join(" "))
            }
            Item::User(user) => {
                run.user.clone_from(user);
                format!("USER {user}")
            }
            Item::Volume(paths) => {
                run.volumes.extend(paths.iter().map(|path| (path.clone(), Empty {})));
                format!("VOLUME {}", history::plain_list(paths))
            }
            Item::Stopsignal(signal) => {
                if !is_signal(signal) {
                    return Err(ApplyError::Signal(signal.clone()));
                }
                run.stop_signal.clone_from(signal);
                format!("STOPSIGNAL {signal}")
            }
            Item::Shell(words) => {
                run.shell = Some(words.clone());
                format!("SHELL {}", history::plain_list(words))
            }
            Item::Healthcheck(check) => {
                run.healthcheck = Some(health(check, run.healthcheck.as_ref()));
                format!("HEALTHCHECK {}", history::healthcheck(check))
            }
            Item::Onbuild(trigger) => {
                run.on_build.get_or_insert_default().push(trigger.clone());
                format!("ONBUILD {trigger}")
            }
            Item::Arg(definitions) => {
                let words: Vec<String> = definitions
                    .iter()
                    .map(|arg| match &arg.default {
                        Some(default) => format!("{}={default}", arg.name),
                        None => arg.name.clone(),
                    })
                    .collect();
                format!("ARG {}", words.join(" "))
            }
            Item::Add(_) | Item::Copy(_) | Item::Run(_) | Item::Workdir(_) => return Ok(None),
        }))
    }

    /// Applies WORKDIR; gives the new directory, absolute.
    pub fn apply_workdir(&mut self, path: &str) -> Result<String, ApplyError> {
        if path.is_empty() {
            return Err(ApplyError::EmptyWorkdir);
        }
        let dir = if path.starts_with('/') {
            path_match::clean(path)
        } else {
            path_match::clean(&format!("/{}/{path}", self.config.config.working_dir))
        };
        self.config.config.working_dir.clone_from(&dir);
        Ok(dir)
    }
}

/// A command line as words.
pub fn command(line: &CommandLine, shell: &[String]) -> Vec<String> {
    match line {
        CommandLine::Exec(words) => words.clone(),
        CommandLine::Shell(text) => shell.iter().cloned().chain([text.clone()]).collect(),
        CommandLine::Empty => shell.to_vec(),
    }
}

fn comment(keyword: &str, pairs: &[Pair]) -> String {
    pairs.iter().fold(keyword.to_owned(), |text, pair| format!("{text} {}={}", pair.key, pair.value))
}

/// A health check; what it leaves at zero it inherits from the one before.
fn health(
    check: &Healthcheck,
    before: Option<&corten_store::oci::Healthcheck>,
) -> corten_store::oci::Healthcheck {
    let before = before.cloned().unwrap_or_default();
    let or = |own: i64, inherited: i64| if own == 0 { inherited } else { own };
    corten_store::oci::Healthcheck {
        test: history::test_words(&check.test),
        interval: or(check.interval, before.interval),
        timeout: or(check.timeout, before.timeout),
        start_period: or(check.start_period, before.start_period),
        start_interval: or(check.start_interval, before.start_interval),
        retries: or(i64::from(check.retries), before.retries),
    }
}

/// Whether `text` is a signal's number, or its name with or without `SIG`.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 34] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
        "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
        "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |rest: &str, sign: char, limit: u32| {
        rest.is_empty()
            || rest
                .strip_prefix(sign)
                .and_then(|n| n.parse::<u32>().ok())
                .is_some_and(|n| (1..=limit).contains(&n))
    };
    NAMES.contains(&name)
        || name.strip_prefix("RTMIN").is_some_and(|rest| realtime(rest, '+', 15))
        || name.strip_prefix("RTMAX").is_some_and(|rest| realtime(rest, '-', 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(lines: &str) -> Vec<Item> {
        let (_, program) = corten_dockerfile::program(format!("FROM scratch\n{lines}").as_bytes()).unwrap();
        program.stages[0].instructions.iter().map(|instruction| instruction.item.clone()).collect()
    }

    fn draft(lines: &str) -> (Draft, Vec<String>) {
        let mut draft = Draft::scratch(&Platform::new("linux", "amd64", ""));
        let texts = items(lines).iter().map(|item| draft.apply(item).unwrap().unwrap_or_default()).collect();
        (draft, texts)
    }

    #[test]
    fn instructions_change_the_config_and_say_so() {
        let (draft, texts) = draft(
            "ENV A=1 PATH=/bin\nENV A=2\nLABEL l=v\nEXPOSE 80 53/udp\nUSER u\nVOLUME [\"/a\", \"/b\"]\nSTOPSIGNAL SIGUSR1\n\
             SHELL [\"/bin/bash\", \"-c\"]\nCMD echo hi\nONBUILD RUN x\nMAINTAINER me",
        );
        let run = draft.run();
        assert_eq!(draft.env(), ["PATH=/bin", "A=2"]);
        assert_eq!(run.cmd.as_deref().unwrap(), ["/bin/bash", "-c", "echo hi"]);
        assert_eq!(run.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(draft.config.author, "me");
        assert_eq!(
            texts,
            [
                "ENV A=1 PATH=/bin",
                "ENV A=2",
                "LABEL l=v",
                "EXPOSE 53/udp 80",
                "USER u",
                "VOLUME [/a /b]",
                "STOPSIGNAL SIGUSR1",
                "SHELL [/bin/bash -c]",
                "CMD [\"/bin/bash\" \"-c\" \"echo hi\"]",
                "ONBUILD RUN x",
                "MAINTAINER me",
            ]
        );
    }

    #[test]
    fn an_entrypoint_takes_an_inherited_command_away_but_not_one_of_its_own_stage() {
        let (mut inherited, _) = draft("CMD [\"a\"]");
        inherited = inherited.branch();
        for item in items("ENTRYPOINT [\"b\"]") {
            inherited.apply(&item).unwrap();
        }
        assert_eq!(inherited.run().cmd, None);
        let (own, _) = draft("CMD [\"a\"]\nENTRYPOINT [\"b\"]");
        assert_eq!(own.run().cmd, Some(vec!["a".into()]));
    }

    #[test]
    fn workdir_is_relative_to_the_one_before() {
        let (mut draft, _) = draft("");
        assert_eq!(draft.workdir(), "/");
        assert_eq!(draft.apply_workdir("a/b").unwrap(), "/a/b");
        assert_eq!(draft.apply_workdir("../c").unwrap(), "/a/c");
        assert_eq!(draft.apply_workdir("/x/").unwrap(), "/x");
        assert_eq!(draft.apply_workdir(""), Err(ApplyError::EmptyWorkdir));
    }

    #[test]
    fn the_id_is_that_of_the_manifest_and_follows_every_step() {
        let (mut draft, _) = draft("");
        assert_eq!(draft.id(), None);
        draft.commit("2020-01-01T00:00:00Z", "x".into(), "", None);
        let first = draft.id().unwrap();
        assert_eq!(first, Digest::of(&draft.documents().manifest));
        let layer = NewLayer {
            descriptor: Descriptor::new(media::LAYER, Digest::of(b"l"), 1),
            diff_id: Digest::of(b"l"),
        };
        draft.commit("2020-01-01T00:00:00Z", "y".into(), "", Some(layer));
        assert_ne!(draft.id().unwrap(), first);
        assert_eq!(draft.chain(), Some(Digest::of(b"l")));
        assert_eq!(draft.config.history.len(), 2);
        assert!(draft.config.history[0].empty_layer && !draft.config.history[1].empty_layer);
    }

    #[test]
    fn signals_that_exist() {
        for good in ["9", "KILL", "sigterm", "SIGRTMIN+3", "RTMAX-2", "RTMIN"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["0", "65", "-1", "FOO", "", "RTMIN+99"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
