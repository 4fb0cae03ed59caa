//! `state` and `list`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::args::Args;
use super::state::{Container, Status};
use super::{CliError, Globals};

/// A container as it is printed, in the specification's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    oci_version: &'static str,
    id: &'a str,
    pid: i32,
    status: Status,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: &'static str,
}

fn describe(container: &Container) -> Description<'_> {
    let record = &container.record;
    let status = container.status();
    Description {
        oci_version: crate::spec::VERSION,
        id: &record.id,
        pid: if status == Status::Stopped { 0 } else { record.pid },
        status,
        bundle: &record.bundle,
        rootfs: &record.rootfs,
        created: &record.created,
        annotations: container.spec().map(|spec| spec.annotations).unwrap_or_default(),
        owner: "root",
    }
}

/// Prints a value in one line.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value);
    print(text)
}

fn print(text: serde_json::Result<String>) -> Result<(), CliError> {
    let text = text.map_err(|source| CliError::Document { what: "output".into(), source })?;
    writeln!(io::stdout(), "{text}").map_err(CliError::file("standard output"))
}

/// `state ID`
pub(super) fn state(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    args.no_flags()?;
    let container = Container::load(globals, &args.id()?)?;
    args.end()?;
    print(serde_json::to_string_pretty(&describe(&container)))?;
    Ok(ExitCode::SUCCESS)
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
}

/// Reads the value of `--format`.
pub(super) fn format(args: &mut Args, flag: &str) -> Result<Format, CliError> {
    match args.value(flag)?.as_str() {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        _ => Err(CliError::Usage("invalid format option".into())),
    }
}

/// `list [--format table|json] [--quiet]`
pub(super) fn list(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let (mut shape, mut quiet) = (Format::Table, false);
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "-f" | "--format" => shape = format(&mut args, &flag)?,
            "-q" | "--quiet" => quiet = args.switch(),
            other => return Err(args.unknown(other)),
        }
    }
    args.end()?;
    let mut ids: Vec<String> = match std::fs::read_dir(&globals.root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other
            .map_err(CliError::file(globals.root.display().to_string()))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect(),
    };
    ids.sort();
    let containers: Vec<_> = ids.iter().filter_map(|id| Container::load(globals, id).ok()).collect();
    let mut out = io::stdout();
    let written = if quiet {
        containers.iter().try_for_each(|container| writeln!(out, "{}", container.record.id))
    } else if shape == Format::Json {
        let all: Vec<_> = containers.iter().map(describe).collect();
        return print_json(&all).map(|()| ExitCode::SUCCESS);
    } else {
        let rows = containers.iter().map(|container| {
            let record = &container.record;
            let status = container.status();
            let pid = if status == Status::Stopped { 0 } else { record.pid };
            vec![
                record.id.clone(),
                pid.to_string(),
                status.name().into(),
                record.bundle.display().to_string(),
                record.created.clone(),
            ]
        });
        let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED"].map(String::from).to_vec();
        table(&mut out, &std::iter::once(head).chain(rows).collect::<Vec<_>>())
    };
    written.map_err(CliError::file("standard output"))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints rows of the same length in columns.
pub(super) fn table(out: &mut impl io::Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("   ").trim_end())?;
    }
    Ok(())
}
