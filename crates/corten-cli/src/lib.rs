//! corten-cli

use std::ffi::OsString;
use std::process::ExitCode;

/// The command line: `program` is the name it was started under, `args` what follows it.
pub fn main(program: OsString, _args: Vec<OsString>) -> ExitCode {
    eprintln!("{}: commands are not implemented", program.to_string_lossy());
    ExitCode::FAILURE
}
