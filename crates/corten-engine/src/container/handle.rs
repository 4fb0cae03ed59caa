use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::owner::Owner;
use super::state::{Refusal, Request, admit};
use super::{ContainerError, View};
use crate::attach::Waiting;
use crate::events::{acting, requester};
use crate::shim::{Exit, Shim};

/// Work that the owner of a container does.
pub(super) type Job = Box<dyn for<'a> FnOnce(&'a mut Owner) -> BoxFuture<'a, ()> + Send>;

/// A container, as everybody but its owner sees it.
pub struct Container {
    id: String,
    view: watch::Sender<Arc<View>>,
    jobs: mpsc::UnboundedSender<Job>,
    shim: Mutex<Option<Shim>>,
    /// Execs that run, and who waits for their end.
    execs: Mutex<HashMap<String, Option<oneshot::Sender<Exit>>>>,
    /// Held by whoever has the root of the container mounted while it does not run.
    root: Arc<tokio::sync::Mutex<()>>,
    waiting: Waiting,
    /// Held for reading by whoever makes a process in the container, for writing by whoever freezes it: a process that is frozen
    /// while it is made would hold up its monitor, and everything after it.
    making: tokio::sync::RwLock<()>,
}

impl Container {
    pub(super) fn new(id: String, view: View, jobs: mpsc::UnboundedSender<Job>) -> Self {
        Self {
            id,
            view: watch::Sender::new(Arc::new(view)),
            jobs,
            shim: Mutex::new(None),
            execs: Mutex::default(),
            root: Arc::default(),
            waiting: Waiting::default(),
            making: tokio::sync::RwLock::new(()),
        }
    }

    /// Full id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As it is now.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// As it is now and will be.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Whether its state takes this request now.
    pub fn admit(&self, request: Request) -> Result<(), Refusal> {
        admit(&self.id, &self.view.borrow().live.state, request)
    }

    /// Its monitor, while it has one.
    pub fn shim(&self) -> Option<Shim> {
        self.shim.lock().clone()
    }

    /// Clients that wait for its start.
    pub(crate) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Registers an exec before it is made; the receiver gets its end. An end without a monitor to tell it drops the
    /// sender.
    pub fn expect_exec(&self, exec_id: &str) -> oneshot::Receiver<Exit> {
        let (ended, end) = oneshot::channel();
        self.execs.lock().insert(exec_id.to_owned(), Some(ended));
        end
    }

    /// Forgets an exec that could not be made.
    pub fn forget_exec(&self, exec_id: &str) {
        self.execs.lock().remove(exec_id);
    }

    /// Ids of the execs that run.
    pub fn running_execs(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.execs.lock().keys().cloned().collect();
        ids.sort();
        ids
    }

    /// Keeps the container from being frozen while a process is made in it; refused where it is frozen already.
    pub(crate) async fn thawed(&self) -> Result<tokio::sync::RwLockReadGuard<'_, ()>, Refusal> {
        let making = self.making.read().await;
        self.admit(Request::Exec)?;
        Ok(making)
    }

    /// Keeps processes from being made in the container.
    pub(super) async fn nothing_made(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.making.write().await
    }

    pub(super) fn root_lock(&self) -> Arc<tokio::sync::Mutex<()>> {
        self.root.clone()
    }

    pub(super) fn publish(&self, view: View) {
        self.view.send_replace(Arc::new(view));
    }

    pub(super) fn set_shim(&self, shim: Option<Shim>) {
        if shim.is_none() {
            self.execs.lock().clear();
        }
        *self.shim.lock() = shim;
    }

    pub(super) fn exec_ended(&self, exec_id: &str, exit: Exit) {
        if let Some(Some(waiter)) = self.execs.lock().remove(exec_id) {
            // Nobody may be interested any more.
            let _ = waiter.send(exit);
        }
    }

    /// Has the owner do something and gives its answer. Goes on if the caller goes away.
    pub(super) async fn ask<T, F>(&self, job: F) -> Result<T, ContainerError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Owner) -> BoxFuture<'a, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        // Whoever asked is who acts, also in the owner's task.
        let requester = requester();
        let job: Job = Box::new(move |owner| {
            Box::pin(acting(requester, async move {
                let _ = answer.send(job(owner).await);
            }))
        });
        let gone = || ContainerError::Gone(self.id.clone());
        self.jobs.send(job).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

impl View {
    /// Attributes of this container's events: labels, image and name.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.record.config.labels.clone().unwrap_or_default();
        if !self.record.config.image.is_empty() {
            attributes.insert("image".into(), self.record.config.image.clone());
        }
        attributes.insert("name".into(), self.record.name.clone());
        attributes
    }
}
