//! What happened: told to whoever listens, and kept in a journal on disk for those who ask for the past.
//!
//! Emitting never fails and waits for nobody. A follower that falls more than 1,024 events behind loses the oldest of them, and is told
//! how many by the channel. Times are unique and only grow, also over a restart: past and stream meet at one time, so that a follower
//! who starts from the past misses and repeats nothing.

mod actor;
mod journal;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use corten_api::filters::Filters;
use parking_lot::Mutex;
use tokio::sync::broadcast;

pub use actor::{Actor as Requester, acting, current as requester};

use journal::Journal;

/// Events kept in memory for clients that ask for the past.
const RECENT: usize = 256;
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
    past: Mutex<Kept>,
}

/// What is kept.
struct Kept {
    /// The newest events.
    recent: VecDeque<Arc<Event>>,
    /// All events, where there is a disk for them.
    journal: Option<Journal>,
    /// Time of the last event.
    last: i64,
}

/// What a follower gets of the past.
pub struct History {
    recent: Vec<Arc<Event>>,
    /// The journal, and the time from which on `recent` has the events.
    journal: Option<(std::path::PathBuf, i64)>,
    past: Past,
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
    /// A stream without listeners and without a journal: the newest events are kept in memory.
    #[expect(clippy::new_without_default, reason = "an engine has one, made on purpose")]
    pub fn new() -> Self {
        Self::with(None, 0)
    }

    /// A stream without listeners that keeps a journal in a folder.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        let (journal, last) = Journal::open(folder)?;
        Ok(Self::with(Some(journal), last))
    }

    fn with(journal: Option<Journal>, last: i64) -> Self {
        let kept = Kept { recent: VecDeque::new(), journal, last };
        Self { stream: broadcast::channel(BEHIND).0, past: Mutex::new(kept) }
    }

    /// Tells everyone who listens. What happens on a request's behalf names who asked.
    pub fn emit(
        &self,
        r#type: &'static str,
        action: &str,
        id: &str,
        mut attributes: BTreeMap<String, String>,
    ) {
        actor::name(&mut attributes);
        let actor = Actor { id: id.to_owned(), attributes };
        let mut kept = self.past.lock();
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let time_nano = now.max(kept.last.saturating_add(1));
        kept.last = time_nano;
        let event = Arc::new(Event { r#type, action: action.to_owned(), actor, time_nano });
        if let Some(Err(error)) = kept.journal.as_mut().map(|journal| journal.append(&event)) {
            tracing::warn!(%error, "an event is not in the journal");
        }
        if kept.recent.len() == RECENT {
            kept.recent.pop_front();
        }
        kept.recent.push_back(event.clone());
        // An error only says that nobody listens.
        let _ = self.stream.send(event);
    }

    /// Follows the stream from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.stream.subscribe()
    }

    /// The past that is asked for, to be read, and the stream from now on.
    pub fn follow(&self, past: Past) -> (History, broadcast::Receiver<Arc<Event>>) {
        let kept = self.past.lock();
        let none = past == Past::default();
        let recent = if none { Vec::new() } else { kept.recent.iter().cloned().collect() };
        let met = kept.recent.front().map_or(kept.last.saturating_add(1), |event| event.time_nano);
        let older = past.since.is_none_or(|since| since < met);
        let journal = kept.journal.as_ref().filter(|_| !none && older);
        let journal = journal.map(|journal| (journal.path(), met));
        (History { recent, journal, past }, self.stream.subscribe())
    }

    /// How many follow it.
    pub fn followers(&self) -> usize {
        self.stream.receiver_count()
    }
}

impl History {
    /// The events of the past that pass the filters, oldest first. Reads the disk.
    pub fn read(self, filters: &Filters) -> Vec<Arc<Event>> {
        let Self { recent, journal, past } = self;
        let wanted = |event: &Event| {
            past.since.is_none_or(|since| event.time_nano >= since)
                && past.until.is_none_or(|until| event.time_nano <= until)
                && event.passes(filters)
        };
        let mut events: Vec<Arc<Event>> = Vec::new();
        if let Some((path, met)) = journal {
            match journal::read(&path, met, wanted) {
                Ok(older) => events.extend(older.into_iter().map(Arc::new)),
                Err(error) => tracing::warn!(%error, "the journal of events cannot be read"),
            }
        }
        events.extend(recent.into_iter().filter(|event| wanted(event)));
        events
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

    fn all(events: &Events, past: Past) -> Vec<Arc<Event>> {
        events.follow(past).0.read(&Filters::default())
    }

    #[test]
    fn the_past_is_bounded_and_cut_by_time() {
        let events = Events::new();
        for n in 0..RECENT + 5 {
            events.emit("volume", "create", &n.to_string(), BTreeMap::new());
        }
        assert!(all(&events, Past::default()).is_empty());
        let kept = all(&events, Past { since: Some(0), until: None });
        assert_eq!((kept.len(), kept[0].actor.id.as_str()), (RECENT, "5"));
        let middle = kept[100].time_nano;
        let late = all(&events, Past { since: Some(middle), until: None });
        assert_eq!(late[0].time_nano, middle);
        let early = all(&events, Past { since: None, until: Some(middle) });
        assert_eq!(early.last().unwrap().time_nano, middle);
    }

    #[test]
    fn the_journal_keeps_everything_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let ids = |events: &Events| -> Vec<String> {
            let since = Past { since: Some(0), until: None };
            all(events, since).iter().map(|event| event.actor.id.clone()).collect()
        };
        let expected: Vec<String> = (0..600).map(|n| n.to_string()).collect();
        for run in [0..300, 300..600] {
            let events = Events::open(dir.path()).unwrap();
            for n in run.clone() {
                events.emit("volume", "create", &n.to_string(), BTreeMap::new());
            }
            assert_eq!(ids(&events), expected[..run.end]);
        }
        // A line that a power failure cut off is nobody's event.
        let file = std::fs::OpenOptions::new().append(true).open(dir.path().join("events.log"));
        std::io::Write::write_all(&mut file.unwrap(), b"{\"type\":\"vol").unwrap();
        let events = Events::open(dir.path()).unwrap();
        events.emit("volume", "create", "600", BTreeMap::new());
        assert_eq!(ids(&events).len(), 601);
    }

    #[tokio::test]
    async fn events_name_who_asked() {
        let events = Events::new();
        let requester = Requester { uid: Some(1000), pid: Some(7), client: "test".into(), address: None };
        acting(Some(requester), async { events.emit("volume", "create", "v", BTreeMap::new()) }).await;
        events.emit("volume", "create", "w", BTreeMap::new());
        let kept = all(&events, Past { since: Some(0), until: None });
        let named: Vec<_> = kept[0].actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(named, ["actor.client=test", "actor.pid=7", "actor.uid=1000"]);
        assert!(kept[1].actor.attributes.is_empty());
    }

    #[test]
    fn tags_and_digests_are_cut_but_ports_are_not() {
        assert_eq!(without_tag("localhost:5000/a/b:1"), "localhost:5000/a/b");
        assert_eq!(without_tag("localhost:5000/a/b"), "localhost:5000/a/b");
        assert_eq!(without_tag("a@sha256:00"), "a");
    }
}
