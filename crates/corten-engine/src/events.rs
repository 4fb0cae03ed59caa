//! What happened: one stream of events that any number of clients follow, and the last 256 for those who come later.
//!
//! Emitting never blocks and never fails. A follower that falls more than 1,024 events behind loses the oldest of them, and is told how
//! many by the channel. History and stream are one under the lock, so that a follower who starts from the past misses and repeats nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use corten_api::filters::Filters;
use parking_lot::Mutex;
use tokio::sync::broadcast;

/// Events kept for clients that ask for the past.
const HISTORY: usize = 256;
/// Events a follower may fall behind.
const BEHIND: usize = 1024;

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
    stream: broadcast::Sender<Arc<Event>>,
    history: Mutex<VecDeque<Arc<Event>>>,
}

/// The part of the past a client asks for, in nanoseconds; without either bound it asks for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// Not before.
    pub since: Option<i64>,
    /// Not after.
    pub until: Option<i64>,
}

impl Events {
    /// A stream without listeners.
    #[expect(clippy::new_without_default, reason = "an engine has one, made on purpose")]
    pub fn new() -> Self {
        Self { stream: broadcast::channel(BEHIND).0, history: Mutex::new(VecDeque::new()) }
    }

    /// Tells everyone who listens. Never blocks.
    pub fn emit(&self, r#type: &'static str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let actor = Actor { id: id.to_owned(), attributes };
        let mut history = self.history.lock();
        let time_nano = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let event = Arc::new(Event { r#type, action: action.to_owned(), actor, time_nano });
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(event.clone());
        // An error only says that nobody listens.
        let _ = self.stream.send(event);
    }

    /// Follows the stream from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.stream.subscribe()
    }

    /// What of the past is wanted, and the stream from then on.
    pub fn follow(&self, past: Past) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let history = self.history.lock();
        let wanted = |event: &&Arc<Event>| {
            past.since.is_none_or(|since| event.time_nano >= since)
                && past.until.is_none_or(|until| event.time_nano <= until)
        };
        let old = if past == Past::default() {
            Vec::new()
        } else {
            history.iter().filter(wanted).cloned().collect()
        };
        (old, self.stream.subscribe())
    }

    /// How many follow it.
    pub fn followers(&self) -> usize {
        self.stream.receiver_count()
    }
}

impl Event {
    /// Whether the filters of `GET /events` let it through.
    ///
    /// Every key of a type (`container`, `network`, …) matches the actor's id or name by a part; `image` matches the image of containers
    /// too, with and without its tag. Unknown keys let everything through, as in Docker.
    pub fn passes(&self, filters: &Filters) -> bool {
        const BY_ACTOR: [&str; 9] =
            ["daemon", "container", "plugin", "volume", "network", "service", "node", "secret", "config"];
        let attribute = |key: &str| self.actor.attributes.get(key).map(String::as_str);
        let name = attribute("name").unwrap_or("");
        self.passes_action(filters)
            && filters.exact("type", self.r#type)
            && filters.exact("scope", "local")
            && BY_ACTOR.iter().all(|key| filters.part(key, &self.actor.id) || filters.part(key, name))
            && self.passes_image(filters)
            && filters.labels("label", attribute)
    }

    fn passes_action(&self, filters: &Filters) -> bool {
        // These actions carry a detail after a colon.
        let detailed =
            filters.get("event").any(|event| matches!(event, "health_status" | "exec_create" | "exec_start"));
        if detailed { filters.part("event", &self.action) } else { filters.exact("event", &self.action) }
    }

    fn passes_image(&self, filters: &Filters) -> bool {
        let key = if self.r#type == "image" { "name" } else { "image" };
        let image = self.actor.attributes.get(key).map_or("", String::as_str);
        [&self.actor.id, image]
            .iter()
            .any(|text| filters.exact("image", text) || filters.exact("image", without_tag(text)))
    }
}

/// An image name without tag and digest.
fn without_tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(r#type: &'static str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Event { r#type, action: action.into(), actor: Actor { id: id.into(), attributes }, time_nano: 0 }
    }

    fn passes(event: &Event, filters: &str) -> bool {
        event.passes(&Filters::parse(filters).unwrap())
    }

    #[test]
    fn filters_mean_what_docker_means() {
        let start = event(
            "container",
            "start",
            "abc123",
            &[("name", "web"), ("image", "nginx:1.27"), ("role", "front")],
        );
        for (filters, wanted) in [
            ("", true),
            (r#"{"type":["container"]}"#, true),
            (r#"{"type":["image"]}"#, false),
            (r#"{"event":["start","die"]}"#, true),
            (r#"{"event":["sta"]}"#, false),
            (r#"{"container":["abc"]}"#, true),
            (r#"{"container":["web"]}"#, true),
            (r#"{"container":["db"]}"#, false),
            (r#"{"image":["nginx"]}"#, true),
            (r#"{"image":["nginx:1.27"]}"#, true),
            (r#"{"image":["nginx:1.26"]}"#, false),
            (r#"{"label":["role=front"]}"#, true),
            (r#"{"label":["role=back"]}"#, false),
            (r#"{"type":["container"],"event":["die"]}"#, false),
        ] {
            assert_eq!(passes(&start, filters), wanted, "{filters}");
        }
        let health = event("container", "health_status: healthy", "abc", &[]);
        assert!(passes(&health, r#"{"event":["health_status"]}"#));
    }

    #[test]
    fn the_past_is_bounded_and_cut_by_time() {
        let events = Events::new();
        for n in 0..HISTORY + 5 {
            events.emit("volume", "create", &n.to_string(), BTreeMap::new());
        }
        assert!(events.follow(Past::default()).0.is_empty());
        let (all, _) = events.follow(Past { since: Some(0), until: None });
        assert_eq!((all.len(), all[0].actor.id.as_str()), (HISTORY, "5"));
        let middle = all[100].time_nano;
        let (late, _) = events.follow(Past { since: Some(middle), until: None });
        assert_eq!(late[0].time_nano, middle);
        let (early, _) = events.follow(Past { since: None, until: Some(middle) });
        assert_eq!(early.last().unwrap().time_nano, middle);
    }

    #[test]
    fn tags_and_digests_are_cut_but_ports_are_not() {
        assert_eq!(without_tag("localhost:5000/a/b:1"), "localhost:5000/a/b");
        assert_eq!(without_tag("localhost:5000/a/b"), "localhost:5000/a/b");
        assert_eq!(without_tag("a@sha256:00"), "a");
    }
}
