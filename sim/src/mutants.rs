//! Mutation test: known bugs of real pools and proxies, as patches of this one. They are planted
//! in a copy of the repository; the simulator is built with them and must find each.

mod bank;
mod combine;
mod copy;
mod patch;
mod runner;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bank::Effort;
use runner::{Builds, Seeds, Worker};

pub use bank::Bank;
pub use patch::Patch;
pub use runner::Fate;

/// The mutants to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Wish {
    /// The bank: patches of the pool or of the proxy
    #[arg(long, value_enum, default_value_t = Bank::Pool, value_name = "WORLD")]
    pub world: Bank,
    /// Only mutants whose name contains one of these, separated by commas
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only the canary: it must be found, shrunk and replayed
    #[arg(long)]
    pub canary: bool,
    /// Seeds within which each mutant must be found
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub from: u64,
    /// Mutants at once; as many as there are processors if not given
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
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

/// Runs the mutants. Calls `say` with progress messages.
///
/// # Errors
/// If the root has no mutants, a header is incomplete, or the copies cannot be made or do not pass
/// without a patch.
pub fn run(wish: &Wish, say: impl Fn(&str) + Sync) -> Result<Vec<Mutant>, String> {
    let patches = patch::read_bank(&wish.root.join(wish.world.directory()))?;
    let wanted = |patch: &Patch| match (&*wish.only, wish.canary) {
        (_, true) => patch.name == wish.world.canary(),
        ([], false) => true,
        (texts, false) => texts.iter().any(|text| patch.name.contains(text)),
    };
    let wanted: Vec<_> = (0..patches.len()).filter(|place| wanted(&patches[*place])).collect();
    if wanted.is_empty() {
        return Err("no mutant of that name".to_owned());
    }
    say("building");
    let effort = if wish.canary { Effort::Short } else { Effort::Long };
    let builds = Builds::new(&wish.root, wish.world, effort, &patches)?;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Worker::new(&builds, 0, processors).try_unchanged(wish.from)?;
    let workers = wish.jobs.unwrap_or(processors).clamp(1, wanted.len());
    let queue = Queue { wish, builds, patches, wanted, next: AtomicUsize::new(0), say: &say };
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..workers {
            let (queue, found) = (&queue, &found);
            let worker = Worker::new(&queue.builds, number, processors.div_ceil(workers));
            scope.spawn(move || queue.work(&worker, found));
        }
    });
    let mut found = found.into_inner().expect("no panic");
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, mutant)| mutant).collect())
}

/// The patches that workers take one by one.
struct Queue<'a, S> {
    wish: &'a Wish,
    builds: Builds,
    patches: Vec<Patch>,
    /// The places of those to run.
    wanted: Vec<usize>,
    next: AtomicUsize,
    say: &'a S,
}

impl<S: Fn(&str)> Queue<'_, S> {
    /// Tries patches until there are none left.
    fn work(&self, worker: &Worker, found: &Mutex<Vec<(usize, Mutant)>>) {
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&place) = self.wanted.get(next) else { return };
            let patch = &self.patches[place];
            let fate = self.try_patch(worker, place).unwrap_or_else(Fate::Broken);
            (self.say)(&format!("{}: {}\n  {}", patch.name, patch.bug, describe(&fate)));
            let mutant = Mutant { patch: patch.clone(), fate };
            found.lock().expect("no panic").push((place, mutant));
        }
    }

    fn try_patch(&self, worker: &Worker, place: usize) -> Result<Fate, String> {
        let program = self.builds.program(place, &self.patches[place])?;
        let seeds = Seeds { from: self.wish.from, count: self.wish.seeds };
        let fate = worker.find(&program, seeds)?;
        if let (true, Fate::Dead { invariant, elements, .. }) = (self.wish.canary, &fate) {
            worker.check_replay(&program, invariant, *elements)?;
        }
        Ok(fate)
    }
}

fn describe(fate: &Fate) -> String {
    match fate {
        Fate::Dead { seeds, invariant, what, elements } => {
            format!("dead after {seeds} seeds: {invariant}, shrunk to {elements} elements: {what}")
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
            Fate::Dead { seeds, invariant, elements, .. } => {
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
