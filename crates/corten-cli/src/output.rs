//! Writing to standard output and standard error.
//!
//! A reader that goes away (`corten ps | head -1`) ends the program as the kernel would have: quietly, with 128 + SIGPIPE.

use std::io::{self, Write};

const BROKEN_PIPE: i32 = 128 + 13;

/// Writes text to standard output.
pub fn put(text: &str) {
    bytes(text.as_bytes());
}

/// Writes a line to standard output.
pub fn line(text: &str) {
    put(&format!("{text}\n"));
}

/// Writes bytes to standard output at once.
pub fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    finish(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Writes a line to standard error.
pub fn error_line(text: &str) {
    error_bytes(format!("{text}\n").as_bytes());
}

/// Writes bytes to standard error.
pub fn error_bytes(bytes: &[u8]) {
    finish(io::stderr().lock().write_all(bytes));
}

fn finish(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(BROKEN_PIPE);
    }
}

/// Asks a question on the terminal; no without one, and for anything but `y`.
pub fn confirm(question: &str) -> bool {
    put(question);
    let mut answer = String::new();
    let _ = io::stdin().read_line(&mut answer);
    answer.trim().eq_ignore_ascii_case("y")
}
