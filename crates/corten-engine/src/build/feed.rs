//! What a build tells, on its way to the client.
//!
//! The build never waits for the client, except a command that writes: its output takes permits, which come back when
//! the lines were sent. So a client that does not read stops the command, and memory stays bounded.

use std::sync::Arc;

use corten_api::progress::Message;
use corten_build::{Event, Output, Piece, classic};
use tokio::sync::{Semaphore, mpsc};

/// How many pieces of commands' output may be under way.
const PIECES: usize = 64;

/// A line of the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Text or progress.
    Message(Message),
    /// A result for programs; not for clients of old versions.
    Aux(Message),
}

struct Sent {
    line: Line,
    /// Whether it took a permit.
    counted: bool,
}

/// The sending side.
pub(crate) struct Sender {
    lines: mpsc::UnboundedSender<Sent>,
    room: Arc<Semaphore>,
}

/// The receiving side.
pub struct Feed {
    lines: mpsc::UnboundedReceiver<Sent>,
    room: Arc<Semaphore>,
    owed: bool,
}

pub(super) fn channel() -> (Arc<Sender>, Feed) {
    let (sender, lines) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(PIECES));
    (Arc::new(Sender { lines: sender, room: room.clone() }), Feed { lines, room, owed: false })
}

impl Sender {
    /// Waits until a piece of output may be sent. Returns at once when nobody reads any more.
    pub(super) async fn room(&self) {
        tokio::select! {
            permit = self.room.acquire() => {
                if let Ok(permit) = permit {
                    permit.forget();
                }
            }
            () = self.lines.closed() => {}
        }
    }

    /// Sends a line of a pull.
    pub(super) fn message(&self, message: Message) {
        let _ = self.lines.send(Sent { line: Line::Message(message), counted: false });
    }
}

impl Output for Sender {
    fn event(&self, event: Event<'_>) {
        let counted = matches!(event, Event::Output(..));
        for piece in classic(&event) {
            let line = match piece {
                Piece::Text(text) => Line::Message(Message::text(text)),
                Piece::Aux(value) => Line::Aux(Message::aux("", value)),
                Piece::Raw(value) => match serde_json::from_value(value) {
                    Ok(message) => Line::Message(message),
                    Err(_) => continue,
                },
            };
            // An error only says that nobody listens.
            let _ = self.lines.send(Sent { line, counted });
        }
    }
}

impl Feed {
    /// The next line; `None` at the end of the build.
    pub async fn next(&mut self) -> Option<Line> {
        // The line before was sent when this one is asked for.
        if std::mem::take(&mut self.owed) {
            self.room.add_permits(1);
        }
        let sent = self.lines.recv().await?;
        self.owed = sent.counted;
        Some(sent.line)
    }
}

#[cfg(test)]
mod tests {
    use corten_build::Stream;

    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_the_command_up() {
        let (sender, mut feed) = channel();
        for _ in 0..PIECES {
            sender.room().await;
            sender.event(Event::Output(Stream::Stdout, b"x"));
        }
        let blocked = tokio::time::timeout(std::time::Duration::from_millis(20), sender.room()).await;
        assert!(blocked.is_err());
        assert_eq!(feed.next().await, Some(Line::Message(Message::text("x"))));
        let _ = feed.next().await;
        sender.room().await;
        drop(feed);
        for _ in 0..2 * PIECES {
            sender.room().await;
        }
    }
}
