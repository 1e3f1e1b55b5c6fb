//! The agenda: things to come, in the order of time. The plan says in which order things happen
//! that are due at the same instant.

use std::collections::BTreeMap;

use crate::draw::{Domain, Draws};
use crate::plan::Ties;

/// The place of an entry in its agenda.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    at: u64,
    tie: u64,
    number: u64,
}

/// Entries in the order in which they are due.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    entries: BTreeMap<Place, E>,
    ties: Ties,
    draws: Draws,
    /// Distinguishes the draws of several agendas of a run.
    entity: u64,
    entered: u64,
}

impl<E> Agenda<E> {
    pub(crate) fn new(ties: Ties, draws: Draws, entity: u64) -> Self {
        Self { entries: BTreeMap::new(), ties, draws, entity, entered: 0 }
    }

    /// Orders later entries that are due at the same instant in this way.
    pub(crate) fn order(&mut self, ties: Ties, draws: Draws) {
        (self.ties, self.draws) = (ties, draws);
    }

    pub(crate) fn insert(&mut self, at: u64, entry: E) -> Place {
        let number = self.entered;
        self.entered += 1;
        let tie = match self.ties {
            Ties::Fifo => number,
            Ties::Lifo => u64::MAX - number,
            Ties::Shuffled => {
                self.draws.between(Domain::Simultaneous, self.entity, number, 0, u64::MAX - 1)
            }
        };
        let place = Place { at, tie, number };
        self.entries.insert(place, entry);
        place
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<E> {
        self.entries.remove(&place)
    }

    /// When the first entry is due.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(place, _)| place.at)
    }

    /// Takes the first entry if it is due.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<E> {
        if self.first()? > now {
            return None;
        }
        self.entries.pop_first().map(|(_, entry)| entry)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(ties: Ties, seed: u64) -> Vec<u32> {
        let mut agenda = Agenda::new(ties, Draws::new(seed), 0);
        for entry in 0..6 {
            agenda.insert(5, entry);
        }
        agenda.insert(4, 100);
        agenda.insert(6, 200);
        let removed = agenda.insert(5, 300);
        assert_eq!(agenda.remove(removed), Some(300));
        std::iter::from_fn(|| agenda.pop_due(5)).collect()
    }

    #[test]
    fn time_comes_first_then_the_order_of_the_plan() {
        assert_eq!(popped(Ties::Fifo, 1), [100, 0, 1, 2, 3, 4, 5]);
        assert_eq!(popped(Ties::Lifo, 1), [100, 5, 4, 3, 2, 1, 0]);
        let shuffled = popped(Ties::Shuffled, 1);
        assert_eq!(shuffled, popped(Ties::Shuffled, 1));
        assert_ne!(shuffled, popped(Ties::Shuffled, 2));
        assert_eq!(shuffled.len(), 7);
    }
}
