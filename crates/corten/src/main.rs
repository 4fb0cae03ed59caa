//! The one program: the daemon, its confined worker, the OCI runtime, the registry or the command line, by its name and first arguments.
//!
//! Installed as `dockerd` it is Docker's daemon, as `docker` Docker's command line, as
//! `runc` the OCI runtime of that name's command line. Nothing of the daemon is touched on the way to a command:
//! it must start in a few milliseconds.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use corten_server::daemon::settings::Persona;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| "corten".into());
    let args: Vec<OsString> = args.collect();
    let file_name = Path::new(&name).file_name().unwrap_or(OsStr::new("corten"));
    match (file_name.to_str(), args.first().and_then(|a| a.to_str())) {
        (Some(corten_worker::NAME), _) => corten_worker::main(),
        (Some("dockerd"), _) => corten_server::daemon::main(Persona::Docker, args),
        (Some("docker"), _) => corten_cli::main(name, args),
        (Some("runc"), _) => corten_runtime::cli::main("runc", args),
        (_, Some("runtime")) => corten_runtime::cli::main("corten runtime", args[1..].to_vec()),
        (_, Some("registry")) if args.get(1).is_some_and(|word| word == "serve") => {
            corten_registry_server::main(args[2..].to_vec())
        }
        (_, Some("daemon")) => corten_server::daemon::main(Persona::Corten, args[1..].to_vec()),
        _ => corten_cli::main(name, args),
    }
}
