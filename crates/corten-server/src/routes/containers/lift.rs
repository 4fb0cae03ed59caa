//! What older versions of the API meant, brought to the newest shape, and answers brought back to theirs. Pure.

use corten_api::container::{CreateRequest, Inspect, Summary};

use crate::{ApiError, ApiVersion};

/// Lifts a create request; gives warnings of its own.
pub(super) fn create(request: &mut CreateRequest, version: ApiVersion) -> Result<Vec<String>, ApiError> {
    let host = &mut request.host_config;
    let endpoints = request.networking_config.endpoints_config.get_or_insert_default();
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = "bridge".into();
        if let Some(settings) = endpoints.remove("default") {
            endpoints.insert("bridge".into(), settings);
        }
    }
    if !version.at_least(25) {
        host.auto_remove = false;
    }
    if !version.at_least(40) {
        host.resources.kernel_memory_tcp = 0;
        if host.ipc_mode.is_empty() {
            host.ipc_mode = "shareable".into();
        }
    }
    if !version.at_least(42) {
        host.console_size = [0, 0];
    } else {
        host.resources.kernel_memory = 0;
    }
    if !version.at_least(43) {
        host.annotations = None;
    }
    mounts(request, version)?;
    if !version.at_least(44) {
        if let Some(check) = &mut request.config.healthcheck {
            check.start_interval = 0;
        }
        let endpoints = request.networking_config.endpoints_config.get_or_insert_default();
        if endpoints.len() > 1 {
            let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            return Err(ApiError::invalid(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
    }
    if !version.at_least(48) {
        for settings in request.networking_config.endpoints_config.iter_mut().flatten() {
            if let (_, Some(settings)) = settings {
                settings.gw_priority = 0;
            }
        }
    }
    let mut warnings = Vec::new();
    mac_address(request, version, &mut warnings)?;
    Ok(warnings)
}

fn mounts(request: &mut CreateRequest, version: ApiVersion) -> Result<(), ApiError> {
    for mount in request.host_config.mounts.iter_mut().flatten() {
        let kind = mount.r#type.clone();
        if !version.at_least(42) {
            if let Some(options) = &mut mount.bind_options {
                options.create_mountpoint = false;
                options.non_recursive &= version.at_least(40);
            }
            mount.volume_options = mount.volume_options.take().filter(|_| kind == "volume");
            mount.tmpfs_options = mount.tmpfs_options.take().filter(|_| kind == "tmpfs");
        } else {
            for (present, name, of) in [
                (mount.volume_options.is_some(), "VolumeOptions", "volume"),
                (mount.bind_options.is_some(), "BindOptions", "bind"),
                (mount.tmpfs_options.is_some(), "TmpfsOptions", "tmpfs"),
            ] {
                if present && kind != of {
                    return Err(ApiError::invalid(format!(
                        "{name} must not be specified on mount type {kind:?}"
                    )));
                }
            }
        }
        let bind = mount.bind_options.get_or_insert_default();
        if !version.at_least(44) && kind == "bind" {
            if bind.read_only_force_recursive {
                return Err(ApiError::invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"));
            }
            // Read-only mounts were read-only at the top only.
            bind.read_only_non_recursive |= mount.read_only;
        }
        if *bind == Default::default() {
            mount.bind_options = None;
        }
        let subpath = mount.volume_options.as_ref().is_some_and(|options| !options.subpath.is_empty());
        if !version.at_least(45) && subpath {
            return Err(ApiError::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
        if !version.at_least(48) && kind == "image" {
            return Err(ApiError::invalid("Mount type \"Image\" needs API v1.48 or newer"));
        }
    }
    Ok(())
}

/// The container-wide hardware address of old clients becomes one of the first network's endpoint.
fn mac_address(
    request: &mut CreateRequest,
    version: ApiVersion,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    let address = std::mem::take(&mut request.config.mac_address);
    let mode = request.host_config.network_mode.clone();
    let endpoints = request.networking_config.endpoints_config.get_or_insert_default();
    if !version.at_least(44) {
        // Hardware addresses of endpoints came later; what such a client sends there was ignored.
        for settings in endpoints.values_mut().flatten() {
            settings.mac_address.clear();
        }
    }
    if address.is_empty() {
        return Ok(());
    }
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return Err(ApiError::invalid("conflicting options: mac-address and the network mode"));
    }
    let settings = endpoints.entry(mode).or_default().get_or_insert_default();
    if !settings.mac_address.is_empty() && settings.mac_address != address {
        return Err(ApiError::invalid(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
        ));
    }
    settings.mac_address = address;
    if version.at_least(44) {
        warnings.push("The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.".into());
    }
    Ok(())
}

/// Lowers an inspect answer.
pub(super) fn lower_inspect(inspect: &mut Inspect, version: ApiVersion) {
    if !version.at_least(44) {
        for settings in inspect.network_settings.networks.values_mut() {
            settings.dns_names = None;
        }
    }
    if !version.at_least(45) {
        let short: String = inspect.id.chars().take(12).collect();
        for (name, settings) in &mut inspect.network_settings.networks {
            // Before 1.45 the short id was one of the aliases on networks that have names.
            if !matches!(name.as_str(), "bridge" | "host" | "none") {
                settings.aliases.get_or_insert_default().push(short.clone());
            }
        }
    }
    if !version.at_least(48) {
        inspect.image_manifest_descriptor = None;
    }
}

/// Lowers a row of a list.
pub(super) fn lower_summary(row: &mut Summary, version: ApiVersion) {
    if !version.at_least(46) {
        row.host_config.annotations = None;
    }
    if !version.at_least(48) {
        row.image_manifest_descriptor = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifted(json: &str, minor: u32) -> Result<CreateRequest, String> {
        let mut request: CreateRequest = serde_json::from_str(json).unwrap();
        match create(&mut request, ApiVersion::new(1, minor)) {
            Ok(_) => Ok(request),
            Err(error) => Err(error.message().to_owned()),
        }
    }

    #[test]
    fn the_default_network_is_the_bridge() {
        let json = r#"{"HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":{"Aliases":["a"]}}}}"#;
        let request = lifted(json, 51).unwrap();
        assert_eq!(request.host_config.network_mode, "bridge");
        assert!(request.networking_config.endpoints_config.unwrap().contains_key("bridge"));
    }

    #[test]
    fn several_networks_need_1_44() {
        let json = r#"{"NetworkingConfig":{"EndpointsConfig":{"a":{},"b":null}}}"#;
        assert!(lifted(json, 44).is_ok());
        assert_eq!(
            lifted(json, 43).unwrap_err(),
            "Container cannot be created with multiple network endpoints: a, b"
        );
    }

    #[test]
    fn options_of_another_type_of_mount_were_ignored_once() {
        let json =
            r#"{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/a","Target":"/b","VolumeOptions":{}}]}}"#;
        assert!(lifted(json, 41).is_ok());
        assert_eq!(
            lifted(json, 42).unwrap_err(),
            "VolumeOptions must not be specified on mount type \"bind\""
        );
    }
}
