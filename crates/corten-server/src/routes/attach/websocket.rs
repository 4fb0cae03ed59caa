//! A container's streams over a WebSocket (RFC 6455).
//!
//! ```text
//!  client ══ frames ══ serve ── socket pair ── monitor
//!                        └ takes the output's framing away: a WebSocket has one stream
//! ```
//!
//! The monitor knows no WebSocket, so the daemon carries these bytes itself: such a client ends with the daemon. A client that
//! closes ends both directions, as the protocol has no half of a close.

use std::io;

use corten_engine::attach::Attachment;
use corten_engine::logs::Framing;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::http::Hijacked;
use crate::{ApiError, Request};

/// The most of a container's output that one frame carries.
const FRAME: usize = 32 << 10;

type Socket = WebSocketStream<Hijacked>;
type ToClient = futures_util::stream::SplitSink<Socket, Message>;
type FromClient = futures_util::stream::SplitStream<Socket>;

/// Checks the opening handshake and gives the value of `Sec-WebSocket-Accept`.
pub(super) fn accept(request: &Request) -> Result<String, ApiError> {
    let header = |name: http::HeaderName| request.header(name.as_str()).unwrap_or_default();
    let upgrades = header(CONNECTION).split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    if !upgrades || !header(UPGRADE).eq_ignore_ascii_case("websocket") {
        return Err(ApiError::invalid("not websocket protocol"));
    }
    if header(SEC_WEBSOCKET_VERSION) != "13" {
        return Err(ApiError::invalid("missing or bad WebSocket Version"));
    }
    match header(SEC_WEBSOCKET_KEY) {
        "" => Err(ApiError::invalid("challenge response: Sec-WebSocket-Key is missing")),
        key => Ok(derive_accept_key(key.as_bytes())),
    }
}

/// Carries an attachment until either side ends it.
pub(super) async fn serve(connection: Hijacked, attachment: Attachment, binary: bool) {
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, None).await;
    let (mut to_client, from_client) = socket.split();
    // A client that left is found by whatever is done next; nobody else is to be told.
    let _ = carry(&mut to_client, from_client, attachment, binary).await;
    let _ = to_client.close().await;
}

async fn carry(
    to_client: &mut ToClient,
    from_client: FromClient,
    attachment: Attachment,
    binary: bool,
) -> io::Result<()> {
    if let Some(mut history) = attachment.history(Framing::Raw) {
        while let Some(batch) = history.recv().await {
            send(to_client, &batch?, binary).await?;
        }
    }
    let framing = if attachment.tty() { Framing::Raw } else { Framing::Multiplexed };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (output, input) = UnixStream::from_std(ours)?.into_split();
    attachment.connect(theirs.into()).await.map_err(io::Error::other)?;
    tokio::select! {
        ended = write_output(output, to_client, framing, binary) => ended,
        ended = read_input(from_client, input) => ended,
    }
}

async fn send(to_client: &mut ToClient, bytes: &[u8], binary: bool) -> io::Result<()> {
    let message = match binary {
        true => Message::binary(bytes.to_vec()),
        false => Message::text(String::from_utf8_lossy(bytes).into_owned()),
    };
    to_client.send(message).await.map_err(as_io)
}

/// The container's output to the client, until it ends.
async fn write_output(
    mut output: OwnedReadHalf,
    to_client: &mut ToClient,
    framing: Framing,
    binary: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; FRAME];
    loop {
        let mut left = match framing {
            Framing::Raw => usize::MAX,
            Framing::Multiplexed => {
                let mut header = [0; 8];
                match output.read_exact(&mut header).await {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    read => read?,
                };
                let [.., a, b, c, d] = header;
                u32::from_be_bytes([a, b, c, d]) as usize
            }
        };
        while left > 0 {
            let room = left.min(FRAME);
            let read = output.read(&mut buffer[..room]).await?;
            if read == 0 {
                return Ok(());
            }
            left -= read;
            send(to_client, &buffer[..read], binary).await?;
        }
    }
}

/// What the client sends to the container, until the client closes.
async fn read_input(mut from_client: FromClient, mut input: OwnedWriteHalf) -> io::Result<()> {
    while let Some(message) = from_client.next().await {
        match message.map_err(as_io)? {
            Message::Text(text) => input.write_all(text.as_bytes()).await?,
            Message::Binary(bytes) => input.write_all(&bytes).await?,
            Message::Close(_) => break,
            // Answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}

fn as_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
