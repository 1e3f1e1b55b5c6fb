//! The catalogue of the proxy's world: each act of a directive in each phase of a request on the
//! connection that it touches, each way a request ends, each reason and each error code.

use super::counts::{Counts, Entry};
use super::deed::{Deed, ProcessDeed, Side};
use super::ends::{CodeUse, Ending, REASONS, codes, reason_place};
use super::expected::Expected::{self, Always};
use super::phase::{Phase, Phases};

/// Counts of everything in the catalogue of the proxy's world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyCoverage {
    deeds: Counts,
    operations: Counts,
    endings: Counts,
    reasons: Counts,
    codes: Counts,
}

fn deed_cell(side: Side, deed: Deed, phase: Phase) -> usize {
    (side as usize * Deed::ALL.len() + deed as usize) * Phase::ALL.len() + phase as usize
}

fn operation_cell(operation: ProcessDeed, in_flight: bool) -> usize {
    operation as usize * 2 + usize::from(in_flight)
}

impl ProxyCoverage {
    /// An act on a connection whose requests are in these phases.
    pub(crate) fn deed(&mut self, side: Side, deed: Deed, phases: Phases) {
        for phase in phases.iter() {
            self.deeds.add(deed_cell(side, deed, phase), 1);
        }
    }

    /// An act on the process. `in_flight` says that a client waits for an answer or its end.
    pub(crate) fn operation(&mut self, operation: ProcessDeed, in_flight: bool) {
        self.operations.add(operation_cell(operation, in_flight), 1);
    }

    /// The end of a request, as the access log has it.
    pub(crate) fn ending(&mut self, ending: Ending) {
        self.endings.add(ending.place(), 1);
    }

    /// A reason of an answer that the proxy made itself, or of a closed connection.
    pub(crate) fn reason(&mut self, reason: &str) {
        if let Some(place) = reason_place(reason) {
            self.reasons.add(place, 1);
        }
    }

    /// An error code in a frame.
    pub(crate) fn code(&mut self, code: CodeUse) {
        self.codes.add(code.place(), 1);
    }

    /// Adds what another run met.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.deeds.merge(&other.deeds);
        self.operations.merge(&other.operations);
        self.endings.merge(&other.endings);
        self.reasons.merge(&other.reasons);
        self.codes.merge(&other.codes);
    }

    /// The whole catalogue.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut list = |table, name, count, expected| {
            let never = match expected {
                Expected::Never(why) => Some(why),
                Expected::Always => None,
            };
            entries.push(Entry { table, name, count, required: expected == Always, never });
        };
        for side in Side::ALL {
            let table = match side {
                Side::Client => "client connection × phase",
                Side::Backend => "backend connection × phase",
            };
            for deed in Deed::ALL.iter().filter(|deed| deed.is_at(*side)) {
                for phase in Phase::ALL {
                    let count = self.deeds.get(deed_cell(*side, *deed, *phase));
                    let expected = deed.expected(*side, *phase);
                    list(table, format!("{deed} × {phase}"), count, expected);
                }
            }
        }
        for operation in ProcessDeed::ALL {
            for (in_flight, name) in [(false, "nothing in flight"), (true, "requests in flight")] {
                let count = self.operations.get(operation_cell(*operation, in_flight));
                list("process", format!("{operation} × {name}"), count, Always);
            }
        }
        for ending in Ending::all() {
            let count = self.endings.get(ending.place());
            list("outcome", ending.to_string(), count, ending.expected());
        }
        for (place, (reason, expected)) in REASONS.iter().enumerate() {
            list("reason", (*reason).to_owned(), self.reasons.get(place), *expected);
        }
        for code in codes() {
            list("code", code.to_string(), self.codes.get(code.place()), code.expected());
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_cell_has_its_own_place_and_its_own_name() {
        let codes: BTreeSet<usize> = codes().map(CodeUse::place).collect();
        assert_eq!(codes.len(), 2 * 4 * 14);
        let endings: BTreeSet<usize> = Ending::all().map(Ending::place).collect();
        assert_eq!(endings.len(), 4 * 2 * 3);
        let entries = ProxyCoverage::default().entries();
        let names: BTreeSet<_> = entries.iter().map(|entry| (entry.table, &entry.name)).collect();
        assert_eq!(names.len(), entries.len());
    }

    #[test]
    fn what_is_counted_is_in_the_list_once() {
        let mut one = ProxyCoverage::default();
        let mut phases = Phases::NONE;
        phases.add(Phase::Waiting);
        phases.add(Phase::BodyUp);
        one.deed(Side::Backend, Deed::GoAway, phases);
        one.reason("queue_full");
        one.reason("no reason");
        let mut both = one.clone();
        both.merge(&one);
        let entries = both.entries();
        let met: Vec<_> = entries.iter().filter(|entry| entry.count > 0).collect();
        let met: Vec<_> = met.iter().map(|entry| (&*entry.name, entry.count)).collect();
        assert_eq!(met, [("goaway × body up", 2), ("goaway × waiting", 2), ("queue_full", 2)]);
    }
}
