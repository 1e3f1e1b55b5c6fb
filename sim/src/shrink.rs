//! Shrinks a failing plan to the smallest one that fails in the same way: first fewer elements
//! (ddmin, Zeller and Hildebrandt, 2002), then simpler values, repeated until nothing helps.

use baton::pool::Config;

use crate::checker::Violation;
use crate::plan::{BackendPlan, Health, Plan, PoolPlan, Span, Ties};
use crate::run::judge;

/// Maximum runs for shrinking, and maximum work in all of them. A fact is as much work as the table
/// of requests has entries, since each is recounted: a failure that repeats something forever has
/// many facts, and one of thousands of requests large tables.
const RUNS_MAX: u32 = 6_000;
const WORK_MAX: u64 = 200_000_000;

/// The result of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan found.
    pub plan: Plan,
    /// Elements before; see [`Plan::elements`].
    pub before: usize,
    /// Elements after.
    pub after: usize,
    /// Runs used.
    pub runs: u32,
}

/// Shrinks a plan that fails; every step fails [alike](Violation::is_like).
#[must_use]
pub fn shrink(plan: &Plan, violation: &Violation) -> Shrunk {
    let (best, violation) = (plan.clone(), violation.clone());
    let mut search = Search { best, violation, runs: 0, work: 0 };
    loop {
        let before = search.best.clone();
        search.remove(|plan| &mut plan.directives);
        search.remove(|plan| &mut plan.requests);
        search.remove(|plan| &mut plan.deviations);
        search.drop_backends();
        search.simplify();
        if search.best == before || search.is_spent() {
            break;
        }
    }
    let after = search.best.elements();
    Shrunk { before: plan.elements(), after, runs: search.runs, plan: search.best }
}

struct Search {
    best: Plan,
    violation: Violation,
    runs: u32,
    work: u64,
}

impl Search {
    /// True if no further run is allowed.
    fn is_spent(&self) -> bool {
        self.runs >= RUNS_MAX || self.work >= WORK_MAX
    }

    /// Keeps a candidate if it fails alike.
    fn accept(&mut self, candidate: Plan) -> bool {
        if candidate == self.best || self.is_spent() || candidate.check().is_err() {
            return false;
        }
        let run = judge(&candidate);
        self.runs += 1;
        self.work += run.facts * candidate.pool.config.limits.requests as u64;
        let same = run.violation.is_some_and(|broken| broken.is_like(&self.violation));
        if same {
            self.best = candidate;
        }
        same
    }

    /// Removes halves, quarters, … of a list, down to single elements.
    fn remove<T>(&mut self, list: impl Fn(&mut Plan) -> &mut Vec<T>) {
        let mut size = list(&mut self.best).len();
        while size > 0 {
            let mut start = 0;
            while start < list(&mut self.best).len() {
                let mut candidate = self.best.clone();
                let elements = list(&mut candidate);
                let end = elements.len().min(start + size);
                elements.drain(start..end);
                if !self.accept(candidate) {
                    start += size;
                }
            }
            size /= 2;
        }
    }

    fn drop_backends(&mut self) {
        while self.best.backends.len() > 1 {
            let mut candidate = self.best.clone();
            candidate.backends.pop();
            candidate.heal.backends.pop();
            if !self.accept(candidate) {
                break;
            }
        }
    }

    fn simplify(&mut self) {
        self.simplify_pool();
        self.simplify_network();
        for index in 0..self.best.backends.len() {
            self.simplify_backend(index);
        }
        for index in 0..self.best.requests.len() {
            self.simplify_request(index);
        }
        for index in 0..self.best.directives.len() {
            self.number(|plan| &mut plan.directives[index].after_us);
        }
        for index in 0..self.best.deviations.len() {
            self.number(|plan| &mut plan.deviations[index].by_us);
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Plan)) {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        let _ = self.accept(candidate);
    }

    /// Reduces a number: tries zero, then a round number, then half.
    fn number(&mut self, field: impl Fn(&mut Plan) -> &mut u64) {
        let value = *field(&mut self.best);
        if value == 0 {
            return;
        }
        let round = 10_u64.pow(value.ilog10());
        for smaller in [0, round, value / 2] {
            let mut candidate = self.best.clone();
            *field(&mut candidate) = smaller;
            if self.accept(candidate) {
                return;
            }
        }
    }

    fn simplify_pool(&mut self) {
        self.change(|plan| plan.pool = PoolPlan::DEFAULT);
        let defaults = PoolPlan::DEFAULT;
        self.change(|plan| {
            let limits = plan.pool.config.limits;
            plan.pool = PoolPlan::DEFAULT;
            plan.pool.config.limits = limits;
        });
        for entry in Config::SETTINGS {
            let default = (entry.get)(&defaults.config);
            self.change(|plan| (entry.set)(&mut plan.pool.config, default));
        }
        macro_rules! reset {
            ($($($field:ident).+,)+) => {$(
                self.change(|plan| plan.pool.$($field).+ = defaults.$($field).+);
            )+};
        }
        reset!(
            config.strategy,
            config.health_checking,
            weight,
            exclusive,
            spare_places,
            generations,
            replaced_at_us,
            workers,
        );
        for small in 1..4 {
            self.change(|plan| {
                let limits = &mut plan.pool.config.limits;
                limits.connections_per_backend = limits.connections_per_backend.min(small);
            });
            self.change(|plan| {
                let limits = &mut plan.pool.config.limits;
                limits.streams_per_connection = limits.streams_per_connection.min(small);
            });
        }
    }

    fn simplify_network(&mut self) {
        let at_once = |most_us| Span { least_us: most_us, most_us };
        self.change(|plan| plan.network.ties = Ties::Fifo);
        self.change(|plan| plan.wire.rare_percent = 0);
        self.change(|plan| plan.wire.write_stall_ms = 0);
        self.change(|plan| plan.network.timer = at_once(0));
        self.change(|plan| plan.network.shell = at_once(0));
        self.change(|plan| plan.network.wire = at_once(1_000));
        self.change(|plan| plan.network.dial = at_once(1_000));
        self.number(|plan| &mut plan.network.shell.most_us);
        self.number(|plan| &mut plan.network.wire.most_us);
        self.number(|plan| &mut plan.network.dial.most_us);
        self.number(|plan| &mut plan.heal.at_us);
        for index in 0..self.best.heal.backends.len() {
            self.change(|plan| plan.heal.backends[index] = Health::Well);
        }
    }

    fn simplify_backend(&mut self, index: usize) {
        let plain = BackendPlan {
            http1: false,
            max_streams: None,
            settings_late_us: None,
            streams_per_connection: None,
            ping_strikes: None,
            work: Span { least_us: 1_000, most_us: 1_000 },
            body: Span { least_us: 1_000, most_us: 1_000 },
            spare: self.best.backends[index].spare,
            wire: self.best.backends[index].wire,
        };
        self.change(|plan| plan.backends[index] = plain);
        self.change(|plan| plan.backends[index].wire.name = Default::default());
        self.change(|plan| plan.backends[index].http1 = false);
        self.change(|plan| plan.backends[index].max_streams = None);
        self.change(|plan| plan.backends[index].settings_late_us = None);
        self.change(|plan| plan.backends[index].streams_per_connection = None);
        self.change(|plan| plan.backends[index].ping_strikes = None);
        self.change(|plan| plan.backends[index].work = plain.work);
        self.change(|plan| plan.backends[index].body = plain.body);
    }

    fn simplify_request(&mut self, index: usize) {
        self.change(|plan| plan.requests[index].body_us = None);
        self.change(|plan| plan.requests[index].outgrows_buffer = false);
        self.change(|plan| plan.requests[index].early_response = false);
        self.change(|plan| plan.requests[index].informational = 0);
        self.change(|plan| plan.requests[index].idempotent = true);
        self.number(|plan| &mut plan.requests[index].at_us);
    }
}
