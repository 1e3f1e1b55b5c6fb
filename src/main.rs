//! The `baton` command: flags in, exit code out. 0 after a complete drain, 2 for wrong usage, 1 for
//! everything else.

use std::process::ExitCode;

use baton::cli::{Cli, Command};
use baton::proxy::{log, run};
use clap::Parser;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(arguments) => {
            log::init(arguments.log_level.into());
            let config = arguments.into_config();
            if let Err(error) = config.pool.check() {
                eprintln!("baton: {error}");
                return ExitCode::from(2);
            }
            run::run(config).map_err(|error| error.to_string())
        }
        Command::Demo(arguments) => {
            log::init(arguments.log_level.into());
            baton::demo::run(arguments.listen, arguments.restart_every)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("baton: {error}");
            ExitCode::FAILURE
        }
    }
}
