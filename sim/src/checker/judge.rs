//! Checks each step of a pool: the fact, the answer, the orders, and then the pool's own view.

use baton::pool::{Config, Handled, Input, Instant, Output, Pool};

use super::expect::{self, Expected};
use super::model::Model;
use super::{Invariant, Verdict, Violation, require, sweep};
use crate::coverage::Coverage;

/// The model of one pool.
#[derive(Clone)]
pub struct Checker {
    model: Model,
}

impl Checker {
    /// Creates a model of a new pool with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { model: Model::new(config) }
    }

    /// The pool was configured to retire slots after `most` generations.
    pub fn narrow_generations(&mut self, most: u32) {
        self.model.generation_max = most;
    }

    /// Requests accepted and not yet ended.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.model.live
    }

    /// Adds every fact that any peer, network or client could cause now, true or not.
    pub fn choices(&self, all: &mut Vec<Input>) {
        self.model.choices(all);
    }

    /// Adds every fact that the operator or a health check could cause now.
    pub fn operator_choices(&self, all: &mut Vec<Input>) {
        self.model.operator_choices(all);
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
        orders.clear();
        while let Some(order) = pool.poll_output() {
            orders.push(order);
        }
        seen(handled, orders, pool);
        compare(expected, handled)?;
        self.model.step_at = now;
        self.model.fired = fired.filter(|_| input == Input::Timeout);
        self.judge(now, input, handled, orders, pool)?;
        Ok(handled)
    }

    fn judge(
        &mut self,
        now: Instant,
        input: Input,
        handled: Handled,
        orders: &[Output],
        pool: &Pool,
    ) -> Verdict {
        self.model.served = 0;
        self.model.extra_dials = 0;
        self.model.passed_over = 0;
        match handled {
            Handled::Stale | Handled::Refused => {
                require(orders.is_empty(), Invariant::NoResurrection, || {
                    format!("a fact answered {handled:?} led to {orders:?}")
                })?;
                return sweep::recount(pool);
            }
            Handled::Rejected(_) => {}
            Handled::Accepted(request) => self.model.accept(now, request, input)?,
            Handled::Added(backend) => self.model.backend_added(now, input, backend)?,
            Handled::Done => {
                self.model.see_silent_endings(now, input, orders, pool)?;
                self.model.apply(now, input)?;
            }
        }
        for order in orders {
            self.model.order(now, input, *order)?;
        }
        self.model.resolve_pending_outcomes()?;
        self.model.sweep(pool)?;
        sweep::recount(pool)
    }
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
