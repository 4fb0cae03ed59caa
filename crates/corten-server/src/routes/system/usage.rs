use corten_engine::system::Wanted;

use crate::{ApiError, Request, Response};

pub(super) async fn disk_usage(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let every = !req.version().at_least(42) || !query.has("type");
    let wanted = if every { Wanted::ALL } else { parse(query.all("type"))? };
    Ok(Response::json(&req.engine().disk_usage(wanted).await?))
}

fn parse<'a>(types: impl Iterator<Item = &'a str>) -> Result<Wanted, ApiError> {
    let mut wanted = Wanted::default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_asked_for_one_by_one() {
        let wanted = parse(["volume", "build-cache"].into_iter()).unwrap();
        assert_eq!(wanted, Wanted { volumes: true, build_cache: true, ..Wanted::default() });
        assert_eq!(parse(["foo"].into_iter()).unwrap_err().message(), "unknown object type: foo");
    }
}
