use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on (OCI image-spec, image-index.md, `platform`): `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture by Go's name (`GOARCH`): `amd64`, `arm64`.
    pub architecture: String,
    /// Operating system by Go's name (`GOOS`): `linux`.
    pub os: String,
    /// Version of the operating system; only Windows images carry one.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features of the operating system that are needed.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the CPU: `v8` of `arm64`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is not a [`Platform`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: unknown operating system or architecture: invalid argument")]
pub struct PlatformError(String);

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// A platform with its names brought to Go's form (`x86_64` is `amd64`, `aarch64` is `arm64`).
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let architecture = architecture.to_ascii_lowercase();
        let mut variant = variant.to_ascii_lowercase();
        let architecture = match architecture.as_str() {
            "x86_64" | "x86-64" => "amd64",
            "i386" | "i686" | "x86" => "386",
            "aarch64" => "arm64",
            "armhf" => {
                variant = "v7".into();
                "arm"
            }
            "armel" => {
                variant = "v6".into();
                "arm"
            }
            "powerpc64" => "ppc64le",
            other => other,
        };
        if (architecture == "arm64" && (variant == "8" || variant == "v8"))
            || (architecture == "amd64" && variant == "v1")
        {
            variant.clear();
        } else if architecture == "arm" && matches!(variant.as_str(), "5" | "6" | "7" | "8") {
            variant.insert(0, 'v');
        }
        Self {
            architecture: architecture.into(),
            os: os.to_ascii_lowercase(),
            os_version: String::new(),
            os_features: Vec::new(),
            variant,
        }
    }

    /// Whether an image for `self` can be run where `wanted` is asked for.
    pub fn satisfies(&self, wanted: &Platform) -> bool {
        let (a, b) = (
            Self::new(&self.os, &self.architecture, &self.variant),
            Self::new(&wanted.os, &wanted.architecture, &wanted.variant),
        );
        a.os == b.os && a.architecture == b.architecture && (b.variant.is_empty() || a.variant == b.variant)
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `os/arch[/variant]`, or `arch` or `os` alone with the rest from this machine.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let known_os = ["linux", "windows", "darwin", "freebsd"];
        let word = |w: &str| {
            w.starts_with(|c: char| c.is_ascii_alphanumeric())
                && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| word(part)) {
            return Err(PlatformError(text.into()));
        }
        let host = Self::host();
        match parts[..] {
            [os] if known_os.contains(&os.to_ascii_lowercase().as_str()) => {
                Ok(Self::new(os, &host.architecture, ""))
            }
            [arch] => {
                let platform = Self::new("linux", arch, "");
                let known =
                    ["amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "mips64le", "loong64"];
                if known.contains(&platform.architecture.as_str()) {
                    Ok(platform)
                } else {
                    Err(PlatformError(text.into()))
                }
            }
            [os, arch] => Ok(Self::new(os, arch, "")),
            [os, arch, variant] => Ok(Self::new(os, arch, variant)),
            _ => Err(PlatformError(text.into())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_to_gos_form() {
        assert_eq!("linux/x86_64".parse::<Platform>().unwrap().to_string(), "linux/amd64");
        assert_eq!("linux/aarch64/v8".parse::<Platform>().unwrap().to_string(), "linux/arm64");
        assert_eq!("arm64".parse::<Platform>().unwrap().to_string(), "linux/arm64");
        assert_eq!("linux/armhf".parse::<Platform>().unwrap().to_string(), "linux/arm/v7");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "linux/", "a/b/c/d", "blorb", "linux/../x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
