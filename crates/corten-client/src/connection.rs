use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use hyper::client::conn::http1::SendRequest;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};

use crate::client::Product;
use crate::{Body, Endpoint, Error, Result};

/// A connection that left HTTP: what is read and written now is the container's.
pub struct Hijacked {
    /// What the daemon sends.
    pub reader: ReadHalf<TokioIo<Upgraded>>,
    /// What goes to the daemon; shutting it down tells the container that its input ended.
    pub writer: WriteHalf<TokioIo<Upgraded>>,
    /// Whether the output is framed (no terminal) or raw, where the daemon says so.
    pub framed: Option<bool>,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Opens a connection and leaves a task that drives it.
pub(crate) async fn open(
    endpoint: &Endpoint,
    tls: Option<&Arc<rustls::ClientConfig>>,
    product: Product,
) -> Result<SendRequest<Body>> {
    let stream = dial(endpoint, tls, product).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|source| Error::Transport { operation: endpoint.to_string(), source })?;
    tokio::spawn(async move {
        // An error of the connection reaches whoever waits for an answer on it.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

async fn dial(
    endpoint: &Endpoint,
    tls: Option<&Arc<rustls::ClientConfig>>,
    product: Product,
) -> Result<Box<dyn Io>> {
    let unreachable = |source| product.unreachable(endpoint.to_string(), source);
    match endpoint {
        Endpoint::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Error::Permission { host: endpoint.to_string(), group: group_of(path) })
            }
            Err(error) => Err(unreachable(error)),
        },
        Endpoint::Tcp { authority, .. } => {
            let stream = TcpStream::connect(authority).await.map_err(unreachable)?;
            let _ = stream.set_nodelay(true);
            let Some(config) = tls else { return Ok(Box::new(stream)) };
            let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|error| Error::Tls(error.to_string()))?;
            let stream = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await;
            Ok(Box::new(stream.map_err(unreachable)?))
        }
        Endpoint::Ssh { arguments, socket, .. } => {
            let mut command = tokio::process::Command::new("ssh");
            command.args(arguments).arg(far_command(socket.as_deref(), product));
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn().map_err(unreachable)?;
            let (Some(stdout), Some(stdin)) = (child.stdout.take(), child.stdin.take()) else {
                return Err(unreachable(io::Error::other("ssh has no standard streams")));
            };
            tokio::spawn(async move { child.wait().await });
            Ok(Box::new(tokio::io::join(stdout, stdin)))
        }
    }
}

/// What the far end's shell runs: `ssh` hands it one line.
fn far_command(socket: Option<&str>, product: Product) -> String {
    let host = socket.map(|path| format!("--host={} ", quoted(&format!("unix://{path}"))));
    let dial = |program: &str| format!("{program} {}system dial-stdio", host.as_deref().unwrap_or_default());
    match product {
        Product::Docker => dial("docker"),
        // The machine may have either, and its user any shell.
        Product::Corten => {
            let (corten, docker) = (dial("exec corten"), dial("exec docker"));
            let choice = format!("if command -v corten >/dev/null 2>&1; then {corten}; else {docker}; fi");
            format!("sh -c {}", quoted(&choice))
        }
    }
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The name of the group that owns a socket, for the cure; `docker` where it cannot be found.
fn group_of(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let fallback = || "docker".to_owned();
    let Ok(meta) = std::fs::metadata(path) else { return fallback() };
    let Ok(groups) = std::fs::read_to_string("/etc/group") else { return fallback() };
    let gid = meta.gid().to_string();
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?, fields.nth(1)?))
        })
        .find(|(name, id)| *id == gid && *name != "root")
        .map_or_else(fallback, |(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_end_is_told_in_one_line_what_to_run() {
        assert_eq!(far_command(None, Product::Docker), "docker system dial-stdio");
        assert_eq!(
            far_command(Some("/run/it's.sock"), Product::Docker),
            r"docker --host='unix:///run/it'\''s.sock' system dial-stdio"
        );
        assert_eq!(
            far_command(None, Product::Corten),
            "sh -c 'if command -v corten >/dev/null 2>&1; then exec corten system dial-stdio; \
             else exec docker system dial-stdio; fi'"
        );
    }
}
