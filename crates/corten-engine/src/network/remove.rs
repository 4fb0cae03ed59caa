use std::collections::BTreeMap;

use corten_api::filters::Filters;
use corten_types::ErrorKind;

use super::host::attributes;
use super::record::NETWORK;
use super::{NetworkError, Networks};

fn forbidden(text: String) -> NetworkError {
    NetworkError::refused(ErrorKind::Forbidden, text)
}

impl Networks {
    /// Removes a network that no running container uses.
    pub async fn remove(&self, name: &str) -> Result<(), NetworkError> {
        let _changes = self.changes.lock().await;
        self.remove_one(name).await.map(drop)
    }

    /// Removes all networks that no running container uses and the filters let through. Gives their names.
    pub async fn prune(&self, filters: &Filters) -> Result<Vec<String>, NetworkError> {
        let invalid = |text: String| NetworkError::refused(ErrorKind::InvalidArgument, text);
        filters.only(&["label", "label!", "until"]).map_err(|error| invalid(error.to_string()))?;
        let until = until(filters)?;
        let _changes = self.changes.lock().await;
        let candidates: Vec<_> = {
            let state = self.state.lock();
            let matching = state.networks.values().filter(|network| {
                let record = &network.record;
                let label = |name: &str| record.labels.get(name).map(String::as_str);
                !record.is_predefined()
                    && network.endpoints.is_empty()
                    && filters.labels("label", label)
                    && !(filters.has("label!") && filters.labels("label!", label))
                    && until.is_none_or(|until| {
                        record.created.parse::<jiff::Timestamp>().is_ok_and(|created| created <= until)
                    })
            });
            let mut found: Vec<_> = matching.map(|network| network.record.clone()).collect();
            found.sort_by(|a, b| a.created.cmp(&b.created));
            found
        };
        let mut removed = Vec::new();
        for record in candidates {
            match self.remove_one(&record.id).await {
                Ok(()) => removed.push(record.name.clone()),
                // It came into use, or its device resists: the others are removed all the same.
                Err(error) => tracing::warn!(network = record.name, %error, "not pruned"),
            }
        }
        let reclaimed = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
        self.events.emit("network", "prune", "", reclaimed);
        Ok(removed)
    }

    /// Removes one network; nobody else changes networks meanwhile.
    async fn remove_one(&self, name: &str) -> Result<(), NetworkError> {
        let network = {
            let mut state = self.state.lock();
            let network = state.find(name)?;
            let record = network.record.clone();
            if record.is_predefined() {
                return Err(forbidden(format!(
                    "{} is a pre-defined network and cannot be removed",
                    record.name
                )));
            }
            if !network.endpoints.is_empty() {
                let active = network.endpoints.iter();
                let active: Vec<_> = active
                    .map(|(id, attached)| format!("name:{:?} id:{:?}", attached.name, &id[..12]))
                    .collect();
                return Err(forbidden(format!(
                    "error while removing network: network {} has active endpoints ({})",
                    record.name,
                    active.join(", ")
                )));
            }
            if state.networks.values().any(|other| other.record.config_from == record.name) {
                return Err(forbidden(format!("configuration network {:?} is in use", record.name)));
            }
            // From here on nobody can join it.
            let Some(network) = state.networks.remove(&record.id) else {
                return Err(NetworkError::NotFound { name: name.to_owned() });
            };
            network
        };
        let record = network.record.clone();
        let removed = async {
            if !record.bridge.is_empty() {
                self.host.remove_bridge(&record.bridge)?;
            }
            self.records.delete(NETWORK, &record.id).await?;
            Ok(())
        };
        if let Err(error) = removed.await {
            self.state.lock().networks.insert(record.id.clone(), network);
            return Err(error);
        }
        self.host.directory.remove_network(&record.id);
        let mut state = self.state.lock();
        record.subnets.iter().for_each(|subnet| state.pools.release(subnet.net));
        drop(state);
        self.events.emit("network", "destroy", &record.id, attributes(&record));
        Ok(())
    }
}

/// The moment before which networks must have been made: a time, or how long ago.
fn until(filters: &Filters) -> Result<Option<jiff::Timestamp>, NetworkError> {
    let Some(text) = filters.get("until").next() else { return Ok(None) };
    let invalid = || {
        NetworkError::refused(
            ErrorKind::InvalidArgument,
            format!("failed to parse value as time or duration: {text:?}"),
        )
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Some(time));
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return jiff::Timestamp::from_second(seconds).map(Some).map_err(|_| invalid());
    }
    let ago: jiff::SignedDuration = text.parse().map_err(|_| invalid())?;
    jiff::Timestamp::now().checked_sub(ago).map(Some).map_err(|_| invalid())
}
