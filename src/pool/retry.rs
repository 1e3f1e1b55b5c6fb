//! Retries, decided by evidence:
//!
//! | evidence | retried | source |
//! |---|---|---|
//! | [`NeverSent`](Evidence::NeverSent) | any method | RFC 9113, 8.7 |
//! | [`Unprocessed`](Evidence::Unprocessed) | any method | RFC 9113, 6.8 |
//! | [`Refused`](Evidence::Refused) | any method, with a place in the budget | RFC 9113, 8.7 |
//! | [`Unknown`](Evidence::Unknown) | idempotent methods, with a place in the budget | RFC 9110, 9.2.2 |
//! | [`Responding`](Evidence::Responding) | never | |
//!
//! Every retry also uses one of the attempts, and needs a body that can be replayed from its first
//! byte. A request that two backends have failed, the second one without losing the connection, is
//! to blame itself and is not repeated on others.
//!
//! The budget (a share of the live requests) keeps retries from doubling the work of the
//! backends. A retry that finds no place in it waits for one, until its response is due. The first
//! two rows need no place: there the backend did no work, so a retry adds none, and a GOAWAY that
//! strands a hundred streams must not fail eighty of them.

use super::input::{StreamFailure, code};
use super::settings::RetryConfig;
use crate::words;

words! {
    /// The evidence about work done by the backend, after an attempt without a complete response.
    pub enum Evidence {
        /// No byte of the request reached a socket.
        NeverSent = "never_sent",
        /// The stream identifier is above the last one that the peer says it processed.
        Unprocessed = "unprocessed",
        /// The peer refused the request before any response.
        Refused = "refused",
        /// The request was sent, and no response byte came: it may or may not have been processed.
        Unknown = "unknown",
        /// A response byte went to the client.
        Responding = "responding",
    }
}

/// How far an attempt has come, as the pool knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Given to a connection; bytes may be on the wire.
    Sent,
    /// The response has started.
    Responding,
}

/// Returns what a failure proves about the attempt.
#[must_use]
pub fn evidence(progress: Progress, failure: StreamFailure) -> Evidence {
    match (progress, failure) {
        (Progress::Responding, _) => Evidence::Responding,
        (Progress::Sent, StreamFailure::NotSent | StreamFailure::HeadTooLarge) => {
            Evidence::NeverSent
        }
        (Progress::Sent, StreamFailure::Unprocessed) => Evidence::Unprocessed,
        (Progress::Sent, StreamFailure::Reset { code: code::REFUSED_STREAM }) => Evidence::Refused,
        (
            Progress::Sent,
            StreamFailure::Reset { .. } | StreamFailure::ConnectionLost | StreamFailure::Malformed,
        ) => Evidence::Unknown,
    }
}

/// The facts that a retry depends on besides the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// True if the method is idempotent (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// True if the body can be sent again from its first byte.
    pub replayable: bool,
    /// Attempts made so far, at least 1.
    pub attempts: u8,
    /// True if another backend failed it before, and this one has failed its stream but not the
    /// connection: the request itself is to blame.
    pub is_to_blame: bool,
}

/// True if the request is retried. This is the whole rule.
#[must_use]
pub fn may_retry(config: &RetryConfig, evidence: Evidence, attempt: Attempt) -> bool {
    assert!(attempt.attempts >= 1, "an attempt that was never made cannot fail");
    // Without any budget there is no place to wait for.
    let has_budget = budget(config, 0) > 0;
    let by_evidence = match evidence {
        Evidence::NeverSent | Evidence::Unprocessed => true,
        Evidence::Refused => has_budget,
        Evidence::Unknown => attempt.idempotent && has_budget,
        Evidence::Responding => false,
    };
    let may_help = attempt.replayable && !attempt.is_to_blame;
    by_evidence && may_help && attempt.attempts < config.attempts
}

/// True if a retry after this evidence needs a place in the budget: the backend may have worked.
#[must_use]
pub fn needs_budget(evidence: Evidence) -> bool {
    match evidence {
        Evidence::NeverSent | Evidence::Unprocessed => false,
        Evidence::Refused | Evidence::Unknown | Evidence::Responding => true,
    }
}

/// How many of `live` requests may be on a second or later attempt at a time, before its response
/// begins: their share, the floor if that is more, and at least one unless the share is 0 %.
#[must_use]
pub fn budget(config: &RetryConfig, live: u32) -> u32 {
    let share = u64::from(live) * u64::from(config.budget_percent) / 100;
    let share = u32::try_from(share).expect("at most all of them");
    share.max(config.budget_floor).max(u32::from(config.budget_percent > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RetryConfig = RetryConfig::DEFAULT;
    const NOTHING: RetryConfig =
        RetryConfig { budget_percent: 0, budget_floor: 0, ..RetryConfig::DEFAULT };
    const FIRST: Attempt =
        Attempt { idempotent: true, replayable: true, attempts: 1, is_to_blame: false };

    /// One row of the table: the four answers for (idempotent, budget) in the order
    /// (yes, yes), (no, yes), (yes, no), (no, no).
    fn row(evidence: Evidence) -> [bool; 4] {
        [(true, true), (false, true), (true, false), (false, false)].map(
            |(idempotent, has_budget)| {
                let config = if has_budget { CONFIG } else { NOTHING };
                may_retry(&config, evidence, Attempt { idempotent, ..FIRST })
            },
        )
    }

    #[test]
    fn never_sent_is_always_retried() {
        assert_eq!(row(Evidence::NeverSent), [true, true, true, true]);
    }

    #[test]
    fn unprocessed_is_always_retried() {
        assert_eq!(row(Evidence::Unprocessed), [true, true, true, true]);
    }

    #[test]
    fn refused_is_retried_for_any_method_if_there_is_a_budget() {
        assert_eq!(row(Evidence::Refused), [true, true, false, false]);
    }

    #[test]
    fn unknown_is_retried_for_idempotent_methods_if_there_is_a_budget() {
        assert_eq!(row(Evidence::Unknown), [true, false, false, false]);
    }

    #[test]
    fn responding_is_never_retried() {
        assert_eq!(row(Evidence::Responding), [false, false, false, false]);
    }

    const ALL: [Evidence; 5] = [
        Evidence::NeverSent,
        Evidence::Unprocessed,
        Evidence::Refused,
        Evidence::Unknown,
        Evidence::Responding,
    ];

    #[test]
    fn a_body_that_cannot_be_replayed_is_never_retried() {
        for evidence in ALL {
            assert!(!may_retry(&CONFIG, evidence, Attempt { replayable: false, ..FIRST }));
        }
    }

    #[test]
    fn a_request_that_two_backends_have_failed_is_not_repeated_on_others() {
        for evidence in ALL {
            assert!(!may_retry(&CONFIG, evidence, Attempt { is_to_blame: true, ..FIRST }));
        }
    }

    #[test]
    fn attempts_are_bounded_whatever_the_evidence() {
        for evidence in ALL {
            assert!(!may_retry(&CONFIG, evidence, Attempt { attempts: 3, ..FIRST }));
        }
        assert!(may_retry(&CONFIG, Evidence::NeverSent, Attempt { attempts: 2, ..FIRST }));
    }

    #[test]
    fn every_failure_before_a_response_has_its_evidence() {
        let sent = |failure| evidence(Progress::Sent, failure);
        assert_eq!(sent(StreamFailure::NotSent), Evidence::NeverSent);
        assert_eq!(sent(StreamFailure::HeadTooLarge), Evidence::NeverSent);
        assert_eq!(sent(StreamFailure::Unprocessed), Evidence::Unprocessed);
        assert_eq!(sent(StreamFailure::ConnectionLost), Evidence::Unknown);
        assert_eq!(sent(StreamFailure::Malformed), Evidence::Unknown);
        for code in 0..=0xe {
            let expected =
                if code == code::REFUSED_STREAM { Evidence::Refused } else { Evidence::Unknown };
            assert_eq!(sent(StreamFailure::Reset { code }), expected, "code {code}");
        }
    }

    #[test]
    fn every_failure_after_a_response_byte_is_responding() {
        for failure in [
            StreamFailure::NotSent,
            StreamFailure::HeadTooLarge,
            StreamFailure::Unprocessed,
            StreamFailure::ConnectionLost,
            StreamFailure::Malformed,
            StreamFailure::Reset { code: code::REFUSED_STREAM },
            StreamFailure::Reset { code: code::NO_ERROR },
        ] {
            assert_eq!(evidence(Progress::Responding, failure), Evidence::Responding);
        }
    }

    #[test]
    fn the_budget_is_a_share_with_a_floor() {
        let of_live = [0, 10, 50, 54, 55, 100].map(|live| budget(&CONFIG, live));
        assert_eq!(of_live, [10, 10, 10, 10, 11, 20]);
    }

    #[test]
    fn a_budget_above_nothing_allows_one() {
        let config = RetryConfig { budget_floor: 0, ..CONFIG };
        assert_eq!([1, 4, 10].map(|live| budget(&config, live)), [1, 1, 2]);
        assert_eq!(budget(&NOTHING, 1_000), 0);
    }
}
