//! The `baton` command. It exits with 0 on success, including an orderly shutdown, with 2 for wrong
//! usage, and with 1 for every other error. A panic ends it with SIGABRT.

mod allocator;

use std::fmt::Display;
use std::io::stdout;
use std::path::Path;
use std::process::ExitCode;

use baton::cli::operate::{self, Ending};
use baton::cli::run::{RunArguments, RunError};
use baton::cli::{self, Cli, Command, status};
use baton::config::{self, ConfigError};
use baton::proxy::{log, memory, run};
use clap::Parser;

fn main() -> ExitCode {
    abort_on_panic();
    memory::give_back_by(allocator::give_back);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Command::Run(arguments) => run_proxy(&arguments),
        Command::Check(arguments) => check(&arguments.file),
        Command::Config(arguments) => print(arguments.file.as_deref()),
        Command::Drain(arguments) => ask(operate::drain(&arguments, &mut stdout())),
        Command::Undrain(arguments) => ask(operate::undrain(&arguments, &mut stdout())),
        Command::Weight(arguments) => ask(operate::weight(&arguments, &mut stdout())),
        Command::Status(arguments) => ask(status::status(&arguments, &mut stdout())),
        Command::Demo(arguments) => {
            log::init(arguments.log_level.into());
            ended(baton::demo::run(arguments.listen, arguments.restart_every))
        }
    }
}

fn run_proxy(arguments: &RunArguments) -> ExitCode {
    // Made before the file is read, so that a reload misses no change after that.
    let source = arguments.source();
    match arguments.load() {
        Ok(config) => {
            log::init(config.log_level.into());
            ended(run::run_from(config, source))
        }
        Err(RunError::File(errors)) => {
            complain(&errors);
            ExitCode::FAILURE
        }
        Err(RunError::Flags(errors)) => {
            complain(&errors);
            ExitCode::from(2)
        }
    }
}

fn check(file: &Path) -> ExitCode {
    match config::check(file) {
        Ok(config) => {
            let backends: usize =
                config.clusters.iter().map(|cluster| cluster.backends.len()).sum();
            answer(&format!(
                "{}: good: listeners {}, clusters {}, backends {backends}, routes {}\n",
                file.display(),
                config.listeners.len(),
                config.clusters.len(),
                config.routes.len()
            ))
        }
        Err(errors) => wrong_file(&errors),
    }
}

fn print(file: Option<&Path>) -> ExitCode {
    match file.map_or_else(|| Ok(config::example()), config::load) {
        Ok(config) => answer(&config::print::print(&config)),
        Err(errors) => wrong_file(&errors),
    }
}

/// Runs a client command.
fn ask(command: impl Future<Output = Result<Ending, String>>) -> ExitCode {
    match cli::block_on(command) {
        Ok(Ending::Good) => ExitCode::SUCCESS,
        Ok(Ending::Cut) => ExitCode::FAILURE,
        Err(error) => {
            complain(&[error]);
            ExitCode::FAILURE
        }
    }
}

/// Writes a command's output to standard output.
fn answer(text: &str) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Standard output is closed.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints every error in a file, one per line, in the form of compiler errors.
fn wrong_file(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        eprintln!("{error}");
    }
    ExitCode::FAILURE
}

fn ended(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::flush();
            complain(error.to_string().lines().collect::<Vec<_>>().as_slice());
            ExitCode::FAILURE
        }
    }
}

fn complain(errors: &[impl Display]) {
    for error in errors {
        eprintln!("baton: {error}");
    }
}

/// Makes a panic in any thread abort the process: a panic is a bug, and the state after it cannot
/// be trusted.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        log::flush();
        std::process::abort();
    }));
}

/// Prints help and version unchanged, and an error as one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed standard output cannot be reported to anyone.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let message: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let message = message.join(" ");
    eprintln!("baton: {} (try --help)", message.strip_prefix("error: ").unwrap_or(&message));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{self, Stdio};
    use std::{env, thread};

    /// The number of the signal that `abort` raises.
    const SIGABRT: i32 = 6;

    #[test]
    #[ignore = "ends the process; the test below runs it in one of its own"]
    fn panics_in_a_thread() {
        super::abort_on_panic();
        let ended = thread::spawn(|| panic!("a bug")).join();
        unreachable!("the process goes on: {ended:?}");
    }

    #[test]
    fn a_panic_in_any_thread_aborts_the_process() {
        let mut test = process::Command::new(env::current_exe().expect("this program"));
        test.args(["--ignored", "--exact", "tests::panics_in_a_thread"]);
        let status = test.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert_eq!(status.expect("it runs").signal(), Some(SIGABRT));
    }
}
