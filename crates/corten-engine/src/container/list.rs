//! `ps`: rows from views, none of which is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use corten_api::container::{Summary, SummaryHostConfig, SummaryNetworkSettings, SummaryPort};
use corten_api::endpoint::{EndpointIpamConfig, EndpointSettings};
use jiff::Timestamp;

use super::filter::{ListFilter, Plan};
use super::state::State;
use super::validate::parse_port;
use super::{ContainerError, Containers, View};

impl Containers {
    /// The rows that a filter lets through, newest first.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<Summary>, ContainerError> {
        let views = self.views();
        let plan = Plan::new(filter, &views, &self.shared)?;
        let now = Timestamp::now();
        let links = super::link::names(&views);
        let mut rows = Vec::new();
        for view in plan.select(&views) {
            let mut row = summary(&view, now);
            row.image = self.image_name(&view);
            row.names.extend(links.get(row.id.as_str()).into_iter().flatten().cloned());
            row.names.sort();
            if filter.size {
                let (writable, root) = self.shared.size(&row.id)?;
                row.size_rw = writable;
                row.size_root_fs = root;
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// The image as the user named it, or its id when the name means another one by now.
    fn image_name(&self, view: &View) -> String {
        let (name, id) = (&view.record.config.image, &view.record.image);
        if name == id || name.is_empty() {
            return name.clone();
        }
        let same = self.shared.store.images().find(name).is_ok_and(|image| image.id().to_string() == *id);
        if same { name.clone() } else { id.clone() }
    }
}

fn summary(view: &View, now: Timestamp) -> Summary {
    let record = &view.record;
    let mut networks: BTreeMap<String, EndpointSettings> = record.networks.clone();
    networks.extend(view.live.network.endpoints.clone());
    let networks = networks.into_iter().map(|(name, settings)| (name, shown(settings)));
    Summary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: record.config.image.clone(),
        image_id: record.image.clone(),
        image_manifest_descriptor: record.manifest.clone(),
        command: command(&record.path, &record.args),
        created: record.created.as_second(),
        ports: ports(view),
        size_rw: 0,
        size_root_fs: 0,
        labels: record.config.labels.clone().unwrap_or_default(),
        state: super::inspect::word(view).into(),
        status: status(view, now),
        host_config: SummaryHostConfig {
            network_mode: record.host.network_mode.clone(),
            annotations: record.host.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings { networks: networks.collect() },
        mounts: view.mounts(),
    }
}

/// An endpoint without what only inspect shows.
fn shown(settings: EndpointSettings) -> EndpointSettings {
    EndpointSettings {
        ipam_config: settings.ipam_config.map(|ipam| EndpointIpamConfig { link_local_ips: None, ..ipam }),
        links: None,
        aliases: None,
        driver_opts: None,
        dns_names: None,
        ..settings
    }
}

fn command(path: &str, args: &[String]) -> String {
    let words = args.iter().map(|arg| if arg.contains(' ') { format!("'{arg}'") } else { arg.clone() });
    let words: Vec<String> = std::iter::once(path.to_owned()).chain(words).collect();
    words.join(" ")
}

/// Ports of a running container.
pub(super) fn ports(view: &View) -> Vec<SummaryPort> {
    let mut ports = Vec::new();
    for (port, bindings) in &view.live.network.ports {
        let Some((private_port, protocol)) = parse_port(port) else { continue };
        let bindings = bindings.as_deref().unwrap_or_default();
        if bindings.is_empty() {
            ports.push(SummaryPort { private_port, r#type: protocol.into(), ..SummaryPort::default() });
        }
        for binding in bindings {
            ports.push(SummaryPort {
                ip: binding.host_ip.clone(),
                private_port,
                public_port: binding.host_port.parse().unwrap_or(0),
                r#type: protocol.into(),
            });
        }
    }
    ports
}

/// The state for people.
fn status(view: &View, now: Timestamp) -> String {
    let last = &view.live.last;
    let since = |time: Option<Timestamp>| {
        let past = time.map(|time| Duration::try_from(now.duration_since(time)).unwrap_or_default());
        duration_text(past.unwrap_or_default())
    };
    match &view.live.state {
        State::Running(_) => {
            let up = format!("Up {}", since(last.started_at));
            match view.health.as_ref().map(|health| health.status.as_str()) {
                Some("starting") => format!("{up} (health: starting)"),
                Some(health) => format!("{up} ({health})"),
                None => up,
            }
        }
        State::Paused(_) => format!("Up {} (Paused)", since(last.started_at)),
        State::Restarting => format!("Restarting ({}) {} ago", last.exit_code, since(last.finished_at)),
        State::Removing => "Removal In Progress".into(),
        State::Dead => "Dead".into(),
        State::Created | State::Starting | State::Exited if last.started_at.is_none() => "Created".into(),
        State::Created | State::Starting | State::Exited => {
            format!("Exited ({}) {} ago", last.exit_code, since(last.finished_at))
        }
    }
}

/// A duration as people say it.
pub(super) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Hours are rounded, everything else is cut.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_docker_says_them() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (730 * 86400, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn commands_quote_words_with_spaces() {
        assert_eq!(command("sh", &["-c".into(), "a b".into()]), "sh -c 'a b'");
        assert_eq!(command("sh", &[]), "sh");
    }
}
