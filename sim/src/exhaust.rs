//! Exhaustive search: every interleaving of a small scope on the real pool, breadth first from the
//! empty pool to the last reachable state, with every possible fact in each state.
//!
//! Nothing is modelled: the environment may give any current fact at any time. Stale facts are also
//! tried in each state and must change nothing. The results therefore hold for all peers, networks
//! and clients. Time is in ticks and every timeout is one tick; time passes only when a timer is
//! due.

use std::collections::{HashSet, VecDeque};
use std::hash::Hasher;
use std::panic::{self, AssertUnwindSafe};
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
    depth: u32,
    /// The index, in `ways`, of the step that led to this state.
    way: u32,
}

/// One step of a path to a state: the index of the previous step, the time and the fact.
struct Way {
    from: u32,
    at: Instant,
    input: Input,
}

struct Search<'a> {
    scope: &'a Scope,
    seen: HashSet<u128>,
    ways: Vec<Way>,
    frontier: VecDeque<Node>,
    found: Found,
    coverage: Coverage,
    orders: Vec<Output>,
}

/// Searches a scope. Calls `progress` from time to time with the number of states seen and of
/// states to continue from.
pub fn explore(scope: &Scope, progress: impl Fn(u64, usize)) -> Found {
    catch_panics();
    let found = Found { states: 0, steps: 0, depth: 0, closed: false, violation: None };
    let mut search = Search {
        scope,
        seen: HashSet::new(),
        ways: Vec::new(),
        frontier: VecDeque::new(),
        found,
        coverage: Coverage::default(),
        orders: Vec::new(),
    };
    search.start();
    let (mut facts, mut void) = (Vec::new(), Vec::new());
    while let Some(node) = search.frontier.pop_front() {
        if search.found.states > scope.states {
            return search.found;
        }
        facts.clear();
        void.clear();
        node.checker.choices(&mut facts);
        if scope.operator {
            node.checker.operator_choices(&mut facts);
        }
        if scope.reported {
            node.checker.reported_choices(&mut facts);
        }
        node.checker.ineffective_choices(&mut void);
        for input in &facts {
            if !search.step(&node, *input, false) {
                return search.found;
            }
        }
        for input in &void {
            if !search.step(&node, *input, true) {
                return search.found;
            }
        }
        if search.found.steps % 100_000 < 64 {
            progress(search.found.states, search.frontier.len());
        }
    }
    search.found.closed = true;
    search.found
}

impl Search<'_> {
    fn start(&mut self) {
        let config = config(self.scope);
        let checker = Checker::new(&config);
        let pool = Pool::new(config, 0).expect("the scope is within bounds");
        let now = Instant::ZERO;
        self.seen.insert(identity(&pool, now, (0, 0)));
        self.found.states = 1;
        self.frontier.push_back(Node {
            pool,
            checker,
            now,
            arrived: 0,
            faults: 0,
            depth: 0,
            way: u32::MAX,
        });
    }

    /// Tries a fact in a state. Returns false if it breaks an invariant. An ineffective fact
    /// (`void`) must change nothing.
    fn step(&mut self, node: &Node, input: Input, void: bool) -> bool {
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
        self.found.steps += 1;
        let (mut pool, mut checker) = (node.pool.clone(), node.checker.clone());
        let verdict = panic::catch_unwind(AssertUnwindSafe(|| {
            checker.step(&mut pool, now, input, &mut self.coverage, &mut self.orders, |_, _, _| {})
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
        if let Err(violation) = verdict {
            let facts = self.facts(node.way, now, input);
            self.found.violation = Some(Counterexample { violation, facts });
            return false;
        }
        if !void && self.seen.insert(identity(&pool, now, (arrived, faults))) {
            self.found.states += 1;
            let depth = node.depth + 1;
            self.found.depth = depth;
            self.ways.push(Way { from: node.way, at: now, input });
            let way = self.ways.len() as u32 - 1;
            // After the last request has ended, nothing can go wrong with one.
            if arrived < self.scope.requests || checker.live() > 0 {
                self.frontier.push_back(Node { pool, checker, now, arrived, faults, depth, way });
            }
        }
        true
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

    fn facts(&self, mut way: u32, now: Instant, input: Input) -> Vec<(Instant, Input)> {
        let mut facts = vec![(now, input)];
        while let Some(step) = self.ways.get(way as usize) {
            facts.push((step.at, step.input));
            way = step.from;
        }
        facts.reverse();
        facts
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
