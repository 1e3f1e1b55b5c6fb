//! The checker: an independent model of the facts a pool received and the orders it gave, and the
//! rules that both must keep. It was written from the contract of `baton::pool` (its facts, its
//! orders, its retry tables), not from the pool's own tables, and shares none of them.
//!
//! For each fact, [`Checker::expect`] returns what the pool must answer. [`Checker::judge`] then
//! applies the fact and the orders one by one, and compares the model with the pool's own view.

mod backend;
mod backends;
mod books;
mod choices;
mod compare;
mod dials;
mod endings;
mod expect;
mod facts;
mod health;
mod judge;
mod orders;
mod rebuild;
mod silent;
mod sweep;

use std::fmt;

pub use judge::{Checker, Expectation};

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
