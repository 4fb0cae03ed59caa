//! `state`, `list` and `ps`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::Args;
use super::state::{Container, Status};
use super::{CliError, Globals};

fn describe(container: &Container) -> Value {
    let record = &container.record;
    let status = container.status();
    let annotations = container.spec().map(|spec| spec.annotations).unwrap_or_default();
    json!({
        "ociVersion": crate::spec::VERSION,
        "id": record.id,
        "pid": if status == Status::Stopped { 0 } else { record.pid },
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "annotations": annotations,
        "owner": "",
    })
}

fn print_json(value: &Value, pretty: bool) -> Result<(), CliError> {
    let text = if pretty { format!("{value:#}") } else { value.to_string() };
    writeln!(io::stdout(), "{text}").map_err(CliError::file("standard output"))
}

/// `state ID`
pub(super) fn state(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let container = Container::load(globals, &args.id()?)?;
    args.end()?;
    print_json(&describe(&container), true)?;
    Ok(ExitCode::SUCCESS)
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Json,
}

fn format(args: &mut Args, flag: &str) -> Result<Format, CliError> {
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
        return print_json(&Value::from(all), false).map(|()| ExitCode::SUCCESS);
    } else {
        let rows = containers.iter().map(|container| {
            let record = &container.record;
            let status = container.status();
            let pid = if status == Status::Stopped { 0 } else { record.pid };
            [
                record.id.clone(),
                pid.to_string(),
                status.name().into(),
                record.bundle.display().to_string(),
                record.created.clone(),
            ]
        });
        let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED"].map(String::from);
        table(&mut out, std::iter::once(head).chain(rows).collect())
    };
    written.map_err(CliError::file("standard output"))?;
    Ok(ExitCode::SUCCESS)
}

fn table<const N: usize>(out: &mut impl io::Write, rows: Vec<[String; N]>) -> io::Result<()> {
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("   ").trim_end())?;
    }
    Ok(())
}

/// `ps [--format table|json] ID`
pub(super) fn ps(globals: &Globals, mut args: Args) -> Result<ExitCode, CliError> {
    let mut shape = Format::Table;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "-f" | "--format" => shape = format(&mut args, &flag)?,
            other => return Err(args.unknown(other)),
        }
    }
    let container = Container::load(globals, &args.id()?)?;
    args.end()?;
    let pids = match container.cgroup()? {
        Some(cgroup) => cgroup.pids()?,
        None => Vec::new(),
    };
    if shape == Format::Json {
        return print_json(&json!(pids), false).map(|()| ExitCode::SUCCESS);
    }
    let head = ["UID", "PID", "PPID", "CMD"].map(String::from);
    let rows = pids.into_iter().filter_map(process_row);
    table(&mut io::stdout(), std::iter::once(head).chain(rows).collect())
        .map_err(CliError::file("standard output"))?;
    Ok(ExitCode::SUCCESS)
}

fn process_row(pid: i32) -> Option<[String; 4]> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(String::from)
    };
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let command =
        if command.is_empty() { format!("[{}]", field("Name:")?) } else { command.trim_end().to_owned() };
    Some([field("Uid:")?, pid.to_string(), field("PPid:")?, command])
}
