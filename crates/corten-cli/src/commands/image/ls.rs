//! `images`

use std::collections::BTreeMap;

use corten_client::Request;
use corten_types::Reference;
use serde::Deserialize;

use crate::command::{Arity, Command};
use crate::commands::container::ls::FORMAT_HELP;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::text::{local_time, short_id};
use crate::format::units::{ago, human_size, short_size};
use crate::format::{Record, Titles, is_table, render};
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::{filters, output};

static FLAGS: &[Flag] = &[
    switch("all", "Show intermediate images too").short('a'),
    switch("digests", "Show digests"),
    flag("filter", Kind::Filter, "Show only what meets a condition").short('f'),
    flag("format", Kind::Text, FORMAT_HELP),
    switch("no-trunc", "Do not shorten anything"),
    switch("quiet", "Show only IDs").short('q'),
    switch("tree", "Show images with their platforms, as a tree"),
];

/// The command.
pub static LS: Command = Command {
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    usage_also: None,
    about: "List images",
    spellings: &["image ls", "image list", "images"],
    flags: &[FLAGS],
    arity: Arity::AtMost(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// An image as lists have it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Summary {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    created: i64,
    /// Bytes of everything.
    pub size: i64,
    /// Bytes that other images have too; -1 where nobody counted.
    pub shared_size: i64,
    /// Containers that use it; -1 where nobody counted.
    pub containers: i64,
}

/// The columns' titles.
pub const TITLES: Titles = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

async fn run(session: &Session, m: &Matches) -> Outcome {
    if m.on("tree") {
        return Err(Failure::new("the tree of images (--tree) is not part of this version of Corten"));
    }
    let digests = m.on("digests");
    let given = match m.text("format") {
        "" if m.on("quiet") => "",
        "" => session.config.text("imagesFormat"),
        given => given,
    };
    let format = match given {
        "" | "table" if m.on("quiet") => "{{.ID}}".to_owned(),
        "" | "table" => {
            let digest = if digests { "{{.Digest}}\t" } else { "" };
            format!(
                "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest}{{{{.ID}}}}\t{{{{if .CreatedSince }}}}{{{{.CreatedSince}}}}{{{{else}}}}N/A{{{{end}}}}\t{{{{.Size}}}}"
            )
        }
        "raw" if m.on("quiet") => "image_id: {{.ID}}".to_owned(),
        "raw" if digests => RAW.replace("image_id", "digest: {{.Digest}}\nimage_id"),
        "raw" => RAW.to_owned(),
        other if digests && is_table(other) && !other.contains("{{.Digest}}") => {
            format!("{other}\t{{{{.Digest}}}}")
        }
        other => other.to_owned(),
    };
    let filters = match m.args.first() {
        Some(name) => Some(filters::encoded_with(m, &[("reference", name)])),
        None => filters::encoded(m),
    };
    let request = Request::get("/images/json").query_if("all", m.on("all")).query_some("filters", filters);
    let mut found: Vec<Summary> = session.client()?.json(request).await?;
    found.sort_by_key(|image| std::cmp::Reverse(image.created));
    let want_digests = digests || format.contains("{{.Digest}}");
    let short = !m.on("no-trunc");
    let rows = found.iter().flat_map(|image| records(image, short, want_digests, digests)).collect();
    output::put(&render(&format, TITLES, rows)?);
    Ok(())
}

const RAW: &str = "repository: {{ .Repository }}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

/// An image's rows: one for each name, and with digests one for each digest of it.
fn records(image: &Summary, short: bool, want_digests: bool, digest_rows: bool) -> Vec<Record> {
    let tags = image.repo_tags.as_deref().unwrap_or_default();
    let digests = image.repo_digests.as_deref().unwrap_or_default();
    let unnamed = tags.iter().all(|tag| tag == "<none>:<none>")
        && digests.iter().all(|digest| digest == "<none>@<none>");
    if unnamed {
        return vec![record(image, "<none>", "<none>", "<none>", short)];
    }
    let mut by_name: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for tag in tags {
        if let Ok(reference) = tag.parse::<Reference>()
            && let Some(tag) = reference.tag()
        {
            by_name.entry(reference.familiar_name()).or_default().0.push(tag.to_owned());
        }
    }
    for digest in digests {
        if let Ok(reference) = digest.parse::<Reference>()
            && let Some(digest) = reference.digest()
        {
            by_name.entry(reference.familiar_name()).or_default().1.push(digest.to_string());
        }
    }
    let mut rows = Vec::new();
    for (name, (tags, digests)) in &by_name {
        if tags.is_empty() {
            if digest_rows {
                rows.extend(digests.iter().map(|digest| record(image, name, "<none>", digest, short)));
            } else {
                rows.push(record(image, name, "<none>", "", short));
            }
        }
        for tag in tags {
            if want_digests && !digests.is_empty() {
                rows.extend(digests.iter().map(|digest| record(image, name, tag, digest, short)));
            } else {
                rows.push(record(image, name, tag, "<none>", short));
            }
        }
    }
    rows
}

/// The row of `system df -v`: the first name only.
pub fn first_record(image: &Summary, short: bool) -> Record {
    let named = image.repo_tags.iter().flatten().find_map(|tag| {
        let reference = tag.parse::<Reference>().ok()?;
        Some((reference.familiar_name(), reference.tag()?.to_owned()))
    });
    let (name, tag) = named.unwrap_or_else(|| ("<none>".to_owned(), "<none>".to_owned()));
    record(image, &name, &tag, "", short)
}

fn record(image: &Summary, name: &str, tag: &str, digest: &str, short: bool) -> Record {
    let counted = |n: i64, text: String| if n == -1 { "N/A".to_owned() } else { text };
    let unique = if image.size == -1 || image.shared_size == -1 {
        "N/A".to_owned()
    } else {
        human_size((image.size - image.shared_size) as f64)
    };
    let created = image.created;
    Record::new("formatter.imageContext")
        .with("Containers", counted(image.containers, image.containers.to_string()))
        .later("CreatedAt", move || local_time(created))
        .with("CreatedSince", ago(image.created))
        .with("Digest", digest)
        .with("ID", if short { short_id(&image.id) } else { &image.id })
        .with("Repository", name)
        .with("SharedSize", counted(image.shared_size, human_size(image.shared_size as f64)))
        .with("Size", short_size(image.size as f64))
        .with("Tag", tag)
        .with("UniqueSize", unique)
        .with("VirtualSize", human_size(image.size as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_row() {
        let image: Summary = serde_json::from_value(serde_json::json!({
            "Id": "sha256:b6cc8694fc2f500d06f1254ea3f110ed", "RepoTags": ["busybox:latest", "busybox:1", "localhost:5000/b:2"],
            "RepoDigests": ["busybox@sha256:b6cc8694fc2f500d06f1254ea3f110ed283ddf1fa53bdd847180b615cdb96a35"],
            "Created": jiff::Timestamp::now().as_second() - 7200, "Size": 3_108_000
        }))
        .unwrap();
        let format = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
        assert_eq!(
            render(format, TITLES, records(&image, true, false, false)).unwrap(),
            "REPOSITORY         TAG       IMAGE ID       CREATED       SIZE\n\
             busybox            latest    b6cc8694fc2f   2 hours ago   3.11MB\n\
             busybox            1         b6cc8694fc2f   2 hours ago   3.11MB\n\
             localhost:5000/b   2         b6cc8694fc2f   2 hours ago   3.11MB\n"
        );
        assert_eq!(records(&Summary::default(), true, false, false).len(), 1);
    }
}
