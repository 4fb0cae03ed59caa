//! What a volume may be called, and which options the local driver takes. Pure.

use std::collections::BTreeMap;

use rustix::mount::MountFlags;

/// Docker's words for a bad name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.len() == 1 {
        return Err("volume name is too short, names should be at least two alphanumeric characters".into());
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= 255 && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return Ok(());
    }
    Err(format!(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. \
         If you intended to pass a host directory, use absolute path"
    ))
}

/// Docker's words for options that the local driver refuses.
pub(super) fn check_options(options: &BTreeMap<String, String>) -> Result<(), String> {
    const NEEDS: [(&str, &[&str]); 3] =
        [("device", &["type"]), ("o", &["device", "type"]), ("type", &["device"])];
    if let Some(unknown) = options.keys().find(|key| !["type", "o", "device", "size"].contains(&key.as_str()))
    {
        return Err(format!("invalid option: {unknown:?}"));
    }
    if options.contains_key("size") {
        return Err("quota size requested but no quota support".into());
    }
    for (key, needed) in NEEDS {
        if options.contains_key(key)
            && let Some(missing) = needed.iter().find(|n| !options.contains_key(**n))
        {
            return Err(format!("missing required option: {missing:?}"));
        }
    }
    Ok(())
}

/// What mount(2) is told for a volume with options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountPlan {
    pub device: String,
    pub fs_type: String,
    pub flags: MountFlags,
    /// `o` without what became a flag.
    pub data: String,
}

impl MountPlan {
    /// From checked options; `None` where there is nothing to mount.
    pub(super) fn new(options: &BTreeMap<String, String>) -> Option<Self> {
        let (device, fs_type) = (options.get("device")?.clone(), options.get("type")?.clone());
        let mut flags = MountFlags::empty();
        let mut data = Vec::new();
        for word in options.get("o").map_or("", String::as_str).split(',').filter(|w| !w.is_empty()) {
            match flag(word) {
                Some(Change::Set(flag)) => flags |= flag,
                Some(Change::Clear(flag)) => flags &= !flag,
                None => data.push(word),
            }
        }
        Some(Self { device, fs_type, flags, data: data.join(",") })
    }

    /// The data as messages may show it.
    pub(super) fn shown_data(&self) -> String {
        let mask = |word: &str| {
            if word.starts_with("password=") { "password=********".to_owned() } else { word.to_owned() }
        };
        self.data.split(',').map(mask).collect::<Vec<_>>().join(",")
    }
}

enum Change {
    Set(MountFlags),
    Clear(MountFlags),
}

fn flag(word: &str) -> Option<Change> {
    use Change::{Clear, Set};
    let rec = MountFlags::from_bits_retain(MS_REC);
    Some(match word {
        "defaults" | "rw" => Clear(if word == "rw" { MountFlags::RDONLY } else { MountFlags::empty() }),
        "ro" => Set(MountFlags::RDONLY),
        "bind" => Set(MountFlags::from_bits_retain(MS_BIND)),
        "rbind" => Set(MountFlags::from_bits_retain(MS_BIND) | rec),
        "nosuid" => Set(MountFlags::NOSUID),
        "suid" => Clear(MountFlags::NOSUID),
        "nodev" => Set(MountFlags::NODEV),
        "dev" => Clear(MountFlags::NODEV),
        "noexec" => Set(MountFlags::NOEXEC),
        "exec" => Clear(MountFlags::NOEXEC),
        "sync" => Set(MountFlags::SYNCHRONOUS),
        "async" => Clear(MountFlags::SYNCHRONOUS),
        "dirsync" => Set(MountFlags::DIRSYNC),
        "noatime" => Set(MountFlags::NOATIME),
        "atime" => Clear(MountFlags::NOATIME),
        "nodiratime" => Set(MountFlags::NODIRATIME),
        "diratime" => Clear(MountFlags::NODIRATIME),
        "relatime" => Set(MountFlags::RELATIME),
        "strictatime" => Set(MountFlags::STRICTATIME),
        _ => return None,
    })
}

pub(super) const MS_BIND: u32 = 0x1000;
const MS_REC: u32 = 0x4000;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn names_as_docker_takes_them() {
        for name in ["ab", "a.b", "a_b-c", "0a"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["a", "", "..", "a/b", ".a", "a b", "-a", "ä1"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(
            check_name("a/b")
                .unwrap_err()
                .starts_with("\"a/b\" includes invalid characters for a local volume name")
        );
    }

    #[test]
    fn options_need_each_other() {
        let refuse = |pairs: &[(&str, &str)]| check_options(&options(pairs)).unwrap_err();
        assert_eq!(refuse(&[("foo", "bar")]), "invalid option: \"foo\"");
        assert_eq!(refuse(&[("type", "tmpfs")]), "missing required option: \"device\"");
        assert_eq!(refuse(&[("device", "x")]), "missing required option: \"type\"");
        assert!(check_options(&options(&[("type", "none"), ("device", "/x"), ("o", "bind")])).is_ok());
    }

    #[test]
    fn words_become_flags_or_data() {
        let plan = MountPlan::new(&options(&[
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "ro,size=1m,nosuid,suid,uid=5"),
        ]))
        .unwrap();
        assert_eq!(plan.flags, MountFlags::RDONLY);
        assert_eq!(plan.data, "size=1m,uid=5");
        let secret =
            MountPlan::new(&options(&[("type", "cifs"), ("device", "//h/s"), ("o", "password=x,user=y")]))
                .unwrap();
        assert_eq!(secret.shown_data(), "password=********,user=y");
        assert_eq!(MountPlan::new(&options(&[])), None);
    }
}
