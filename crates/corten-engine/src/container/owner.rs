//! The task that owns one container: everything that changes it happens here, one after the other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use corten_store::Durability;
use corten_store::records::Change;
use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::handle::{Container, Job};
use super::record::{CONTAINER, Live, Record, STATE};
use super::state::State;
use super::{ContainerError, Shared, View};
use crate::shim::{Shim, ShimEvent, ShimEvents, Target};

/// The owner of one container.
pub(super) struct Owner {
    pub(super) shared: Arc<Shared>,
    pub(super) container: Arc<Container>,
    /// The truth; what is published is a copy.
    pub(super) view: View,
    pub(super) shim: Option<Shim>,
    pub(super) news: Option<ShimEvents>,
    /// When the policy starts it again.
    pub(super) restart_at: Option<Instant>,
    /// Delay of the last restart by policy.
    pub(super) restart_delay: Duration,
    pub(super) health: Option<super::health::Monitor>,
    /// It stays at its next exit although it would remove itself.
    pub(super) keep: bool,
}

/// How the loop goes on.
enum Next {
    Job(Job),
    News(Option<ShimEvent>),
    Restart,
    Probe,
    Stop,
}

/// Makes a container and its owner, and puts it into the registry.
pub(super) fn register(shared: &Arc<Shared>, view: View) -> Arc<Container> {
    let (jobs, queue) = mpsc::unbounded_channel();
    let id = view.record.id.clone();
    let container = Arc::new(Container::new(id.clone(), view.clone(), jobs));
    let owner = Owner {
        shared: shared.clone(),
        container: container.clone(),
        view,
        shim: None,
        news: None,
        restart_at: None,
        restart_delay: Duration::ZERO,
        health: None,
        keep: false,
    };
    {
        let mut registry = shared.registry.write();
        registry.names.insert(owner.view.record.name.clone(), id.clone());
        registry.by_id.insert(id, container.clone());
    }
    tokio::spawn(guard(owner, queue));
    container
}

/// Runs an owner; a panic in it marks this container dead and stops nothing else.
async fn guard(owner: Owner, queue: mpsc::UnboundedReceiver<Job>) {
    let container = owner.container.clone();
    if AssertUnwindSafe(run(owner, queue)).catch_unwind().await.is_err() {
        tracing::error!(container = container.id(), "the owner of a container panicked");
        let mut view = (*container.view()).clone();
        view.live.state = State::Dead;
        container.publish(view);
    }
}

async fn run(mut owner: Owner, mut queue: mpsc::UnboundedReceiver<Job>) {
    while !owner.view.removed {
        match owner.next(&mut queue).await {
            Next::Job(job) => job(&mut owner).await,
            Next::News(Some(ShimEvent::Exited(exit))) => Box::pin(owner.exited(exit)).await,
            Next::News(Some(ShimEvent::ExecExited { exec_id, exit })) => {
                owner.container.exec_ended(&exec_id, exit)
            }
            Next::News(Some(ShimEvent::Oom)) => owner.oom().await,
            Next::News(Some(ShimEvent::Detached { target })) => owner.detached(&target),
            Next::News(None) => owner.news = None,
            Next::Restart => {
                owner.restart_at = None;
                Box::pin(owner.restart_by_policy()).await;
            }
            Next::Probe => owner.probed(),
            Next::Stop => break,
        }
    }
}

impl Owner {
    async fn next(&mut self, queue: &mut mpsc::UnboundedReceiver<Job>) -> Next {
        let restart = async {
            match self.restart_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            match &mut self.news {
                Some(news) => news.recv().await,
                None => std::future::pending().await,
            }
        };
        let probe = async {
            match &mut self.health {
                Some(monitor) => monitor.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // News first: what has happened is true before anything else is decided.
            biased;
            event = news => Next::News(event),
            job = queue.recv() => job.map_or(Next::Stop, Next::Job),
            () = probe => Next::Probe,
            () = restart => Next::Restart,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.view.record.id
    }

    pub(super) fn live(&mut self) -> &mut Live {
        &mut self.view.live
    }

    /// Shows the truth to everybody.
    pub(super) fn publish(&self) {
        self.container.publish(self.view.clone());
    }

    /// Writes where the container is in its life. Survives the daemon; not synced.
    pub(super) async fn persist(&self) {
        let Ok(value) = serde_json::to_vec(&self.view.live) else { return };
        let change = Change::Put { kind: STATE, id: self.id().to_owned(), value };
        let written = self.shared.store.records().batch_with(Durability::None, vec![change]).await;
        if let Err(error) = written {
            tracing::error!(container = self.id(), %error, "state of a container not recorded");
        }
    }

    /// Writes what the container is, durably.
    pub(super) async fn persist_record(&self) -> Result<(), ContainerError> {
        put_record(&self.shared, &self.view.record).await
    }

    fn detached(&self, target: &Target) {
        match target {
            Target::Init => self.emit("detach", &[]),
            Target::Exec(exec) => self.emit("exec_detach", &[("execID", exec.clone())]),
        }
    }

    /// Tells everybody that something happened to the container.
    pub(super) fn emit(&self, action: &str, extra: &[(&str, String)]) {
        let mut attributes = self.view.attributes();
        attributes.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.shared.events.emit("container", action, self.id(), attributes);
    }
}

/// Writes a record: durably, or, for a container that ends with its run, as far as the daemon's own death goes.
pub(super) async fn put_record(shared: &Shared, record: &Record) -> Result<(), ContainerError> {
    let value = serde_json::to_vec(record)
        .map_err(|error| ContainerError::io("encode a container's record", std::io::Error::other(error)))?;
    let durability = if record.host.auto_remove { Durability::None } else { Durability::Full };
    let change = Change::Put { kind: CONTAINER, id: record.id.clone(), value };
    Ok(shared.store.records().batch_with(durability, vec![change]).await?)
}
