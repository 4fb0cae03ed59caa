//! Carries what no rule can redirect: to `::1`, to an IPv6 address of the host for a container without IPv6, and
//! everything where the daemon makes no firewall rules. Tasks of the daemon, on the socket that holds the port; no
//! process of its own.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::firewall::Protocol;

/// Connections, or clients, of one port at the same time.
const CONNECTIONS: usize = 1024;
/// How long a client of a datagram port is remembered after the last answer, as Docker does.
const SILENCE: Duration = Duration::from_secs(90);

/// A served port; it ends with this value, an open connection when either side ends it.
#[derive(Debug)]
pub struct Proxy(AbortHandle);

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Proxy {
    /// Whether ports of this protocol can be carried.
    pub fn carries(protocol: Protocol) -> bool {
        matches!(protocol, Protocol::Tcp | Protocol::Udp)
    }

    /// Serves `socket` (bound, not blocking, and listening if it is a stream's) for `target`. Must be called within a
    /// tokio runtime.
    pub fn start(protocol: Protocol, socket: OwnedFd, target: SocketAddr) -> io::Result<Self> {
        let task = match protocol {
            Protocol::Tcp => tokio::spawn(carry_streams(TcpListener::from_std(socket.into())?, target)),
            Protocol::Udp => tokio::spawn(carry_datagrams(UdpSocket::from_std(socket.into())?, target)),
            Protocol::Sctp => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self(task.abort_handle()))
    }
}

async fn carry_streams(listener: TcpListener, target: SocketAddr) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let Ok((mut client, _)) = listener.accept().await else {
            // Out of descriptors, most likely: others must get to close theirs first.
            sleep(Duration::from_millis(20)).await;
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
}

async fn carry_datagrams(socket: UdpSocket, target: SocketAddr) {
    let socket = Arc::new(socket);
    let clients = Arc::new(Mutex::new(HashMap::<SocketAddr, Arc<UdpSocket>>::new()));
    let mut buffer = vec![0; 65535];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            // The error is an earlier packet's.
            continue;
        };
        let known = clients.lock().get(&client).cloned();
        let server = match known {
            Some(server) => server,
            None if clients.lock().len() >= CONNECTIONS => continue,
            None => {
                let Ok(server) = connect(target).await else { continue };
                let server = Arc::new(server);
                clients.lock().insert(client, server.clone());
                tokio::spawn(answer(socket.clone(), client, server.clone(), clients.clone()));
                server
            }
        };
        // What does not arrive is lost, as datagrams are.
        let _ = server.send(&buffer[..length]).await;
    }
}

async fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Carries a server's datagrams back to one client until there have been none for a while.
async fn answer(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    server: Arc<UdpSocket>,
    clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>,
) {
    let mut buffer = vec![0; 65535];
    while let Ok(received) = timeout(SILENCE, server.recv(&mut buffer)).await {
        match received {
            Ok(length) => {
                let _ = socket.send_to(&buffer[..length], client).await;
            }
            // Nobody listens in the container; the next datagram may find somebody.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => break,
        }
    }
    clients.lock().remove(&client);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_go_there_and_back() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let front = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        front.set_nonblocking(true).unwrap();
        let address = front.local_addr().unwrap();
        let _proxy = Proxy::start(Protocol::Udp, front.into(), server.local_addr().unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"there", address).await.unwrap();
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"there");
        server.send_to(b"back", from).await.unwrap();
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"back");
    }
}
