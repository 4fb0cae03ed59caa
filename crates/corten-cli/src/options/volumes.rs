//! `-v`: `target`, `source:target` or `source:target:options`.

use std::path::{Component, Path, PathBuf};

/// What one `-v` means.
#[derive(Debug, PartialEq, Eq)]
pub enum Volume {
    /// An anonymous volume at this path.
    Anonymous(String),
    /// A folder of the host or a named volume, as the daemon reads it.
    Bind(String),
}

/// Reads one `-v`; a source that begins with a dot is below `here`.
pub fn volume(spec: &str, here: &Path) -> Result<Volume, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    match parts.as_slice() {
        [""] => Err("invalid empty volume spec".to_owned()),
        [target] => Ok(Volume::Anonymous((*target).to_owned())),
        // Too much of it is the daemon's to tell.
        parts if parts.len() > 3 => Ok(Volume::Bind(spec.to_owned())),
        parts if parts.iter().any(|part| part.is_empty()) => {
            Err(format!("invalid spec: {spec}: empty section between colons"))
        }
        [source, rest @ ..] if source.starts_with('.') => {
            Ok(Volume::Bind(format!("{}:{}", absolute(source, here).display(), rest.join(":"))))
        }
        _ => Ok(Volume::Bind(spec.to_owned())),
    }
}

/// A path from `here`, with its dots resolved by their names alone.
pub fn absolute(path: &str, here: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in here.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_sources_become_absolute() {
        let read = |spec: &str| volume(spec, Path::new("/work/here"));
        assert_eq!(read("./a:/b:ro"), Ok(Volume::Bind("/work/here/a:/b:ro".into())));
        assert_eq!(read("../a:/b"), Ok(Volume::Bind("/work/a:/b".into())));
        assert_eq!(read(".:/b"), Ok(Volume::Bind("/work/here:/b".into())));
        assert_eq!(read("name:/b"), Ok(Volume::Bind("name:/b".into())));
        assert_eq!(read("/b"), Ok(Volume::Anonymous("/b".into())));
        assert_eq!(read(":/b"), Err("invalid spec: :/b: empty section between colons".into()));
        assert_eq!(read("a:b:c:d"), Ok(Volume::Bind("a:b:c:d".into())));
    }
}
