//! Each step of a pool, judged: the fact, the answer, the orders, and then the pool's own view.

use baton::pool::{Config, Handled, Input, Instant, Output, Pool, TimerReason};

use super::books::Books;
use super::expect::{self, Expected};
use super::{Invariant, Verdict, require, sweep};
use crate::coverage::Coverage;

/// The model of one pool.
#[derive(Clone)]
pub struct Checker {
    books: Books,
}

impl Checker {
    /// Creates a model of a new pool with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { books: Books::new(config) }
    }

    /// The pool was configured to retire slots after `most` generations.
    pub fn narrow_generations(&mut self, most: u32) {
        self.books.generation_max = most;
    }

    /// Requests accepted and not yet ended.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.books.live
    }

    /// Adds every fact that any peer, network or client could cause now, true or not.
    pub fn choices(&self, all: &mut Vec<Input>) {
        self.books.choices(all);
    }

    /// Adds every fact that the operator or a health check could cause now.
    pub fn operator_choices(&self, all: &mut Vec<Input>) {
        self.books.operator_choices(all);
    }

    /// Adds ineffective facts (stale or impossible); each must change nothing.
    pub fn void_choices(&self, all: &mut Vec<Input>) {
        self.books.void_choices(all);
    }

    /// Checks a whole step after the fact was handled: the answer, the orders, and the pool's own
    /// view.
    ///
    /// # Errors
    /// Returns the first invariant that does not hold.
    pub fn judge(
        &mut self,
        now: Instant,
        input: Input,
        expected: Expectation,
        handled: Handled,
        orders: &[Output],
        pool: &Pool,
    ) -> Verdict {
        expected.compare(handled)?;
        self.books.step_at = now;
        self.books.fired = expected.fired.filter(|_| input == Input::Timeout);
        self.books.served = 0;
        self.books.extra_dials = 0;
        self.books.passed_over = 0;
        match handled {
            Handled::Stale | Handled::Refused => {
                require(orders.is_empty(), Invariant::NoResurrection, || {
                    format!("a fact answered {handled:?} led to {orders:?}")
                })?;
                return sweep::recount(pool);
            }
            Handled::Rejected(_) => {}
            Handled::Accepted(request) => self.books.accept(now, request, input)?,
            Handled::Added(backend) => self.books.backend_added(now, input, backend)?,
            Handled::Done => {
                self.books.see_silent_endings(now, input, orders, pool)?;
                self.books.apply(now, input)?;
            }
        }
        self.books.demand = self.books.waiting;
        for order in orders {
            self.books.order(now, input, *order)?;
        }
        self.books.resolve_limbo()?;
        self.books.sweep(pool)?;
        sweep::recount(pool)
    }

    /// Returns the answer that the pool must give to a fact. Call before the pool handles the fact.
    /// Records the table cell that the fact hits.
    #[must_use]
    pub fn expect(
        &self,
        input: Input,
        now: Instant,
        pool: &Pool,
        coverage: &mut Coverage,
    ) -> Expectation {
        let fired = expect::due(pool, now);
        Expectation { answer: self.books.expect(input, now, pool, coverage), fired }
    }
}

/// The result of [`Checker::expect`], for [`Checker::judge`].
#[derive(Clone, Copy, Debug)]
pub struct Expectation {
    answer: Expected,
    /// The timer that is due.
    fired: Option<(Instant, TimerReason)>,
}

impl Expectation {
    fn compare(self, handled: Handled) -> Verdict {
        let same = match (self.answer, handled) {
            (Expected::Accepted, Handled::Accepted(_)) | (Expected::Added, Handled::Added(_)) => {
                true
            }
            (Expected::Answer(expected), handled) => expected == handled,
            (Expected::Accepted | Expected::Added, _) => false,
        };
        let invariant = match self.answer {
            Expected::Answer(Handled::Rejected(_)) | Expected::Accepted | Expected::Added => {
                Invariant::Limits
            }
            Expected::Answer(_) => Invariant::NoResurrection,
        };
        require(same, invariant, || {
            let expected = match self.answer {
                Expected::Accepted => "Accepted".to_owned(),
                Expected::Added => "Added".to_owned(),
                Expected::Answer(answer) => format!("{answer:?}"),
            };
            format!("answered {handled:?}, expected {expected}")
        })
    }
}
