use corten_api::system::DiskUsage;

use crate::{ApiError, Request, Response};

/// What `type` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Wanted {
    containers: bool,
    images: bool,
    volumes: bool,
    build_cache: bool,
}

impl Wanted {
    const ALL: Self = Self { containers: true, images: true, volumes: true, build_cache: true };

    fn parse<'a>(types: impl Iterator<Item = &'a str>) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        for r#type in types {
            match r#type {
                "container" => wanted.containers = true,
                "image" => wanted.images = true,
                "volume" => wanted.volumes = true,
                "build-cache" => wanted.build_cache = true,
                other => return Err(ApiError::invalid(format!("unknown object type: {other}"))),
            }
        }
        Ok(wanted)
    }
}

pub(super) async fn disk_usage(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let wanted = if req.version().at_least(42) && query.has("type") {
        Wanted::parse(query.all("type"))?
    } else {
        Wanted::ALL
    };
    let engine = req.engine();
    let mut usage = DiskUsage::default();
    if wanted.volumes {
        usage.volumes = Some(engine.volumes.usage().await);
    }
    if wanted.containers {
        usage.containers = Some(Vec::new());
    }
    if wanted.images {
        usage.images = Some(Vec::new());
    }
    if wanted.build_cache {
        usage.build_cache = Some(Vec::new());
    }
    Ok(Response::json(&usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_asked_for_one_by_one() {
        let wanted = Wanted::parse(["volume", "build-cache"].into_iter()).unwrap();
        assert_eq!(wanted, Wanted { volumes: true, build_cache: true, ..Wanted::default() });
        assert_eq!(Wanted::parse(["foo"].into_iter()).unwrap_err().message(), "unknown object type: foo");
    }
}
