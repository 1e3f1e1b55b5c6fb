//! Faults of the proxy that its world has found and that are not mended yet. Each run still meets
//! every judge; a run that fails in one of these ways, and in no other, is counted and not reported.
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
    /// The situation, and the issue that will mend it.
    pub about: &'static str,
}

/// All known faults.
pub const KNOWN: [Known; 6] = [
    Known {
        name: "disowned-but-executed",
        invariant: Invariant::AtMostOnce,
        says: &["Unprocessed, but it was executed"],
        about: "a client over HTTP/2 learns that its stream was not processed, although a backend \
                has executed it: hyper ends the connection with a last stream below it (issue 16)",
    },
    Known {
        name: "never-sent-but-executed",
        invariant: Invariant::AccessLog,
        says: &["attempts that were sent", "executions at backend"],
        about: "an attempt has the evidence `never_sent` although its backend has received the \
                head: the connection broke while h2 had it in its buffer (issue 16)",
    },
    Known {
        name: "evidence-of-a-lost-connection",
        invariant: Invariant::AccessLog,
        says: &["evidence", "expected"],
        about: "the evidence in the access log and the failure of its attempt are of two events \
                that came at the same time (issue 16)",
    },
    Known {
        name: "half-closed-behind-a-head",
        invariant: Invariant::AccessLog,
        says: &["lines without a head"],
        about: "a client over HTTP/1.1 that closes its sending side right behind a whole head gets \
                no answer, and its request is logged as incomplete (issue 16)",
    },
    Known {
        name: "waits-for-a-deaf-peer",
        invariant: Invariant::Liveness,
        says: &["a request has not ended within the bound"],
        about: "a request waits for a peer that acknowledges and never reads, beyond the deadlines \
                of the pool (issue 16)",
    },
    Known {
        name: "dials-counted-twice",
        invariant: Invariant::Metrics,
        says: &["expected", "to"],
        about: "a dial whose connection ends while it is reported is counted twice (issue 16)",
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
        let what = "request 3: Unprocessed, but it was executed 1 times";
        assert_eq!(of(Invariant::AtMostOnce, what), Some("disowned-but-executed"));
        assert_eq!(of(Invariant::Conservation, what), None);
        assert_eq!(of(Invariant::AtMostOnce, "request 3: executed 2 times"), None);
    }
}
