//! The checker: an independent model of the facts a pool received and the orders it gave, and the
//! rules that both must keep. It was written from the contract of `baton::pool` (its facts, its
//! orders, its retry tables), not from the pool's own tables, and shares none of them.
//!
//! For each fact, [`Checker::expect`] returns what the pool must answer. [`Checker::judge`] then
//! applies the fact and the orders one by one, and compares the model with the pool's own view.

mod backends;
mod books;
mod choices;
mod compare;
mod dials;
mod endings;
mod expect;
mod facts;
mod health;
mod orders;
mod rebuild;
mod silent;
mod sweep;

use std::fmt;

use baton::pool::{Config, Handled, Input, Instant, Output, Pool, TimerReason};

use crate::coverage::Coverage;
use books::Books;

/// The rules that must hold. Reports show the name, and shrinking keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// A stream has at most one request; a request has at most one stream.
    ExclusiveOwnership,
    /// Facts about ended things are answered `Stale` and change nothing; impossible facts are
    /// answered `Refused`.
    NoResurrection,
    /// The pool's counts equal a recount.
    DerivedCounts,
    /// Every accepted request ends exactly once.
    Conservation,
    /// Limits hold: streams per connection, connections per backend, requests, queue, dials.
    Limits,
    /// No stream opens after GOAWAY; streams up to the last id continue, those above it may be
    /// retried.
    GoAway,
    /// Retries follow the retry table.
    Retry,
    /// A backend's application receives a non-idempotent request at most once.
    AtMostOnce,
    /// The reported outcome is what happened: no success without a complete response.
    TruthfulOutcome,
    /// Every deadline is armed, none fires early, and none fires forever.
    Timers,
    /// Orders concern things that exist, in a state that allows the order.
    CommandLegality,
    /// A backend is ejected, half-open or healthy as its requests and dials imply.
    Health,
    /// No request waits while a stream it may use is free.
    Progress,
    /// PINGs are sent only after silence; each interval is twice the previous one.
    PingBudget,
    /// The request that has waited longest is served first.
    Fairness,
    /// Once faults stop, everything pending ends within a bound.
    Liveness,
    /// Once faults stop and a backend is healthy, new requests succeed.
    Recovery,
    /// Nothing remains after a shutdown.
    Quiescence,
    /// An assertion inside the pool failed.
    PoolAssert,
}

impl Invariant {
    /// All invariants.
    pub const ALL: [Self; 19] = [
        Self::ExclusiveOwnership,
        Self::NoResurrection,
        Self::DerivedCounts,
        Self::Conservation,
        Self::Limits,
        Self::GoAway,
        Self::Retry,
        Self::AtMostOnce,
        Self::TruthfulOutcome,
        Self::Timers,
        Self::CommandLegality,
        Self::Health,
        Self::Progress,
        Self::PingBudget,
        Self::Fairness,
        Self::Liveness,
        Self::Recovery,
        Self::Quiescence,
        Self::PoolAssert,
    ];

    /// The name used in reports and file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExclusiveOwnership => "exclusive-ownership",
            Self::NoResurrection => "no-resurrection",
            Self::DerivedCounts => "derived-counts",
            Self::Conservation => "conservation",
            Self::Limits => "limits",
            Self::GoAway => "goaway",
            Self::Retry => "retry",
            Self::AtMostOnce => "at-most-once",
            Self::TruthfulOutcome => "truthful-outcome",
            Self::Timers => "timers",
            Self::CommandLegality => "command-legality",
            Self::Health => "health",
            Self::Progress => "progress",
            Self::PingBudget => "ping-budget",
            Self::Fairness => "fairness",
            Self::Liveness => "liveness",
            Self::Recovery => "recovery",
            Self::Quiescence => "quiescence",
            Self::PoolAssert => "pool-assert",
        }
    }

    /// Returns true for liveness invariants (something good must happen), false for safety ones
    /// (nothing bad may happen).
    #[must_use]
    pub fn is_liveness(self) -> bool {
        matches!(self, Self::Liveness | Self::Recovery | Self::Quiescence)
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// The observed and the expected behaviour.
    pub what: String,
}

/// `Ok`, or the invariant that does not hold.
pub type Verdict = Result<(), Violation>;

/// Fails with the text from `what` unless `holds`.
pub(crate) fn require(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

/// The answer that the pool must give to a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Exactly this answer.
    Answer(Handled),
    /// A new request id.
    Accepted,
    /// A new backend.
    Added,
    /// The audit must find a miscount.
    Rebuilt,
}

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

    /// A miscount was planted: the next audit must find it. With `deadline_lost`, the shutdown
    /// deadline was lost and starts again.
    pub fn planted(&mut self, deadline_lost: bool) {
        self.books.planted = true;
        self.books.deadline_lost = deadline_lost;
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

    /// Adds every fact that the operator, a health check or an audit could cause now.
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
                return require(orders.is_empty(), Invariant::NoResurrection, || {
                    format!("a fact answered {handled:?} led to {orders:?}")
                });
            }
            Handled::Rejected(_) => {}
            Handled::Accepted(request) => self.books.accept(now, request, input)?,
            Handled::Added(backend) => self.books.backend_added(now, input, backend)?,
            Handled::Rebuilt(_) => self.books.rebuild(now),
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
        self.books.rebuilding = false;
        self.books.sweep(pool)
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
            (Expected::Accepted, Handled::Accepted(_))
            | (Expected::Added, Handled::Added(_))
            | (Expected::Rebuilt, Handled::Rebuilt(_)) => true,
            (Expected::Answer(expected), handled) => expected == handled,
            (Expected::Accepted | Expected::Added | Expected::Rebuilt, _) => false,
        };
        let invariant = match self.answer {
            Expected::Answer(Handled::Rejected(_)) | Expected::Accepted | Expected::Added => {
                Invariant::Limits
            }
            Expected::Rebuilt => Invariant::DerivedCounts,
            Expected::Answer(_) => Invariant::NoResurrection,
        };
        require(same, invariant, || {
            let expected = match self.answer {
                Expected::Accepted => "Accepted".to_owned(),
                Expected::Added => "Added".to_owned(),
                Expected::Rebuilt => "Rebuilt".to_owned(),
                Expected::Answer(answer) => format!("{answer:?}"),
            };
            format!("answered {handled:?}, expected {expected}")
        })
    }
}
