//! Who asked for what happens: carried along with the work of a request, so that its events can say so.

use std::collections::BTreeMap;

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actor {
    /// User, of a client on this machine.
    pub uid: Option<u32>,
    /// Process, of a client on this machine.
    pub pid: Option<i32>,
    /// Address, of a client elsewhere.
    pub address: Option<String>,
    /// What the client calls itself.
    pub client: String,
}

tokio::task_local! {
    static ACTOR: Option<Actor>;
}

/// The attributes by which events name their actor.
const UID: &str = "actor.uid";
const PID: &str = "actor.pid";
const ADDRESS: &str = "actor.address";
const CLIENT: &str = "actor.client";

/// Does `work` on behalf of somebody; of nobody for `None`.
pub async fn acting<T>(actor: Option<Actor>, work: impl Future<Output = T>) -> T {
    ACTOR.scope(actor, work).await
}

/// On whose behalf the current task works.
pub fn current() -> Option<Actor> {
    ACTOR.try_with(Clone::clone).ok().flatten()
}

/// Names the actor of the current task.
pub(super) fn name(attributes: &mut BTreeMap<String, String>) {
    let Some(actor) = current() else { return };
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            attributes.insert(key.to_owned(), value);
        }
    };
    put(UID, actor.uid.map(|uid| uid.to_string()));
    put(PID, actor.pid.map(|pid| pid.to_string()));
    put(ADDRESS, actor.address);
    put(CLIENT, Some(actor.client));
}
