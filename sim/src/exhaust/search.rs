//! A search, level by level: all states at one distance from the first, then those at the next.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::found::{Counterexample, Fact, Found};
use super::identity::Seen;
use crate::checker::Violation;
use crate::coverage::Coverage;
use crate::panics::catch_panics;
use baton::pool::{Input, Output};

/// States that are explored between two reports of progress.
const PART: usize = 1 << 14;

/// The states of a search and the steps between them.
pub(super) trait Space: Sync {
    /// A state to continue from.
    type State: Send;

    /// The first state, and its identity.
    fn start(&self) -> (Self::State, u128);

    /// Tries every step in a state. Reports to `trial` each step, and each state that one leads to.
    fn explore(
        &self,
        state: Self::State,
        trial: &mut Trial<'_, Self::State>,
    ) -> Result<(), Failure>;
}

/// A step that breaks an invariant.
pub(super) struct Failure {
    pub(super) violation: Violation,
    pub(super) fact: Fact,
}

/// A thread's part in the search.
pub(super) struct Trial<'a, S> {
    shared: &'a Mutex<Shared<S>>,
    /// The way to the state that is explored.
    way: u32,
    steps: u64,
    pub(super) scratch: Scratch,
}

/// Things that a thread uses again for each step.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) coverage: Coverage,
    pub(super) orders: Vec<Output>,
    pub(super) facts: Vec<Input>,
}

/// The part that all threads add to.
struct Shared<S> {
    seen: Seen,
    ways: Vec<Way>,
    /// The states of the next level, each with the way to it.
    next: Vec<(S, u32)>,
    violation: Option<Counterexample>,
}

/// One step of a path to a state: the index of the step before it, and the fact.
struct Way {
    from: u32,
    fact: Fact,
}

/// Searches a space, until more than `most` states were seen. Calls `progress` from time to time
/// with the number of states seen and of states to continue from.
pub(super) fn search<S: Space>(space: &S, most: u64, progress: impl Fn(u64, usize)) -> Found {
    catch_panics();
    let (start, identity) = space.start();
    let mut shared = Mutex::new(Shared {
        seen: Seen::from_iter([identity]),
        ways: Vec::new(),
        next: vec![(start, u32::MAX)],
        violation: None,
    });
    let mut found = Found { states: 1, steps: 0, depth: 0, closed: false, violation: None };
    loop {
        let before = shared.get_mut().expect("no thread panics");
        let mut level = std::mem::take(&mut before.next);
        let known = before.seen.len();
        while !level.is_empty() {
            let part = level.split_off(level.len().saturating_sub(PART));
            found.steps += explore_states(space, part, &shared);
            let after = shared.get_mut().expect("no thread panics");
            found.states = after.seen.len() as u64;
            found.violation = after.violation.take();
            progress(found.states, level.len() + after.next.len());
            if found.violation.is_some() || found.states > most {
                return found;
            }
        }
        let after = shared.get_mut().expect("no thread panics");
        found.depth += u32::from(after.seen.len() > known);
        if after.next.is_empty() {
            found.closed = true;
            return found;
        }
    }
}

/// Tries every step in these states, on all processors. Returns the number of steps.
fn explore_states<S: Space>(
    space: &S,
    states: Vec<(S::State, u32)>,
    shared: &Mutex<Shared<S::State>>,
) -> u64 {
    let steps = AtomicU64::new(0);
    let states = Mutex::new(states.into_iter());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = || states.lock().expect("no thread panics").next();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut trial = Trial { shared, way: 0, steps: 0, scratch: Scratch::default() };
                while let Some((state, way)) = next() {
                    trial.way = way;
                    if let Err(failure) = space.explore(state, &mut trial) {
                        shared.lock().expect("no thread panics").fail(failure, way);
                        // The other threads find nothing left.
                        states.lock().expect("no thread panics").by_ref().for_each(drop);
                    }
                }
                steps.fetch_add(trial.steps, Ordering::Relaxed);
            });
        }
    });
    steps.into_inner()
}

impl<S> Trial<'_, S> {
    /// Counts a step.
    pub(super) fn count(&mut self) {
        self.steps += 1;
    }

    /// A step leads to a state with this identity. It is kept unless it was seen before; if
    /// `state` returns nothing, it is not continued from.
    pub(super) fn reach(&self, fact: Fact, identity: u128, state: impl FnOnce() -> Option<S>) {
        let mut shared = self.shared.lock().expect("no thread panics");
        if !shared.seen.insert(identity) {
            return;
        }
        shared.ways.push(Way { from: self.way, fact });
        let way = shared.ways.len() as u32 - 1;
        shared.next.extend(state().map(|state| (state, way)));
    }
}

impl<S> Shared<S> {
    /// Keeps the first violation, with the facts that lead to it.
    fn fail(&mut self, failure: Failure, mut way: u32) {
        let mut facts = vec![failure.fact];
        while let Some(step) = self.ways.get(way as usize) {
            facts.push(step.fact);
            way = step.from;
        }
        facts.reverse();
        self.violation.get_or_insert(Counterexample { violation: failure.violation, facts });
    }
}
