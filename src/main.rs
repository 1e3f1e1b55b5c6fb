//! The `baton` command: flags in, exit code out. 0 after a complete drain, 2 for wrong usage, 1 for
//! everything else.

use std::process::ExitCode;

use baton::cli::{Cli, Command};
use baton::proxy::{log, run};
use clap::Parser;

fn main() -> ExitCode {
    abort_on_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        Command::Run(arguments) => {
            log::init(arguments.log_level.into());
            let config = arguments.into_config();
            if let Err(error) = config.clusters[0].pool_config().check() {
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

/// A panic is a bug, and nothing that follows could be trusted: the process ends, whichever thread
/// it was in.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Help and version as they are; an error as one line that says what and where.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nobody is left to tell if standard output is gone.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let told: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let told = told.join(" ");
    eprintln!("baton: {} (try --help)", told.strip_prefix("error: ").unwrap_or(&told));
    ExitCode::from(2)
}
