use std::sync::Arc;

use corten_types::Digest;

use super::*;
use crate::catalog::{Blob, Catalog, Manifest, Moment};

const DAY: u64 = 86_400;
const NOW: u64 = 100 * DAY;

fn name() -> RepositoryName {
    "a".parse().unwrap()
}

fn digest(text: &str) -> ContentDigest {
    Digest::of(text.as_bytes()).into()
}

#[derive(Default)]
struct Shelf(Catalog);

impl Shelf {
    fn blob(&mut self, text: &str, used: u64) {
        let blob = Blob { content: Digest::of(text.as_bytes()), size: 1, used: Moment::at(used) };
        self.0.apply(Change::PutBlob(name(), digest(text), Arc::new(blob)));
    }

    fn manifest(&mut self, text: &str, needs: &[&str], subject: Option<&str>, at: u64) {
        let manifest = Manifest {
            content: Digest::of(text.as_bytes()),
            size: 1,
            media_type: "t".into(),
            needs: needs.iter().map(|needed| digest(needed)).collect(),
            subject: subject.map(digest),
            artifact_type: String::new(),
            pushed: at,
            used: Moment::at(at),
        };
        self.0.apply(Change::PutManifest(name(), digest(text), Arc::new(manifest)));
    }

    fn tag(&mut self, tag: &str, text: &str, pushed: u64) {
        let tagged = Tagged { digest: digest(text), pushed, checked: None };
        self.0.apply(Change::PutTag(name(), tag.parse().unwrap(), tagged));
    }

    /// Collects, and says what is left: tags, and which of `texts` are still manifests or blobs.
    fn collect(&mut self, rule: Option<&Rule>, texts: &[&str]) -> String {
        let changes = plan(&name(), self.0.repository(&name()).unwrap(), rule, DAY, NOW);
        for change in changes {
            self.0.apply(change);
        }
        let repository = self.0.repository(&name());
        let tags = repository.iter().flat_map(|r| r.tags.keys()).map(Tag::to_string);
        let there = texts.iter().filter(|text| {
            repository.is_some_and(|r| {
                r.manifests.contains_key(&digest(text)) || r.blobs.contains_key(&digest(text))
            })
        });
        let there: Vec<&str> = there.copied().collect();
        format!("{} | {}", tags.collect::<Vec<_>>().join(" "), there.join(" "))
    }
}

fn rule() -> Rule {
    Rule { repositories: vec![Pattern::new("**")], ..Rule::default() }
}

fn three_tags() -> Shelf {
    let mut shelf = Shelf::default();
    for (number, tag) in ["v1", "v2", "v3"].iter().enumerate() {
        let at = NOW - (10 - number as u64) * DAY;
        shelf.blob(&format!("l{tag}"), at);
        shelf.blob("shared", at);
        shelf.manifest(&format!("m{tag}"), &[&format!("l{tag}"), "shared"], None, at);
        shelf.tag(tag, &format!("m{tag}"), at);
    }
    shelf
}

#[test]
fn without_a_rule_only_blobs_that_nothing_needs_go_and_only_after_a_while() {
    let mut shelf = three_tags();
    shelf.manifest("untagged", &["lv1"], None, 0);
    shelf.blob("young", NOW - DAY + 1);
    shelf.blob("old", NOW - DAY);
    let left = shelf.collect(None, &["mv1", "mv2", "mv3", "untagged", "young", "old", "shared"]);
    assert_eq!(left, "v1 v2 v3 | mv1 mv2 mv3 untagged young shared");
}

#[test]
fn the_last_tags_are_kept_and_what_only_others_need_goes() {
    let mut shelf = three_tags();
    let rule = Rule { keep_last: Some(1), ..rule() };
    let left = shelf.collect(Some(&rule), &["mv1", "lv1", "mv2", "lv2", "mv3", "lv3", "shared"]);
    assert_eq!(left, "v3 | mv3 lv3 shared");
}

#[test]
fn a_tag_stays_when_any_reason_keeps_it() {
    let keep_all = [
        Rule { keep_last: Some(0), keep_tags: vec![Pattern::new("v*")], ..rule() },
        Rule { keep_pushed_within: Some(Duration::from_secs(11 * DAY)), ..rule() },
        Rule { keep_last: Some(1), keep_pulled_within: Some(Duration::from_secs(11 * DAY)), ..rule() },
    ];
    for rule in &keep_all {
        assert_eq!(three_tags().collect(Some(rule), &[]), "v1 v2 v3 | ", "{rule:?}");
    }
    let rule = Rule {
        keep_pushed_within: Some(Duration::from_secs(9 * DAY)),
        keep_tags: vec![Pattern::new("v1")],
        ..rule()
    };
    assert_eq!(three_tags().collect(Some(&rule), &["mv1", "mv2"]), "v1 v3 | mv1");
}

#[test]
fn the_manifests_of_an_index_and_signatures_share_its_fate() {
    let build = || {
        let mut shelf = Shelf::default();
        shelf.manifest("amd64", &[], None, 0);
        shelf.manifest("index", &["amd64"], None, 0);
        shelf.manifest("signature", &[], Some("index"), 0);
        shelf.manifest("old-signature", &[], None, 0);
        shelf.tag("v1", "index", 0);
        let attached = digest("index").to_string().replace(':', "-") + ".sig";
        shelf.tag(&attached, "old-signature", 0);
        shelf
    };
    let all = ["amd64", "index", "signature", "old-signature"];
    let untagged = Rule { delete_untagged_after: Some(Duration::ZERO), ..rule() };
    let left = build().collect(Some(&untagged), &all);
    assert!(left.ends_with("| amd64 index signature old-signature"), "{left}");
    let none = Rule { keep_last: Some(0), ..rule() };
    assert_eq!(build().collect(Some(&none), &all), " | ");
}

#[test]
fn untagged_manifests_go_by_age_where_the_rule_says_so() {
    let mut shelf = three_tags();
    shelf.manifest("old", &[], None, NOW - 3 * DAY);
    shelf.manifest("young", &[], None, NOW - DAY);
    let rule = Rule { delete_untagged_after: Some(Duration::from_secs(2 * DAY)), ..rule() };
    assert_eq!(shelf.collect(Some(&rule), &["old", "young", "mv1"]), "v1 v2 v3 | young mv1");
}
