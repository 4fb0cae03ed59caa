//! `system df`

use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::commands::container::ls::{self as containers, FORMAT_HELP};
use crate::commands::image::ls as images;
use crate::commands::volume::ls as volumes;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::text::short_id;
use crate::format::units::{ago, human_size};
use crate::format::{Record, Titles, render};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    flag("format", Kind::Text, FORMAT_HELP),
    switch("verbose", "Show every image, container and volume").short('v'),
];

/// The command.
pub static DF: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Show docker disk usage",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

const TITLES: Titles = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

const CACHE_TITLES: Titles = &[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Used {
    layers_size: i64,
    images: Option<Vec<images::Summary>>,
    containers: Option<Vec<containers::Summary>>,
    volumes: Option<Vec<volumes::Volume>>,
    build_cache: Option<Vec<Cache>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Cache {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Type")]
    kind: String,
    in_use: bool,
    shared: bool,
    size: i64,
    created_at: String,
    last_used_at: Option<String>,
    usage_count: i64,
}

async fn run(session: &Session, m: &Matches) -> Outcome {
    let used: Used = session.client()?.get("/system/df").await?;
    let format = match m.text("format") {
        "" | "table" if m.on("verbose") => {
            output::put(&verbose(&used)?);
            return Ok(());
        }
        _ if m.on("verbose") => {
            return Err(Failure::new(
                "--format of --verbose is not part of this version: use --format alone, or --verbose alone",
            ));
        }
        "" | "table" => "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
        other => other,
    };
    output::put(&render(format, TITLES, rows(&used))?);
    Ok(())
}

fn row(kind: &str, total: usize, active: usize, size: i64, reclaimable: i64, share: bool) -> Record {
    let mut text = human_size(reclaimable as f64);
    if share && size > 0 {
        text = format!("{text} ({}%)", reclaimable * 100 / size);
    }
    Record::new("formatter.diskUsageContext")
        .with("Active", active.to_string())
        .with("Reclaimable", text)
        .with("Size", human_size(size as f64))
        .with("TotalCount", total.to_string())
        .with("Type", kind)
}

fn rows(used: &Used) -> Vec<Record> {
    let images = used.images.as_deref().unwrap_or_default();
    let kept: i64 = images
        .iter()
        .filter(|image| image.containers != 0 && image.size != -1 && image.shared_size != -1)
        .map(|image| image.size - image.shared_size)
        .sum();
    let containers = used.containers.as_deref().unwrap_or_default();
    let lives = |container: &containers::Summary| {
        matches!(container.state.as_str(), "running" | "paused" | "restarting")
    };
    let (alive, dead): (Vec<_>, Vec<_>) = containers.iter().partition(|container| lives(container));
    let dead: i64 = dead.iter().map(|container| container.size_rw).sum();
    let all: i64 = containers.iter().map(|container| container.size_rw).sum();
    let volumes = used.volumes.as_deref().unwrap_or_default();
    let usages = || volumes.iter().filter_map(|volume| volume.usage_data);
    let known = || usages().filter(|usage| usage.size != -1);
    let caches = used.build_cache.as_deref().unwrap_or_default();
    let cached: i64 = caches.iter().filter(|cache| !cache.shared).map(|cache| cache.size).sum();
    let in_use: i64 =
        caches.iter().filter(|cache| cache.in_use && !cache.shared).map(|cache| cache.size).sum();
    vec![
        row(
            "Images",
            images.len(),
            images.iter().filter(|image| image.containers > 0).count(),
            used.layers_size,
            used.layers_size - kept,
            true,
        ),
        row("Containers", containers.len(), alive.len(), all, dead, true),
        row(
            "Local Volumes",
            volumes.len(),
            usages().filter(|usage| usage.ref_count > 0).count(),
            known().map(|usage| usage.size).sum(),
            known().filter(|usage| usage.ref_count == 0).map(|usage| usage.size).sum(),
            true,
        ),
        row(
            "Build Cache",
            caches.len(),
            caches.iter().filter(|cache| cache.in_use).count(),
            cached,
            cached - in_use,
            false,
        ),
    ]
}

fn verbose(used: &Used) -> Outcome<String> {
    let images = used.images.iter().flatten().map(|image| images::first_record(image, true)).collect();
    let containers = used
        .containers
        .iter()
        .flatten()
        .map(|container| containers::record(&container.clone().without_image_size(), true))
        .collect();
    let volumes = used.volumes.iter().flatten().map(volumes::record).collect();
    let caches = used.build_cache.as_deref().unwrap_or_default();
    let cached: i64 = caches.iter().filter(|cache| !cache.shared).map(|cache| cache.size).sum();
    let seconds = |text: &str| text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second).unwrap_or(0);
    let cache_rows = caches
        .iter()
        .map(|cache| {
            Record::new("formatter.buildCacheContext")
                .with("ID", format!("{}{}", short_id(&cache.id), if cache.in_use { "*" } else { "" }))
                .with("CacheType", cache.kind.as_str())
                .with("Size", human_size(cache.size as f64))
                .with("CreatedSince", ago(seconds(&cache.created_at)))
                .with(
                    "LastUsedSince",
                    cache.last_used_at.as_ref().map_or(String::new(), |at| ago(seconds(at))),
                )
                .with("UsageCount", cache.usage_count.to_string())
                .with("Shared", cache.shared.to_string())
        })
        .collect();
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
        render(IMAGE_TABLE, images::TITLES, images)?,
        render(CONTAINER_TABLE, containers::TITLES, containers)?,
        render("table {{.Name}}\t{{.Links}}\t{{.Size}}", volumes::TITLES, volumes)?,
        human_size(cached as f64),
        render(CACHE_TABLE, CACHE_TITLES, cache_rows)?,
    ))
}

const IMAGE_TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINER_TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const CACHE_TABLE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_summed_up() {
        let used: Used = serde_json::from_value(serde_json::json!({
            "LayersSize": 3_108_000,
            "Images": [{"Id": "sha256:b6cc", "Containers": 0, "Size": 3_108_000, "SharedSize": 0}],
            "Containers": [{"Id": "a", "State": "running", "SizeRw": 100}, {"Id": "b", "State": "exited", "SizeRw": 300}],
            "Volumes": [{"Name": "v", "UsageData": {"RefCount": 1, "Size": 5}}, {"Name": "w", "UsageData": {"RefCount": 0, "Size": 15}}],
            "BuildCache": null
        }))
        .unwrap();
        let format = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
        assert_eq!(
            render(format, TITLES, rows(&used)).unwrap(),
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images          1         0         3.108MB   3.108MB (100%)\n\
             Containers      2         1         400B      300B (75%)\n\
             Local Volumes   2         1         20B       15B (75%)\n\
             Build Cache     0         0         0B        0B\n"
        );
    }
}
