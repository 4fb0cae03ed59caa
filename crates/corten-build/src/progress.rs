//! What a build tells while it goes, and how Docker's classic builder words it.

use corten_types::{ContainerId, Digest};

/// One of the two streams of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One thing that a build tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// An instruction begins.
    Step {
        /// Its number, from 1.
        index: usize,
        /// How many there are.
        total: usize,
        /// The instruction as written.
        code: &'a str,
    },
    /// The cache has what the instruction would make.
    Cached,
    /// A container was made for the instruction.
    Running(&'a ContainerId),
    /// It is gone again.
    Removed(&'a ContainerId),
    /// The image after the instruction; nothing for an empty one.
    Image(Option<&'a Digest>),
    /// A stage is done.
    Stage(&'a Digest),
    /// A command wrote something.
    Output(Stream, &'a [u8]),
    /// The base image left instructions for this build.
    Triggers(usize),
    /// A health check replaces one.
    HealthcheckReplaced(&'a [String]),
    /// Arguments were given that no ARG took.
    Unconsumed(&'a [&'a str]),
    /// The Dockerfile should be changed.
    Warning(&'a str),
    /// The image is stored.
    Built(&'a Digest),
    /// It has a name.
    Tagged(&'a str),
    /// A pull tells this, encoded as its own stream.
    Pull(&'a serde_json::Value),
}

/// Who listens to a build.
pub trait Output: Send + Sync {
    /// Takes an event. Must not block for long: the build waits.
    fn event(&self, event: Event<'_>);
}

/// A piece of the classic builder's stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// `{"stream": …}`.
    Text(String),
    /// `{"aux": …}`.
    Aux(serde_json::Value),
    /// A value as it stands.
    Raw(serde_json::Value),
}

/// The first twelve digits, as lists show them.
fn short(digest: &Digest) -> String {
    digest.hex()[..12].into()
}

/// An event in the words of Docker's classic builder, cut as it cuts them.
pub fn classic(event: &Event<'_>) -> Vec<Piece> {
    let text = |text: String| vec![Piece::Text(text)];
    match event {
        Event::Step { index, total, code } => {
            vec![Piece::Text(format!("Step {index}/{total} : {code}")), Piece::Text("\n".into())]
        }
        Event::Cached => text(" ---> Using cache\n".into()),
        Event::Running(id) => text(format!(" ---> Running in {}\n", id.short())),
        Event::Removed(id) => text(format!(" ---> Removed intermediate container {}\n", id.short())),
        Event::Image(id) => text(format!(" ---> {}\n", id.map(short).unwrap_or_default())),
        Event::Stage(id) => vec![Piece::Aux(serde_json::json!({ "ID": id }))],
        Event::Output(Stream::Stdout, bytes) => text(String::from_utf8_lossy(bytes).into_owned()),
        Event::Output(Stream::Stderr, bytes) => {
            text(format!("\u{1b}[91m{}\u{1b}[0m", String::from_utf8_lossy(bytes)))
        }
        Event::Triggers(count) => {
            let mut pieces = vec![Piece::Text(format!("# Executing {count} build trigger"))];
            if *count > 1 {
                pieces.push(Piece::Text("s".into()));
            }
            pieces.push(Piece::Text("\n".into()));
            pieces
        }
        Event::HealthcheckReplaced(test) => {
            text(format!("Note: overriding previous HEALTHCHECK: [{}]\n", test.join(" ")))
        }
        Event::Unconsumed(names) => {
            text(format!("[Warning] One or more build-args [{}] were not consumed\n", names.join(" ")))
        }
        Event::Warning(warning) => text(format!("\u{1b}[91m[WARNING]: {warning}\n\u{1b}[0m")),
        Event::Built(id) => text(format!("Successfully built {}\n", short(id))),
        Event::Tagged(name) => text(format!("Successfully tagged {name}\n")),
        Event::Pull(value) => vec![Piece::Raw((*value).clone())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_worded_as_dockers_builder_words_them() {
        let id = Digest::of(b"x");
        let container: ContainerId = "ab".repeat(32).parse().unwrap();
        let say = |event: Event<'_>| -> String {
            classic(&event)
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    Piece::Aux(value) | Piece::Raw(value) => value.to_string(),
                })
                .collect()
        };
        assert_eq!(
            say(Event::Step { index: 1, total: 4, code: "FROM busybox" }),
            "Step 1/4 : FROM busybox\n"
        );
        assert_eq!(say(Event::Running(&container)), " ---> Running in abababababab\n");
        assert_eq!(say(Event::Image(Some(&id))), format!(" ---> {}\n", &id.hex()[..12]));
        assert_eq!(say(Event::Image(None)), " ---> \n");
        assert_eq!(say(Event::Stage(&id)), format!("{{\"ID\":\"{id}\"}}"));
        assert_eq!(say(Event::Output(Stream::Stderr, b"no\n")), "\u{1b}[91mno\n\u{1b}[0m");
        assert_eq!(say(Event::Triggers(2)), "# Executing 2 build triggers\n");
        assert_eq!(
            say(Event::Unconsumed(&["a", "b"])),
            "[Warning] One or more build-args [a b] were not consumed\n"
        );
        assert_eq!(say(Event::Built(&id)), format!("Successfully built {}\n", &id.hex()[..12]));
    }
}
