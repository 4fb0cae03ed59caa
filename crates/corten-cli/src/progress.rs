//! The progress of pull, push, load, import: bars on a terminal, plain lines elsewhere.
//!
//! On a terminal every layer has a line of its own, found by moving the cursor up; elsewhere what only moves a bar is left
//! out.

use std::fmt::Write;

use corten_client::{JsonLines, Request};
use serde::Deserialize;

use crate::error::{Failure, Outcome};
use crate::format::units::human_size;
use crate::output;
use crate::session::Session;
use crate::terminal;

/// One message of such a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Text to print as it is.
    pub stream: String,
    /// What happens.
    pub status: String,
    /// How far it is.
    #[serde(rename = "progressDetail")]
    pub progress: Option<Progress>,
    /// The layer it is about.
    pub id: String,
    /// What went wrong.
    #[serde(rename = "errorDetail")]
    pub failure: Option<Detail>,
    /// What went wrong, in the old form.
    pub error: String,
    /// What is not for people.
    pub aux: Option<serde_json::Value>,
}

impl Message {
    /// What happens to a layer, and how far of how much it is.
    pub fn of(id: &str, status: &str, progress: Option<(u64, u64)>) -> Self {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (current, total) = progress.unwrap_or_default();
        let progress = Progress { current: signed(current), total: signed(total), ..Progress::default() };
        Self { id: id.into(), status: status.into(), progress: Some(progress), ..Self::default() }
    }
}

/// How far something is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Progress {
    current: i64,
    total: i64,
    units: String,
    hidecounts: bool,
}

/// An error in a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// A status a build's step ended with.
    pub code: i64,
    /// The words.
    pub message: String,
}

/// Where messages are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// Nowhere; only errors matter.
    Quiet,
}

impl Sink {
    fn write(self, text: &str) {
        match self {
            Self::Out => output::put(text),
            Self::Err => output::error_bytes(text.as_bytes()),
            Self::Quiet => {}
        }
    }

    fn width(self) -> Option<usize> {
        use std::os::fd::AsFd;
        let size = match self {
            Self::Out => terminal::size_of_stdout(),
            Self::Err => rustix::termios::tcgetwinsize(std::io::stderr().as_fd())
                .ok()
                .filter(|size| size.ws_col > 0)
                .map(|size| (size.ws_col.into(), size.ws_row.into())),
            Self::Quiet => None,
        };
        size.map(|(columns, _)| columns)
    }
}

/// Sends a request and shows its messages; gives what the messages carried for programs.
pub async fn show(session: &Session, request: Request, sink: Sink) -> Outcome<Vec<serde_json::Value>> {
    let lines = session.client()?.stream(request).await?;
    show_lines(lines, sink).await
}

/// Shows messages as they come.
pub async fn show_lines(mut lines: JsonLines<Message>, sink: Sink) -> Outcome<Vec<serde_json::Value>> {
    let mut display = Display::new(sink.width());
    let mut aux = Vec::new();
    while let Some(message) = lines.next().await? {
        if let Some(value) = message.aux {
            aux.push(value);
            continue;
        }
        if let Some(text) = problem(&message) {
            return Err(Failure::new(text));
        }
        sink.write(&display.render(&message));
    }
    Ok(aux)
}

/// The error a message carries.
pub fn problem(message: &Message) -> Option<String> {
    match &message.failure {
        Some(detail) if !detail.message.is_empty() => Some(detail.message.clone()),
        _ if !message.error.is_empty() => Some(message.error.clone()),
        _ => None,
    }
}

/// What a terminal shows of a stream's messages.
pub struct Display {
    /// Columns of the terminal; nothing where there is none.
    width: Option<usize>,
    /// The layers that have a line, from the top.
    lines: Vec<String>,
}

impl Display {
    /// Nothing shown yet, at a sink.
    pub fn of(sink: Sink) -> Self {
        Self::new(sink.width())
    }

    /// Shows a message at the sink it was made for.
    pub fn show(&mut self, message: &Message, sink: Sink) {
        sink.write(&self.render(message));
    }

    fn new(width: Option<usize>) -> Self {
        Self { width, lines: Vec::new() }
    }

    fn render(&mut self, message: &Message) -> String {
        let mut out = String::new();
        let mut up = 0;
        if !message.id.is_empty() && message.progress.is_some() {
            let line = self.lines.iter().position(|id| *id == message.id).unwrap_or_else(|| {
                self.lines.push(message.id.clone());
                if self.width.is_some() {
                    out.push('\n');
                }
                self.lines.len() - 1
            });
            up = self.lines.len() - line;
            if self.width.is_some() {
                let _ = write!(out, "\x1b[{up}A");
            }
        } else {
            self.lines.clear();
        }
        self.message(&mut out, message);
        if !message.id.is_empty() && self.width.is_some() {
            let _ = write!(out, "\x1b[{up}B");
        }
        out
    }

    fn message(&self, out: &mut String, message: &Message) {
        let bar = message.progress.as_ref().map(|progress| progress.bar(self.width.unwrap_or(200)));
        let moves = self.width.is_some() && message.stream.is_empty() && bar.is_some();
        let end = if moves { "\r" } else { "" };
        if moves {
            out.push_str("\x1b[2K\r");
        } else if bar.as_ref().is_some_and(|bar| !bar.is_empty()) {
            return;
        }
        if !message.id.is_empty() {
            let _ = write!(out, "{}: ", message.id);
        }
        match bar {
            Some(bar) if self.width.is_some() => {
                let _ = write!(out, "{} {bar}{end}", message.status);
            }
            _ if !message.stream.is_empty() => {
                let _ = write!(out, "{}{end}", message.stream);
            }
            _ => {
                let _ = writeln!(out, "{}{end}", message.status);
            }
        }
    }
}

impl Progress {
    fn bar(&self, width: usize) -> String {
        if self.current <= 0 && self.total <= 0 {
            return String::new();
        }
        if self.total <= 0 {
            return match self.units.as_str() {
                "" => format!("{:>8}", human_size(self.current as f64)),
                units => format!("{} {units}", self.current),
            };
        }
        let filled = ((self.current as f64 / self.total as f64 * 100.0) as usize / 2).min(50);
        let mut out = String::new();
        if width > 110 {
            let _ = write!(out, "[{}>{}] ", "=".repeat(filled), " ".repeat(50 - filled));
        }
        let beyond = self.current > self.total;
        match (self.hidecounts, self.units.as_str()) {
            (true, _) => {}
            (false, "") => {
                let _ = write!(out, "{:>8}", human_size(self.current as f64));
                if !beyond {
                    let _ = write!(out, "/{}", human_size(self.total as f64));
                }
            }
            (false, units) if beyond => {
                let _ = write!(out, "{} {units}", self.current);
            }
            (false, units) => {
                let _ = write!(out, "{}/{} {units}", self.current, self.total);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_pipe_gets_plain_lines_without_bars() {
        let mut display = Display::new(None);
        let shown: String = [
            r#"{"status":"Pulling from library/busybox","id":"latest"}"#,
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"abc"}"#,
            r#"{"status":"Pull complete","progressDetail":{},"id":"abc"}"#,
            r#"{"stream":"Loaded image: x\n"}"#,
        ]
        .iter()
        .map(|text| display.render(&message(text)))
        .collect();
        assert_eq!(
            shown,
            "latest: Pulling from library/busybox\nabc: Pulling fs layer\nabc: Pull complete\nLoaded image: x\n"
        );
    }

    #[test]
    fn a_terminal_gets_a_bar_on_the_layer_s_line() {
        let mut display = Display::new(Some(120));
        display.render(&message(r#"{"status":"Waiting","progressDetail":{},"id":"a"}"#));
        display.render(&message(r#"{"status":"Waiting","progressDetail":{},"id":"b"}"#));
        let shown = display.render(&message(
            r#"{"status":"Downloading","progressDetail":{"current":500,"total":1000},"id":"a"}"#,
        ));
        let bar = format!("[{}>{}]", "=".repeat(25), " ".repeat(25));
        assert_eq!(shown, format!("\x1b[2A\x1b[2K\ra: Downloading {bar}     500B/1kB\r\x1b[2B"));
    }
}
