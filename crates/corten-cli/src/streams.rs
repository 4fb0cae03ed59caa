//! Carrying a container's streams between the terminal and the daemon, and signals to it.

use corten_client::stdcopy::{Demultiplexer, Stream};
use corten_client::{Hijacked, Request, encode_component};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Failure, Outcome};
use crate::output;
use crate::session::Session;
use crate::terminal::{self, DetachKeys, RawMode, Typed};

/// What is carried.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Whether what is typed goes to the container.
    pub stdin: bool,
    /// Whether the container has a terminal: output is raw and not framed.
    pub tty: bool,
    /// The keys that leave.
    pub detach_keys: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The container has no more output.
    Output,
    /// The user left.
    Detached,
}

/// Refuses a terminal for the container where the user has none.
pub fn check_terminal(stdin: bool, tty: bool) -> Outcome {
    if stdin && tty && !terminal::stdin_is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}

/// Carries until the container's output ends or the user leaves. The end of the input does not end it.
pub async fn carry(hijacked: Hijacked, carried: &Carried) -> Outcome<Ended> {
    let raw = if carried.stdin && carried.tty { RawMode::enter()? } else { None };
    let keys = if carried.tty { Some(DetachKeys::parse(&carried.detach_keys)?) } else { None };
    let Hijacked { reader, writer, framed: _ } = hijacked;
    let ended = {
        let input = input(writer, carried.stdin, keys);
        let output = output_of(reader, carried.tty);
        tokio::pin!(input, output);
        tokio::select! {
            biased;
            result = &mut output => result.map(|()| Ended::Output),
            detached = &mut input => match detached {
                Ended::Detached => Ok(Ended::Detached),
                Ended::Output => output.await.map(|()| Ended::Output),
            },
        }
    };
    drop(raw);
    ended
}

/// Sends what is typed; tells whether the user left. The writing half is shut at the end of the input.
async fn input(mut writer: impl AsyncWriteExt + Unpin, stdin: bool, mut keys: Option<DetachKeys>) -> Ended {
    if stdin {
        let mut source = tokio::io::stdin();
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let read = match source.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => read,
            };
            let forward = match keys.as_mut().map(|keys| keys.typed(&buffer[..read])) {
                None => writer.write_all(&buffer[..read]).await,
                Some(Typed::Forward(bytes)) => writer.write_all(&bytes).await,
                Some(Typed::Detach(bytes)) => {
                    let _ = writer.write_all(&bytes).await;
                    return Ended::Detached;
                }
            };
            if forward.is_err() || writer.flush().await.is_err() {
                break;
            }
        }
    }
    if keys.is_none() {
        let _ = writer.shutdown().await;
    }
    // Keeps the writing half open for as long as there is output.
    std::future::pending::<()>().await;
    Ended::Output
}

async fn output_of(mut reader: impl AsyncReadExt + Unpin, tty: bool) -> Outcome {
    let mut buffer = vec![0; 32 * 1024];
    let mut frames = Demultiplexer::default();
    loop {
        let read = match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if tty {
            output::bytes(&buffer[..read]);
        } else {
            frames.push(&buffer[..read]);
            write_frames(&mut frames)?;
        }
    }
}

/// Writes every complete piece of framed output where it belongs.
pub fn write_frames(frames: &mut Demultiplexer) -> Outcome {
    loop {
        match frames.next_piece() {
            Ok(None) => return Ok(()),
            Ok(Some((Stream::Out, piece))) => output::bytes(&piece),
            Ok(Some((Stream::Err, piece))) => output::error_bytes(&piece),
            Ok(Some((Stream::System, piece))) => {
                return Err(Failure::new(format!(
                    "error from daemon in stream: {}",
                    String::from_utf8_lossy(&piece)
                )));
            }
            Err(error) => return Err(Failure::new(error.to_string())),
        }
    }
}

/// Tells the daemon the terminal's size, now and whenever it changes; `path` is the resize endpoint.
pub async fn follow_size(session: &Session, path: &str) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    loop {
        if let (Some((columns, rows)), Ok(client)) = (terminal::size_of_stdout(), session.client()) {
            let request = Request::post(path).query("h", rows.to_string()).query("w", columns.to_string());
            // The process may be gone already; its exit is told elsewhere.
            let _ = client.done(request).await;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

/// The signals this program receives, caught from the moment this is made: before the container can say anything that
/// somebody answers with a signal.
pub struct Signals(tokio::sync::mpsc::Receiver<&'static str>);

impl Signals {
    /// Catches the signals that are passed on.
    pub fn catch() -> Self {
        let kinds = [
            (SignalKind::hangup(), "HUP"),
            (SignalKind::interrupt(), "INT"),
            (SignalKind::quit(), "QUIT"),
            (SignalKind::terminate(), "TERM"),
            (SignalKind::user_defined1(), "USR1"),
            (SignalKind::user_defined2(), "USR2"),
            (SignalKind::alarm(), "ALRM"),
        ];
        let (sender, received) = tokio::sync::mpsc::channel(16);
        for (kind, name) in kinds {
            let Ok(mut stream) = signal(kind) else { continue };
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send(name).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self(received)
    }

    /// Passes them on to a container, for as long as the future lives.
    pub async fn pass_on(mut self, session: &Session, container: &str) {
        while let Some(name) = self.0.recv().await {
            if let Ok(client) = session.client() {
                let path = format!("/containers/{}/kill", encode_component(container));
                let _ = client.done(Request::post(path).query("signal", name)).await;
            }
        }
    }
}
