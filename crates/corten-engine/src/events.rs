//! What happened: one stream of events that any number of clients follow.

use std::collections::BTreeMap;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `container`, `image`, `network`, `volume`, `builder`, `daemon`.
    pub r#type: &'static str,
    /// `create`, `start`, `die`, …
    pub action: String,
    /// What it happened to.
    pub actor: Actor,
    /// Unix time in nanoseconds.
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Id, or the name of what has none.
    pub id: String,
    /// Name, image, labels, exit code, …
    pub attributes: BTreeMap<String, String>,
}

/// The event stream.
pub struct Events {
    stream: tokio::sync::broadcast::Sender<Event>,
}

impl Events {
    /// A stream without listeners.
    #[expect(clippy::new_without_default, reason = "an engine has one, made on purpose")]
    pub fn new() -> Self {
        Self { stream: tokio::sync::broadcast::channel(1024).0 }
    }

    /// Tells everyone who listens. Never blocks.
    pub fn emit(&self, r#type: &'static str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let time_nano = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let actor = Actor { id: id.to_owned(), attributes };
        // An error only says that nobody listens.
        let _ = self.stream.send(Event { r#type, action: action.to_owned(), actor, time_nano });
    }

    /// Follows the stream from now on.
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.stream.subscribe()
    }
}
