//! Builds: `POST /build`, the prune of their cache, and the endpoints of BuildKit, which are not there.

use std::collections::BTreeMap;

use corten_api::container::{HostConfig, Ulimit};
use corten_api::progress::Message;
use corten_build::Removal;
use corten_engine::build::{BuildRequest, Feed, Line, RunningBuild, failure, parse_names};
use corten_engine::image::pull::credentials_by_registry;
use http::Method;
use serde::de::DeserializeOwned;

use crate::http::JsonLines;
use crate::{ApiError, Query, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.post("/build", build);
    r.post("/build/prune", prune);
    r.post("/build/cancel", cancel);
    r.missing(Method::POST, "/session", "BuildKit's session");
    r.missing(Method::POST, "/grpc", "BuildKit's gRPC interface");
}

async fn build(request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let query = head.query();
    refuse_what_is_not_there(query)?;
    let mut build = parse(query, head.version().at_least(32))?;
    build.credentials = credentials_by_registry(head.header("X-Registry-Config").unwrap_or(""));
    let quiet = query.bool("q");
    let wants_aux = head.version().at_least(30);
    let builds = head.engine().builds.clone();
    let context = builds.unpack(body.blocking()).await?;
    let mut running = builds.start(build, context);
    // A build that fails before it says anything has a status of its own.
    let Some(first) = running.feed.next().await else {
        return match running.outcome.await {
            Ok(Ok(_)) => Ok(Response::progress().1),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ApiError::new(corten_types::ErrorKind::Internal, "the build panicked")),
        };
    };
    let (lines, response) = Response::progress();
    tokio::spawn(stream(running, first, lines, wants_aux, quiet));
    Ok(response)
}

/// Sends a build's lines until it ends, or until the client is gone, which ends it.
async fn stream(running: RunningBuild, first: Line, mut lines: JsonLines, wants_aux: bool, quiet: bool) {
    let RunningBuild { mut feed, cancel, outcome } = running;
    let mut kept = Vec::new();
    let mut next = Some(first);
    loop {
        let Some(line) = next else { break };
        let message = match line {
            Line::Message(message) => Some(message),
            Line::Aux(message) => wants_aux.then_some(message),
        };
        match message {
            Some(message) if quiet => kept.push(message),
            Some(message) if lines.send(&message).await.is_err() => {
                cancel.cancel();
                break;
            }
            _ => {}
        }
        next = tokio::select! {
            line = feed.next() => line,
            () = lines.closed() => {
                cancel.cancel();
                break;
            }
        };
    }
    drain(&mut feed).await;
    let last = match outcome.await {
        Ok(Ok(id)) if quiet => vec![Message::text(format!("{id}\n"))],
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(error)) => kept.into_iter().chain([failure(&error)]).collect(),
        Err(_) => vec![Message::error("the build panicked", 0)],
    };
    for message in last {
        // The client may be gone, and then nobody needs to know.
        let _ = lines.send(&message).await;
    }
}

/// Reads what a build that was cancelled still says, so that it comes to its end.
async fn drain(feed: &mut Feed) {
    while feed.next().await.is_some() {}
}

fn refuse_what_is_not_there(query: &Query) -> Result<(), ApiError> {
    match query.text("version").unwrap_or("") {
        "" | "1" => {}
        "2" => return Err(ApiError::not_implemented("building with BuildKit (version=2)")),
        other => return Err(ApiError::invalid(format!("invalid version {other:?}"))),
    }
    if query.all("securityopt").next().is_some() {
        return Err(ApiError::invalid("security options are not supported on linux"));
    }
    match query.non_empty("isolation") {
        None | Some("default") => {}
        Some(other) => return Err(ApiError::invalid(format!("unsupported isolation: {other:?}"))),
    }
    if query.bool("squash") {
        return Err(ApiError::invalid("squash is only supported with experimental mode"));
    }
    if let Some(remote) = query.non_empty("remote") {
        if remote == "client-session" {
            return Err(ApiError::invalid(
                "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead",
            ));
        }
        return Err(ApiError::not_implemented(format!("the remote build context {remote}")));
    }
    if query.non_empty("outputs").is_some_and(|outputs| !matches!(outputs, "[]" | "null")) {
        return Err(ApiError::not_implemented("exporting a build (outputs)"));
    }
    Ok(())
}

fn parse(query: &Query, has_platform: bool) -> Result<BuildRequest, ApiError> {
    let text = |name: &str| query.text(name).unwrap_or("").to_owned();
    let list = |name: &str| {
        let values: Vec<String> = query.all(name).map(str::to_owned).collect();
        (!values.is_empty()).then_some(values)
    };
    let number = |name: &str| query.int(name).unwrap_or(0);
    let mut host = HostConfig { network_mode: text("networkmode"), ..HostConfig::default() };
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = "bridge".into();
    }
    host.extra_hosts = list("extrahosts");
    host.shm_size = match query.non_empty("shmsize") {
        None => 0,
        Some(text) => text.parse().map_err(|_| ApiError::invalid(format!("invalid shmsize {text:?}")))?,
    };
    host.resources.memory = number("memory");
    host.resources.memory_swap = number("memswap");
    host.resources.cpu_shares = number("cpushares");
    host.resources.cpu_period = number("cpuperiod");
    host.resources.cpu_quota = number("cpuquota");
    host.resources.cpuset_cpus = text("cpusetcpus");
    host.resources.cpuset_mems = text("cpusetmems");
    host.resources.cgroup_parent = text("cgroupparent");
    host.resources.ulimits = json::<Option<Vec<Ulimit>>>(query, "ulimits", "error reading ulimit settings")?;
    let _: Vec<String> = json(query, "cachefrom", "error reading cache-from")?;
    let platform = match query.non_empty("platform").filter(|_| has_platform) {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|error: corten_types::PlatformError| ApiError::invalid(error.to_string()))?,
        ),
    };
    Ok(BuildRequest {
        dockerfile: text("dockerfile"),
        names: parse_names(query.all("t"))?,
        args: json::<BTreeMap<String, Option<String>>>(query, "buildargs", "error reading build args")?,
        labels: json::<BTreeMap<String, String>>(query, "labels", "error reading labels")?,
        target: query.non_empty("target").map(str::to_owned),
        no_cache: query.bool("nocache"),
        pull: query.bool("pull"),
        removal: match (query.bool("forcerm"), query.non_empty("rm").is_none() || query.bool("rm")) {
            (true, _) => Removal::Always,
            (false, true) => Removal::OnSuccess,
            (false, false) => Removal::Never,
        },
        platform,
        host,
        ..BuildRequest::default()
    })
}

/// A parameter whose value is JSON; absent, empty and `null` are the default.
fn json<T: DeserializeOwned + Default>(query: &Query, name: &str, what: &str) -> Result<T, ApiError> {
    let Some(text) = query.non_empty(name) else { return Ok(T::default()) };
    serde_json::from_str::<Option<T>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|error| ApiError::invalid(format!("{what}: {error}")))
}

async fn prune(request: Request) -> Result<Response, ApiError> {
    let query = request.query();
    query.filters()?;
    for name in ["reserved-space", "keep-storage", "max-used-space", "min-free-space"] {
        if let Some(text) = query.non_empty(name).filter(|text| text.parse::<i64>().is_err()) {
            return Err(ApiError::invalid(format!("{name} is in bytes and expects an integer, got {text}")));
        }
    }
    let deleted = request.engine().builds.prune().await?;
    let deleted = if deleted.is_empty() { None } else { Some(deleted) };
    Ok(Response::json(&serde_json::json!({ "CachesDeleted": deleted, "SpaceReclaimed": 0 })))
}

async fn cancel(request: Request) -> Result<Response, ApiError> {
    match request.query().non_empty("id") {
        None => Err(ApiError::invalid("build ID not provided")),
        Some(_) => Err(ApiError::not_implemented("cancelling a build by its id")),
    }
}
