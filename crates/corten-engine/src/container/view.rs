use std::sync::Arc;

use corten_api::container::{Health, MountPoint as WireMount};

use super::mounts::MountKind;
use super::record::{Live, Record};
use super::state::State;

/// A container as it was at one moment. Readers hold it as long as they like; the owner publishes new ones.
#[derive(Debug, Clone)]
pub struct View {
    /// What it is.
    pub record: Arc<Record>,
    /// Where it is in its life.
    pub live: Live,
    /// Health, when there is a check.
    pub health: Option<Health>,
    /// Counts exits, so that a waiter sees one even if the container runs again.
    pub exits: u64,
    /// It is removed; nothing follows.
    pub removed: bool,
    /// Why a removal failed, if one did.
    pub removal_error: String,
}

impl View {
    /// A container that has not been started.
    pub fn new(record: Record, live: Live) -> Self {
        Self {
            record: Arc::new(record),
            live,
            health: None,
            exits: 0,
            removed: false,
            removal_error: String::new(),
        }
    }

    /// Whether it is removed or about to be.
    pub fn is_leaving(&self) -> bool {
        self.removed || matches!(self.live.state, State::Removing)
    }

    /// Mounts as inspect and list show them.
    pub fn mounts(&self) -> Vec<WireMount> {
        let shown = self.record.mounts.iter().map(|point| {
            let kind = match point.kind {
                MountKind::Bind => "bind",
                MountKind::Volume => "volume",
                MountKind::Tmpfs => "tmpfs",
                MountKind::Image => "image",
            };
            WireMount {
                r#type: kind.into(),
                name: point.name.clone(),
                source: point.source.clone(),
                destination: point.destination.clone(),
                driver: point.driver.clone(),
                mode: point.mode.clone(),
                rw: point.rw,
                propagation: point.propagation.clone(),
            }
        });
        shown.collect()
    }
}
