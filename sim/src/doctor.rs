//! Checks that a run is deterministic. Each seed is run twice in this process and once in another;
//! the hash of all facts and orders and the verdict must be the same.

use std::env;
use std::fmt::Write as _;
use std::io;
use std::process::{Command, Stdio};

use crate::faults::{Profile, plan};
use crate::plan::{Plan, WorldName};
use crate::run::{Run, judge};

/// A seed whose runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The seed.
    pub seed: u64,
    /// The line of the first run.
    pub first: String,
    /// The line of the differing run.
    pub second: String,
}

/// Returns one line per seed: the seed, the hash, the facts, the time and the verdict.
#[must_use]
pub fn lines(from: u64, seeds: u64, profile: Profile, world: WorldName) -> String {
    let mut text = String::new();
    for place in 0..seeds {
        let seed = from.wrapping_add(place);
        let run = judge(&plan(seed, profile, world));
        writeln!(text, "{}", line(seed, &run)).expect("writing to a string");
    }
    text
}

fn line(seed: u64, run: &Run) -> String {
    let verdict = match &run.violation {
        None => "pass".to_owned(),
        Some(violation) => format!("{} {}", violation.invariant, violation.what),
    };
    format!("{seed} {:016x} {} {} {verdict}", run.hash, run.facts, run.time_ns)
}

/// Checks that this program gives runs a simulated clock and simulated entropy. A run of the
/// proxy's world checks it as well.
///
/// # Errors
/// If the functions that replace the C library's are not linked.
pub fn check_program() -> io::Result<()> {
    #[cfg(feature = "proxy")]
    crate::outside::check_symbols().map_err(io::Error::other)?;
    Ok(())
}

/// Compares the runs of each seed.
///
/// # Errors
/// If the program is not linked as it must be, or the other process cannot be started, or does not
/// print one line per seed.
pub fn examine(
    from: u64,
    seeds: u64,
    profile: Profile,
    world: WorldName,
    progress: impl Fn(u64),
) -> io::Result<Vec<Difference>> {
    check_program()?;
    let other = Command::new(env::current_exe()?)
        .args(["hashes", "--from", &from.to_string(), "--seeds", &seeds.to_string()])
        .args(["--profile", profile.name(), "--world", world.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut own = Vec::new();
    let mut differences = Vec::new();
    for place in 0..seeds {
        let seed = from.wrapping_add(place);
        let plan = plan(seed, profile, world);
        let (first, second) = (line(seed, &watched(&plan)), line(seed, &judge(&plan)));
        if first != second {
            differences.push(Difference { seed, first: first.clone(), second });
        }
        own.push(first);
        progress(place + 1);
    }
    let output = other.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answer: Vec<_> = text.lines().collect();
    if answer.len() != own.len() {
        let text = format!("the other process printed {} seeds of {}", answer.len(), own.len());
        return Err(io::Error::other(text));
    }
    for (place, (first, second)) in own.into_iter().zip(answer).enumerate() {
        if first != second {
            let seed = from.wrapping_add(place as u64);
            differences.push(Difference { seed, first, second: second.to_owned() });
        }
    }
    Ok(differences)
}

/// The first run of a seed. In the proxy's world each call for the clock or for entropy is looked
/// at: it must come from where that is allowed. An optimised build does not know the whole names of
/// functions, so only a debug build looks; `cargo test` does so too.
fn watched(plan: &Plan) -> Run {
    #[cfg(feature = "proxy")]
    if plan.world == WorldName::Proxy && cfg!(debug_assertions) {
        return crate::run::watch(plan);
    }
    judge(plan)
}

#[cfg(all(test, feature = "proxy"))]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_proxy_take_nothing_from_outside() {
        for seed in 0..12 {
            let plan = plan(seed, Profile::Swarm, WorldName::Proxy);
            assert_eq!(line(seed, &watched(&plan)), line(seed, &judge(&plan)));
            let violation = judge(&plan).violation;
            assert_eq!(violation, None, "seed {seed}");
        }
    }
}
