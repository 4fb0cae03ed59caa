//! Where log lines are sent, and the connection there.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

/// How long a connection may take to open, and one packet to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// A receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `host:port`, datagrams.
    Udp(String),
    /// `host:port`, a stream.
    Tcp(String),
    /// A stream socket's path.
    Unix(PathBuf),
    /// The path of a socket that takes datagrams.
    Unixgram(PathBuf),
    /// A path that takes datagrams or a stream, as it likes (`/dev/log`).
    Either(PathBuf),
}

/// An open way to a receiver.
#[derive(Debug)]
pub enum Connection {
    /// See [`Address::Udp`].
    Udp(UdpSocket),
    /// See [`Address::Tcp`].
    Tcp(TcpStream),
    /// See [`Address::Unix`].
    Unix(UnixStream),
    /// See [`Address::Unixgram`].
    Unixgram(UnixDatagram),
}

impl Address {
    /// The journal's own socket.
    pub fn journal() -> Self {
        Self::Unixgram("/run/systemd/journal/socket".into())
    }

    /// Whether what is sent arrives as a whole or not at all, so that nothing has to mark its end.
    pub fn keeps_packets(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::Unixgram(_))
    }

    /// Opens the way there.
    pub async fn open(&self) -> io::Result<Connection> {
        bounded(async {
            match self {
                Self::Udp(to) => {
                    let to = first(to).await?;
                    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(any).await?;
                    socket.connect(to).await?;
                    Ok(Connection::Udp(socket))
                }
                Self::Tcp(to) => Ok(Connection::Tcp(TcpStream::connect(to.as_str()).await?)),
                Self::Unix(path) => Ok(Connection::Unix(UnixStream::connect(path).await?)),
                Self::Unixgram(path) => {
                    let socket = UnixDatagram::unbound()?;
                    socket.connect(path)?;
                    Ok(Connection::Unixgram(socket))
                }
                Self::Either(path) => {
                    let socket = UnixDatagram::unbound()?;
                    match socket.connect(path) {
                        Ok(()) => Ok(Connection::Unixgram(socket)),
                        Err(_) => Ok(Connection::Unix(UnixStream::connect(path).await?)),
                    }
                }
            }
        })
        .await
    }
}

async fn first(to: &str) -> io::Result<std::net::SocketAddr> {
    let found = tokio::net::lookup_host(to).await?.next();
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{to} has no address")))
}

async fn bounded<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Connection {
    /// Sends one packet.
    pub async fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        bounded(async {
            match self {
                // A datagram that nobody takes is lost, as the protocol is; the error would be the one before's.
                Self::Udp(socket) => match socket.send(packet).await {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                    sent => sent.map(|_| ()),
                },
                Self::Unixgram(socket) => socket.send(packet).await.map(|_| ()),
                Self::Tcp(stream) => stream.write_all(packet).await,
                Self::Unix(stream) => stream.write_all(packet).await,
            }
        })
        .await
    }

    /// Whether the receiver of a stream is still there: one that closed is only noticed by reading.
    pub fn is_open(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
            Self::Udp(_) | Self::Unixgram(_) => return true,
        };
        match read {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Reads what the receiver of a stream says.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        bounded(async {
            match self {
                Self::Tcp(stream) => stream.read(buffer).await,
                Self::Unix(stream) => stream.read(buffer).await,
                Self::Udp(_) | Self::Unixgram(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        })
        .await
    }
}
