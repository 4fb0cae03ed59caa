//! Which containers a list shows.

use std::collections::BTreeSet;
use std::sync::Arc;

use corten_api::filters::Filters;

use super::validate::{Invalid, invalid};
use super::{ContainerError, Shared, View, inspect, list};

/// What a list is asked for.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Also those that do not run.
    pub all: bool,
    /// Only the newest; 0 for no limit. Shows those that do not run too.
    pub limit: usize,
    /// Count their bytes.
    pub size: bool,
    /// Conditions.
    pub filters: Filters,
}

/// Conditions a list knows.
const KEYS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "id",
    "isolation",
    "label",
    "name",
    "status",
    "health",
    "since",
    "volume",
    "network",
    "is-task",
    "publish",
    "expose",
];

const STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// A filter whose values are checked and looked up.
pub(super) struct Plan<'a> {
    filter: &'a ListFilter,
    all: bool,
    before: Option<String>,
    since: Option<String>,
    exited: Vec<i64>,
    ancestors: Option<BTreeSet<String>>,
    ids: Option<BTreeSet<String>>,
    publish: BTreeSet<(u16, String)>,
    expose: BTreeSet<(u16, String)>,
    task: Option<bool>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        filter: &'a ListFilter,
        views: &[Arc<View>],
        shared: &Shared,
    ) -> Result<Self, ContainerError> {
        let filters = &filter.filters;
        let text = |error: corten_api::filters::FilterError| Invalid(error.to_string());
        filters.only(&KEYS).map_err(text)?;
        let mut exited = Vec::new();
        for value in filters.get("exited") {
            match value.parse() {
                Ok(code) => exited.push(code),
                Err(_) => {
                    let text = format!("strconv.Atoi: parsing {value:?}: invalid syntax");
                    return Err(Invalid(format!("invalid filter 'exited={value}': {text}")).into());
                }
            }
        }
        one_of(filters, "status", "state", &STATES)?;
        one_of(filters, "health", "health", &HEALTHS)?;
        let named = |key: &str| -> Result<Option<String>, ContainerError> {
            let mut last = None;
            for value in filters.get(key) {
                last = Some(find(views, value).ok_or_else(|| ContainerError::NotFound(value.into()))?);
            }
            Ok(last)
        };
        let ancestors = filters.has("ancestor").then(|| {
            let ids = filters.get("ancestor").filter_map(|text| shared.store.images().find(text).ok());
            ids.map(|image| image.id().to_string()).collect()
        });
        let ids = filters.has("id").then(|| {
            let wanted = |view: &&Arc<View>| filters.get("id").any(|id| view.record.id.starts_with(id));
            views.iter().filter(wanted).map(|view| view.record.id.clone()).collect()
        });
        Ok(Self {
            filter,
            all: filter.all || filters.has("status"),
            before: named("before")?,
            since: named("since")?,
            exited,
            ancestors,
            ids,
            publish: ports(filters, "publish")?,
            expose: ports(filters, "expose")?,
            task: filters.bool("is-task").map_err(text)?,
        })
    }

    /// The containers to show; `views` are newest first.
    pub(super) fn select(&self, views: &[Arc<View>]) -> Vec<Arc<View>> {
        let mut before = self.before.as_deref();
        let mut selected = Vec::new();
        for view in views {
            let id = view.record.id.as_str();
            if let Some(first) = before {
                if id == first {
                    before = None;
                }
                continue;
            }
            if self.since.as_deref() == Some(id) {
                break;
            }
            if !self.shows(view) {
                continue;
            }
            if self.filter.limit > 0 && selected.len() == self.filter.limit {
                break;
            }
            selected.push(view.clone());
        }
        selected
    }

    fn shows(&self, view: &View) -> bool {
        let filters = &self.filter.filters;
        let record = &view.record;
        let active = view.live.state.is_active();
        let slashed = format!("/{}", record.name);
        let label = |name: &str| record.config.labels.as_ref()?.get(name).map(String::as_str);
        let health = view.health.as_ref().map_or("none", |health| health.status.as_str());
        (active || self.all || self.filter.limit > 0)
            && (filters.part("name", &record.name) || filters.part("name", &slashed))
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&record.id))
            && self.task.is_none_or(|task| !task)
            && filters.labels("label", label)
            && self.exit_shows(view, active)
            && filters.exact("status", inspect::word(view))
            && filters.exact("health", health)
            && self.volume_shows(view)
            && self.ancestors.as_ref().is_none_or(|ids| ids.contains(&record.image))
            && self.network_shows(view)
            && self.ports_show(view)
    }

    fn exit_shows(&self, view: &View, active: bool) -> bool {
        let last = &view.live.last;
        self.exited.is_empty()
            || (!active && last.started_at.is_some() && self.exited.contains(&last.exit_code))
    }

    fn volume_shows(&self, view: &View) -> bool {
        let filters = &self.filter.filters;
        !filters.has("volume")
            || filters.get("volume").any(|value| {
                view.record.mounts.iter().any(|point| {
                    let name = if point.name.is_empty() { &point.source } else { &point.name };
                    point.destination == value || name == value
                })
            })
    }

    fn network_shows(&self, view: &View) -> bool {
        let filters = &self.filter.filters;
        !filters.has("network")
            || filters.get("network").any(|value| {
                let live = &view.live.network.endpoints;
                view.record.networks.contains_key(value)
                    || live.contains_key(value)
                    || live.values().any(|endpoint| endpoint.network_id.starts_with(value))
                    || view.record.networks.values().any(|endpoint| endpoint.network_id.starts_with(value))
            })
    }

    fn ports_show(&self, view: &View) -> bool {
        if self.publish.is_empty() && self.expose.is_empty() {
            return true;
        }
        list::ports(view).iter().any(|port| {
            self.publish.contains(&(port.public_port, port.r#type.clone()))
                || self.expose.contains(&(port.private_port, port.r#type.clone()))
        })
    }
}

fn find(views: &[Arc<View>], text: &str) -> Option<String> {
    let name = text.trim_start_matches('/');
    let exact = views.iter().find(|view| view.record.id == text || view.record.name == name);
    let found =
        exact.or_else(|| views.iter().find(|view| !text.is_empty() && view.record.id.starts_with(text)));
    found.map(|view| view.record.id.clone())
}

fn one_of(filters: &Filters, key: &str, what: &str, known: &[&str]) -> Result<(), Invalid> {
    match filters.get(key).find(|value| !known.contains(value)) {
        None => Ok(()),
        Some(value) => {
            let list = known.join(", ");
            invalid(format!(
                "invalid filter '{key}={value}': invalid value for {what} ({value}): must be one of {list}"
            ))
        }
    }
}

/// Ports of a filter: `80`, `80/udp`, `8000-8010/tcp`.
fn ports(filters: &Filters, key: &str) -> Result<BTreeSet<(u16, String)>, Invalid> {
    let mut ports = BTreeSet::new();
    for value in filters.get(key) {
        if value.contains(':') {
            return invalid(format!("filter for '{key}' should not contain ':': {value}"));
        }
        let (range, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        match (from.parse::<u16>(), to.parse::<u16>()) {
            (Ok(from), Ok(to)) if from <= to => {
                ports.extend((from..=to).map(|port| (port, protocol.to_owned())))
            }
            _ => {
                return invalid(format!(
                    "error while looking up for {key} {value}: invalid port range: {range}"
                ));
            }
        }
    }
    Ok(ports)
}
