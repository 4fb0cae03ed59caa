//! Dependencies between crates point down: the table of ARCHITECTURE.md, checked.

use std::collections::BTreeMap;
use std::path::Path;

/// The crates by layer. An edge to a crate of a lower layer is allowed; inside a layer none is.
const LAYERS: [&[&str]; 6] = [
    &["corten-types", "corten-sys", "corten-archive", "corten-api", "corten-dockerfile"],
    &["corten-runtime", "corten-store", "corten-registry", "corten-net"],
    &["corten-shim", "corten-build", "corten-worker", "corten-registry-server"],
    &["corten-engine", "corten-client"],
    &["corten-server", "corten-cli"],
    &["corten"],
];

/// Edges inside a layer, each with its reason.
const INSIDE: [(&str, &str, &str); 6] = [
    ("corten-archive", "corten-types", "digests of layers"),
    ("corten-archive", "corten-sys", "descriptors beneath a root"),
    ("corten-api", "corten-types", "ids and digests in wire types"),
    ("corten-dockerfile", "corten-types", "references in FROM"),
    ("corten-registry", "corten-store", "blobs go straight into the intake"),
    ("corten-shim", "corten-runtime", "the monitor runs it"),
];

/// Edges that would couple what must stay apart, whatever the layers say.
const NEVER: [(&str, &str); 5] = [
    ("corten-build", "corten-engine"),
    ("corten-cli", "corten-engine"),
    ("corten-client", "corten-engine"),
    ("corten-shim", "corten-store"),
    ("corten-runtime", "corten-store"),
];

fn edges() -> BTreeMap<String, Vec<String>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut edges = BTreeMap::new();
    for entry in std::fs::read_dir(crates).expect("crates/ is there").flatten() {
        let manifest =
            std::fs::read_to_string(entry.path().join("Cargo.toml")).expect("a crate has a manifest");
        let name = entry.file_name().to_string_lossy().into_owned();
        let dependencies = manifest
            .split("[dependencies]")
            .nth(1)
            .unwrap_or_default()
            .lines()
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|word| word.starts_with("corten"))
            .map(str::to_owned)
            .collect();
        edges.insert(name, dependencies);
    }
    edges
}

fn layer(name: &str) -> usize {
    LAYERS.iter().position(|crates| crates.contains(&name)).unwrap_or_else(|| panic!("{name} is in no layer"))
}

#[test]
fn dependencies_point_down() {
    for (from, targets) in edges() {
        for to in targets {
            let listed = INSIDE.iter().any(|(a, b, _)| *a == from && *b == to);
            assert!(layer(&to) < layer(&from) || listed, "{from} may not depend on {to}");
            assert!(!NEVER.contains(&(from.as_str(), to.as_str())), "{from} must not know {to}");
        }
    }
}

#[test]
fn unsafe_code_is_in_one_crate() {
    for name in edges().keys().filter(|name| *name != "corten-sys") {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates").join(name).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).expect("a crate has a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
    }
}
