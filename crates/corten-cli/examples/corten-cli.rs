//! The command line alone, without the daemon beside it.

fn main() -> std::process::ExitCode {
    corten_cli::main(std::env::args_os().collect())
}
