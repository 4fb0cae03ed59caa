//! Images: list, inspect, history, tag, delete, prune, load, save, import.

use corten_api::image::{Inspect, Summary};
use corten_engine::image::{ImportRequest, InspectRequest, ListRequest, RemoveRequest};
use corten_types::{Digest, ErrorKind, Kind as _, Platform, Reference};
use http::StatusCode;
use serde_json::json;

use crate::{ApiError, ApiVersion, Query, Request, Response, Router};

/// Registers them.
pub fn routes(r: &mut Router) {
    r.get("/images/json", list);
    r.get("/images/get", save_many);
    r.post("/images/load", load);
    r.post("/images/create", create);
    r.post("/images/prune", prune);
    r.get("/images/{name:*}/json", inspect);
    r.get("/images/{name:*}/history", history);
    r.get("/images/{name:*}/get", save_one);
    r.post("/images/{name:*}/tag", tag);
    r.delete("/images/{name:*}", remove);
}

async fn list(req: Request) -> Result<Response, ApiError> {
    let (query, version) = (req.query(), req.version());
    let mut filters = query.filters()?;
    if !version.at_least(41)
        && let Some(pattern) = query.non_empty("filter")
    {
        filters.add("reference", pattern);
    }
    let request = ListRequest {
        all: query.bool("all"),
        filters,
        shared_size: version.at_least(42) && query.bool("shared-size"),
        manifests: version.at_least(47) && query.bool("manifests"),
    };
    let mut images = req.engine().images.list(&request)?;
    for image in &mut images {
        lower_summary(image, version);
    }
    Ok(Response::json(&images))
}

/// Brings a summary to what a client of an older version knows.
fn lower_summary(image: &mut Summary, version: ApiVersion) {
    if version.at_least(43) {
        image.repo_tags.get_or_insert_default();
        image.repo_digests.get_or_insert_default();
    } else {
        let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
        if is_empty(&image.repo_tags) && is_empty(&image.repo_digests) {
            image.repo_tags = Some(vec!["<none>:<none>".into()]);
            image.repo_digests = Some(vec!["<none>@<none>".into()]);
        }
    }
    if !version.at_least(44) {
        image.virtual_size = image.size;
    }
    if !version.at_least(48) {
        image.descriptor = None;
    }
    if !version.at_least(51) {
        image.containers = -1;
    }
}

async fn inspect(req: Request) -> Result<Response, ApiError> {
    let (query, version) = (req.query(), req.version());
    let manifests = version.at_least(48) && query.bool("manifests");
    let platform = match query.non_empty("platform").filter(|_| version.at_least(49)) {
        Some(text) => Some(platform_of(text)?),
        None => None,
    };
    if manifests && platform.is_some() {
        return Err(ApiError::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let name = req.param("name").to_owned();
    let request = InspectRequest { name, platform, manifests, old_config: !version.at_least(50) };
    let mut image = req.engine().images.inspect(&request)?;
    lower_inspect(&mut image, version);
    Ok(Response::json(&image))
}

/// Brings an inspection to what a client of an older version knows.
fn lower_inspect(image: &mut Inspect, version: ApiVersion) {
    if !version.at_least(44) {
        image.virtual_size = image.size;
        if image.created.is_empty() {
            image.created = "0001-01-01T00:00:00Z".into();
        }
    }
    if !version.at_least(48) {
        image.descriptor = None;
    }
}

/// A platform as newer parameters carry it: OCI's JSON.
pub(super) fn platform_of(text: &str) -> Result<Platform, ApiError> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Wire {
        architecture: String,
        os: String,
        #[serde(rename = "os.version")]
        os_version: String,
        #[serde(rename = "os.features")]
        os_features: Vec<String>,
        variant: String,
    }
    let wire: Wire = serde_json::from_str(text)
        .map_err(|error| ApiError::invalid(format!("failed to parse platform: {error}")))?;
    let optional = !wire.variant.is_empty() || !wire.os_version.is_empty() || !wire.os_features.is_empty();
    if wire.os.is_empty() && wire.architecture.is_empty() && optional {
        return Err(ApiError::invalid(
            "optional platform fields provided, but OS and Architecture are missing",
        ));
    }
    if wire.os.is_empty() || wire.architecture.is_empty() {
        return Err(ApiError::invalid("both OS and Architecture must be provided"));
    }
    let platform = Platform::new(&wire.os, &wire.architecture, &wire.variant);
    Ok(Platform { os_version: wire.os_version, os_features: wire.os_features, ..platform })
}

/// The one platform of an archive's or a history's parameters.
fn one_platform(query: &Query, version: ApiVersion) -> Result<Option<Platform>, ApiError> {
    if !version.at_least(48) {
        return Ok(None);
    }
    if query.all("platform").count() > 1 {
        return Err(ApiError::invalid("multiple platform parameters not supported"));
    }
    query.non_empty("platform").map(platform_of).transpose()
}

async fn history(req: Request) -> Result<Response, ApiError> {
    let platform = one_platform(req.query(), req.version())?;
    let steps = req.engine().images.history(req.param("name"), platform.as_ref())?;
    // Nothing is `null`, as Go's nil slice is.
    Ok(if steps.is_empty() { Response::json(&()) } else { Response::json(&steps) })
}

/// The name that `repo` and `tag` make; nothing where there is no `repo`.
fn repo_tag(query: &Query) -> Result<Option<Reference>, ApiError> {
    let Some(repo) = query.non_empty("repo") else { return Ok(None) };
    let name: Reference = repo.parse()?;
    if name.digest().is_some() {
        return Err(ApiError::invalid("cannot import digest reference"));
    }
    Ok(Some(match query.non_empty("tag") {
        Some(tag) => name.with_tag(tag)?,
        None => name.or_latest(),
    }))
}

async fn tag(req: Request) -> Result<Response, ApiError> {
    let name = repo_tag(req.query())?.ok_or_else(|| ApiError::invalid("invalid reference format"))?;
    let source = req.param("name");
    // Whatever is wrong with the source's name, it names nothing.
    req.engine().store.images().find(source).map_err(|error| ApiError::not_found(error.to_string()))?;
    req.engine().images.tag(source, name).await?;
    Ok(Response::status(StatusCode::CREATED))
}

async fn remove(req: Request) -> Result<Response, ApiError> {
    let (query, name) = (req.query(), req.param("name"));
    if name.trim().is_empty() {
        return Err(ApiError::invalid("image name cannot be blank"));
    }
    let platforms = if req.version().at_least(50) {
        query.all("platforms").map(platform_of).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    let request = RemoveRequest {
        name: name.into(),
        force: query.bool("force"),
        prune: !query.bool("noprune"),
        platforms,
    };
    Ok(Response::json(&req.engine().images.remove(&request).await?))
}

async fn prune(req: Request) -> Result<Response, ApiError> {
    Ok(Response::json(&req.engine().images.prune(&req.query().filters()?).await?))
}

async fn load(req: Request) -> Result<Response, ApiError> {
    let platform = one_platform(req.query(), req.version())?;
    let (head, body) = req.into_parts();
    let loaded = head.engine().images.load(Box::new(body.blocking()), platform).await;
    // An archive that is wrong is said in the stream, as Docker says it. A disk that fails is no answer to be taken for
    // a success by whoever looks at the status only.
    let loaded = match loaded {
        Err(error) if error.kind() == ErrorKind::Internal => return Err(error.into()),
        loaded => loaded,
    };
    let (mut out, response) = Response::progress();
    tokio::spawn(async move {
        match loaded {
            Ok(images) => {
                for image in images {
                    // The client may have gone; what was loaded stays.
                    let _ = out.send(&json!({ "stream": image.message() })).await;
                }
            }
            Err(error) => {
                let _ = out.send(&failure(&error.to_string())).await;
            }
        }
    });
    Ok(response)
}

/// An error in a stream whose status was sent.
fn failure(message: &str) -> serde_json::Value {
    json!({ "errorDetail": { "message": message }, "error": message })
}

async fn save_one(req: Request) -> Result<Response, ApiError> {
    let names = vec![req.param("name").to_owned()];
    save(&req, &names)
}

async fn save_many(req: Request) -> Result<Response, ApiError> {
    let names: Vec<String> = req.query().all("names").map(str::to_owned).collect();
    save(&req, &names)
}

fn save(req: &Request, names: &[String]) -> Result<Response, ApiError> {
    let platform = one_platform(req.query(), req.version())?;
    let plan = req.engine().images.plan_save(names, platform.as_ref())?;
    let (mut out, response) = Response::writer("application/x-tar");
    tokio::task::spawn_blocking(move || {
        if let Err(error) = plan.write(&mut out) {
            tracing::debug!(%error, "an archive was not taken to its end");
            out.blocking_fail(std::io::Error::other(error.to_string()));
        }
    });
    Ok(response)
}

/// Pulls or imports.
async fn create(req: Request) -> Result<Response, ApiError> {
    let (query, version) = (req.query(), req.version());
    if query.non_empty("fromImage").is_some() {
        return super::registry::pull(req).await;
    }
    let source = query.text("fromSrc").unwrap_or_default().to_owned();
    let name = repo_tag(query)?;
    let platform = match query.non_empty("platform").filter(|_| version.at_least(32)) {
        Some(text) => Some(text.parse::<Platform>().map_err(|error| ApiError::invalid(error.to_string()))?),
        None => None,
    };
    if source != "-" {
        return Err(ApiError::not_implemented("importing an image from a URL"));
    }
    let changes =
        query.all("changes").filter(|change| !change.trim().is_empty()).map(str::to_owned).collect();
    let message = match query.non_empty("message") {
        Some(message) => message.to_owned(),
        None => format!("Imported from {source}"),
    };
    let (head, body) = req.into_parts();
    let request = ImportRequest { archive: Box::new(body.blocking()), name, platform, message, changes };
    let id: Digest = head.engine().images.import(request).await?;
    let (mut out, response) = Response::progress();
    tokio::spawn(async move { out.send(&json!({ "status": id.to_string() })).await });
    Ok(response)
}
