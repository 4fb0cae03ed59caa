//! The command line alone, without the daemon beside it.

fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    corten_cli::main(program, args.collect())
}
