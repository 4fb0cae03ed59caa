//! Networks.

use corten_api::network::{NetworkConnect, NetworkCreate, NetworkCreated, NetworkDisconnect, NetworksPruned};
use http::StatusCode;

use crate::http::Shaped;
use crate::{ApiError, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.get("/networks", list);
    r.get("/networks/{id}", inspect);
    r.post("/networks/create", create);
    r.post("/networks/prune", prune);
    r.post("/networks/{id}/connect", connect);
    r.post("/networks/{id}/disconnect", disconnect);
    r.delete("/networks/{id}", remove);
}

async fn list(req: Request) -> Result<Response, ApiError> {
    Ok(Response::json(&req.engine().networks.list(&req.query().filters()?)?))
}

async fn inspect(req: Request) -> Result<Response, ApiError> {
    let scope = req.query().text("scope").unwrap_or_default();
    Ok(Response::json(&req.engine().networks.inspect(req.param("id"), scope)?))
}

async fn create(mut req: Request) -> Result<Response, ApiError> {
    let wanted: NetworkCreate = req.json_of(Shaped::NetworkCreate).await?;
    let id = req.engine().networks.create(wanted).await?;
    Ok(Response::created(&NetworkCreated { id, warning: String::new() }))
}

async fn remove(req: Request) -> Result<Response, ApiError> {
    req.engine().networks.remove(req.param("id")).await?;
    Ok(Response::status(StatusCode::NO_CONTENT))
}

async fn prune(req: Request) -> Result<Response, ApiError> {
    let removed = req.engine().networks.prune(&req.query().filters()?).await?;
    Ok(Response::json(&NetworksPruned { networks_deleted: Some(removed).filter(|list| !list.is_empty()) }))
}

async fn connect(mut req: Request) -> Result<Response, ApiError> {
    let wanted: NetworkConnect = req.json_of(Shaped::NetworkConnect).await?;
    let settings = wanted.endpoint_config.unwrap_or_default();
    req.engine().containers.connect(&wanted.container, req.param("id"), settings).await?;
    Ok(Response::status(StatusCode::OK))
}

async fn disconnect(mut req: Request) -> Result<Response, ApiError> {
    let wanted: NetworkDisconnect = req.json_of(Shaped::NetworkDisconnect).await?;
    req.engine().containers.disconnect(&wanted.container, req.param("id")).await?;
    Ok(Response::status(StatusCode::OK))
}
