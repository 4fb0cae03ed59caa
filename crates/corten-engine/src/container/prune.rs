use corten_api::container::PruneReport;
use corten_api::filters::Filters;
use jiff::{SignedDuration, Timestamp};

use super::validate::{Invalid, invalid};
use super::{ContainerError, Containers, RemoveOptions};

impl Containers {
    /// Removes all containers that do not run and that the filters (`label`, `label!`, `until`) let through.
    pub async fn prune(&self, filters: &Filters) -> Result<PruneReport, ContainerError> {
        filters.only(&["label", "label!", "until"]).map_err(|error| Invalid(error.to_string()))?;
        let until = until(filters)?;
        let mut report = PruneReport::default();
        for view in self.views() {
            let record = &view.record;
            let label = |name: &str| record.config.labels.as_ref()?.get(name).map(String::as_str);
            let excluded = filters.has("label!") && filters.labels("label!", label);
            let starting = view.live.state == super::state::State::Starting;
            let young = until.is_some_and(|until| record.created > until);
            if view.live.state.is_active() || starting || young || excluded || !filters.labels("label", label)
            {
                continue;
            }
            let bytes = self.shared.store.snapshots().usage(&record.id).map_or(0, |usage| usage.size);
            match self.remove(&record.id, RemoveOptions::default()).await {
                Ok(()) => {
                    report.space_reclaimed += bytes;
                    report.containers_deleted.get_or_insert_default().push(record.id.clone());
                }
                // Somebody started or removed it in the meantime.
                Err(error) => tracing::debug!(container = record.id, %error, "not pruned"),
            }
        }
        let attributes = [("reclaimed".to_owned(), report.space_reclaimed.to_string())].into();
        self.shared.events.emit("container", "prune", "", attributes);
        Ok(report)
    }
}

/// The moment of an `until` filter: a timestamp, Unix seconds, or a Go duration before now.
fn until(filters: &Filters) -> Result<Option<Timestamp>, Invalid> {
    let mut values = filters.get("until");
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return invalid("more than one until filter specified");
    }
    match moment(text, Timestamp::now()) {
        Some(moment) => Ok(Some(moment)),
        None => invalid(format!("invalid filter 'until={text}'")),
    }
}

fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    if let Ok(date) = text.parse::<jiff::civil::DateTime>() {
        return date.to_zoned(jiff::tz::TimeZone::system()).ok().map(|zoned| zoned.timestamp());
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok();
    }
    now.checked_sub(duration(text)?).ok()
}

/// A duration as Go writes them: `1h30m`, `10s`, `1.5h`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = next;
    }
    (!text.is_empty()).then(|| SignedDuration::try_from_secs_f64(total).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("24h", "2026-01-01T00:00:00Z"),
            ("1h30m", "2026-01-01T22:30:00Z"),
            ("1767225600", "2026-01-01T00:00:00Z"),
            ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z"),
        ] {
            assert_eq!(moment(text, now).unwrap().to_string(), expected, "{text}");
        }
        assert_eq!(moment("soon", now), None);
        assert_eq!(moment("", now), None);
    }
}
