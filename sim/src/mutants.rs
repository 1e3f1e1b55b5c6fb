//! Mutation test: known bugs of real pools, as patches of this one. Each is applied to a copy of
//! the repository; the simulator is built with it and must find it.

mod runner;

use std::fmt::Write as _;
use std::path::PathBuf;

use runner::MutantRunner;

pub use runner::{Fate, Patch};

/// The patch that CI plants to check that the simulator finds bugs.
pub const CANARY: &str = "reuse-after-goaway";

/// The mutants to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Wish {
    /// Only mutants whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Only the canary: it must be found, shrunk and replayed
    #[arg(long)]
    pub canary: bool,
    /// Seeds within which each mutant must be found
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub seeds: u64,
    /// The root of the repository
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub root: PathBuf,
}

/// A mutant after its run.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its patch.
    pub patch: Patch,
    /// The result.
    pub fate: Fate,
}

impl Mutant {
    /// Returns true if it was found by an invariant that its header names.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        match &self.fate {
            Fate::Dead { invariant, .. } => {
                self.patch.caught_by.split(", ").any(|name| name == invariant)
            }
            Fate::Alive | Fate::Broken(_) => false,
        }
    }
}

/// Runs the mutants one after the other. Calls `say` with progress messages.
///
/// # Errors
/// If the root has no mutants, a header is incomplete, or the copies cannot be made.
pub fn run(wish: &Wish, say: impl Fn(&str)) -> Result<Vec<Mutant>, String> {
    let patches = runner::patches(&wish.root)?;
    let wanted = |patch: &Patch| match (&wish.only, wish.canary) {
        (_, true) => patch.name == CANARY,
        (Some(text), false) => patch.name.contains(text.as_str()),
        (None, false) => true,
    };
    let wanted: Vec<_> = patches.into_iter().filter(wanted).collect();
    if wanted.is_empty() {
        return Err("no mutant of that name".to_owned());
    }
    let runner = MutantRunner::open(&wish.root)?;
    let mut mutants = Vec::new();
    for patch in wanted {
        say(&format!("{}: {}", patch.name, patch.bug));
        let fate = match runner.try_patch(&patch, wish.seeds, wish.canary) {
            Ok(fate) => fate,
            Err(text) => Fate::Broken(text),
        };
        say(&format!("  {}", describe(&fate)));
        mutants.push(Mutant { patch, fate });
    }
    Ok(mutants)
}

fn describe(fate: &Fate) -> String {
    match fate {
        Fate::Dead { seeds, invariant, elements } => {
            format!("dead after {seeds} seeds: {invariant}, shrunk to {elements} elements")
        }
        Fate::Alive => "ALIVE".to_owned(),
        Fate::Broken(text) => format!("BROKEN: {text}"),
    }
}

/// The results as a Markdown table.
#[must_use]
pub fn table(mutants: &[Mutant]) -> String {
    let mut text = String::from(
        "| mutant | seeds | invariant | elements | modelled on |\n|---|--:|---|--:|---|\n",
    );
    for mutant in mutants {
        let (seeds, invariant, elements) = match &mutant.fate {
            Fate::Dead { seeds, invariant, elements } => {
                let unexpected = if mutant.is_dead() { "" } else { " (not in its header)" };
                (seeds.to_string(), format!("{invariant}{unexpected}"), elements.to_string())
            }
            Fate::Alive => ("ALIVE".to_owned(), String::new(), String::new()),
            Fate::Broken(reason) => ("BROKEN".to_owned(), reason.replace('\n', " "), String::new()),
        };
        let Patch { name, source, .. } = &mutant.patch;
        writeln!(text, "| {name} | {seeds} | {invariant} | {elements} | {source} |")
            .expect("writing to a string");
    }
    let dead = mutants.iter().filter(|mutant| mutant.is_dead()).count();
    writeln!(text, "\n{dead} of {} dead", mutants.len()).expect("writing to a string");
    text
}

/// The results as JSON.
#[must_use]
pub fn json(mutants: &[Mutant]) -> serde_json::Value {
    let list: Vec<_> = mutants
        .iter()
        .map(|mutant| {
            let (seeds, invariant) = match &mutant.fate {
                Fate::Dead { seeds, invariant, .. } => (Some(*seeds), Some(invariant.as_str())),
                Fate::Alive | Fate::Broken(_) => (None, None),
            };
            serde_json::json!({
                "name": mutant.patch.name, "dead": mutant.is_dead(), "seeds": seeds,
                "invariant": invariant, "fate": describe(&mutant.fate),
            })
        })
        .collect();
    serde_json::json!({ "mutants": list })
}
