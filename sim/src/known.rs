//! Faults of the proxy that its world has found and that are not mended yet. Each run still meets
//! every judge; a run that fails in one of these ways first is counted and not reported.
//! Each has a plan of its name in `sim/known/` that meets it. An entry goes with the fault: a test
//! fails once its plan passes.

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
pub const KNOWN: [Known; 1] = [Known {
    name: "stream-behind-a-goaway",
    invariant: Invariant::Protocol,
    says: &["is opened after a GOAWAY"],
    about: "a request that h2 had queued is written after the GOAWAY of its backend was read",
}];

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
        let what = "10.1.0.0:8080: stream 3 is opened after a GOAWAY";
        assert_eq!(of(Invariant::Protocol, what), Some("stream-behind-a-goaway"));
        assert_eq!(of(Invariant::Conservation, what), None);
        assert_eq!(of(Invariant::Protocol, "stream 3 is opened"), None);
    }
}
