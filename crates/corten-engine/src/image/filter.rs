//! Filters of image lists and prunes.

use corten_api::filters::Filters;
use corten_dockerfile::path_match;
use corten_store::oci::media;
use corten_store::{Name, NamedImage};
use corten_types::Reference;
use jiff::Timestamp;

use super::{Error, Images};
use crate::time::parse_moment;

/// What an image must be, all of it.
pub(super) struct Filter {
    before: Vec<i128>,
    since: Vec<i128>,
    until: Vec<Timestamp>,
    labels: Vec<LabelCheck>,
    dangling: Option<bool>,
    references: Vec<String>,
}

impl Filter {
    /// Lets images with and without a name pass.
    pub(super) fn any_name(&mut self) {
        self.dangling = None;
    }
}

struct LabelCheck {
    key: String,
    value: Option<String>,
    negated: bool,
}

impl LabelCheck {
    fn parse(filter: &str, negated: bool) -> Self {
        let (key, value) = match filter.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (filter, None),
        };
        // `key!=value` says the opposite of `key=value`.
        match key.strip_suffix('!') {
            Some(key) => Self { key: key.into(), value, negated: !negated },
            None => Self { key: key.into(), value, negated },
        }
    }

    fn holds(&self, label: Option<&String>) -> bool {
        match (&self.value, label) {
            (None, label) => label.is_some() != self.negated,
            (Some(_), None) => false,
            (Some(wanted), Some(value)) => (wanted == value) != self.negated,
        }
    }
}

impl Images {
    /// Reads filters, of which only `known` are allowed.
    pub(super) fn filter(&self, filters: &Filters, known: &[&str]) -> Result<Filter, Error> {
        filters.only(known)?;
        let created = |name: &str| -> Result<Option<i128>, Error> {
            let image = self.store.images().resolve(name)?;
            Ok(nanoseconds(image.config.created.as_deref()))
        };
        let mut filter = Filter {
            before: Vec::new(),
            since: Vec::new(),
            until: Vec::new(),
            labels: Vec::new(),
            dangling: filters.bool("dangling")?,
            references: filters.get("reference").map(str::to_owned).collect(),
        };
        for name in filters.get("before") {
            filter.before.extend(created(name)?);
        }
        for name in filters.get("since") {
            filter.since.extend(created(name)?);
        }
        let now = Timestamp::now();
        for text in filters.get("until") {
            filter.until.push(parse_moment(text, now)?);
        }
        filter.labels.extend(filters.get("label").map(|text| LabelCheck::parse(text, false)));
        filter.labels.extend(filters.get("label!").map(|text| LabelCheck::parse(text, true)));
        Ok(filter)
    }

    /// Whether an image is what the filter asks for.
    pub(super) fn passes(&self, filter: &Filter, image: &NamedImage) -> bool {
        if filter.dangling.is_some_and(|dangling| dangling != image.name.is_dangling()) {
            return false;
        }
        let created_at = i128::from(image.created);
        if !filter.until.iter().all(|until| created_at < until.as_nanosecond()) {
            return false;
        }
        if !filter.references.is_empty() {
            let Name::Reference(name) = &image.name else { return false };
            if !filter.references.iter().any(|pattern| matches(pattern, name)) {
                return false;
            }
        }
        if !filter.before.is_empty() || !filter.since.is_empty() {
            let made = self.store.images().image(image, None).ok();
            let Some(made) = made.and_then(|image| nanoseconds(image.config.created.as_deref())) else {
                return false;
            };
            if filter.before.iter().any(|before| made >= *before)
                || filter.since.iter().any(|since| made <= *since)
            {
                return false;
            }
        }
        filter.labels.is_empty() || self.has_labels(filter, image)
    }

    /// Whether the config of any platform has the labels.
    fn has_labels(&self, filter: &Filter, image: &NamedImage) -> bool {
        let content = self.store.content();
        content.present(&image.target).unwrap_or_default().iter().any(|blob| {
            let Some(config) = media::is_config(&blob.media_type).then(|| content.config(blob)) else {
                return false;
            };
            config.is_ok_and(|config| {
                let labels = config.config.labels.as_ref();
                filter
                    .labels
                    .iter()
                    .all(|check| check.holds(labels.and_then(|labels| labels.get(&check.key))))
            })
        })
    }
}

fn nanoseconds(time: Option<&str>) -> Option<i128> {
    time.and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_nanosecond)
}

/// Whether a pattern matches a name in its short form, with or without its tag.
fn matches(pattern: &str, name: &Reference) -> bool {
    let is = |text: &str| path_match::matches(pattern, text).unwrap_or(false);
    is(&name.familiar()) || is(&name.familiar_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_filters_hold_as_dockers_do() {
        let (a, b) = ("1".to_owned(), "2".to_owned());
        let holds = |filter: &str, negated: bool, label: Option<&String>| {
            LabelCheck::parse(filter, negated).holds(label)
        };
        assert!(holds("k", false, Some(&a)) && !holds("k", false, None));
        assert!(!holds("k", true, Some(&a)) && holds("k", true, None));
        assert!(holds("k=1", false, Some(&a)) && !holds("k=1", false, Some(&b)));
        assert!(holds("k!=1", false, Some(&b)) && !holds("k!=1", false, None));
        assert!(holds("k=1", true, Some(&b)) && !holds("k=1", true, Some(&a)));
    }

    #[test]
    fn patterns_match_short_names() {
        let name: Reference = "busybox:1.36".parse().unwrap();
        for pattern in ["busybox", "busy*", "busybox:1*", "busybox:1.36"] {
            assert!(matches(pattern, &name), "{pattern}");
        }
        for pattern in ["busybox:2*", "library/busybox", "me/*", "[", "busy"] {
            assert!(!matches(pattern, &name), "{pattern}");
        }
        assert!(matches("localhost:5000/*/x", &"localhost:5000/a/x:t".parse().unwrap()));
    }
}
