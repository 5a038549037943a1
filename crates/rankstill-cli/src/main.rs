//! The program `rankstill`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rankstill_cli::cli::main_with(std::env::args_os()).into()
}
