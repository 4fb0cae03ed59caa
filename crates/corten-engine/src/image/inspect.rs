use corten_api::image::{DriverData, Inspect, Metadata, RootFs, legacy_config};
use corten_store::oci::{Descriptor, media};
use corten_store::{ImageError, NamedImage};
use corten_types::Platform;
use serde_json::{Map, Value};

use super::summary::Wanted;
use super::{Error, Images, PARENT_LABEL, shown, signed};

/// What `GET /images/{name}/json` asks for.
#[derive(Debug, Clone, Default)]
pub struct InspectRequest {
    /// The image.
    pub name: String,
    /// For which platform.
    pub platform: Option<Platform>,
    /// Its manifests too.
    pub manifests: bool,
    /// Whether the client is older than 1.50 and expects more members in the config.
    pub old_config: bool,
}

/// Name of what keeps layers, as Docker names it.
const DRIVER: &str = "overlayfs";

impl Images {
    /// All about one image. Answered from memory.
    pub fn inspect(&self, request: &InspectRequest) -> Result<Inspect, Error> {
        let image = self.store.images().find(&request.name)?;
        let named = self.store.images().names_of(&image.id());
        let wanted = request.platform.as_ref().map_or(Wanted::Any, Wanted::Only);
        let size = self.content_size(&image.target, wanted)?;
        let whole = self.whole(&image, wanted, &self.uses())?;
        let mut target = image.target.clone();
        if let Some(platform) = &request.platform {
            target = whole.best.clone().ok_or_else(|| ImageError::Platform {
                reference: request.name.clone(),
                wanted: format!("the specified platform ({platform})"),
            })?;
        }
        let parent = named.iter().find_map(|image| image.labels.get(PARENT_LABEL)).cloned();
        let (repo_tags, repo_digests) = names(&named);
        let mut answer = Inspect {
            id: target.digest.to_string(),
            repo_tags: Some(repo_tags),
            repo_digests: Some(repo_digests),
            parent: parent.unwrap_or_default(),
            size: signed(size),
            graph_driver: DriverData { data: None, name: DRIVER.into() },
            metadata: Metadata {
                last_tag_time: rfc3339(named.iter().map(|image| image.updated).max().unwrap_or(0)),
            },
            descriptor: Some(shown(&target)),
            manifests: request.manifests.then_some(whole.manifests),
            ..Inspect::default()
        };
        let mut config = Map::new();
        if let Some(best) = &whole.best {
            let content = self.store.content();
            let image = content.config(&content.manifest(best)?.config)?;
            if let Ok(Value::Object(members)) = serde_json::to_value(&image.config) {
                config = members;
            }
            answer.author.clone_from(&image.author);
            answer.architecture.clone_from(&image.architecture);
            answer.variant.clone_from(&image.variant);
            answer.os.clone_from(&image.os);
            answer.os_version.clone_from(&image.os_version);
            answer.comment = image.history.last().map(|step| step.comment.clone()).unwrap_or_default();
            answer.created = image.created.as_deref().map(normal_time).unwrap_or_default();
            answer.root_fs = RootFs {
                r#type: image.rootfs.kind.clone(),
                layers: Some(image.rootfs.diff_ids.iter().map(ToString::to_string).collect()),
            };
        }
        for (name, value) in legacy_config(!request.old_config) {
            config.entry(name).or_insert(value);
        }
        let mut config = Value::Object(config);
        config.sort_all_objects();
        if let Value::Object(config) = config {
            answer.config = config;
        }
        Ok(answer)
    }

    /// Bytes of a target with one of its platforms, whether they are here or not.
    fn content_size(&self, target: &Descriptor, wanted: Wanted<'_>) -> Result<u64, Error> {
        let mut children = self.store.content().children(target)?;
        if media::is_index(&target.media_type) {
            // Those without a platform come last.
            let rank = |child: &Descriptor| {
                child
                    .platform
                    .as_ref()
                    .map_or(u8::MAX, |platform| wanted.rank(platform).unwrap_or(u8::MAX - 1))
            };
            children.sort_by_key(rank);
            children.truncate(1);
        }
        let mut size = target.size;
        for child in &children {
            size += self.content_size(child, wanted)?;
        }
        Ok(size)
    }
}

/// Names with tags and names with digests, each once.
fn names(named: &[NamedImage]) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for image in named {
        let Some(name) = image.name.reference() else { continue };
        tags.push(name.familiar());
        let digested = if name.digest().is_some() { name.clone() } else { name.with_digest(image.id()) };
        let digested = digested.familiar();
        if !digests.contains(&digested) {
            digests.push(digested);
        }
    }
    (tags, digests)
}

/// A time in Go's RFC3339Nano.
fn rfc3339(nanoseconds: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).map(|time| time.to_string()).unwrap_or_default()
}

/// A time as Go would write it again: its zone kept, zeros at the end of the fraction dropped.
fn normal_time(text: &str) -> String {
    let Some(dot) = text.find('.') else { return text.to_owned() };
    let end = text[dot + 1..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |i| dot + 1 + i);
    let fraction = text[dot..end].trim_end_matches('0').trim_end_matches('.');
    format!("{}{fraction}{}", &text[..dot], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(normal_time("2024-01-02T03:04:05.120000000Z"), "2024-01-02T03:04:05.12Z");
        assert_eq!(normal_time("2024-01-02T03:04:05.000+01:00"), "2024-01-02T03:04:05+01:00");
        assert_eq!(normal_time("1970-01-01T00:00:00Z"), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_700_000_000_120_000_000), "2023-11-14T22:13:20.12Z");
    }
}
