use std::convert::Infallible;
use std::time::Duration;

use corten_sys::netlink::{NetlinkError, Socket};
use corten_sys::nft::{Transaction, Watch};
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::plan::{Plan, plan_all, plan_bridge, plan_ports};
use super::rules::{BridgeRules, PublishedPort, Rules};

/// Why the firewall could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The kernel refused.
    #[error("firewall table inet {table}: {source}")]
    Kernel {
        /// The table.
        table: String,
        /// The kernel's answer.
        source: NetlinkError,
    },
}

/// Our table in the network namespace where it was opened, and what it should hold.
pub struct Firewall {
    table: String,
    socket: Socket,
    rules: Mutex<Rules>,
}

impl Firewall {
    /// Takes over the table of this name, whatever it holds, and gives it these rules and nothing more.
    pub fn open(table: &str, rules: Rules) -> Result<Self, FirewallError> {
        let failed = |source| FirewallError::Kernel { table: table.to_owned(), source };
        let socket = Socket::open_netfilter().map_err(failed)?;
        let plan = plan_all(table, &rules);
        let firewall = Self { table: table.to_owned(), socket, rules: Mutex::new(rules) };
        firewall.apply(&plan)?;
        Ok(firewall)
    }

    /// Adds or changes several bridges and ports at once, as a restarted daemon does.
    pub fn restore(&self, rules: Rules) -> Result<(), FirewallError> {
        let mut held = self.rules.lock();
        *held = rules;
        self.apply(&plan_all(&self.table, &held))
    }

    /// Adds a bridge.
    pub fn add_bridge(&self, name: &str, bridge: BridgeRules) -> Result<(), FirewallError> {
        let plan = plan_bridge(&self.table, name, &bridge);
        self.change(
            |rules| {
                rules.bridges.insert(name.to_owned(), bridge);
            },
            |rules| {
                rules.bridges.remove(name);
            },
            plan,
        )
    }

    /// Removes a bridge.
    pub fn remove_bridge(&self, name: &str) -> Result<(), FirewallError> {
        let Some(bridge) = self.rules.lock().bridges.get(name).cloned() else { return Ok(()) };
        self.change(
            |rules| {
                rules.bridges.remove(name);
            },
            |_| {},
            plan_bridge(&self.table, name, &bridge).undo(),
        )
    }

    /// Adds published ports: all or none.
    pub fn add_ports(&self, ports: &[PublishedPort]) -> Result<(), FirewallError> {
        self.change(
            |rules| rules.ports.extend(ports),
            |rules| {
                ports.iter().for_each(|port| {
                    rules.ports.remove(port);
                })
            },
            plan_ports(&self.table, ports),
        )
    }

    /// Removes published ports; those that are not there are passed over.
    pub fn remove_ports(&self, ports: &[PublishedPort]) -> Result<(), FirewallError> {
        let there: Vec<_> = {
            let rules = self.rules.lock();
            ports.iter().filter(|port| rules.ports.contains(port)).copied().collect()
        };
        self.change(
            |rules| {
                there.iter().for_each(|port| {
                    rules.ports.remove(port);
                })
            },
            |_| {},
            plan_ports(&self.table, &there).undo(),
        )
    }

    /// Repairs the table whenever somebody else has changed it; never returns but with an error. Must be awaited where
    /// tokio drives input and output, on a thread of the table's network namespace.
    pub async fn guard(&self) -> Result<Infallible, FirewallError> {
        let failed = |source| FirewallError::Kernel { table: self.table.clone(), source };
        let listen = |source| failed(NetlinkError::Socket { operation: "listen", source });
        let watch = Watch::open(self.table.as_str()).map_err(failed)?;
        let watch = watched(watch).map_err(listen)?;
        loop {
            let mut ready = watch.readable().await.map_err(listen)?;
            // First the mark, then the reading: news that comes in between is not missed.
            ready.clear_ready();
            if watch.get_ref().changed_by_others(self.socket.port()) {
                tracing::warn!(table = self.table, "somebody changed our firewall table; it is made again");
                if let Err(error) = self.repair() {
                    tracing::error!(%error, "our firewall table cannot be made again");
                }
                // Against somebody who does it again and again.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Makes the table what it should be, whatever happened to it.
    pub fn repair(&self) -> Result<(), FirewallError> {
        let rules = self.rules.lock();
        self.apply(&plan_all(&self.table, &rules))
    }

    /// Removes the table: the daemon makes no rules any more.
    pub fn close(&self) -> Result<(), FirewallError> {
        let mut transaction = Transaction::new(self.table.as_str());
        transaction.add_table();
        transaction.delete_table();
        transaction
            .commit(&self.socket)
            .map_err(|source| FirewallError::Kernel { table: self.table.clone(), source })
    }

    /// Carries `plan` out after `change`; when it does not apply because somebody else changed the table, the whole
    /// table is made again. If that fails too, `undo` takes the change back.
    fn change(
        &self,
        change: impl FnOnce(&mut Rules),
        undo: impl FnOnce(&mut Rules),
        plan: Plan,
    ) -> Result<(), FirewallError> {
        if plan.is_empty() {
            return Ok(());
        }
        let mut rules = self.rules.lock();
        change(&mut rules);
        if self.apply(&plan).is_ok() {
            return Ok(());
        }
        self.apply(&plan_all(&self.table, &rules)).inspect_err(|_| undo(&mut rules))
    }

    fn apply(&self, plan: &Plan) -> Result<(), FirewallError> {
        let done = plan.transaction().commit(&self.socket);
        done.map_err(|source| FirewallError::Kernel { table: self.table.clone(), source })
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that lie about their descriptor; ours does not"
)]
fn watched(watch: Watch) -> std::io::Result<AsyncFd<Watch>> {
    AsyncFd::with_interest(watch, Interest::READABLE)
}
