//! Exhaustive search: every interleaving of a small scope on the real pool, breadth first from the
//! empty pool to the last reachable state, with every possible fact in each state.
//!
//! Nothing is modelled: the environment may give any current fact at any time. Stale facts are also
//! tried in each state and must change nothing. The results therefore hold for all peers, networks
//! and clients. Time is in ticks and every timeout is one tick; time passes only when a timer is
//! due.

use std::collections::HashSet;
use std::hash::Hasher;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use baton::pool::setting::{Field as _, Unit};
use baton::pool::{
    BackendConfig, Config, Handled, HealthChecking, HealthConfig, Input, Instant, Limits, Output,
    Pool, Protocol, RetryConfig, canonical,
};
use clap::builder::TypedValueParser;

use crate::checker::{Checker, Invariant, Violation};
use crate::coverage::Coverage;
use crate::panics::{catch_panics, take_panic};
use crate::trace::TraceHasher;

/// States that are explored before any of them is freed.
const PART: usize = 1 << 14;

/// The size of a scope.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Scope {
    /// Backends
    #[arg(long, default_value_t = 2, value_parser = up_to(3))]
    pub backends: usize,
    /// Connections per backend
    #[arg(long, default_value_t = 1, value_parser = up_to(2))]
    pub connections: usize,
    /// Streams per connection
    #[arg(long, default_value_t = 2, value_parser = up_to(3))]
    pub streams: usize,
    /// Requests in all
    #[arg(long, default_value_t = 2, value_parser = up_to(3))]
    pub requests: usize,
    /// Maximum number of faults in one run, of any kind at any moment, or `any`; an expired
    /// deadline is not counted
    #[arg(long, default_value = "1", value_parser = faults, value_name = "N|any")]
    pub faults: Faults,
    /// Let the operator add (at most one), remove and drain backends, with health checks on; each
    /// of these counts as a fault
    #[arg(long)]
    pub operator: bool,
    /// Another worker checks the health of the backends, and reports each result at any moment;
    /// each counts as a fault
    #[arg(long, conflicts_with = "operator")]
    pub reported: bool,
    /// Give up after this many states
    #[arg(long, default_value_t = 50_000_000, value_name = "N")]
    pub states: u64,
}

/// Maximum facts in one run that a healthy peer and a patient client would not cause; no limit if
/// `None`.
#[derive(Clone, Copy, Debug)]
pub struct Faults(pub Option<usize>);

fn faults(text: &str) -> Result<Faults, String> {
    if text == "any" {
        return Ok(Faults(None));
    }
    let number = text.parse().map_err(|_| format!("`{text}`: expected a number, or `any`"))?;
    Ok(Faults(Some(number)))
}

fn up_to(most: i64) -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u16).range(1..=most).map(usize::from)
}

/// A state that breaks an invariant, and the facts that lead to it.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The broken invariant.
    pub violation: Violation,
    /// The facts, starting with the empty pool.
    pub facts: Vec<(Instant, Input)>,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// Distinct states.
    pub states: u64,
    /// Facts tried, over all states.
    pub steps: u64,
    /// The longest of the shortest paths to the states.
    pub depth: u32,
    /// True if every reachable state was visited.
    pub closed: bool,
    /// The first violation.
    pub violation: Option<Counterexample>,
}

impl Found {
    /// The result as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(found) = &self.violation {
            let invariant = found.violation.invariant;
            text.push_str(&format!("FAIL {invariant}  {}\n", found.violation.what));
            for (at, input) in &found.facts {
                text.push_str(&format!("  {:>4}  {input:?}\n", at.0));
            }
        }
        let end = match (&self.violation, self.closed) {
            (Some(_), _) => "stopped at the violation",
            (None, true) => "closed: every reachable state was seen",
            (None, false) => "not closed: there are more states",
        };
        let (states, steps, depth) = (self.states, self.steps, self.depth);
        text.push_str(&format!("{states} states, {steps} steps, depth {depth}; {end}"));
        text
    }

    /// The result as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "states": self.states,
            "steps": self.steps,
            "depth": self.depth,
            "closed": self.closed,
            "violation": self.violation.as_ref().map(|found| serde_json::json!({
                "invariant": found.violation.invariant.name(),
                "what": found.violation.what,
                "facts": found.facts.iter().map(|(at, input)| format!("{} {input:?}", at.0))
                    .collect::<Vec<_>>(),
            })),
        })
    }
}

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
    seen: HashSet<u128>,
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
        let seen = HashSet::from([identity(&pool, now, (0, 0))]);
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
                let faults = node.faults + usize::from(self.is_fault(input));
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

    /// Returns true for every fact outside the ordinary life of a request. Timeouts are no faults,
    /// because any operation may take too long.
    fn is_fault(&self, input: Input) -> bool {
        match input {
            Input::RequestArrived { .. }
            | Input::StreamOpened { .. }
            | Input::RequestSent { .. }
            | Input::ResponseStarted { .. }
            | Input::ResponseEnded { .. }
            | Input::ResetSent { .. }
            | Input::Timeout => false,
            Input::Connected { protocol, max_streams, .. } => {
                let most = self.scope.streams as u32;
                protocol != Protocol::Http2 || max_streams != Some(most)
            }
            Input::ReplayBufferExceeded { .. }
            | Input::RequestCancelled { .. }
            | Input::ConnectFailed { .. }
            | Input::MaxStreamsChanged { .. }
            | Input::KeepAliveAnnounced { .. }
            | Input::GoAwayReceived { .. }
            | Input::FrameReceived { .. }
            | Input::Pong { .. }
            | Input::ConnectionClosed { .. }
            | Input::StreamFailed { .. }
            | Input::BodyProgressed { .. }
            | Input::UploadBlocked { .. }
            | Input::BackendAdded { .. }
            | Input::BackendRemoved { .. }
            | Input::DrainRequested { .. }
            | Input::DrainCancelled { .. }
            | Input::WeightChanged { .. }
            | Input::HealthCheckFinished { .. }
            | Input::SettingChanged { .. }
            | Input::ShutdownRequested { .. } => true,
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

/// A configuration with small limits, every timeout one tick (except idle, age and stall timeouts,
/// which never fire), and nothing random.
fn config(scope: &Scope) -> Config {
    let tick = Duration::from_nanos(1);
    let never = Duration::from_nanos(u64::MAX / 4);
    let mut config = Config {
        backends: vec![BackendConfig::default(); scope.backends],
        limits: Limits {
            backends: scope.backends + usize::from(scope.operator),
            connections_per_backend: scope.connections,
            streams_per_connection: scope.streams,
            requests: scope.requests,
            waiting: scope.requests,
        },
        retry: RetryConfig { attempts: 2, ..RetryConfig::DEFAULT },
        health: HealthConfig { failures: 1, successes: 1, ..HealthConfig::DEFAULT },
        health_checking: match (scope.operator, scope.reported) {
            (true, _) => HealthChecking::Ordered,
            (false, true) => HealthChecking::Reported,
            (false, false) => HealthChecking::Off,
        },
        body_rate_min: 0,
        ..Config::DEFAULT
    };
    for entry in Config::SETTINGS.iter().filter(|entry| entry.bounds.unit == Unit::Time) {
        (entry.set)(&mut config, tick.read());
    }
    let timeouts = &mut config.timeouts;
    for time in [
        &mut timeouts.idle,
        &mut timeouts.max_age,
        &mut timeouts.body_stall,
        &mut timeouts.response_stall,
        &mut timeouts.health_check_interval,
    ] {
        *time = never;
    }
    timeouts.slow_start = Duration::ZERO;
    config
}

/// The identity of a state in 128 bits, so that two different states do not collide.
fn identity(pool: &Pool, now: Instant, so_far: (usize, usize)) -> u128 {
    let mut first = TraceHasher::default();
    let mut second = TraceHasher::default();
    second.write_u64(0x9e37_79b9_7f4a_7c15);
    first.write_usize(so_far.0);
    first.write_usize(so_far.1);
    second.write_usize(so_far.0);
    second.write_usize(so_far.1);
    pool.hash_state(now, &mut Both(&mut first, &mut second));
    u128::from(first.finish()) << 64 | u128::from(second.finish())
}

struct Both<'a>(&'a mut TraceHasher, &'a mut TraceHasher);

impl Hasher for Both<'_> {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }
}
