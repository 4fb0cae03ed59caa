//! Volumes.

use corten_api::volume::{CreateOptions, ListResponse, PruneReport};
use corten_engine::volume::VolumeRequest;
use http::{Method, StatusCode};

use crate::http::Shaped;
use crate::{ApiError, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.get("/volumes", list);
    r.get("/volumes/{name}", inspect);
    r.post("/volumes/create", create);
    r.post("/volumes/prune", prune);
    r.delete("/volumes/{name}", remove);
    r.missing(Method::PUT, "/volumes/{name}", "updating cluster volumes");
}

async fn list(req: Request) -> Result<Response, ApiError> {
    let volumes = req.engine().volumes.list(&req.query().filters()?)?;
    Ok(Response::json(&ListResponse { volumes: Some(volumes), warnings: None }))
}

async fn inspect(req: Request) -> Result<Response, ApiError> {
    Ok(Response::json(&req.engine().volumes.inspect(req.param("name"))?))
}

async fn create(mut req: Request) -> Result<Response, ApiError> {
    let options: CreateOptions = req.json_of(Shaped::VolumeCreate).await?;
    if options.cluster_volume_spec.is_some() && req.version().at_least(42) {
        return Err(ApiError::not_implemented("a cluster volume"));
    }
    let new = VolumeRequest {
        name: options.name,
        driver: options.driver,
        options: options.driver_opts.unwrap_or_default(),
        labels: options.labels.unwrap_or_default(),
    };
    Ok(Response::created(&req.engine().volumes.create(new).await?))
}

async fn remove(req: Request) -> Result<Response, ApiError> {
    req.engine().volumes.remove(req.param("name"), req.query().bool("force")).await?;
    Ok(Response::status(StatusCode::NO_CONTENT))
}

async fn prune(req: Request) -> Result<Response, ApiError> {
    let mut filters = req.query().filters()?;
    if !req.version().at_least(42) {
        // Before 1.42 a prune took named volumes too.
        filters.add("all", "true");
    }
    let report = req.engine().volumes.prune(&filters).await?;
    Ok(Response::json(&PruneReport {
        volumes_deleted: Some(report.deleted),
        space_reclaimed: report.reclaimed,
    }))
}
