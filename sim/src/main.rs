//! The `sim` command.

#[cfg(feature = "proxy")]
#[expect(dead_code, reason = "the simulator does not give memory back")]
#[path = "../../src/allocator.rs"]
mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    sim::cli::main()
}
