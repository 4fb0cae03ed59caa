use std::sync::Arc;

use corten_api::container::{Config, CreateRequest, CreateResponse, HostConfig};
use corten_api::descriptor::Descriptor;
use corten_api::endpoint::EndpointSettings;
use corten_store::Image;
use corten_types::{ContainerId, Platform, random_hex};
use std::collections::BTreeMap;

use super::mounts::{self, MountKind, MountPoint};
use super::record::{Live, Record};
use super::{ContainerError, Containers, Shared, View, link, merge, name, oci_spec, owner, source, validate};
use crate::volume::VolumeRequest;

/// A container to create.
#[derive(Debug, Clone, Default)]
pub struct CreateContainer {
    /// Name; empty for a made-up one.
    pub name: String,
    /// What it shall be.
    pub request: CreateRequest,
    /// Platform of the image; `None` for this machine's.
    pub platform: Option<Platform>,
}

impl Containers {
    /// Creates a container. Durable when this returns; nothing is left of one that fails.
    pub async fn create(&self, create: CreateContainer) -> Result<CreateResponse, ContainerError> {
        let shared = &self.shared;
        let CreateRequest { mut config, host_config: mut host, networking_config } = create.request;
        if host.restart_policy.name.is_empty() {
            host.restart_policy.name = "no".into();
        }
        validate::network_mode(&config, &host)?;
        let unlimited_pids = host.resources.pids_limit.is_some_and(|limit| limit < 0);
        validate::config(&mut config)?;
        let mut warnings = validate::host_config(&mut host, &shared.facts)?;
        let runtimes = shared.runtimes();
        if host.runtime.is_empty() {
            host.runtime.clone_from(&runtimes.default);
        }
        let program = runtimes.get(&host.runtime)?;
        if let Some(program) = program {
            program.look()?;
        }
        super::userns::check(&host, &shared.config.userns, &shared.facts, program.is_none())?;
        let image = match config.image.as_str() {
            "" => None,
            text => Some(shared.store.images().resolve_for(text, create.platform.as_ref())?),
        };
        if let (Some(image), None) = (&image, &create.platform) {
            let own = Platform::host();
            if !image.platform.satisfies(&own) {
                warnings.push(format!(
                    "The requested image's platform ({}) does not match the detected host platform ({own}) and no specific platform was requested",
                    image.platform
                ));
            }
        }
        share_by_id(shared, &mut host)?;
        merge::with_defaults(&mut host, &shared.facts, &shared.config)?;
        link::resolve(shared, &mut host)?;
        if let Some(image) = &image {
            merge::with_image(&mut config, &image_config(image));
            validate::config(&mut config)?;
        }
        oci_spec::SecurityOptions::parse(host.security_opt.as_deref().unwrap_or_default(), false)?;
        let (path, args) = merge::command(&config)?;
        let id = ContainerId::random();
        let name = reserve(shared, &create.name, id.as_str())?;
        let mut made = Made { shared, id: id.as_str(), name: &name, snapshot: false, done: false };
        set_hostname(&mut config, &host, id.short(), shared);
        let networks = endpoints(&host, networking_config.endpoints_config.unwrap_or_default());
        let mut record = Record {
            id: id.as_str().to_owned(),
            name: name.clone(),
            created: jiff::Timestamp::now(),
            path,
            args,
            image: image.as_ref().map(|image| image.id.to_string()).unwrap_or_default(),
            manifest: image.as_ref().map(manifest),
            platform: image.as_ref().map_or_else(Platform::host, |image| image.platform.clone()),
            config,
            host,
            mounts: Vec::new(),
            anonymous_volumes: Vec::new(),
            networks,
            unlimited_pids,
        };
        shared.networks.check(&super::endpoint::request(shared, &record))?;
        let chain = image.as_ref().and_then(Image::chain_id);
        let outcome = async {
            if let Some(image) = &image {
                shared.store.ensure_unpacked(image).await?;
            }
            shared.store.snapshots().prepare(&record.id, chain.as_ref()).await?;
            made.snapshot = true;
            resolve_mounts(shared, &mut record, chain.as_ref()).await?;
            make_folder(&shared.paths.container(&record.id))?;
            owner::put_record(shared, &record).await
        };
        if let Err(error) = outcome.await {
            made.undo().await;
            return Err(error);
        }
        made.done = true;
        drop(made);
        let view = View::new(record, Live::default());
        shared.events.emit("container", "create", id.as_str(), view.attributes());
        owner::register(shared, view);
        Ok(CreateResponse { id: id.as_str().to_owned(), warnings })
    }
}

/// What a create has made so far.
struct Made<'a> {
    shared: &'a Arc<Shared>,
    id: &'a str,
    name: &'a str,
    snapshot: bool,
    done: bool,
}

impl Made<'_> {
    async fn undo(mut self) {
        self.done = true;
        self.shared.volumes.release(self.id, &[]).await;
        if self.snapshot {
            super::remove::snapshots(self.shared, self.id).await;
        }
        let _ = std::fs::remove_dir_all(self.shared.paths.container(self.id));
        self.shared.release_name(self.name, self.id);
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // The request was cancelled between two steps: the name is free again, the sweeper takes the rest.
        if !self.done {
            self.shared.release_name(self.name, self.id);
        }
    }
}

pub(super) fn make_folder(path: &std::path::Path) -> Result<(), ContainerError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| ContainerError::io(format!("create {}", path.display()), source))
}

/// The image's run configuration in the API's shape; both are Docker's JSON.
fn image_config(image: &Image) -> Config {
    let value = serde_json::to_value(&image.config.config).unwrap_or_default();
    serde_json::from_value(value).unwrap_or_default()
}

fn manifest(image: &Image) -> Descriptor {
    let manifest = &image.manifest_descriptor;
    Descriptor {
        media_type: manifest.media_type.clone(),
        digest: manifest.digest,
        size: manifest.size,
        urls: manifest.urls.clone(),
        annotations: manifest.annotations.clone(),
        platform: Some(manifest.platform.clone().unwrap_or_else(|| image.platform.clone())),
    }
}

pub(super) fn reserve(shared: &Arc<Shared>, wanted: &str, id: &str) -> Result<String, ContainerError> {
    if !wanted.is_empty() {
        let name = name::parse(wanted)?;
        shared.reserve_name(name, id)?;
        return Ok(name.to_owned());
    }
    for attempt in 0..6 {
        let random = u64::from_str_radix(&random_hex(8), 16).unwrap_or(0);
        let name = name::invent(random, attempt);
        if shared.reserve_name(&name, id).is_ok() {
            return Ok(name);
        }
    }
    let name = &id[..12];
    shared.reserve_name(name, id)?;
    Ok(name.to_owned())
}

/// Names of containers whose namespaces are joined become ids, so that a rename does not break them. One that is not
/// there makes the request wrong; the container of a network mode may still come.
fn share_by_id(shared: &Arc<Shared>, host: &mut HostConfig) -> Result<(), ContainerError> {
    let modes = [(&mut host.pid_mode, true), (&mut host.ipc_mode, true), (&mut host.network_mode, false)];
    for (mode, must_exist) in modes {
        let Some(text) = mode.strip_prefix("container:") else { continue };
        match shared.find(text) {
            Ok(container) => *mode = format!("container:{}", container.id()),
            Err(error) if must_exist => return Err(validate::Invalid(error.to_string()).into()),
            Err(_) => {}
        }
    }
    Ok(())
}

pub(super) fn set_hostname(config: &mut Config, host: &HostConfig, short: &str, shared: &Arc<Shared>) {
    if let Some(other) = host.network_mode.strip_prefix("container:") {
        if let Ok(container) = shared.find(other) {
            let view = container.view();
            config.hostname.clone_from(&view.record.config.hostname);
            config.domainname.clone_from(&view.record.config.domainname);
        }
        return;
    }
    if config.hostname.is_empty() {
        let own = host.network_mode == "host" || host.uts_mode == "host";
        let name = own.then(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok()).flatten();
        config.hostname = name.map_or_else(|| short.to_owned(), |name| name.trim().to_owned());
    }
}

/// What the container wants of each network; the network of its mode is one of them.
pub(super) fn endpoints(
    host: &HostConfig,
    wanted: BTreeMap<String, Option<EndpointSettings>>,
) -> BTreeMap<String, EndpointSettings> {
    let mut endpoints = BTreeMap::new();
    if host.network_mode.starts_with("container:") {
        return endpoints;
    }
    for (network, settings) in wanted {
        let network = if network == "default" { "bridge".to_owned() } else { network };
        endpoints.insert(network, settings.unwrap_or_default());
    }
    endpoints.entry(host.network_mode.clone()).or_default();
    endpoints
}

/// Turns everything that asks for a mount into mounts, making volumes on the way.
async fn resolve_mounts(
    shared: &Arc<Shared>,
    record: &mut Record,
    chain: Option<&corten_types::Digest>,
) -> Result<(), ContainerError> {
    let host = &record.host;
    let mut points: BTreeMap<String, MountPoint> = BTreeMap::new();
    for text in host.volumes_from.iter().flatten() {
        let (from, writable) = mounts::parse_volumes_from(text)?;
        // A container that is not there makes the request wrong, not the container missing.
        let other = shared.find(from).map_err(|error| validate::Invalid(error.to_string()))?;
        for point in &other.view().record.mounts {
            let copy =
                MountPoint { rw: point.rw && writable, copy: false, mode: String::new(), ..point.clone() };
            points.insert(point.destination.clone(), copy);
        }
    }
    let mut taken = std::collections::BTreeSet::new();
    let tmpfs = |target: &str| host.tmpfs.iter().flatten().any(|(known, _)| mounts::clean(known) == target);
    let mut own = Vec::new();
    for text in host.binds.iter().flatten() {
        let point = mounts::parse_bind(text, &host.volume_driver)?;
        if tmpfs(&point.destination) || !taken.insert(point.destination.clone()) {
            return Err(ContainerError::DuplicateMount(point.destination));
        }
        own.push(point);
    }
    for spec in host.mounts.iter().flatten() {
        let point = mounts::parse_mount(spec)?;
        if !taken.insert(point.destination.clone()) {
            return Err(ContainerError::DuplicateMount(spec.target.clone()));
        }
        if point.must_exist() && !std::path::Path::new(&point.source).exists() {
            return Err(ContainerError::BindSource(point.source));
        }
        own.push(point);
    }
    points.extend(own.into_iter().map(|point| (point.destination.clone(), point)));
    for target in
        record.config.volumes.iter().flatten().map(|(target, _)| mounts::clean(&format!("/{target}")))
    {
        mounts::check_target(&target)?;
        if !points.contains_key(&target) && !tmpfs(&target) {
            let driver = host.volume_driver.clone();
            points.insert(target.clone(), MountPoint { driver, ..MountPoint::anonymous(&target) });
        }
    }
    for (place, point) in points.values_mut().enumerate().filter(|(_, point)| point.kind == MountKind::Image)
    {
        hold_image(shared, &source::image_key(&record.id, place), point).await?;
    }
    let mut root = None;
    for point in points.values_mut().filter(|point| point.kind == MountKind::Volume) {
        let options = point.spec.volume_options.clone().unwrap_or_default();
        let request = VolumeRequest {
            name: point.name.clone(),
            driver: point.driver.clone(),
            options: options.driver_config.and_then(|driver| driver.options).unwrap_or_default(),
            labels: options.labels.unwrap_or_default(),
        };
        let volume = shared.volumes.acquire(&request, &record.id).await?;
        if point.name.is_empty() {
            record.anonymous_volumes.push(volume.name.clone());
        }
        point.name.clone_from(&volume.name);
        point.driver.clone_from(&volume.driver);
        point.source = volume.mountpoint.to_string_lossy().into_owned();
        if point.copy {
            if root.is_none() {
                root = Some(shared.store.snapshots().view(chain)?);
            }
            if let Some(root) = &root {
                use std::os::fd::AsFd as _;
                shared.volumes.populate(&volume.name, root.as_fd(), &point.destination).await?;
            }
        }
    }
    record.mounts = points.into_values().collect();
    Ok(())
}

/// Holds the layers of an image that is mounted, whatever becomes of its name.
async fn hold_image(shared: &Arc<Shared>, key: &str, point: &mut MountPoint) -> Result<(), ContainerError> {
    let image = shared.store.images().resolve_for(&point.name, None)?;
    shared.store.ensure_unpacked(&image).await?;
    shared.store.snapshots().prepare(key, image.chain_id().as_ref()).await?;
    point.spec.source = image.id.to_string();
    Ok(())
}
