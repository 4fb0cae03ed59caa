//! `--mount`: `type=…,source=…,target=…` and options by type.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Reads one `--mount` into the daemon's form.
pub fn mount(spec: &str) -> Result<Value, String> {
    let here = std::env::current_dir().unwrap_or_default();
    read(spec, &here)
}

fn read(spec: &str, here: &Path) -> Result<Value, String> {
    let mut kind = "volume".to_owned();
    let mut mount = Map::new();
    let (mut bind, mut volume, mut tmpfs, mut image) = (Map::new(), Map::new(), Map::new(), Map::new());
    let (mut driver, mut driver_options, mut labels) = (None, Map::new(), Map::new());
    for field in super::csv::fields(spec)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let switch = |value: Option<&str>| match value {
            None => Ok(true),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(value) => Err(format!("invalid value for {key}: {value}")),
        };
        match key.as_str() {
            "readonly" | "ro" => {
                mount.insert("ReadOnly".into(), switch(value)?.into());
                continue;
            }
            "volume-nocopy" => {
                volume.insert("NoCopy".into(), switch(value)?.into());
                continue;
            }
            "bind-nonrecursive" => {
                bind.insert("NonRecursive".into(), switch(value)?.into());
                continue;
            }
            "bind-create-src" => {
                bind.insert("CreateMountpoint".into(), switch(value)?.into());
                continue;
            }
            _ => {}
        }
        let Some(value) = value else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        let pair = || {
            let (key, value) = value.split_once('=').unwrap_or((value, ""));
            (key.to_owned(), Value::from(value))
        };
        match key.as_str() {
            "type" => kind = value.to_ascii_lowercase(),
            "source" | "src" => {
                let value = if value == "." || value.starts_with("./") || value.starts_with("..") {
                    super::volumes::absolute(value, here).display().to_string()
                } else {
                    value.to_owned()
                };
                mount.insert("Source".into(), value.into());
            }
            "target" | "dst" | "destination" => {
                mount.insert("Target".into(), value.into());
            }
            "consistency" => {
                mount.insert("Consistency".into(), value.to_ascii_lowercase().into());
            }
            "bind-propagation" => {
                bind.insert("Propagation".into(), value.to_ascii_lowercase().into());
            }
            "bind-recursive" => match value {
                "enabled" => {}
                "disabled" => {
                    bind.insert("NonRecursive".into(), true.into());
                }
                "writable" => {
                    bind.insert("ReadOnlyNonRecursive".into(), true.into());
                }
                "readonly" => {
                    bind.insert("ReadOnlyForceRecursive".into(), true.into());
                }
                _ => {
                    return Err(format!(
                        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ));
                }
            },
            "volume-subpath" => {
                volume.insert("Subpath".into(), value.into());
            }
            "volume-label" => labels.extend([pair()]),
            "volume-driver" => driver = Some(value.to_owned()),
            "volume-opt" => driver_options.extend([pair()]),
            "image-subpath" => {
                image.insert("Subpath".into(), value.into());
            }
            "tmpfs-size" => {
                let size =
                    crate::value::bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
                tmpfs.insert("SizeBytes".into(), size.into());
            }
            "tmpfs-mode" => {
                let mode =
                    u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {key}: {value}"))?;
                tmpfs.insert("Mode".into(), mode.into());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !labels.is_empty() {
        volume.insert("Labels".into(), labels.into());
    }
    if driver.is_some() || !driver_options.is_empty() {
        let name = driver.unwrap_or_default();
        volume.insert("DriverConfig".into(), json!({ "Name": name, "Options": driver_options }));
    } else if !volume.is_empty() {
        volume.insert("DriverConfig".into(), json!({}));
    }
    if kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.get("Target").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err("target is required".to_owned());
    }
    for (options, owner) in [(&volume, "volume"), (&bind, "bind"), (&tmpfs, "tmpfs"), (&image, "image")] {
        if !options.is_empty() && kind != owner {
            return Err(format!("cannot mix '{owner}-*' options with mount type '{kind}'"));
        }
    }
    let mut out = Map::new();
    out.insert("Type".into(), kind.into());
    out.extend(mount);
    for (options, name) in
        [(bind, "BindOptions"), (volume, "VolumeOptions"), (tmpfs, "TmpfsOptions"), (image, "ImageOptions")]
    {
        if !options.is_empty() {
            out.insert(name.into(), options.into());
        }
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_by_type() {
        let show =
            |spec: &str| read(spec, Path::new("/w")).map_or_else(|error| error, |mount| mount.to_string());
        for (spec, want) in [
            (
                "type=bind,src=./a,dst=/b,ro",
                r#"{"Type":"bind","Source":"/w/a","Target":"/b","ReadOnly":true}"#,
            ),
            ("source=v,target=/b", r#"{"Type":"volume","Source":"v","Target":"/b"}"#),
            (
                "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777",
                r#"{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1048576,"Mode":1023}}"#,
            ),
            (
                "type=volume,target=/t,volume-opt=type=nfs,volume-driver=local",
                r#"{"Type":"volume","Target":"/t","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"type":"nfs"}}}}"#,
            ),
            ("type=bind,source=/a", "target is required"),
            ("type=bind,foo=1,target=/a", "unexpected key 'foo' in 'foo=1'"),
            ("type=bind,target", "invalid field 'target' must be a key=value pair"),
            ("type=bind,target=/a,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
            ("target=/a,readonly=x", "invalid value for readonly: x"),
        ] {
            assert_eq!(show(spec), want, "{spec}");
        }
    }
}
