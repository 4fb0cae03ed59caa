use std::os::fd::OwnedFd;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::shim::{Attach, Shim, Streams};

/// Clients that came before their container runs; its start hands them to the monitor before the program runs, so that
/// they see its first byte.
#[derive(Debug, Default)]
pub struct Waiting {
    clients: Mutex<Vec<(Streams, OwnedFd)>>,
}

impl Waiting {
    /// Takes a client in. Those who hung up meanwhile are let go, so that coming and leaving costs nothing.
    pub(super) fn add(&self, streams: Streams, client: OwnedFd) {
        let mut clients = self.clients.lock();
        clients.retain(|(_, client)| !hung_up(client));
        clients.push((streams, client));
    }

    /// Hands everybody to the monitor. A client that cannot be handed over is closed.
    pub(crate) async fn deliver(&self, shim: &Shim) {
        let clients = std::mem::take(&mut *self.clients.lock());
        for (streams, client) in clients {
            if let Err(error) = shim.attach(Attach { streams }, client).await {
                tracing::debug!(container = shim.id(), %error, "a client was not attached");
            }
        }
    }

    /// Sends everybody away: the container could not be started.
    pub(crate) fn dismiss(&self) {
        self.clients.lock().clear();
    }
}

fn hung_up(client: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(client, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn who_hung_up_is_let_go() {
        let waiting = Waiting::default();
        let streams = Streams { stdin: false, stdout: true, stderr: true, detach_keys: Vec::new() };
        for _ in 0..100 {
            let (_ours, theirs) = UnixStream::pair().unwrap();
            waiting.add(streams.clone(), theirs.into());
        }
        let (_ours, theirs) = UnixStream::pair().unwrap();
        waiting.add(streams, theirs.into());
        assert_eq!(waiting.clients.lock().len(), 1);
    }
}
