//! Carries connections that no rule can redirect: to `::1`, to an IPv6 address of the host for a container without
//! IPv6, and everything where the daemon makes no firewall rules. A task of the daemon, on the socket that holds the
//! port; no process of its own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Connections of one port at the same time.
const CONNECTIONS: usize = 1024;

/// A served TCP port; it ends with this value, its open connections when either side ends them.
#[derive(Debug)]
pub struct TcpProxy(AbortHandle);

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl TcpProxy {
    /// Serves `listening` (a listening socket that does not block) by connecting to `target`. Must be called within a
    /// tokio runtime.
    pub fn start(listening: OwnedFd, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::from_std(listening.into())?;
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let task = tokio::spawn(async move {
            loop {
                let Ok(permit) = connections.clone().acquire_owned().await else { return };
                let Ok((mut client, _)) = listener.accept().await else {
                    // Out of descriptors, most likely: others must get to close theirs first.
                    tokio::task::yield_now().await;
                    continue;
                };
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        // An end by either side, orderly or not, is the end.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                    drop(permit);
                });
            }
        });
        Ok(Self(task.abort_handle()))
    }
}
