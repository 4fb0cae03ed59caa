//! What a CDI specification changes in a container.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use corten_runtime::spec::{Device, DeviceRule, Hook, Mount, Spec};
use serde::Deserialize;

use crate::container::oci_spec::replace_or_append;

/// Changes of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    hooks: Vec<NamedHook>,
    mounts: Vec<HostMount>,
    #[serde(rename = "additionalGids")]
    additional_gids: Vec<u32>,
    intel_rdt: Option<serde_json::Value>,
    net_devices: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: String,
    r#type: String,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NamedHook {
    hook_name: String,
    path: String,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HostMount {
    host_path: String,
    container_path: String,
    options: Vec<String>,
    r#type: String,
}

impl Edits {
    /// Makes the changes. The error says what cannot be done.
    pub(super) fn apply(&self, spec: &mut Spec) -> Result<(), String> {
        if self.intel_rdt.is_some() || self.net_devices.is_some() {
            return Err("intelRdt and netDevices are not implemented".into());
        }
        let mut nodes = Vec::new();
        for node in &self.device_nodes {
            nodes.push((node.complete()?, node.permissions.clone()));
        }
        if let Some(process) = &mut spec.process {
            process.env = replace_or_append(std::mem::take(&mut process.env), &self.env);
            let groups = &mut process.user.additional_gids;
            for gid in self.additional_gids.iter().filter(|gid| **gid != 0) {
                if !groups.contains(gid) {
                    groups.push(*gid);
                }
            }
        }
        let linux = spec.linux.get_or_insert_default();
        for (device, permissions) in nodes {
            if matches!(device.kind.as_str(), "b" | "c" | "u") {
                let access = if permissions.is_empty() { "rwm".to_owned() } else { permissions };
                linux.resources.get_or_insert_default().devices.push(DeviceRule {
                    allow: true,
                    kind: device.kind.clone(),
                    major: Some(device.major),
                    minor: Some(device.minor),
                    access,
                });
            }
            linux.devices.retain(|other| other.path != device.path);
            linux.devices.push(device);
        }
        for mount in &self.mounts {
            spec.mounts.retain(|other| other.destination != mount.container_path);
            spec.mounts.push(mount.to_mount());
        }
        self.add_hooks(spec)
    }

    fn add_hooks(&self, spec: &mut Spec) -> Result<(), String> {
        for hook in &self.hooks {
            let hooks = spec.hooks.get_or_insert_default();
            let list = match hook.hook_name.as_str() {
                "prestart" => &mut hooks.prestart,
                "createRuntime" => &mut hooks.create_runtime,
                "createContainer" => &mut hooks.create_container,
                "startContainer" => &mut hooks.start_container,
                "poststart" => &mut hooks.poststart,
                "poststop" => &mut hooks.poststop,
                other => return Err(format!("{other:?} is not a hook's name")),
            };
            list.push(Hook {
                path: hook.path.clone(),
                args: hook.args.clone(),
                env: hook.env.clone(),
                timeout: hook.timeout,
            });
        }
        Ok(())
    }
}

impl Node {
    /// The node, with what the specification leaves out taken from the host's.
    fn complete(&self) -> Result<Device, String> {
        let mut device = Device {
            path: self.path.clone(),
            kind: self.r#type.clone(),
            major: self.major.unwrap_or(0),
            minor: self.minor.unwrap_or(0),
            file_mode: self.file_mode,
            uid: self.uid,
            gid: self.gid,
        };
        let numbered = self.major.is_some_and(|major| major != 0) || device.kind == "p";
        if !device.kind.is_empty() && numbered {
            return Ok(device);
        }
        let host = if self.host_path.is_empty() { &self.path } else { &self.host_path };
        let metadata = std::fs::metadata(host).map_err(|error| format!("failed to stat {host}: {error}"))?;
        let kind = metadata.file_type();
        let found = match (kind.is_char_device(), kind.is_block_device(), kind.is_fifo()) {
            (true, ..) => "c",
            (_, true, _) => "b",
            (.., true) => "p",
            _ => return Err(format!("{host} is not a device node")),
        };
        if !device.kind.is_empty() && device.kind != found {
            return Err(format!("{host} is of type {found:?}, not {:?}", device.kind));
        }
        found.clone_into(&mut device.kind);
        device.major = i64::from(rustix::fs::major(metadata.rdev()));
        device.minor = i64::from(rustix::fs::minor(metadata.rdev()));
        device.file_mode.get_or_insert(metadata.mode() & 0o7777);
        Ok(device)
    }
}

impl HostMount {
    fn to_mount(&self) -> Mount {
        let kind = if self.r#type.is_empty() { "bind" } else { &self.r#type };
        let mut options = self.options.clone();
        if kind == "bind" && !options.iter().any(|option| matches!(option.as_str(), "bind" | "rbind")) {
            options.insert(0, "rbind".into());
        }
        Mount {
            destination: self.container_path.clone(),
            kind: kind.into(),
            source: self.host_path.clone(),
            options,
            ..Mount::default()
        }
    }
}
