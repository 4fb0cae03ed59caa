//! `inspect`, from a view. The shape is Docker's with the containerd image store.

use corten_api::container::{GraphDriver, Inspect, NetworkSettings, State as WireState, Ulimit};
use jiff::Timestamp;

use super::oci_spec::{self, SecurityOptions};
use super::record::Record;
use super::{Container, ContainerError, Containers, Shared, View};

/// Docker's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Name of the storage driver, as containerd's snapshotter is called.
const DRIVER: &str = "overlayfs";

/// RFC 3339 as Go writes it: nanoseconds without trailing zeros.
pub(super) fn go_time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.into(), |time| time.to_string())
}

impl Containers {
    /// The container as inspect shows it; `size` counts its bytes, which walks its writable layer.
    pub fn inspect(&self, container: &str, size: bool) -> Result<Inspect, ContainerError> {
        let container = self.find(container)?;
        let mut inspect = inspect(&self.shared, &container);
        if size {
            let (writable, root) = self.shared.size(container.id())?;
            inspect.size_rw = Some(writable);
            inspect.size_root_fs = Some(root);
        }
        Ok(inspect)
    }
}

impl Shared {
    /// Bytes of a container's writable layer, and with the layers below.
    pub(super) fn size(&self, id: &str) -> Result<(i64, i64), ContainerError> {
        let snapshots = self.store.snapshots();
        let own = snapshots.usage(id)?.size;
        let below = snapshots.parent(id).map_or(0, |chain| snapshots.chain_usage(&chain).size);
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok((signed(own), signed(own + below)))
    }
}

/// The AppArmor profile that the container runs under.
fn apparmor(shared: &Shared, record: &Record) -> String {
    if !shared.facts.apparmor {
        return String::new();
    }
    let options = SecurityOptions::parse(record.host.security_opt.as_deref().unwrap_or_default(), false);
    let options = options.unwrap_or_default();
    oci_spec::security::apparmor(&options, record.host.privileged, &shared.facts)
}

fn inspect(shared: &Shared, container: &Container) -> Inspect {
    let view = container.view();
    let record = &view.record;
    let execs = container.running_execs();
    let mut host = record.host.clone();
    host.links = super::link::shown(shared, record);
    for (name, (soft, hard)) in &shared.config.default_ulimits {
        let list = host.resources.ulimits.get_or_insert_default();
        if !list.iter().any(|limit| limit.name == *name) {
            list.push(Ulimit { name: name.clone(), hard: *hard, soft: *soft });
        }
    }
    let started = view.live.last.started_at.is_some();
    // Who shares another's stack has its files too.
    let owner = match record.host.network_mode.strip_prefix("container:") {
        Some(other) => shared.find(other).ok().map(|other| other.id().to_owned()),
        None => Some(record.id.clone()),
    };
    let folder = owner.filter(|_| started).map(|owner| shared.paths.container(&owner));
    let file = |name: &str| {
        folder.as_ref().map(|folder| folder.join(name).to_string_lossy().into_owned()).unwrap_or_default()
    };
    let log = started && record.host.log_config.r#type == "json-file";
    Inspect {
        id: record.id.clone(),
        created: record.created.to_string(),
        path: record.path.clone(),
        args: record.args.clone(),
        state: state(&view),
        image: record.image.clone(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: if log {
            shared.paths.json_log(&record.id).to_string_lossy().into_owned()
        } else {
            String::new()
        },
        name: format!("/{}", record.name),
        restart_count: view.live.restart_count,
        driver: DRIVER.into(),
        platform: "linux".into(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: if started { apparmor(shared, record) } else { String::new() },
        exec_ids: (!execs.is_empty()).then_some(execs),
        host_config: host,
        graph_driver: GraphDriver { data: None, name: DRIVER.into() },
        size_rw: None,
        size_root_fs: None,
        mounts: view.mounts(),
        config: record.config.clone(),
        network_settings: network_settings(&view),
        image_manifest_descriptor: record.manifest.clone(),
    }
}

fn state(view: &View) -> WireState {
    use super::state::State;
    let state = &view.live.state;
    let last = &view.live.last;
    WireState {
        status: word(view).into(),
        running: state.is_active(),
        paused: matches!(state, State::Paused(_)),
        restarting: *state == State::Restarting,
        oom_killed: last.oom_killed,
        dead: *state == State::Dead,
        pid: state.run().map_or(0, |run| run.pid.into()),
        exit_code: last.exit_code,
        error: last.error.clone(),
        started_at: go_time(last.started_at),
        finished_at: go_time(last.finished_at),
        health: view.health.clone(),
    }
}

/// Docker's word for the state; a start that is under way shows what was before.
pub(super) fn word(view: &View) -> &'static str {
    match &view.live.state {
        super::state::State::Starting if view.live.last.started_at.is_some() => "exited",
        state => state.word(),
    }
}

fn network_settings(view: &View) -> NetworkSettings {
    let live = &view.live.network;
    let mut settings = NetworkSettings {
        sandbox_id: live.sandbox_id.clone(),
        sandbox_key: live.sandbox_key.clone(),
        ports: Some(live.ports.clone()),
        // A container that does not run shows what it will ask for.
        networks: view.record.networks.clone(),
        ..NetworkSettings::default()
    };
    settings.networks.extend(live.endpoints.clone());
    if let Some(bridge) = settings.networks.get("bridge").cloned() {
        settings.endpoint_id = bridge.endpoint_id;
        settings.gateway = bridge.gateway;
        settings.global_ipv6_address = bridge.global_ipv6_address;
        settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len;
        settings.ip_address = bridge.ip_address;
        settings.ip_prefix_len = bridge.ip_prefix_len;
        settings.ipv6_gateway = bridge.ipv6_gateway;
        settings.mac_address = bridge.mac_address;
    }
    settings
}
