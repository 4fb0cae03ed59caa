//! Devices by name: the Container Device Interface (CDI 0.3 to 1.0), and `--gpus` on top of it.
//!
//! ```text
//!  /etc/cdi, /var/run/cdi  *.json *.yaml ──▶ Registry ──▶ edits of the devices asked for ──▶ spec
//! ```
//!
//! A vendor's specification says what a device means: nodes, mounts, variables, hooks. It is read when a container starts, so that a
//! new one needs no restart. What cannot be read makes its own devices unknown and nothing else; of two devices of one name in one
//! folder neither is known, and a later folder wins over an earlier one.

mod edits;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use corten_api::container::DeviceRequest;
use corten_runtime::spec::Spec;
use serde::Deserialize;

use edits::Edits;

/// The driver by which clients ask for CDI devices.
const DRIVER: &str = "cdi";
/// The capability by which clients ask for any GPU.
const GPU: &str = "gpu";
/// The most a specification may have.
const LIMIT: u64 = 1 << 20;

/// Why devices cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    /// No specification knows them.
    #[error("CDI device injection failed: unresolvable CDI devices {}", .0.join(", "))]
    Unresolvable(Vec<String>),
    /// A request by name has a number.
    #[error("unexpected count in CDI device request")]
    Count,
    /// A request by name has options.
    #[error("unexpected options in CDI device request")]
    Options,
    /// Nothing serves such a request.
    #[error("could not select device driver {driver:?} with capabilities: [{}]", show(.capabilities))]
    NoDriver {
        /// What was asked for.
        driver: String,
        /// What it should be able to do.
        capabilities: Vec<Vec<String>>,
    },
    /// What a specification says cannot be done here.
    #[error("CDI device injection failed: {device}: {reason}")]
    Edit {
        /// The device.
        device: String,
        /// Why.
        reason: String,
    },
}

fn show(capabilities: &[Vec<String>]) -> String {
    let lists: Vec<String> = capabilities.iter().map(|list| format!("[{}]", list.join(" "))).collect();
    lists.join(" ")
}

/// A vendor's specification.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    cdi_version: String,
    /// `vendor/class`.
    kind: String,
    #[serde(default)]
    devices: Vec<NamedDevice>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedDevice {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// All devices that specifications tell of.
#[derive(Debug, Default)]
pub struct Registry {
    /// By `vendor/class=name`.
    devices: BTreeMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    edits: Edits,
    /// What its specification says for all of its devices, and which that is.
    common: Edits,
    file: PathBuf,
}

impl Registry {
    /// Reads all specifications in these folders, which need not exist.
    pub fn read(folders: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for folder in folders {
            let mut here: BTreeMap<String, Known> = BTreeMap::new();
            let mut twice = BTreeSet::new();
            for file in specifications(folder) {
                let specification = match parse(&file) {
                    Ok(specification) => specification,
                    Err(reason) => {
                        tracing::warn!(file = %file.display(), reason, "a CDI specification is passed over");
                        continue;
                    }
                };
                for device in specification.devices {
                    let name = format!("{}={}", specification.kind, device.name);
                    let common = specification.container_edits.clone();
                    let known = Known { edits: device.container_edits, common, file: file.clone() };
                    if here.insert(name.clone(), known).is_some() {
                        tracing::warn!(
                            device = name,
                            "two CDI specifications have this device; neither counts"
                        );
                        twice.insert(name);
                    }
                }
            }
            here.retain(|name, _| !twice.contains(name));
            registry.devices.extend(here);
        }
        registry
    }

    /// The names of all devices.
    pub fn names(&self) -> Vec<String> {
        self.devices.keys().cloned().collect()
    }

    /// Puts the devices that are asked for into a container's specification.
    pub fn inject(&self, requests: &[DeviceRequest], spec: &mut Spec) -> Result<(), CdiError> {
        let mut files = BTreeSet::new();
        for request in requests {
            let names = self.choose(request)?;
            let missing: Vec<_> =
                names.iter().filter(|name| !self.devices.contains_key(*name)).cloned().collect();
            if !missing.is_empty() {
                return Err(CdiError::Unresolvable(missing));
            }
            for (name, known) in names.iter().filter_map(|name| Some((name, self.devices.get(name)?))) {
                let failed = |reason: String| CdiError::Edit { device: name.clone(), reason };
                // Once for each specification, however many of its devices there are.
                if files.insert(known.file.clone()) {
                    known.common.apply(spec).map_err(failed)?;
                }
                known.edits.apply(spec).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The names of the devices that a request asks for.
    fn choose(&self, request: &DeviceRequest) -> Result<Vec<String>, CdiError> {
        let ids = request.device_ids.clone().unwrap_or_default();
        if request.driver == DRIVER {
            return match request {
                DeviceRequest { count, .. } if *count != 0 => Err(CdiError::Count),
                DeviceRequest { options: Some(options), .. } if !options.is_empty() => Err(CdiError::Options),
                _ => Ok(ids),
            };
        }
        let capabilities = request.capabilities.clone().unwrap_or_default();
        let gpu = capabilities.iter().any(|list| list.iter().any(|capability| capability == GPU));
        // Vendors call it `nvidia.com/gpu=0`, `nvidia.com/gpu=all`; the driver is the vendor's first word.
        let of_vendor = |name: &str| {
            let (vendor, rest) = name.split_once('/')?;
            let (class, device) = rest.split_once('=')?;
            let wanted = request.driver.is_empty() || vendor.split('.').next() == Some(&request.driver);
            (class == GPU && wanted).then(|| (vendor.to_owned(), device.to_owned()))
        };
        let known: Vec<(String, String)> = self.devices.keys().filter_map(|name| of_vendor(name)).collect();
        let Some((vendor, _)) = known.first().filter(|_| gpu) else {
            return Err(CdiError::NoDriver { driver: request.driver.clone(), capabilities });
        };
        let qualified = |device: &str| format!("{vendor}/{GPU}={device}");
        if !ids.is_empty() {
            return Ok(ids
                .iter()
                .map(|id| if id.contains('=') { id.clone() } else { qualified(id) })
                .collect());
        }
        let own = || known.iter().filter(|(of, device)| of == vendor && device != "all");
        match usize::try_from(request.count) {
            Ok(count) if count > own().count() => {
                Err(CdiError::Unresolvable(vec![qualified(&count.saturating_sub(1).to_string())]))
            }
            Ok(count) => Ok(own().take(count).map(|(_, device)| qualified(device)).collect()),
            // All of them.
            Err(_) if self.devices.contains_key(&qualified("all")) => Ok(vec![qualified("all")]),
            Err(_) => Ok(own().map(|(_, device)| qualified(device)).collect()),
        }
    }
}

/// The specifications in a folder, by name.
fn specifications(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        path.extension().is_some_and(|end| matches!(end.to_str(), Some("json" | "yaml" | "yml")))
    };
    let mut files: Vec<PathBuf> = entries.filter(is_one).collect();
    files.sort();
    files
}

fn parse(path: &Path) -> Result<Specification, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(LIMIT).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let specification: Specification = if path.extension().is_some_and(|end| end == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())?
    };
    check(&specification)?;
    Ok(specification)
}

fn check(specification: &Specification) -> Result<(), String> {
    let version = specification.cdi_version.as_str();
    if !matches!(version, "0.3.0" | "0.4.0" | "0.5.0" | "0.6.0" | "0.7.0" | "0.8.0" | "1.0.0" | "1.1.0") {
        return Err(format!("its version {version:?} is not known"));
    }
    let word = |text: &str, more: &[u8]| {
        let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        alphanumeric(text.bytes().next())
            && alphanumeric(text.bytes().last())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let kind = specification.kind.as_str();
    if !kind.split_once('/').is_some_and(|(vendor, class)| word(vendor, b"-_.") && word(class, b"-_")) {
        return Err(format!("its kind {kind:?} is not vendor/class"));
    }
    let wrong = specification.devices.iter().find(|device| !word(&device.name, b"-_.:"));
    wrong.map_or(Ok(()), |device| Err(format!("{:?} is not a device's name", device.name)))
}

#[cfg(test)]
mod tests;
