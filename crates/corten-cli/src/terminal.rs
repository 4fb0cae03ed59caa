//! The user's terminal: whether there is one, how large it is, raw mode, the keys that detach.

use std::io::{self, IsTerminal};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns and rows of the terminal at standard input.
pub fn size_of_stdin() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    (size.ws_col > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Columns and rows of the terminal at standard output.
pub fn size_of_stdout() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Standard input in raw mode; dropping it puts back what was.
pub struct RawMode(Termios);

impl RawMode {
    /// Sets raw mode; nothing where standard input is no terminal.
    pub fn enter() -> io::Result<Option<Self>> {
        if !stdin_is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Reads a line from the terminal without showing it.
pub fn read_secret() -> io::Result<String> {
    use rustix::termios::LocalModes;
    let mut line = String::new();
    if !stdin_is_terminal() {
        io::stdin().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let before = tcgetattr(io::stdin())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
    let read = io::stdin().read_line(&mut line);
    tcsetattr(io::stdin(), OptionalActions::Now, &before)?;
    eprintln!();
    read.map(|_| line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The keys that leave a container without stopping it, watched for in what the user types.
///
/// Keys that begin the sequence are held back until it is clear that it is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    met: usize,
}

/// What typing came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Pass these bytes on.
    Forward(Vec<u8>),
    /// Pass these bytes on, then leave.
    Detach(Vec<u8>),
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` and the like; the empty text is the default.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = if text.is_empty() { "ctrl-p,ctrl-q" } else { text };
        let sequence = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        match sequence {
            Some(sequence) => Ok(Self { sequence, met: 0 }),
            None => Err(format!("invalid detach keys ({text}): unknown character")),
        }
    }

    /// Looks at what was typed.
    pub fn typed(&mut self, bytes: &[u8]) -> Typed {
        let mut forward = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte == self.sequence[self.met] {
                self.met += 1;
                if self.met == self.sequence.len() {
                    self.met = 0;
                    return Typed::Detach(forward);
                }
                continue;
            }
            forward.extend_from_slice(&self.sequence[..self.met]);
            self.met = 0;
            if byte == self.sequence[0] && self.sequence.len() > 1 {
                self.met = 1;
            } else {
                forward.push(byte);
            }
        }
        Typed::Forward(forward)
    }
}

fn key(text: &str) -> Option<u8> {
    if let &[byte] = text.as_bytes() {
        return Some(byte);
    }
    let letter = text.strip_prefix("ctrl-")?;
    match letter.as_bytes() {
        &[letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        b"@" => Some(0),
        b"[" => Some(27),
        b"\\" => Some(28),
        b"]" => Some(29),
        b"^" => Some(30),
        b"_" => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_sequence_leaves() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.typed(b"ls\n"), Typed::Forward(b"ls\n".to_vec()));
        assert_eq!(keys.typed(b"a\x10"), Typed::Forward(b"a".to_vec()));
        assert_eq!(keys.typed(b"\x11b"), Typed::Detach(Vec::new()));
    }

    #[test]
    fn a_broken_sequence_is_passed_on_whole() {
        let mut keys = DetachKeys::parse("ctrl-p,x").unwrap();
        assert_eq!(keys.typed(b"\x10"), Typed::Forward(Vec::new()));
        assert_eq!(keys.typed(b"y"), Typed::Forward(b"\x10y".to_vec()));
        assert_eq!(keys.typed(b"\x10\x10x"), Typed::Detach(b"\x10".to_vec()));
    }

    #[test]
    fn unknown_keys_are_refused() {
        for bad in ["ctrl-", "ctrl-1", "shift-a", "a,,b"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }
}
