//! The command line: what can be asked of the simulator, and its exit codes.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::faults::Profile;
use crate::seed;

/// Everything held.
pub const PASS: u8 = 0;
/// Something bad happened.
pub const SAFETY: u8 = 1;
/// Something good did not happen.
pub const LIVENESS: u8 = 2;
/// The same plan gave two different runs.
pub const NONDETERMINISM: u8 = 3;
/// A situation that must be met was not, or a mutant lived.
pub const COVERAGE: u8 = 4;
/// The command line, or a file that it names, is wrong.
pub const USAGE: u8 = 64;

/// Runs Baton's pool in a simulated world and checks what must hold.
///
/// Exit codes: 0 pass, 1 safety, 2 liveness, 3 nondeterminism, 4 coverage gap or a mutant that
/// lives, 64 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "sim", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds until one fails; shrink that one, keep it, say how to see it again
    Run(RunArguments),
    /// Run one seed or plan and print its story
    Replay(ReplayArguments),
    /// Find the smallest plan that fails like this one, and print it
    Shrink(ShrinkArguments),
    /// Try every interleaving of a small scope on the real pool, to the last reachable state
    Exhaust(ExhaustArguments),
    /// Apply each known bug to a copy of the pool and see the simulator find it
    Mutants(MutantsArguments),
    /// Say which cells of the pool's tables and which rare situations were met, and which never
    Coverage(CoverageArguments),
    /// Run each seed twice here and once in another process, and compare
    Doctor(DoctorArguments),
    /// Print one line per seed for `doctor`
    #[command(hide = true)]
    Hashes(HashesArguments),
}

#[derive(Clone, Debug, Args)]
struct Seeds {
    /// The first seed: a number, decimal or 0x…, or a commit hash of 40 digits
    #[arg(long, default_value = "0", value_parser = seed::parse, value_name = "SEED")]
    from: u64,
    /// What kind of plan a seed makes
    #[arg(long, value_enum, default_value_t = Profile::Swarm)]
    profile: Profile,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    which: Seeds,
    /// How many seeds [default: 1000, or no end with --time]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Stop after so long (30s, 10m, 2h)
    #[arg(long, value_parser = duration, value_name = "TIME")]
    time: Option<Duration>,
    /// Threads [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Where the plan of a failure is kept; `cargo test` runs what is in tests/regressions
    #[arg(long, default_value = "tests/regressions", value_name = "DIR")]
    keep: PathBuf,
    /// Print one JSON object at the end, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ReplayArguments {
    /// A seed, or the file of a plan
    #[arg(value_name = "SEED|FILE")]
    what: String,
    /// What kind of plan a seed makes
    #[arg(long, value_enum, default_value_t = Profile::Swarm)]
    profile: Profile,
    /// Show the story up to this step
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// Show only what is about these requests and backends (r1,b0)
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Write the story as a page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the story as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShrinkArguments {
    /// A seed, or the file of a plan
    #[arg(value_name = "SEED|FILE")]
    what: String,
    /// What kind of plan a seed makes
    #[arg(long, value_enum, default_value_t = Profile::Swarm)]
    profile: Profile,
}

#[derive(Debug, Args)]
struct ExhaustArguments {
    /// Backends
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3))]
    backends: u16,
    /// Connections per backend
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2))]
    connections: u16,
    /// Streams per connection
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3))]
    streams: u16,
    /// Requests in all
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3))]
    requests: u16,
    /// Faults in one run, of any kind at any moment, or `any` number; that something takes too
    /// long is not counted
    #[arg(long, default_value = "1", value_parser = faults, value_name = "N|any")]
    faults: Faults,
    /// The operator adds, removes and drains backends, of which there may be one more, and they are
    /// probed; each of that is a fault
    #[arg(long)]
    operator: bool,
    /// Give up beyond so many states
    #[arg(long, default_value_t = 50_000_000, value_name = "N")]
    states: u64,
    /// Print one JSON object at the end, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MutantsArguments {
    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only the canary: it must be found, shrunk and replayed
    #[arg(long)]
    canary: bool,
    /// Seeds in which each must die
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    seeds: u64,
    /// The root of the repository
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Print one JSON object at the end, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CoverageArguments {
    #[command(flatten)]
    which: Seeds,
    /// How many seeds
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    seeds: u64,
    /// List everything, not only what was never met
    #[arg(long)]
    all: bool,
    /// Print one JSON object at the end, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DoctorArguments {
    #[command(flatten)]
    which: Seeds,
    /// How many seeds
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    seeds: u64,
    /// Print one JSON object at the end, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HashesArguments {
    #[command(flatten)]
    which: Seeds,
    /// How many seeds
    #[arg(long)]
    seeds: u64,
}

/// A bound on faults, if there is one.
#[derive(Clone, Copy, Debug)]
struct Faults(Option<usize>);

fn faults(text: &str) -> Result<Faults, String> {
    if text == "any" {
        return Ok(Faults(None));
    }
    let number = text.parse().map_err(|_| format!("`{text}`: expected a number, or `any`"))?;
    Ok(Faults(Some(number)))
}

/// A duration of whole seconds, minutes or hours.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("`{text}` is no time: expected a number and s, m or h, such as 60s");
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(expected()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// Does what the arguments of this process ask for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { PASS });
        }
    };
    let result = match cli.command {
        Command::Run(arguments) => commands::run(&arguments),
        Command::Replay(arguments) => commands::replay(&arguments),
        Command::Shrink(arguments) => commands::shrink(&arguments),
        Command::Exhaust(arguments) => commands::exhaust(&arguments),
        Command::Mutants(arguments) => commands::mutants(&arguments),
        Command::Coverage(arguments) => commands::coverage(&arguments),
        Command::Doctor(arguments) => commands::doctor(&arguments),
        Command::Hashes(arguments) => commands::hashes(&arguments),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(text) => {
            eprintln!("sim: {text}");
            ExitCode::from(USAGE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        let _: Cli = Cli::try_parse_from(["sim", "run", "--seeds", "5"]).expect("it is valid");
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for text in ["", "s", "60", "-1s", "1d", "5é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
