//! Many seeds, on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::checker::Violation;
use crate::coverage::Coverage;
use crate::faults::{Profile, plan};
use crate::run::run;
use crate::trace::Trace;

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 32;

/// Which seeds to run.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The first one.
    pub from: u64,
    /// How many, counted upwards, past the greatest number from zero on.
    pub seeds: u64,
    /// Threads, at least 1.
    pub jobs: usize,
    /// Stop after so long, if ever.
    pub time: Option<Duration>,
    /// What kind of plan a seed makes.
    pub profile: Profile,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// Its place in the batch, from 0.
    pub place: u64,
    /// What did not hold.
    pub violation: Violation,
}

/// What came of a batch.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// Facts the pools were told.
    pub facts: u64,
    /// Virtual time, nanoseconds.
    pub time_ns: u128,
    /// Wall-clock time.
    pub took: Duration,
    /// What was met.
    pub coverage: Coverage,
    /// The failing seed that comes first, if one failed. Seeds before it all passed.
    pub failure: Option<Failure>,
}

/// Runs a batch until its end, its time, or its first failure. `progress` is called now and then
/// with the numbers of seeds done before and now.
pub fn run_batch(batch: &Batch, progress: impl Fn(u64, u64) + Sync) -> Summary {
    assert!(batch.jobs >= 1, "somebody must do it");
    let start = now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..batch.jobs {
            scope.spawn(|| {
                let mut own = Summary::default();
                while !stop.load(Ordering::Relaxed) {
                    let chunk = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if chunk >= batch.seeds {
                        break;
                    }
                    let end = batch.seeds.min(chunk + CHUNK);
                    if run_chunk(batch, chunk..end, &mut own) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let before = done.fetch_add(end - chunk, Ordering::Relaxed);
                    progress(before, before + end - chunk);
                    if batch.time.is_some_and(|time| start.elapsed() >= time) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                total.lock().expect("no thread panics").merge(own);
            });
        }
    });
    let mut summary = total.into_inner().expect("no thread panics");
    summary.took = start.elapsed();
    summary
}

/// Whether a seed failed.
fn run_chunk(batch: &Batch, places: std::ops::Range<u64>, own: &mut Summary) -> bool {
    for place in places {
        let seed = batch.from.wrapping_add(place);
        let run = run(&plan(seed, batch.profile), &mut own.coverage, &mut Trace::hash_only());
        own.seeds += 1;
        own.facts += run.facts;
        own.time_ns += u128::from(run.time_ns);
        if let Some(violation) = run.violation {
            own.keep(Failure { seed, place, violation });
            return true;
        }
    }
    false
}

impl Summary {
    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.facts += other.facts;
        self.time_ns += other.time_ns;
        self.coverage.merge(&other.coverage);
        if let Some(failure) = other.failure {
            self.keep(failure);
        }
    }

    fn keep(&mut self, failure: Failure) {
        if self.failure.as_ref().is_none_or(|kept| failure.place < kept.place) {
            self.failure = Some(failure);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how fast the simulator is, not what it does")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
