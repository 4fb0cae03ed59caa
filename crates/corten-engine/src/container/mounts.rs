//! What is mounted into a container: binds, volumes, tmpfs and images, parsed from every form they are written in.
//!
//! Texts and texts of refusals are Docker's. Nothing here looks at the disk: whether a source exists is the
//! create's question (see [`MountPoint::must_exist`]).

use corten_api::container::{Mount, TmpfsOptions, VolumeDriverConfig, VolumeOptions};
use serde::{Deserialize, Serialize};

/// What kind of thing is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// The tree of an image.
    Image,
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What kind.
    pub kind: MountKind,
    /// Name of a volume, empty until an anonymous one has got its own; image as the user named it.
    pub name: String,
    /// Path on the host; of a volume known once it exists.
    pub source: String,
    /// Path in the container, absolute and clean.
    pub destination: String,
    /// Volume driver.
    pub driver: String,
    /// Options as given in the short form; [`VOLUME_MODE`] where somebody asked for a volume without any.
    pub mode: String,
    /// Writable.
    pub rw: bool,
    /// `rprivate`, …; empty for volumes.
    pub propagation: String,
    /// Copy the image's content at the destination into the volume when that is empty.
    pub copy: bool,
    /// Make a missing source of a bind.
    pub create_source: bool,
    /// The mount in its long form.
    pub spec: Mount,
}

/// The options that Docker shows of a volume for which none were given.
const VOLUME_MODE: &str = "z";

/// Why a mount is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MountError(String);

fn refuse<T>(text: impl Into<String>) -> Result<T, MountError> {
    Err(MountError(text.into()))
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];
const DEFAULT_PROPAGATION: &str = "rprivate";

/// An absolute path without `.`, `..` and doubled slashes, as Go's `path.Clean`.
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if absolute => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

/// Whether a relative path stays below where it starts, as Go's `filepath.IsLocal`.
fn is_local(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && clean(path) != ".." && !clean(path).starts_with("../")
}

/// The words of a short form's last part, each kind at most once.
fn mode_is_valid(mode: &str) -> bool {
    if mode.is_empty() {
        return true;
    }
    let mut seen = [0_u8; 5];
    for word in mode.split(',') {
        let kind = match word {
            "rw" | "ro" => 0,
            "z" | "Z" => 1,
            _ if PROPAGATIONS.contains(&word) => 2,
            "nocopy" => 3,
            "consistent" | "cached" | "delegated" => 4,
            _ => return false,
        };
        seen[kind] += 1;
    }
    seen.iter().all(|&count| count <= 1)
}

fn mode_is_writable(mode: &str) -> bool {
    mode_is_valid(mode) && !mode.split(',').any(|word| word == "ro")
}

fn mode_propagation(mode: &str) -> Option<&str> {
    mode.split(',').find(|word| PROPAGATIONS.contains(word))
}

/// Parses `[source:]target[:mode]` (`-v`, `Binds`).
pub fn parse_bind(raw: &str, volume_driver: &str) -> Result<MountPoint, MountError> {
    let invalid = || MountError(format!("invalid volume specification: '{raw}'"));
    let parts: Vec<&str> = raw.splitn(4, ':').collect();
    if parts[0].is_empty() {
        return Err(invalid());
    }
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [_, mode] if mode_is_valid(mode) => return Err(invalid()),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid()),
    };
    if !mode_is_valid(mode) {
        return refuse(format!("invalid mode: {mode}"));
    }
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let mut spec = Mount {
        r#type: kind.into(),
        source: source.into(),
        target: target.into(),
        read_only: !mode_is_writable(mode),
        ..Mount::default()
    };
    if !volume_driver.is_empty() && kind == "volume" {
        let driver = VolumeDriverConfig { name: volume_driver.into(), options: None };
        spec.volume_options = Some(VolumeOptions { driver_config: Some(driver), ..VolumeOptions::default() });
    }
    if mode.split(',').any(|word| word == "nocopy") {
        spec.volume_options.get_or_insert_default().no_copy = true;
    }
    if let Some(propagation) = mode_propagation(mode) {
        spec.bind_options.get_or_insert_default().propagation = propagation.into();
    }
    let mut point = parse_mount(&spec).map_err(|error| MountError(format!("{}: {error}", invalid())))?;
    if !mode.is_empty() {
        point.mode = mode.into();
    }
    // Only the long form insists on a source that exists.
    point.create_source = point.kind == MountKind::Bind;
    Ok(point)
}

/// Checks and resolves a mount in its long form (`--mount`, `Mounts`).
pub fn parse_mount(spec: &Mount) -> Result<MountPoint, MountError> {
    check(spec)
        .map_err(|text| MountError(format!("invalid mount config for type {:?}: {text}", spec.r#type)))?;
    let bind = spec.bind_options.as_ref();
    let volume = spec.volume_options.as_ref();
    let propagation = bind.map(|o| o.propagation.clone()).filter(|p| !p.is_empty());
    let mut point = MountPoint {
        kind: MountKind::Bind,
        name: String::new(),
        source: String::new(),
        destination: clean(&spec.target),
        driver: String::new(),
        mode: String::new(),
        rw: !spec.read_only,
        propagation: String::new(),
        copy: false,
        create_source: false,
        spec: spec.clone(),
    };
    match spec.r#type.as_str() {
        "bind" => {
            point.source = clean(&spec.source);
            point.propagation = propagation.unwrap_or_else(|| DEFAULT_PROPAGATION.into());
            point.create_source = bind.is_some_and(|o| o.create_mountpoint);
        }
        "volume" => {
            point.kind = MountKind::Volume;
            point.name = spec.source.clone();
            point.mode = VOLUME_MODE.into();
            point.copy = !volume.is_some_and(|o| o.no_copy);
            point.driver =
                volume.and_then(|o| o.driver_config.as_ref()).map(|d| d.name.clone()).unwrap_or_default();
        }
        "tmpfs" => point.kind = MountKind::Tmpfs,
        _ => {
            point.kind = MountKind::Image;
            point.source = spec.source.clone();
            point.name = spec.source.clone();
            point.rw = false;
            point.propagation = propagation.unwrap_or_else(|| DEFAULT_PROPAGATION.into());
        }
    }
    Ok(point)
}

fn check(spec: &Mount) -> Result<(), String> {
    let present = |there: bool, name: &str| {
        if there { Err(format!("field {name} must not be specified")) } else { Ok(()) }
    };
    let missing = |empty: bool, name: &str| {
        if empty { Err(format!("field {name} must not be empty")) } else { Ok(()) }
    };
    let subpath = |path: &str| {
        if path.is_empty() || is_local(path) {
            Ok(())
        } else {
            Err("subpath must be a relative path within the volume".to_owned())
        }
    };
    missing(spec.target.is_empty(), "Target")?;
    check_target(&spec.target).map_err(|error| error.0)?;
    match spec.r#type.as_str() {
        "bind" => {
            missing(spec.source.is_empty(), "Source")?;
            let propagation = spec.bind_options.as_ref().map_or("", |o| &o.propagation);
            if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation) {
                return Err(format!("invalid propagation mode: {propagation}"));
            }
            present(spec.volume_options.is_some(), "VolumeOptions")?;
            present(spec.image_options.is_some(), "ImageOptions")?;
            check_absolute(&spec.source).map_err(|error| error.0)
        }
        "volume" => {
            present(spec.bind_options.is_some(), "BindOptions")?;
            present(spec.image_options.is_some(), "ImageOptions")?;
            let anonymous = spec.source.is_empty();
            let path = spec.volume_options.as_ref().map_or("", |o| &o.subpath);
            if !path.is_empty() && anonymous {
                return Err("must not set Subpath when using anonymous volumes".into());
            }
            subpath(path)?;
            if spec.read_only && anonymous {
                return Err("must not set ReadOnly mode when using anonymous volumes".into());
            }
            Ok(())
        }
        "tmpfs" => {
            present(spec.bind_options.is_some(), "BindOptions")?;
            present(spec.image_options.is_some(), "ImageOptions")?;
            present(!spec.source.is_empty(), "Source")?;
            tmpfs_options(spec.tmpfs_options.as_ref(), spec.read_only).map(drop)
        }
        "image" => {
            present(spec.bind_options.is_some(), "BindOptions")?;
            present(spec.volume_options.is_some(), "VolumeOptions")?;
            missing(spec.source.is_empty(), "Source")?;
            subpath(spec.image_options.as_ref().map_or("", |o| &o.subpath))
        }
        _ => Err("mount type unknown".into()),
    }
}

/// Refuses a target that is not absolute, or is the root itself.
pub fn check_target(target: &str) -> Result<(), MountError> {
    if clean(target) == "/" {
        return refuse("invalid specification: destination can't be '/'");
    }
    check_absolute(target)
}

fn check_absolute(path: &str) -> Result<(), MountError> {
    if path.starts_with('/') {
        Ok(())
    } else {
        refuse(format!("invalid mount path: '{path}' mount path must be absolute"))
    }
}

/// Parses `container[:mode]` (`--volumes-from`): the container, and whether its mounts stay writable.
pub fn parse_volumes_from(text: &str) -> Result<(&str, bool), MountError> {
    if text.is_empty() {
        return refuse("volumes-from specification cannot be an empty string");
    }
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    let copies = mode.split(',').any(|word| word == "nocopy");
    if !mode_is_valid(mode) || mode_propagation(mode).is_some() || copies {
        return refuse(format!("invalid mode: {mode}"));
    }
    Ok((container, mode_is_writable(mode)))
}

/// Words that say something about any mount.
const FLAGS: [&str; 22] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "defaults",
];
/// What a tmpfs takes with a value (tmpfs(5)).
const TMPFS_VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

/// Checks the options of a tmpfs in its short form (`--tmpfs path:options`).
pub fn check_tmpfs(options: &str) -> Result<(), MountError> {
    let words = options.split(',').filter(|word| !word.is_empty());
    for word in words {
        let known = match word.split_once('=') {
            Some((name, _)) => TMPFS_VALUES.contains(&name),
            None => FLAGS.contains(&word) || PROPAGATIONS.contains(&word),
        };
        if !known {
            return refuse(format!("invalid tmpfs option {word:?}"));
        }
    }
    Ok(())
}

/// The option text of a tmpfs in its long form: `ro,mode=700,size=64m,exec`.
pub fn tmpfs_options(options: Option<&TmpfsOptions>, read_only: bool) -> Result<String, String> {
    let mut words: Vec<String> = Vec::new();
    if read_only {
        words.push("ro".into());
    }
    if let Some(options) = options {
        if options.mode != 0 {
            words.push(format!("mode={:o}", options.mode));
        }
        if options.size_bytes != 0 {
            let units = [("g", 1_i64 << 30), ("m", 1 << 20), ("k", 1 << 10)];
            let unit = units.iter().find(|(_, unit)| options.size_bytes % unit == 0);
            words.push(match unit {
                Some((suffix, unit)) => format!("size={}{suffix}", options.size_bytes / unit),
                None => format!("size={}", options.size_bytes),
            });
        }
        for option in options.options.iter().flatten() {
            let (name, value) = match &option[..] {
                [name] => (name, None),
                [name, value] => (name, Some(value)),
                _ => return Err("invalid option array length".into()),
            };
            if !matches!(name.as_str(), "exec" | "noexec") {
                return Err(format!("invalid option: {name}"));
            }
            words.push(value.map_or_else(|| name.clone(), |value| format!("{name}={value}")));
        }
    }
    Ok(words.join(","))
}

impl MountPoint {
    /// Whether the source must be there at create (a bind in the long form).
    pub fn must_exist(&self) -> bool {
        self.kind == MountKind::Bind && !self.create_source
    }

    /// A volume without a name of its own, at this path.
    pub fn anonymous(destination: &str) -> Self {
        let target = clean(destination);
        let spec = Mount { r#type: "volume".into(), target: target.clone(), ..Mount::default() };
        Self {
            kind: MountKind::Volume,
            name: String::new(),
            source: String::new(),
            destination: target,
            driver: String::new(),
            mode: String::new(),
            rw: true,
            propagation: String::new(),
            copy: true,
            create_source: false,
            spec,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        let point = parse_bind("/srv//data/:/data:ro,z,rshared", "").unwrap();
        assert_eq!(
            (point.kind, point.source.as_str(), point.destination.as_str()),
            (MountKind::Bind, "/srv/data", "/data")
        );
        assert_eq!(
            (point.rw, point.mode.as_str(), point.propagation.as_str()),
            (false, "ro,z,rshared", "rshared")
        );

        let point = parse_bind("db:/var/lib/db:nocopy", "local").unwrap();
        assert_eq!(
            (point.kind, point.name.as_str(), point.driver.as_str()),
            (MountKind::Volume, "db", "local")
        );
        assert!(!point.copy && point.rw);

        let point = parse_bind("/cache", "").unwrap();
        assert_eq!(
            (point.kind, point.name.as_str(), point.destination.as_str()),
            (MountKind::Volume, "", "/cache")
        );
    }

    #[test]
    fn refusals_have_dockers_texts() {
        let cases = [
            ("", "invalid volume specification: ''"),
            (":/x", "invalid volume specification: ':/x'"),
            ("/x:rw", "invalid volume specification: '/x:rw'"),
            ("/a:/b:/c:ro", "invalid volume specification: '/a:/b:/c:ro'"),
            ("/a:/b:bad", "invalid mode: bad"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            (
                "/a:/",
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
            (
                "/a:b",
                "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_bind(text, "").unwrap_err().to_string(), expected, "{text}");
        }
        let mount =
            Mount { r#type: "tmpfs".into(), source: "x".into(), target: "/t".into(), ..Mount::default() };
        let text = parse_mount(&mount).unwrap_err().to_string();
        assert_eq!(text, "invalid mount config for type \"tmpfs\": field Source must not be specified");
        let mount = Mount { r#type: "odd".into(), target: "/t".into(), ..Mount::default() };
        assert_eq!(
            parse_mount(&mount).unwrap_err().to_string(),
            "invalid mount config for type \"odd\": mount type unknown"
        );
    }

    #[test]
    fn volumes_from() {
        assert_eq!(parse_volumes_from("web"), Ok(("web", true)));
        assert_eq!(parse_volumes_from("web:ro"), Ok(("web", false)));
        assert!(parse_volumes_from("").is_err());
        assert!(parse_volumes_from("web:shared").is_err());
    }

    #[test]
    fn tmpfs_options_are_written_in_the_largest_unit() {
        let options =
            TmpfsOptions { size_bytes: 64 << 20, mode: 0o1770, options: Some(vec![vec!["exec".into()]]) };
        assert_eq!(tmpfs_options(Some(&options), true), Ok("ro,mode=1770,size=64m,exec".into()));
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expected) in [
            ("/a/../../b", "/b"),
            ("a/./b//c/", "a/b/c"),
            ("", "."),
            ("../x", "../x"),
            ("a/..", "."),
            ("/", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }
}
