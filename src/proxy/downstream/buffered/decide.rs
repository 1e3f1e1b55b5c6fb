//! The decisions about bytes of responses that wait for clients. They have no state and do no I/O.

use std::cmp::Reverse;
use std::time::Duration;

use crate::proxy::limits::CLIENT_BUFFERED_BYTES_MAX;

/// True if a client connection for which so many bytes wait may begin another request.
pub(super) fn may_take_up(bytes: u64) -> bool {
    bytes <= CLIENT_BUFFERED_BYTES_MAX
}

/// How stalled a client connection is: the time in microseconds that it needs for the bytes that
/// wait for it, at the pace at which it has taken bytes for the time `observed`. One that has taken
/// nothing counts as having taken one byte, so of two such connections the one with more bytes and
/// the longer stall is the more stalled one.
pub(super) fn stall(bytes: u64, taken: u64, observed: Duration) -> u128 {
    u128::from(bytes) * observed.as_micros() / u128::from(taken.max(1))
}

/// A client connection that may be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The worker of the connection.
    pub(super) worker: usize,
    /// The number of the connection on that worker.
    pub(super) number: u64,
    /// Bytes that wait for it.
    pub(super) bytes: u64,
    /// The result of [`stall`].
    pub(super) stall: u128,
}

/// Chooses the connections to close so that `excess` bytes become free: the most stalled ones, no
/// more of them than necessary, and none that is not stalled.
pub(super) fn to_close(mut candidates: Vec<Candidate>, excess: u64) -> Vec<Candidate> {
    candidates.sort_unstable_by_key(|candidate| {
        (Reverse(candidate.stall), candidate.worker, candidate.number)
    });
    candidates.retain(|candidate| candidate.stall > 0);
    let mut left = excess;
    let needed = |candidate: &Candidate| {
        let is_needed = left > 0;
        left = left.saturating_sub(candidate.bytes);
        is_needed
    };
    let count = candidates.iter().map(needed).take_while(|is_needed| *is_needed).count();
    candidates.truncate(count);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn candidate(number: u64, bytes: u64, stall: u128) -> Candidate {
        Candidate { worker: 0, number, bytes, stall }
    }

    fn numbers(closed: &[Candidate]) -> Vec<u64> {
        closed.iter().map(|candidate| candidate.number).collect()
    }

    #[test]
    fn one_request_may_fill_its_buffers_and_a_connection_a_mebibyte_more() {
        assert!(may_take_up(0));
        assert!(may_take_up(CLIENT_BUFFERED_BYTES_MAX));
        assert!(!may_take_up(CLIENT_BUFFERED_BYTES_MAX + 1));
    }

    #[test]
    fn a_client_that_takes_nothing_is_more_stalled_than_one_that_takes_little() {
        let nothing = stall(1 << 17, 0, SECOND);
        let trickle = stall(1 << 17, 2, SECOND);
        let slow = stall(1 << 17, 10_000, 2 * SECOND);
        let fast = stall(1 << 20, 100 << 20, SECOND);
        assert!(nothing > trickle && trickle > slow && slow > fast);
        assert_eq!(fast, 10_000, "a hundredth of a second");
    }

    #[test]
    fn of_clients_that_take_nothing_the_longest_and_largest_stall_is_the_worst() {
        assert!(stall(1000, 0, 2 * SECOND) > stall(1000, 0, SECOND));
        assert!(stall(2000, 0, SECOND) > stall(1000, 0, SECOND));
        assert_eq!(stall(0, 0, SECOND), 0);
    }

    #[test]
    fn the_most_stalled_are_closed_and_no_more_than_necessary() {
        let all = vec![candidate(1, 10, 5), candidate(2, 10, 9), candidate(3, 10, 7)];
        assert_eq!(numbers(&to_close(all.clone(), 0)), [0_u64; 0]);
        assert_eq!(numbers(&to_close(all.clone(), 1)), [2]);
        assert_eq!(numbers(&to_close(all.clone(), 10)), [2]);
        assert_eq!(numbers(&to_close(all.clone(), 11)), [2, 3]);
        assert_eq!(numbers(&to_close(all, 1000)), [2, 3, 1]);
    }

    #[test]
    fn a_client_that_was_not_observed_yet_is_not_closed() {
        assert_eq!(numbers(&to_close(vec![candidate(1, 10, 0)], 10)), [0_u64; 0]);
    }

    #[test]
    fn equal_stalls_have_an_order() {
        let later = Candidate { worker: 1, ..candidate(1, 10, 5) };
        let all = vec![later, candidate(2, 10, 5), candidate(1, 10, 5)];
        let closed = to_close(all, 15);
        assert_eq!(numbers(&closed), [1, 2]);
        assert!(closed.iter().all(|candidate| candidate.worker == 0));
    }
}
