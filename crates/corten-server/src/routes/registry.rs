//! What speaks to registries: pull, push, login, search; and commit, which makes what is pushed.

use corten_api::container::Config;
use corten_api::progress::Message;
use corten_engine::image::CommitRequest;
use corten_engine::image::pull::{Credentials, credentials_for};
use corten_registry::Auth;
use corten_types::{Digest, Platform, Reference};
use http::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;

use crate::{ApiError, Query, Request, Response, Router};

/// Registers them. `POST /images/create` is registered beside imports and comes here through [`pull`].
pub fn routes(r: &mut Router) {
    r.post("/images/{name:*}/push", push);
    r.post("/auth", login);
    r.post("/commit", commit);
    r.get("/distribution/{name:*}/json", distribution);
    r.get("/images/search", search);
}

/// Pulls: `POST /images/create?fromImage=`.
pub(super) async fn pull(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let reference = pulled(query)?;
    let platform = match query.non_empty("platform").filter(|_| req.version().at_least(32)) {
        Some(text) => Some(text.parse::<Platform>().map_err(|error| ApiError::invalid(error.to_string()))?),
        None => None,
    };
    let credentials = credentials(&reference, &req);
    let puller = req.engine().puller.clone();
    stream(move |tell| async move {
        let tell = move |message| tell(message);
        puller.pull(&reference, platform.as_ref(), &credentials, &tell).await.map_err(ApiError::from)
    })
    .await
}

/// What `fromImage` and `tag` name; `tag` may be a digest. Without a tag it is the whole repository.
fn pulled(query: &Query) -> Result<Reference, ApiError> {
    let image = query.text("fromImage").unwrap_or_default();
    let reference: Reference = image.strip_suffix(':').unwrap_or(image).parse()?;
    let Some(tag) = query.non_empty("tag") else { return Ok(reference) };
    match tag.parse::<Digest>() {
        Ok(digest) => Ok(reference.with_digest(digest)),
        Err(_) => Ok(reference.with_tag(tag)?),
    }
}

async fn push(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let reference: Reference = req.param("name").parse()?;
    let reference = match query.non_empty("tag") {
        Some(tag) => reference.with_tag(tag)?,
        None => reference,
    };
    let platform = match query.non_empty("platform").filter(|_| req.version().at_least(46)) {
        Some(text) => Some(super::images::platform_of(text)?),
        None => None,
    };
    let credentials = credentials(&reference, &req);
    let puller = req.engine().puller.clone();
    stream(move |tell| async move {
        let tell = move |message| tell(message);
        puller.push(&reference, platform.as_ref(), &credentials, &tell).await.map_err(ApiError::from)
    })
    .await
}

fn credentials(reference: &Reference, req: &Request) -> Credentials {
    credentials_for(reference, req.header("X-Registry-Auth").unwrap_or_default())
}

/// Runs `work` and streams what it tells. An error before the first line has a status of its own; one after it is the
/// last line. When the client goes away, the work ends.
async fn stream<F>(work: impl FnOnce(Box<dyn Fn(Message) + Send + Sync>) -> F) -> Result<Response, ApiError>
where
    F: Future<Output = Result<(), ApiError>> + Send + 'static,
{
    let (sender, mut lines) = mpsc::unbounded_channel();
    // An error only says that nobody listens.
    let tell = Box::new(move |message| drop(sender.send(message)));
    let mut task = tokio::spawn(work(tell));
    let Some(first) = lines.recv().await else {
        return match task.await {
            Ok(Ok(())) => Ok(Response::progress().1),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ApiError::new(corten_types::ErrorKind::Internal, "the transfer panicked")),
        };
    };
    let (mut out, response) = Response::progress();
    tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(message) = next {
            if out.send(&message).await.is_err() {
                break;
            }
            next = tokio::select! {
                line = lines.recv() => line,
                () = out.closed() => None,
            };
        }
        if out.is_closed() {
            task.abort();
        } else if let Ok(Err(error)) = (&mut task).await {
            let _ = out.send(&Message::error(error.message(), 0)).await;
        }
    });
    Ok(response)
}

/// What a registry holds under a name.
async fn distribution(req: Request) -> Result<Response, ApiError> {
    let reference: Reference = req.param("name").parse()?;
    let credentials = credentials(&reference, &req);
    let found = req.engine().puller.inspect(&reference.or_latest(), &credentials).await?;
    Ok(Response::json(&json!({ "Descriptor": found.descriptor, "Platforms": found.platforms })))
}

async fn search(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let limit = match query.non_empty("limit") {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| ApiError::invalid(format!("invalid limit specified: {text:?}")))?
        }
    };
    let auth = Auth::from_header(req.header("X-Registry-Auth").unwrap_or_default());
    let term = query.text("term").unwrap_or_default();
    let found = req.engine().puller.search(term, limit, &query.filters()?, auth).await?;
    Ok(Response::json(&found))
}

async fn login(mut req: Request) -> Result<Response, ApiError> {
    let auth: Auth = req.json().await?;
    let auth = auth.with_parts();
    let address = auth.server_address.clone();
    let host = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
    let host = match host.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" => "docker.io",
        host => host,
    };
    req.engine().puller.login(host, auth).await?;
    Ok(Response::json(&json!({ "Status": "Login Succeeded", "IdentityToken": "" })))
}

async fn commit(mut req: Request) -> Result<Response, ApiError> {
    let given = req.json::<Option<Config>>().await?;
    let query = req.query();
    let text = |name: &str| query.text(name).unwrap_or("").to_owned();
    let name = match query.non_empty("repo") {
        None => None,
        Some(repo) => {
            let name: Reference = repo.parse()?;
            if name.digest().is_some() {
                return Err(ApiError::invalid("cannot import digest reference"));
            }
            Some(match query.non_empty("tag") {
                Some(tag) => name.with_tag(tag)?,
                None => name.or_latest(),
            })
        }
    };
    let config = match given {
        None => None,
        Some(config) => {
            let value = serde_json::to_value(&config).unwrap_or_default();
            Some(serde_json::from_value(value).unwrap_or_default())
        }
    };
    let request = CommitRequest {
        container: text("container"),
        name,
        comment: text("comment"),
        author: text("author"),
        changes: query.all("changes").filter(|change| !change.trim().is_empty()).map(str::to_owned).collect(),
        config,
        pause: query.bool_or("pause", true),
    };
    let engine = req.engine();
    let id = engine.images.commit(&engine.containers, request).await?;
    Ok(Response::json_with(StatusCode::CREATED, &json!({ "Id": id })))
}
