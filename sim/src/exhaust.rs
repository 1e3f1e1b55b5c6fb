//! Exhaustive search: every interleaving of a small scope on the real pool, breadth first from the
//! empty pool to the last reachable state, with every possible fact in each state.
//!
//! Nothing is modelled: the environment may give any current fact at any time. Stale facts are also
//! tried in each state and must change nothing. The results therefore hold for all peers, networks
//! and clients. Time is in ticks and every timeout is one tick; time passes only when a timer is
//! due.

mod found;
mod identity;
mod scope;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use baton::pool::{Handled, Input, Instant, Output, Pool, canonical};

use crate::checker::{Checker, Invariant, Violation};
use crate::coverage::Coverage;
use crate::panics::{catch_panics, take_panic};
pub use found::{Counterexample, Found};
use identity::{Seen, identity};
use scope::config;
pub use scope::{Faults, Scope};

/// States that are explored before any of them is freed.
const PART: usize = 1 << 14;

/// A state to continue from.
struct Node {
    pool: Pool,
    checker: Checker,
    now: Instant,
    /// Requests that have arrived.
    arrived: usize,
    /// Faults so far.
    faults: usize,
    /// The index, in `ways`, of the step that led to this state.
    way: u32,
}

/// One step of a path to a state: the index of the previous step, the time and the fact.
struct Way {
    from: u32,
    at: Instant,
    input: Input,
}

/// A search, level by level: all states at one distance from the empty pool, then those at the
/// next.
struct Search<'a> {
    scope: &'a Scope,
    shared: Mutex<Shared>,
    steps: AtomicU64,
}

/// Things that a thread uses again for each step.
#[derive(Default)]
struct Scratch {
    coverage: Coverage,
    orders: Vec<Output>,
}

/// The part that all threads add to.
struct Shared {
    seen: Seen,
    ways: Vec<Way>,
    /// The states of the next level.
    next: Vec<Node>,
    violation: Option<Counterexample>,
}

/// Searches a scope. Calls `progress` from time to time with the number of states seen and of
/// states to continue from.
pub fn explore(scope: &Scope, progress: impl Fn(u64, usize)) -> Found {
    catch_panics();
    let mut search = Search::new(scope);
    let mut found = Found { states: 1, steps: 0, depth: 0, closed: false, violation: None };
    loop {
        let shared = search.shared.get_mut().expect("no thread panics");
        let mut level = std::mem::take(&mut shared.next);
        let known = shared.seen.len();
        while !level.is_empty() {
            // States that were explored are freed part by part.
            let part = level.split_off(level.len().saturating_sub(PART));
            search.explore_states(&part);
            let shared = search.shared.get_mut().expect("no thread panics");
            found.states = shared.seen.len() as u64;
            found.steps = search.steps.load(Ordering::Relaxed);
            found.violation = shared.violation.take();
            progress(found.states, level.len() + shared.next.len());
            if found.violation.is_some() || found.states > scope.states {
                return found;
            }
        }
        let shared = search.shared.get_mut().expect("no thread panics");
        found.depth += u32::from(shared.seen.len() > known);
        if shared.next.is_empty() {
            found.closed = true;
            return found;
        }
    }
}

impl<'a> Search<'a> {
    fn new(scope: &'a Scope) -> Self {
        let config = config(scope);
        let checker = Checker::new(&config);
        let pool = Pool::new(config, 0).expect("the scope is within bounds");
        let now = Instant::ZERO;
        let seen = Seen::from_iter([identity(&pool, now, (0, 0))]);
        let start = Node { pool, checker, now, arrived: 0, faults: 0, way: u32::MAX };
        let shared = Shared { seen, ways: Vec::new(), next: vec![start], violation: None };
        Self { scope, shared: Mutex::new(shared), steps: AtomicU64::new(0) }
    }

    /// Tries all facts in these states, on all processors.
    fn explore_states(&self, states: &[Node]) {
        let place = AtomicUsize::new(0);
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut scratch = Scratch::default();
                    while let Some(node) = states.get(place.fetch_add(1, Ordering::Relaxed)) {
                        if !self.explore_node(node, &mut scratch) {
                            place.store(states.len(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
    }

    /// Tries all facts in a state. Returns false if one breaks an invariant.
    fn explore_node(&self, node: &Node, scratch: &mut Scratch) -> bool {
        let (mut facts, mut void) = (Vec::new(), Vec::new());
        node.checker.choices(&mut facts);
        if self.scope.operator {
            node.checker.operator_choices(&mut facts);
        }
        if self.scope.reported {
            node.checker.reported_choices(&mut facts);
        }
        node.checker.ineffective_choices(&mut void);
        facts.iter().all(|input| self.step(node, *input, false, scratch))
            && void.iter().all(|input| self.step(node, *input, true, scratch))
    }

    /// Tries a fact in a state. Returns false if it breaks an invariant. An ineffective fact
    /// (`void`) must change nothing.
    fn step(&self, node: &Node, input: Input, void: bool, scratch: &mut Scratch) -> bool {
        let mut now = node.now;
        let arrives = matches!(input, Input::RequestArrived { .. });
        if arrives && node.arrived == self.scope.requests {
            return true;
        }
        let arrived = node.arrived + usize::from(arrives);
        let faults = match self.scope.faults.0 {
            None => 0,
            Some(most) => {
                let faults = node.faults + usize::from(self.scope.is_fault(input));
                if faults > most && !void {
                    return true;
                }
                faults
            }
        };
        if input == Input::Timeout {
            let due = node.pool.poll_timeout().map(|(at, _)| at);
            match due.filter(|at| at.0 - now.0.min(at.0) < canonical::FAR) {
                Some(at) => now = now.max(at),
                None => return true,
            }
        }
        self.steps.fetch_add(1, Ordering::Relaxed);
        let (mut pool, mut checker) = (node.pool.clone(), node.checker.clone());
        let Scratch { coverage, orders } = scratch;
        let verdict = panic::catch_unwind(AssertUnwindSafe(|| {
            checker.step(&mut pool, now, input, coverage, orders, |_, _, _| {})
        }))
        .unwrap_or_else(|_| {
            Err(Violation { invariant: Invariant::PoolAssert, what: take_panic() })
        });
        let verdict = verdict.and_then(|handled| {
            let changed = void && identity(&pool, now, (0, 0)) != identity(&node.pool, now, (0, 0));
            let refused = matches!(handled, Handled::Stale | Handled::Refused);
            if changed || (void && !refused) {
                let what = format!("{input:?}, answered {handled:?}, changed the pool");
                return Err(Violation { invariant: Invariant::NoResurrection, what });
            }
            Ok(())
        });
        let reached = Node { pool, checker, now, arrived, faults, way: node.way };
        match verdict {
            Err(violation) => {
                self.shared.lock().expect("no thread panics").fail(violation, reached, input);
                false
            }
            Ok(()) => {
                if !void {
                    self.keep(reached, input);
                }
                true
            }
        }
    }

    /// Keeps a state unless it was seen before.
    fn keep(&self, mut reached: Node, input: Input) {
        let Node { ref pool, now, arrived, faults, .. } = reached;
        let identity = identity(pool, now, (arrived, faults));
        let mut shared = self.shared.lock().expect("no thread panics");
        if !shared.seen.insert(identity) {
            return;
        }
        shared.ways.push(Way { from: reached.way, at: now, input });
        reached.way = shared.ways.len() as u32 - 1;
        // After the last request has ended, nothing can go wrong with one.
        if arrived < self.scope.requests || reached.checker.live() > 0 {
            shared.next.push(reached);
        }
    }
}

impl Shared {
    /// Keeps the first violation, with the facts that lead to it.
    fn fail(&mut self, violation: Violation, reached: Node, input: Input) {
        let mut facts = vec![(reached.now, input)];
        let mut way = reached.way;
        while let Some(step) = self.ways.get(way as usize) {
            facts.push((step.at, step.input));
            way = step.from;
        }
        facts.reverse();
        self.violation.get_or_insert(Counterexample { violation, facts });
    }
}
