//! Answers that are files.

use std::io::Write;
use std::path::Path;

use corten_client::Request;

use crate::error::{Failure, Outcome};
use crate::output;
use crate::session::Session;
use crate::terminal;

/// Writes an answer to a file, whole or not at all, or to standard output where that is no terminal.
pub async fn to_file_or_pipe(session: &Session, request: Request, file: &str, failed: &str) -> Outcome {
    if file.is_empty() {
        if terminal::stdout_is_terminal() {
            return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
        }
        let mut response = session.client()?.send(request).await?;
        while let Some(chunk) = response.chunk().await? {
            output::bytes(&chunk);
        }
        return Ok(());
    }
    let path = Path::new(file);
    let told = |error: std::io::Error| Failure::new(format!("{failed}: {file}: {}", words(&error)));
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(Failure::new(format!(
            "{failed}: invalid output path: stat {}: no such file or directory",
            directory.display()
        )));
    }
    if path.is_dir() {
        return Err(Failure::new(format!("{failed}: cannot write to a directory: {file}")));
    }
    let mut response = session.client()?.send(request).await?;
    if path.exists() && !path.is_file() {
        // A device or a pipe cannot be replaced; it is written to.
        let mut out = std::fs::OpenOptions::new().write(true).open(path).map_err(told)?;
        while let Some(chunk) = response.chunk().await? {
            out.write_all(&chunk).map_err(told)?;
        }
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = directory.join(format!(".{name}.{}.partial", std::process::id()));
    let written = async {
        let mut out = std::fs::File::create(&partial).map_err(told)?;
        while let Some(chunk) = response.chunk().await? {
            out.write_all(&chunk).map_err(told)?;
        }
        std::fs::rename(&partial, path).map_err(told)
    };
    let result = written.await;
    if result.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    result
}

/// An error of the system in its own words, without Rust's number.
pub fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}
