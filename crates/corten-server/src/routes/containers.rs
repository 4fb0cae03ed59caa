//! Containers: create, list, inspect and the verbs of their life.

use std::time::Duration;

use corten_api::container::{Config, CreateRequest, UpdateConfig, WaitError, WaitResponse};
use corten_engine::container::{CreateContainer, ListFilter, RemoveOptions, WaitCondition};
use corten_types::Platform;
use http::StatusCode;

use crate::http::Shaped;
use crate::{ApiError, ApiVersion, Request, Response, Router};

mod copy;
mod lift;

/// Between two samples of `stats`.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Registers them.
pub fn routes(r: &mut Router) {
    r.get("/containers/json", list);
    r.post("/containers/create", create);
    r.post("/containers/prune", prune);
    r.get("/containers/{id}/json", inspect);
    r.post("/containers/{id}/start", start);
    r.post("/containers/{id}/stop", stop);
    r.post("/containers/{id}/restart", restart);
    r.post("/containers/{id}/kill", kill);
    r.post("/containers/{id}/pause", pause);
    r.post("/containers/{id}/unpause", unpause);
    r.post("/containers/{id}/rename", rename);
    r.post("/containers/{id}/update", update);
    r.post_until_client_leaves("/containers/{id}/wait", wait);
    r.delete("/containers/{id:*}", remove);
    r.get("/containers/{id}/top", top);
    r.get("/containers/{id}/changes", changes);
    r.get("/containers/{id}/stats", stats);
    copy::routes(r);
}

async fn list(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let limit = match query.non_empty("limit") {
        None => 0,
        Some(text) => text
            .parse::<i64>()
            .map_err(|_| ApiError::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?,
    };
    let filter = ListFilter {
        all: query.bool("all"),
        limit: usize::try_from(limit).unwrap_or(0),
        size: query.bool("size"),
        filters: query.filters()?,
    };
    let mut rows = req.engine().containers.list(&filter)?;
    for row in &mut rows {
        lift::lower_summary(row, req.version());
    }
    Ok(Response::json(&rows))
}

async fn inspect(req: Request) -> Result<Response, ApiError> {
    let mut inspect = req.engine().containers.inspect(req.param("id"), req.query().bool("size"))?;
    lift::lower_inspect(&mut inspect, req.version());
    Ok(Response::json(&inspect))
}

async fn create(mut req: Request) -> Result<Response, ApiError> {
    let mut request: CreateRequest = req.required_json_of(Shaped::ContainerCreate).await?;
    if request.config == Config::default() {
        return Err(ApiError::invalid("config cannot be empty in order to create a container"));
    }
    let mut warnings = lift::create(&mut request, req.version())?;
    let platform = match req.query().non_empty("platform").filter(|_| req.version().at_least(41)) {
        Some(text) => Some(text.parse::<Platform>().map_err(|error| ApiError::invalid(error.to_string()))?),
        None => None,
    };
    let name = req.query().text("name").unwrap_or_default().to_owned();
    let mut made = req.engine().containers.create(CreateContainer { name, request, platform }).await?;
    made.warnings.append(&mut warnings);
    Ok(Response::created(&made))
}

async fn start(req: Request) -> Result<Response, ApiError> {
    if req.query().non_empty("checkpoint").is_some() {
        return Err(ApiError::invalid("checkpoint is only supported in experimental mode"));
    }
    req.engine().containers.start(req.param("id")).await?;
    Ok(Response::no_content())
}

/// Signal and seconds of a stop or restart.
fn stop_options(req: &Request) -> Result<(Option<String>, Option<i64>), ApiError> {
    let query = req.query();
    let signal = query.non_empty("signal").filter(|_| req.version().at_least(42)).map(str::to_owned);
    let seconds = match query.non_empty("t") {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| ApiError::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?,
        ),
    };
    Ok((signal, seconds))
}

async fn stop(req: Request) -> Result<Response, ApiError> {
    let (signal, seconds) = stop_options(&req)?;
    req.engine().containers.stop(req.param("id"), signal.as_deref(), seconds).await?;
    Ok(Response::no_content())
}

async fn restart(req: Request) -> Result<Response, ApiError> {
    let (signal, seconds) = stop_options(&req)?;
    req.engine().containers.restart(req.param("id"), signal.as_deref(), seconds).await?;
    Ok(Response::no_content())
}

async fn kill(req: Request) -> Result<Response, ApiError> {
    let signal = req.query().text("signal").unwrap_or_default();
    req.engine().containers.kill(req.param("id"), signal).await?;
    Ok(Response::no_content())
}

async fn pause(req: Request) -> Result<Response, ApiError> {
    req.engine().containers.pause(req.param("id")).await?;
    Ok(Response::no_content())
}

async fn unpause(req: Request) -> Result<Response, ApiError> {
    req.engine().containers.unpause(req.param("id")).await?;
    Ok(Response::no_content())
}

async fn rename(req: Request) -> Result<Response, ApiError> {
    let new = req.query().text("name").unwrap_or_default();
    req.engine().containers.rename(req.param("id"), new).await?;
    Ok(Response::no_content())
}

async fn update(mut req: Request) -> Result<Response, ApiError> {
    let mut update: UpdateConfig = req.required_json_of(Shaped::ContainerUpdate).await?;
    if req.version() < ApiVersion::new(1, 40) {
        update.resources.pids_limit = None;
    }
    if req.version().at_least(42) {
        update.resources.kernel_memory = 0;
    }
    Ok(Response::json(&req.engine().containers.update(req.param("id"), update).await?))
}

async fn remove(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let options =
        RemoveOptions { force: query.bool("force"), volumes: query.bool("v"), link: query.bool("link") };
    req.engine().containers.remove(req.param("id"), options).await?;
    Ok(Response::status(StatusCode::NO_CONTENT))
}

async fn prune(req: Request) -> Result<Response, ApiError> {
    let report = req.engine().containers.prune(&req.query().filters()?).await?;
    Ok(Response::json(&report))
}

async fn wait(req: Request) -> Result<Response, ApiError> {
    let condition = match req.query().text("condition").filter(|_| req.version().at_least(30)) {
        None => WaitCondition::NotRunning,
        Some(text) => match text.parse() {
            Ok(condition) => condition,
            // Before 1.42 anything was taken for the default.
            Err(_) if !req.version().at_least(42) => WaitCondition::NotRunning,
            Err(error) => return Err(ApiError::invalid(error.to_string())),
        },
    };
    let waiting = req.engine().containers.wait(req.param("id"), condition)?;
    // The headers go at once: a client starts the container when it has them.
    let (mut lines, response) = Response::json_lines();
    tokio::spawn(async move {
        let waited = tokio::select! {
            waited = waiting => waited,
            () = lines.closed() => return,
        };
        let error = (!waited.error.is_empty()).then_some(WaitError { message: waited.error });
        // An error means that the client has gone, which harms nobody.
        let _ = lines.send(&WaitResponse { error, status_code: waited.exit_code }).await;
    });
    Ok(response)
}

async fn top(req: Request) -> Result<Response, ApiError> {
    let args = req.query().text("ps_args").unwrap_or_default();
    Ok(Response::json(&req.engine().containers.top(req.param("id"), args)?))
}

async fn changes(req: Request) -> Result<Response, ApiError> {
    let changes = req.engine().containers.changes(req.param("id")).await?;
    // No change at all is `null`.
    Ok(Response::json(&(!changes.is_empty()).then_some(changes)))
}

async fn stats(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let (stream, one_shot) =
        (query.bool_or("stream", true), query.bool("one-shot") && req.version().at_least(41));
    if stream && one_shot {
        return Err(ApiError::invalid("cannot have stream=true and one-shot=true"));
    }
    let mut sampler = req.engine().containers.sampler(req.param("id"))?;
    if !stream {
        if sampler.runs() && !one_shot {
            // The answer holds the difference to a sample of a second before.
            sampler.sample();
            tokio::time::sleep(SAMPLE_INTERVAL).await;
        }
        return Ok(Response::json(&sampler.sample()));
    }
    let (mut lines, response) = Response::json_lines();
    tokio::spawn(async move {
        while !sampler.ended() && lines.send(&sampler.sample()).await.is_ok() {
            tokio::select! {
                () = tokio::time::sleep(SAMPLE_INTERVAL) => {}
                () = lines.closed() => return,
            }
        }
    });
    Ok(response)
}
