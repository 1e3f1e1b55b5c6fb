//! The `sim` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    sim::cli::main()
}
