//! Faults of the proxy that its world has found and that are not mended yet. Each run still meets
//! every judge; a run that fails in one of these ways first is counted and not reported.
//! The list can only shrink: an entry goes with the fault.

use crate::checker::{Invariant, Violation};

/// A known fault.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name in reports.
    pub name: &'static str,
    /// The judge that finds it.
    invariant: Invariant,
    /// Parts of the judge's message, in order.
    says: &'static [&'static str],
    /// The situation. Issue 16 replaces the code that all of them are in.
    pub about: &'static str,
}

/// All known faults.
pub const KNOWN: [Known; 7] = [
    Known {
        name: "attempt-missing-after-cancel",
        invariant: Invariant::AccessLog,
        says: &["attempts that were sent 0,", "1 executions at backend"],
        about: "a client cancels between the order to open a stream and its opening: the backend \
                receives the head, and the line of the request does not list the attempt",
    },
    Known {
        name: "evidence-missing-after-cancel",
        invariant: Invariant::AccessLog,
        says: &["evidence", "expected"],
        about: "a client cancels while its request waits for a further attempt: the line has the \
                evidence of the last attempt, and the attempt in its list has not",
    },
    Known {
        name: "half-closed-behind-a-head",
        invariant: Invariant::AccessLog,
        says: &["lines without a head"],
        about: "a client over HTTP/1.1 that closes its sending side right behind a whole head gets \
                no answer, and its request is logged as incomplete",
    },
    Known {
        name: "cancelled-as-too-large",
        invariant: Invariant::AccessLog,
        says: &["a line without a head: (\"head_bytes\", 431"],
        about: "of several requests over HTTP/2 that a client cancels at once before they are \
                served, one is logged as refused for its size",
    },
    Known {
        name: "stream-behind-a-goaway",
        invariant: Invariant::Protocol,
        says: &["is opened after a GOAWAY"],
        about: "a request that h2 had queued is written after the GOAWAY of its backend was read",
    },
    Known {
        name: "dial-counted-twice",
        invariant: Invariant::Metrics,
        says: &["dials that ended", "expected"],
        about: "a backend that reads slowly from the first byte: a dial more has ended by the \
                counters than by the records of the run; not explained yet",
    },
    Known {
        name: "ejection-without-failures",
        invariant: Invariant::AccessLog,
        says: &["is ejected, cause gateway_failures: there was none"],
        about: "a backend is ejected for gateway failures that the records of the run do not \
                show; not explained yet",
    },
];

/// The known fault that a violation is, if it is one.
#[must_use]
pub fn known(violation: &Violation) -> Option<&'static Known> {
    KNOWN.iter().find(|known| {
        let mut rest = &*violation.what;
        known.invariant == violation.invariant
            && known.says.iter().all(|part| match rest.split_once(part) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_judge_and_the_words_of_an_entry_make_it_known() {
        let of = |invariant, what: &str| {
            known(&Violation { invariant, what: what.to_owned() }).map(|known| known.name)
        };
        let what = "h2c://10.1.0.0:8080: dials that ended: 2, expected 1 to 1";
        assert_eq!(of(Invariant::Metrics, what), Some("dial-counted-twice"));
        assert_eq!(of(Invariant::Conservation, what), None);
        assert_eq!(of(Invariant::Metrics, "dials that failed: 2, expected 1"), None);
    }
}
