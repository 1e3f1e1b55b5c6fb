//! Checks each step of a pool: the fact, the answer, the orders, and then the pool's own view.

use baton::pool::{Config, Handled, Input, Instant, Output, Pool, Setting};

use super::expect::{self, Expected};
use super::model::Model;
use super::side_by_side::{Reached, SideBySide};
use super::{Invariant, Verdict, Violation, require, sweep};
use crate::coverage::Coverage;

/// The model of one pool.
#[derive(Clone)]
pub struct Checker {
    model: Model,
    /// How far the model has followed the pool in the last step.
    reached: Reached,
}

impl Checker {
    /// Creates a model of a new pool with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { model: Model::new(config), reached: Reached::default() }
    }

    /// The pool was configured to retire slots after `most` generations.
    pub fn narrow_generations(&mut self, most: u32) {
        self.model.generation_max = most;
    }

    /// The configuration that the pool must have now.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.model.config
    }

    /// Requests accepted and not yet ended.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.model.live
    }

    /// The state that the model implies beside the one that the pool shows. Ask after a step that
    /// broke an invariant.
    /// `index` and `step` are those of the pool in the trace.
    pub(crate) fn side_by_side(&self, pool: &Pool, index: usize, step: u64) -> SideBySide {
        SideBySide { pool: index, step, reached: self.reached, rows: self.model.rows(pool) }
    }

    /// Adds every fact that any peer, network or client could cause now, true or not.
    pub fn choices(&self, all: &mut Vec<Input>) {
        self.model.choices(all);
    }

    /// Adds every fact that the operator could cause now.
    pub fn operator_choices(&self, all: &mut Vec<Input>) {
        self.model.operator_choices(all);
    }

    /// Adds every result that a health check in flight could have now.
    pub fn health_check_choices(&self, all: &mut Vec<Input>) {
        self.model.health_check_choices(all);
    }

    /// Adds every result of a health check that another worker could report now.
    pub fn reported_choices(&self, all: &mut Vec<Input>) {
        self.model.reported_choices(all);
    }

    /// Adds ineffective facts (stale or impossible); each must change nothing.
    pub fn ineffective_choices(&self, all: &mut Vec<Input>) {
        self.model.ineffective_choices(all);
    }

    /// Gives the pool a fact, fetches its orders into `orders`, passes both to `seen`, and checks
    /// the answer, the orders and the pool's own view. Records the table cell that the fact hits.
    ///
    /// # Errors
    /// Returns the first invariant that does not hold.
    ///
    /// # Panics
    /// If an assertion in the pool fails.
    pub fn step(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        input: Input,
        coverage: &mut Coverage,
        orders: &mut Vec<Output>,
        seen: impl FnOnce(Handled, &[Output], &Pool),
    ) -> Result<Handled, Violation> {
        let fired = expect::due(pool, now);
        let expected = self.model.expect(input, now, pool, coverage);
        let handled = pool.handle(now, input);
        fetch(pool, orders);
        seen(handled, orders, pool);
        self.begin(now, handled);
        compare(expected, handled)?;
        self.model.fired = fired.filter(|_| input == Input::Timeout);
        self.judge(now, input, handled, orders, pool)?;
        if let Some(chances) = self.model.chances.take() {
            coverage.chances(&chances);
        }
        Ok(handled)
    }

    /// As [`step`](Self::step) for [`Pool::reconfigure`]: the pool gets several settings at once.
    /// All of them are in force before the first order, and one that is out of bounds refuses all.
    ///
    /// # Errors
    /// Returns the first invariant that does not hold.
    ///
    /// # Panics
    /// If an assertion in the pool fails, or without a setting.
    pub fn reconfigure(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        settings: &[Setting],
        coverage: &mut Coverage,
        orders: &mut Vec<Output>,
        seen: impl FnOnce(Handled, &[Output], &Pool),
    ) -> Result<Handled, Violation> {
        let setting = *settings.last().expect("a reload changes a setting");
        let expected = self.model.expect_settings(settings, coverage);
        let handled = pool.reconfigure(now, settings);
        fetch(pool, orders);
        seen(handled, orders, pool);
        self.begin(now, handled);
        compare(expected, handled)?;
        self.model.fired = None;
        if handled == Handled::Done {
            self.model.change(now, settings);
            self.reached = Reached::Fact;
            // The orders are those of a change of settings, whichever it is.
            self.follow(now, Input::SettingChanged { setting }, orders, pool)?;
        } else {
            unchanged(handled, orders, pool)?;
        }
        Ok(handled)
    }

    fn begin(&mut self, now: Instant, handled: Handled) {
        self.reached = Reached::Answer;
        self.model.step_at = now;
        self.model.count_answer(handled);
        self.model.served = 0;
        self.model.stale = None;
        self.model.extra_dials = 0;
        self.model.passed_over = 0;
    }

    fn judge(
        &mut self,
        now: Instant,
        input: Input,
        handled: Handled,
        orders: &[Output],
        pool: &Pool,
    ) -> Verdict {
        if !matches!(handled, Handled::Stale | Handled::Refused) {
            self.reached = Reached::Fact;
        }
        match handled {
            Handled::Stale | Handled::Refused => return unchanged(handled, orders, pool),
            Handled::Rejected(_) => {}
            Handled::Accepted(request) => self.model.accept(now, request, input)?,
            Handled::Added(backend) => self.model.backend_added(now, input, backend)?,
            Handled::Done => {
                self.model.see_silent_endings(now, input, orders, pool)?;
                self.model.apply(now, input)?;
            }
        }
        self.follow(now, input, orders, pool)
    }

    /// Applies the orders that follow from a fact, and compares the model with the pool's own view.
    fn follow(&mut self, now: Instant, input: Input, orders: &[Output], pool: &Pool) -> Verdict {
        self.model.see_backoff(now, pool)?;
        self.model.note_places();
        for (place, order) in orders.iter().enumerate() {
            self.reached = Reached::Order { nth: place as u32 + 1, of: orders.len() as u32 };
            self.model.order(now, input, *order, orders.get(place + 1))?;
            self.model.note_places_after(input, *order);
        }
        self.reached = Reached::All;
        self.model.resolve_pending_outcomes()?;
        self.model.sweep(pool)?;
        sweep::recount(pool)
    }
}

fn fetch(pool: &mut Pool, orders: &mut Vec<Output>) {
    orders.clear();
    while let Some(order) = pool.poll_output() {
        orders.push(order);
    }
}

/// Checks that a fact without effect led to nothing.
fn unchanged(handled: Handled, orders: &[Output], pool: &Pool) -> Verdict {
    require(orders.is_empty(), Invariant::NoResurrection, || {
        format!("a fact answered {handled:?} led to {orders:?}")
    })?;
    sweep::recount(pool)
}

/// Checks that the pool gave the expected answer.
fn compare(expected: Expected, handled: Handled) -> Verdict {
    let same = match (expected, handled) {
        (Expected::Accepted, Handled::Accepted(_)) | (Expected::Added, Handled::Added(_)) => true,
        (Expected::Answer(expected), handled) => expected == handled,
        (Expected::Accepted | Expected::Added, _) => false,
    };
    let invariant = match expected {
        Expected::Answer(Handled::Rejected(_)) | Expected::Accepted | Expected::Added => {
            Invariant::Limits
        }
        Expected::Answer(_) => Invariant::NoResurrection,
    };
    require(same, invariant, || match expected {
        Expected::Answer(answer) => format!("answered {handled:?}, expected {answer:?}"),
        other => format!("answered {handled:?}, expected {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton::pool::settings::{Number, Timeout};
    use baton::pool::{BackendConfig, HealthChecking, TimerReason};
    use std::time::Duration;

    /// A pool with health checks, after one fact, and its model.
    fn start() -> (Pool, Checker) {
        let mut config = Config {
            backends: vec![BackendConfig::default(); 2],
            health_checking: HealthChecking::Ordered,
            ..Config::DEFAULT
        };
        config.limits.backends = 2;
        config.limits.requests = 8;
        config.limits.waiting = 8;
        let checker = Checker::new(&config);
        (Pool::new(config, 1).expect("within bounds"), checker)
    }

    fn reconfigure(
        (pool, checker): &mut (Pool, Checker),
        now: u64,
        settings: &[Setting],
    ) -> (Result<Handled, Violation>, Vec<Output>) {
        let (mut coverage, mut orders) = (Coverage::default(), Vec::new());
        let judged = checker.reconfigure(
            pool,
            Instant(now),
            settings,
            &mut coverage,
            &mut orders,
            |_, _, _| {},
        );
        (judged, orders)
    }

    #[test]
    fn all_settings_are_in_force_before_the_first_order() {
        let mut both = start();
        let interval = Duration::from_secs(30);
        let settings = [
            Setting::HealthChecking(HealthChecking::Off),
            Setting::Timeout(Timeout::HealthCheckInterval, interval),
            Setting::Number(Number::Fall, 7),
            // Back to where it was: checks are not restarted.
            Setting::HealthChecking(HealthChecking::Ordered),
        ];
        let before = both.0.poll_timeout();
        assert!(matches!(before, Some((_, TimerReason::HealthCheck))));
        let (judged, orders) = reconfigure(&mut both, 1_000, &settings);
        assert_eq!((judged, orders), (Ok(Handled::Done), Vec::new()));
        assert_eq!(both.0.poll_timeout(), before);
        assert_eq!((both.0.config().health.fall, both.1.model.config.health.fall), (7, 7));
    }

    #[test]
    fn one_setting_out_of_bounds_refuses_all() {
        let mut both = start();
        let settings = [Setting::Number(Number::Fall, 7), Setting::Number(Number::Attempts, 0)];
        let (judged, orders) = reconfigure(&mut both, 1_000, &settings);
        assert_eq!((judged, orders), (Ok(Handled::Refused), Vec::new()));
        assert_eq!((both.0.config().health.fall, both.1.model.config.health.fall), (3, 3));
    }

    #[test]
    fn a_pool_that_did_not_take_every_setting_is_found() {
        let mut both = start();
        // As if it had kept the value of health checks that it had before.
        let off = [Setting::HealthChecking(HealthChecking::Off)];
        assert_eq!(both.0.reconfigure(Instant(0), &off), Handled::Done);
        let checks = Setting::HealthChecking(HealthChecking::Ordered);
        let fall = [checks, Setting::Number(Number::Fall, 7)];
        both.1.model.change(Instant(0), &off);
        assert_eq!(reconfigure(&mut both, 1_000, &off).0, Ok(Handled::Done));
        both.1.model.change(Instant(1_000), &fall);
        let (judged, _) = reconfigure(&mut both, 1_000, &fall[1..]);
        assert_eq!(judged.map_err(|found| found.invariant), Err(Invariant::Timers));
    }
}
