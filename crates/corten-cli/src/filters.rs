//! `--filter` flags as the daemon takes them.

use std::collections::BTreeMap;

use crate::parse::Matches;

/// The filters as JSON (`{"status":{"running":true}}`); nothing where there is none.
pub fn encoded(m: &Matches) -> Option<String> {
    let mut all: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for filter in m.list("filter") {
        add(&mut all, filter);
    }
    (!all.is_empty()).then(|| serde_json::to_string(&all).unwrap_or_default())
}

/// The filters with more of them.
pub fn encoded_with(m: &Matches, more: &[(&str, &str)]) -> String {
    let mut all: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for filter in m.list("filter") {
        add(&mut all, filter);
    }
    for (key, value) in more {
        all.entry((*key).to_owned()).or_default().insert((*value).to_owned(), true);
    }
    serde_json::to_string(&all).unwrap_or_default()
}

fn add(all: &mut BTreeMap<String, BTreeMap<String, bool>>, filter: &str) {
    if let Some((key, value)) = filter.split_once('=') {
        all.entry(key.trim().to_ascii_lowercase()).or_default().insert(value.trim().to_owned(), true);
    }
}
