//! `_ping`, version, info, events, disk usage, and the check of the store.

mod check;
mod events;
mod usage;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderName, Method, StatusCode};
use serde_json::Value;

use crate::{ApiError, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.get("/_ping", ping);
    r.head("/_ping", ping);
    r.get("/version", version);
    r.get("/info", info);
    r.get("/events", events::events);
    r.get("/system/df", usage::disk_usage);
    r.post("/system/check", check::check);
}

async fn ping(req: Request) -> Result<Response, ApiError> {
    let head = req.method() == Method::HEAD;
    let response = Response::text(StatusCode::OK, if head { "" } else { "OK" })
        .header(HeaderName::from_static("builder-version"), "1")
        .header(HeaderName::from_static("swarm"), "inactive")
        .header(CACHE_CONTROL, "no-cache, no-store, must-revalidate")
        .header(PRAGMA, "no-cache");
    Ok(if head { response.content_length(0) } else { response })
}

async fn version(req: Request) -> Result<Response, ApiError> {
    Ok(Response::json(&req.engine().version()))
}

async fn info(req: Request) -> Result<Response, ApiError> {
    let mut info = req.engine().info();
    let version = req.version();
    if !version.at_least(46) {
        info.containerd = None;
    }
    if !version.at_least(49) {
        info.firewall_backend = None;
        for commit in [&mut info.containerd_commit, &mut info.runc_commit, &mut info.init_commit] {
            commit.expected = Some(commit.id.clone());
        }
    }
    // Kernel memory limits are a thing of cgroup v1, told until 1.42.
    info.kernel_memory = !version.at_least(42) && info.kernel_memory_tcp;
    if !version.at_least(44) {
        info.runtimes.values_mut().for_each(|runtime| runtime.status = None);
    }
    if !version.at_least(25) {
        let name = |option: &String| {
            option.split(',').find_map(|o| o.strip_prefix("name=")).unwrap_or(option).to_owned()
        };
        info.security_options = info.security_options.iter().map(name).collect();
    }
    let mut value = serde_json::to_value(&info).unwrap_or_default();
    if !version.at_least(50) {
        value["BridgeNfIptables"] = Value::Bool(false);
        value["BridgeNfIp6tables"] = Value::Bool(false);
    }
    if !version.at_least(47) {
        value["RegistryConfig"]["AllowNondistributableArtifactsCIDRs"] = Value::Null;
        value["RegistryConfig"]["AllowNondistributableArtifactsHostnames"] = Value::Null;
    }
    Ok(Response::json(&value))
}
