//! The command line: commands, arguments and exit codes.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::exhaust::Scope;
use crate::faults::Profile;
use crate::mutants::Wish;
use crate::plan::WorldName;
use crate::seed;

/// All checks passed.
pub const PASS: u8 = 0;
/// A safety invariant failed.
pub const SAFETY: u8 = 1;
/// A liveness invariant failed.
pub const LIVENESS: u8 = 2;
/// The same plan gave two different runs.
pub const NONDETERMINISM: u8 = 3;
/// A required situation was not met, or a mutant survived.
pub const COVERAGE: u8 = 4;
/// The command line, or a file that it names, is invalid.
pub const USAGE: u8 = 64;

/// Runs Baton, the pool alone or the whole proxy, in a simulated world and checks its invariants.
///
/// Exit codes: 0 pass, 1 safety, 2 liveness, 3 nondeterminism, 4 coverage gap or surviving mutant,
/// 64 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "sim", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run seeds until one fails; shrink that one, save its plan, print how to replay it
    Run(RunArguments),
    /// Run one seed or plan and print its story
    Replay(ReplayArguments),
    /// Find the smallest plan that fails in the same way, and print it
    Shrink(ShrinkArguments),
    /// Try every interleaving of a small scope on the real pool, until no new state is reachable
    Exhaust(ExhaustArguments),
    /// Apply each known bug to a copy of the sources and check that the simulator finds it
    Mutants(MutantsArguments),
    /// List the cells of the pool's tables and the rare situations that the seeds never met
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
    /// The profile that plans are generated with
    #[arg(long, value_enum, default_value_t = Profile::Swarm)]
    profile: Profile,
    /// The world: the pool alone, the whole proxy, or both and a comparison
    #[arg(long, value_enum, default_value_t = WorldName::Pool)]
    world: WorldName,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    which: Seeds,
    /// Number of seeds [default: 1000, or no limit with --time]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Stop after this time (30s, 10m, 2h)
    #[arg(long, value_parser = duration, value_name = "TIME")]
    time: Option<Duration>,
    /// Threads [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Half of the runs are branches: the plan of a run that met a rare cell of the catalogue goes
    /// on with other faults from that moment on (only the world of the pool)
    #[arg(long)]
    steer: bool,
    /// Directory for the plan of a failure; `cargo test` runs the plans in tests/regressions
    #[arg(long, default_value = "tests/regressions", value_name = "DIR")]
    keep: PathBuf,
    /// Print only one JSON object, at the end
    #[arg(long)]
    json: bool,
}

/// The origin of a plan.
#[derive(Debug, Args)]
struct Source {
    /// A seed, or the file of a plan
    #[arg(value_name = "SEED|FILE")]
    what: String,
    /// The profile that plans are generated with
    #[arg(long, value_enum, default_value_t = Profile::Swarm)]
    profile: Profile,
    /// The world: the pool alone, the whole proxy, or both and a comparison
    #[arg(long, value_enum, default_value_t = WorldName::Pool)]
    world: WorldName,
}

#[derive(Debug, Args)]
struct ReplayArguments {
    #[command(flatten)]
    source: Source,
    /// Show the story up to this step
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// Show only these requests and backends (r1,b0)
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Write the story as a self-contained HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the bytes on the wire as a capture for Wireshark (only a plan of the proxy's world)
    #[cfg(feature = "proxy")]
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Write the log and the access log of the proxy, each line after its time in milliseconds
    #[cfg(feature = "proxy")]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print the story as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShrinkArguments {
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Args)]
struct ExhaustArguments {
    #[command(flatten)]
    scope: Scope,
    /// Print only one JSON object, at the end
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MutantsArguments {
    #[command(flatten)]
    wish: Wish,
    /// Print only one JSON object, at the end
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CoverageArguments {
    #[command(flatten)]
    which: Seeds,
    /// Number of seeds
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    seeds: u64,
    /// List everything, not only what was never met
    #[arg(long)]
    all: bool,
    /// Print only one JSON object, at the end
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DoctorArguments {
    #[command(flatten)]
    which: Seeds,
    /// Number of seeds
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    seeds: u64,
    /// Print only one JSON object, at the end
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HashesArguments {
    #[command(flatten)]
    which: Seeds,
    /// Number of seeds
    #[arg(long)]
    seeds: u64,
}

/// A duration of whole seconds, minutes or hours.
fn duration(text: &str) -> Result<Duration, String> {
    let expected =
        || format!("`{text}` is not a time: expected a number and s, m or h, such as 60s");
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

/// Runs the command that this process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the terminal is gone, the message cannot be shown.
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
