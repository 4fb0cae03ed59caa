//! Documented endpoints that are not there: each answers 501 and says by name what is missing.

use http::Method;

use crate::{ApiError, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    const SWARM: &str = "swarm mode";
    const PLUGINS: &str = "managing plugins";
    const MISSING: &[(Method, &str, &str)] = &[
        (Method::POST, "/session", "the BuildKit session (POST /session)"),
        (Method::POST, "/grpc", "the BuildKit API (POST /grpc)"),
        (Method::GET, "/distribution/{name:*}/json", "inspecting images in a registry (GET /distribution)"),
        (Method::POST, "/containers/{id}/checkpoints", "checkpointing"),
        (Method::GET, "/containers/{id}/checkpoints", "checkpointing"),
        (Method::DELETE, "/containers/{id}/checkpoints/{name}", "checkpointing"),
        (Method::GET, "/plugins/privileges", PLUGINS),
        (Method::POST, "/plugins/pull", PLUGINS),
        (Method::POST, "/plugins/create", PLUGINS),
        (Method::DELETE, "/plugins/{name:*}", PLUGINS),
        (Method::POST, "/plugins/{name:*}/enable", PLUGINS),
        (Method::POST, "/plugins/{name:*}/disable", PLUGINS),
        (Method::POST, "/plugins/{name:*}/upgrade", PLUGINS),
        (Method::POST, "/plugins/{name:*}/push", PLUGINS),
        (Method::POST, "/plugins/{name:*}/set", PLUGINS),
        (Method::GET, "/swarm", SWARM),
        (Method::POST, "/swarm/init", SWARM),
        (Method::POST, "/swarm/join", SWARM),
        (Method::POST, "/swarm/update", SWARM),
        (Method::GET, "/swarm/unlockkey", SWARM),
        (Method::POST, "/swarm/unlock", SWARM),
        (Method::GET, "/nodes", SWARM),
        (Method::GET, "/nodes/{id}", SWARM),
        (Method::DELETE, "/nodes/{id}", SWARM),
        (Method::POST, "/nodes/{id}/update", SWARM),
        (Method::GET, "/services", SWARM),
        (Method::POST, "/services/create", SWARM),
        (Method::GET, "/services/{id}", SWARM),
        (Method::DELETE, "/services/{id}", SWARM),
        (Method::POST, "/services/{id}/update", SWARM),
        (Method::GET, "/services/{id}/logs", SWARM),
        (Method::GET, "/tasks", SWARM),
        (Method::GET, "/tasks/{id}", SWARM),
        (Method::GET, "/tasks/{id}/logs", SWARM),
        (Method::GET, "/secrets", SWARM),
        (Method::POST, "/secrets/create", SWARM),
        (Method::GET, "/secrets/{id}", SWARM),
        (Method::DELETE, "/secrets/{id}", SWARM),
        (Method::POST, "/secrets/{id}/update", SWARM),
        (Method::GET, "/configs", SWARM),
        (Method::POST, "/configs/create", SWARM),
        (Method::GET, "/configs/{id}", SWARM),
        (Method::DELETE, "/configs/{id}", SWARM),
        (Method::POST, "/configs/{id}/update", SWARM),
    ];
    for (method, pattern, what) in MISSING {
        r.missing(method.clone(), pattern, what);
    }
    r.get("/plugins", no_plugins);
    r.get("/plugins/{name:*}/json", no_such_plugin);
    r.post("/swarm/leave", in_no_swarm);
}

/// None can be installed, so there are none.
async fn no_plugins(_: Request) -> Result<Response, ApiError> {
    Ok(Response::json(&[(); 0]))
}

/// None can be installed, so none is ever found: `docker inspect` asks here last, for any name.
async fn no_such_plugin(req: Request) -> Result<Response, ApiError> {
    Err(ApiError::not_found(format!("plugin {:?} not found", req.param("name"))))
}

/// Clients leave whatever swarm there may be, to be sure, and know this answer.
async fn in_no_swarm(_: Request) -> Result<Response, ApiError> {
    Err(ApiError::new(corten_types::ErrorKind::Unavailable, "This node is not part of a swarm"))
}
