//! The checker: an independent model of the facts a pool received and the orders it gave, and the
//! rules that both must keep. It was written from the contract of `baton::pool` (its facts, its
//! orders, its retry table), not from the pool's own tables.
//!
//! [`Checker::step`] gives the pool a fact. It checks the pool's answer, applies the fact and the
//! orders to the model one by one, and compares the model with the pool's own view.

mod backend;
mod backends;
mod blame;
mod choice;
mod choices;
mod compare;
mod dials;
mod endings;
mod expect;
mod facts;
mod failed;
mod health;
mod judge;
mod model;
mod orders;
mod reference;
mod reports;
mod retries;
mod rows;
mod settings;
mod side_by_side;
mod silent;
mod suspicion;
mod sweep;
mod time;
mod turns;
mod views;

pub use judge::Checker;
pub(crate) use side_by_side::{Part, Reached, Row, Said, SideBySide, Thing};

baton::words! {
    /// The rules that must hold. Reports show the name, and shrinking keeps it.
    pub enum Invariant {
        /// A stream has at most one request; a request has at most one stream.
        ExclusiveOwnership = "exclusive-ownership",
        /// Facts about ended things are answered `Stale` and change nothing; impossible facts are
        /// answered `Refused`.
        NoResurrection = "no-resurrection",
        /// The pool's counts equal a recount.
        DerivedCounts = "derived-counts",
        /// Every accepted request ends exactly once.
        Conservation = "conservation",
        /// Limits hold: streams per connection, connections per backend, requests, queue, dials.
        Limits = "limits",
        /// No stream opens after GOAWAY; streams up to the last id continue, those above it may be
        /// retried.
        GoAway = "goaway",
        /// Retries follow the retry table.
        Retry = "retry",
        /// A backend's application receives a non-idempotent request at most once.
        AtMostOnce = "at-most-once",
        /// The reported outcome is what happened: no success without a complete response.
        TruthfulOutcome = "truthful-outcome",
        /// Every deadline is armed, none fires early, and none fires forever.
        Timers = "timers",
        /// Orders concern things that exist, in a state that allows the order.
        CommandLegality = "command-legality",
        /// A backend is ejected, half-open or healthy as its requests and dials imply.
        Health = "health",
        /// No request waits while a stream it may use is free.
        Progress = "progress",
        /// PINGs are sent only after silence; each interval is twice the previous one.
        PingBudget = "ping-budget",
        /// A connection is closed as silent only if its host acknowledges nothing: a backend that
        /// is only busy keeps its requests.
        Silence = "silence",
        /// The request that has waited longest is served first.
        Fairness = "fairness",
        /// A backend is chosen as the strategy says, and a connection by first fit.
        Choice = "choice",
        /// Codes of resets, causes of states and counters are what happened.
        Reports = "reports",
        /// Once faults stop, everything pending ends within a bound.
        Liveness = "liveness",
        /// Once faults stop and a backend is healthy, new requests succeed.
        Recovery = "recovery",
        /// Nothing remains after a shutdown.
        Quiescence = "quiescence",
        /// A run is a function of its plan: nothing reaches past the seams.
        NothingFromOutside = "nothing-from-outside",
        /// An assertion inside the pool failed, or its own recount.
        PoolAssert = "pool-assert",
        /// A peer of the proxy sees no message or frame that its protocol forbids.
        Protocol = "protocol",
        /// A request at a backend is what its client has sent.
        FaithfulRequest = "faithful-request",
        /// An answer at a client is what one execution of its request wrote. One that was cut short
        /// looks cut short.
        FaithfulResponse = "faithful-response",
        /// The proxy answers a request itself only for a reason in the manual.
        OwnResponse = "own-response",
        /// The access log has one line for each request, and each field is what happened. So is
        /// what the log says of backends and clients.
        AccessLog = "access-log",
        /// Counters and gauges equal a recount.
        Metrics = "metrics",
        /// Reloads, listeners, certificates and shutdowns are what the operator has ordered.
        Operation = "operation",
        /// A name is dialled as RFC 8305 says, and no dial outlives the race.
        Addresses = "addresses",
        /// The proxy's memory is within the bound that follows from what it has open, and nothing
        /// of it is left at the end.
        Memory = "memory",
        /// A request has the same outcome, attempts and evidence in both worlds, except for
        /// differences that are listed.
        WorldsAgree = "worlds-agree",
    }
}

impl Invariant {
    /// Returns true for liveness invariants (something good must happen), false for safety ones
    /// (nothing bad may happen).
    #[must_use]
    pub fn is_liveness(self) -> bool {
        matches!(self, Self::Liveness | Self::Recovery | Self::Quiescence)
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

impl Violation {
    /// True if the other one is the same failure: the same invariant with the same message, apart
    /// from numbers, their units, and what is in brackets.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.invariant == other.invariant && self.words().eq(other.words())
    }

    /// The words of the message, without numbers and without what is in brackets.
    fn words(&self) -> impl Iterator<Item = &str> {
        let mut depth = 0_u32;
        let ends = move |letter: char| {
            let opens = matches!(letter, '(' | '[' | '{');
            let closes = matches!(letter, ')' | ']' | '}');
            depth += u32::from(opens);
            let inside = depth > 0;
            depth = depth.saturating_sub(u32::from(closes));
            inside || !letter.is_alphabetic()
        };
        let is_unit = |word: &str| ["s", "ms", "µs", "ns"].contains(&word);
        self.what.split(ends).filter(move |word| !word.is_empty() && !is_unit(word))
    }
}

/// `Ok`, or the invariant that does not hold.
pub type Verdict = Result<(), Violation>;

/// Fails with the text from `what` unless `holds`.
pub(crate) fn require(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { fail(invariant, what()) }
}

/// An invariant does not hold.
pub(crate) fn fail<T>(invariant: Invariant, what: String) -> Result<T, Violation> {
    Err(Violation { invariant, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers(what: &str) -> Violation {
        Violation { invariant: Invariant::Timers, what: what.to_owned() }
    }

    #[test]
    fn failures_are_alike_if_only_numbers_differ() {
        let one = timers("slot 3 of b0: armed at Some(Instant(5)), due at 7");
        assert!(one.is_like(&timers("slot 12 of b1: armed at Some(Instant(900)), due at 1")));
        assert!(timers("idle for 1.5s").is_like(&timers("idle for 900ms")));
        assert!(!one.is_like(&timers("slot 3 of b0: not armed, due at 7")));
        let other = Violation { invariant: Invariant::Limits, ..one.clone() };
        assert!(!one.is_like(&other));
    }
}
