//! The checker: an independent account of what a pool was told and what it ordered, and the rules
//! that both must keep. It was written from the contract of `baton::pool` (its facts, its orders,
//! its tables of retries), not from the pool's own tables, and shares none of them.
//!
//! Around each fact: [`Checker::expect`] says what the pool must answer, [`Checker::judge`] takes in
//! the fact and then the orders one by one, and at the end compares the account with what the pool
//! says of itself.

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

/// What may not be broken. The name is what a report shows and what shrinking keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// A stream has at most one request, a request at most one stream.
    ExclusiveOwnership,
    /// What is over stays over: every later use is answered `Stale` and changes nothing; what cannot
    /// be true is `Refused`.
    NoResurrection,
    /// What the pool counts equals a recount.
    DerivedCounts,
    /// Every request that was accepted ends exactly once.
    Conservation,
    /// Streams per connection, connections per backend, requests, queue, dials.
    Limits,
    /// No stream after GOAWAY; streams up to the last id go on, those above are free to retry.
    GoAway,
    /// Retries only as the table says.
    Retry,
    /// A backend's application sees a request that is not idempotent at most once.
    AtMostOnce,
    /// An outcome says what happened: no success that the backend did not give.
    TruthfulOutcome,
    /// Every deadline is armed, none fires early, none without end.
    Timers,
    /// Orders are about things that exist, in a state that allows them.
    CommandLegality,
    /// A backend is out, on trial or well as the requests and dials to it say.
    Health,
    /// No request waits while a stream that it may use is free.
    Progress,
    /// PINGs only after silence, each interval twice the last.
    PingBudget,
    /// Who waits longest is served first.
    Fairness,
    /// Once faults stop, everything pending ends within a bound.
    Liveness,
    /// Once faults stop and a backend is well, new requests succeed.
    Recovery,
    /// After a shutdown nothing is left.
    Quiescence,
    /// An assertion inside the pool.
    PoolAssert,
}

impl Invariant {
    /// Every one.
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

    /// Its name in reports and file names.
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

    /// Whether it says that something good must happen, rather than that nothing bad may.
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
    /// Which.
    pub invariant: Invariant,
    /// What was seen and what was expected.
    pub what: String,
}

/// Nothing, or what is wrong.
pub type Verdict = Result<(), Violation>;

/// Fails with what `what` says unless `holds`.
pub(crate) fn require(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

/// What the pool must answer to a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Exactly this.
    Answer(Handled),
    /// A new request id.
    Accepted,
    /// A new backend.
    Added,
    /// The audit must find something.
    Rebuilt,
}

/// The account of one pool.
#[derive(Clone)]
pub struct Checker {
    books: Books,
}

impl Checker {
    /// An account of a new pool with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { books: Books::new(config) }
    }

    /// The pool was told to retire slots after so many incarnations.
    pub fn narrow_generations(&mut self, most: u32) {
        self.books.generation_max = most;
    }

    /// Something was miscounted on purpose: the next audit must find it. If it was the deadline of the
    /// shutdown that was lost, it begins anew.
    pub fn planted(&mut self, deadline_lost: bool) {
        self.books.planted = true;
        self.books.deadline_lost = deadline_lost;
    }

    /// Requests that were accepted and have not ended.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.books.live
    }

    /// Adds every fact that any peer, network or client could cause now, true or not.
    pub fn choices(&self, all: &mut Vec<Input>) {
        self.books.choices(all);
    }

    /// Adds every fact that the operator, a probe or an audit could cause now.
    pub fn operator_choices(&self, all: &mut Vec<Input>) {
        self.books.operator_choices(all);
    }

    /// Adds facts about what is over, or cannot be; each must change nothing.
    pub fn void_choices(&self, all: &mut Vec<Input>) {
        self.books.void_choices(all);
    }

    /// Checks a whole step after the fact was handled: answer, orders, and what the pool says of
    /// itself.
    ///
    /// # Errors
    /// The first invariant that does not hold.
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

    /// What the pool must answer to a fact, before it is told; notes the cell of the table that the
    /// fact meets.
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

/// What [`Checker::expect`] found out, for [`Checker::judge`].
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
