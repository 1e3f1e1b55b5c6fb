//! Counts the instructions of the pool for different numbers of requests in flight and table sizes.
//! Unlike times, counts repeat, so a committed baseline shows the cost of a change.
//!
//!     cargo bench --bench instructions --no-default-features              compares with it
//!     cargo bench --bench instructions --no-default-features -- --update  rewrites it
//!
//! Needs `valgrind`. If it is missing, or the compiler differs from the baseline's, nothing is
//! compared and the reason is printed.

mod scenario;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use scenario::{Case, World, cases};

/// Fails above the baseline by more than this many percent.
const TOLERANCE: f64 = 5.0;
/// Written by `--update`: the first line names the compiler, every other line has a name and a
/// number.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.baseline");
/// Iterations counted; fewer where each handles many requests.
const ITERATIONS: u64 = 2_000;
const ITERATIONS_GO_AWAY: u64 = 40;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--iterate", name, count] => iterate(name, count),
        ["--bench"] | [] => compare(),
        ["--update", "--bench"] | ["--update"] => update(),
        _ => Err(format!("expected nothing or --update, got {arguments:?}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The process that valgrind watches: repeats a case `count` times.
fn iterate(name: &str, count: &str) -> Result<(), String> {
    let case = cases().into_iter().find(|case| case.name() == name);
    let mut world = World::new(case.ok_or_else(|| format!("no case is called {name}"))?);
    let count: u64 = count.parse().map_err(|error| format!("{count}: {error}"))?;
    for _ in 0..count {
        world.step();
    }
    Ok(())
}

fn compare() -> Result<(), String> {
    let compiler = compiler()?;
    let text = fs::read_to_string(BASELINE).map_err(|error| format!("{BASELINE}: {error}"))?;
    let (of, baseline) = parse(&text)?;
    if !has_valgrind() {
        println!("skipped: valgrind is not installed (Debian: apt install valgrind)");
        return Ok(());
    }
    let comparable = of == compiler;
    if !comparable {
        println!("not compared: the baseline is from {of}, this is {compiler}");
    }
    println!("{:28} {:>14} {:>10} {:>9}", "case", "instructions", "baseline", "change");
    let mut worse = Vec::new();
    for case in cases() {
        let (name, count) = (case.name(), count(&case)?);
        let Some(before) = baseline.get(&name).copied() else {
            return Err(format!("{BASELINE}: {name} is missing; see --update"));
        };
        let change = (count / before - 1.0) * 100.0;
        println!("{name:28} {count:>14.1} {before:>10.1} {change:>+8.1}%");
        if comparable && change > TOLERANCE {
            worse.push(name);
        }
    }
    if worse.is_empty() {
        return Ok(());
    }
    let worse = worse.join(", ");
    Err(format!(
        "more than {TOLERANCE} % above the baseline: {worse}. If that is intended, run with --update"
    ))
}

fn update() -> Result<(), String> {
    if !has_valgrind() {
        return Err("valgrind is not installed (Debian: apt install valgrind)".to_owned());
    }
    let mut text = format!("{}\n", compiler()?);
    for case in cases() {
        let (name, count) = (case.name(), count(&case)?);
        println!("{name:28} {count:>14.1}");
        let _ = writeln!(text, "{name} {count:.1}");
    }
    fs::write(BASELINE, text).map_err(|error| format!("{BASELINE}: {error}"))
}

/// Instructions per iteration: the difference between twice as many iterations and one run, so that
/// one-time costs cancel out.
fn count(case: &Case) -> Result<f64, String> {
    let go_away = case.scenario == scenario::Scenario::GoAway;
    let iterations = if go_away { ITERATIONS_GO_AWAY } else { ITERATIONS };
    let (once, twice) = (collect(case, iterations)?, collect(case, 2 * iterations)?);
    let more = twice.checked_sub(once).ok_or("more iterations took fewer instructions")?;
    Ok(more as f64 / iterations as f64)
}

/// Instructions of this program during the iterations.
fn collect(case: &Case, iterations: u64) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--iterate", &case.name(), &iterations.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .filter(|_| output.status.success())
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| format!("valgrind of {} counted nothing:\n{report}", case.name()))
}

fn has_valgrind() -> bool {
    let mut command = Command::new("valgrind");
    let command = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The version string of the compiler that builds this.
fn compiler() -> Result<String, String> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(&rustc).arg("--version").output();
    let output = output.map_err(|error| format!("{rustc}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Parses a baseline: its compiler, and instructions by name.
fn parse(text: &str) -> Result<(String, BTreeMap<String, f64>), String> {
    let mut lines = text.lines();
    let compiler = lines.next().unwrap_or_default().to_owned();
    let counts = lines.enumerate().map(|(index, line)| {
        let parts = line.split_once(' ');
        let parsed = parts.and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
        parsed.ok_or_else(|| format!("{BASELINE}:{}: expected a name and a number", index + 2))
    });
    Ok((compiler, counts.collect::<Result<_, _>>()?))
}
