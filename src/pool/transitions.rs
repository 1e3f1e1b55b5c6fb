//! Which moves of the table in [`connection`](super::connection) a pool has made: the catalogue that
//! a simulation measures its coverage by.

use super::connection::{DrainCause, Event, SlotState};

/// The columns of the table, in its order.
const EVENTS: [&str; 11] = [
    "dialled",
    "established",
    "dial ended",
    "reserved",
    "released",
    "silent",
    "alive",
    "drain",
    "lost",
    "closed",
    "resumed",
];

/// The rows of the table, with the columns that are legal in each.
const LEGAL: [(SlotState, &[usize]); 6] = [
    (SlotState::Empty, &[0]),
    (SlotState::Connecting, &[1, 2]),
    (SlotState::Available, &[3, 4, 5, 7, 8, 9]),
    (SlotState::InUse, &[4, 5, 7, 8, 9]),
    (SlotState::Suspect, &[4, 6, 7, 8, 9]),
    (SlotState::Draining, &[4, 7, 8, 9, 10]),
];

/// A set of moves that were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transitions(u128);

impl Transitions {
    /// Notes a move that the table allowed.
    pub(crate) fn note(&mut self, state: SlotState, event: Event) {
        let column = match event {
            Event::Dialled { .. } => 0,
            Event::Established => 1,
            Event::DialEnded => 2,
            Event::Reserved => 3,
            Event::Released => 4,
            Event::Silent => 5,
            Event::Alive => 6,
            Event::Drain(DrainCause::Lost) => 8,
            Event::Drain(_) => 7,
            Event::Closed => 9,
            Event::Resumed => 10,
        };
        self.0 |= 1 << (state as usize * EVENTS.len() + column);
    }

    /// Adds the moves of another pool.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Every legal move: the state, what happens, and whether it was made.
    pub fn legal(self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        LEGAL.into_iter().flat_map(move |(state, columns)| {
            columns.iter().map(move |column| {
                let made = self.0 & (1 << (state as usize * EVENTS.len() + column)) != 0;
                (state.name(), EVENTS[*column], made)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_move_is_listed_once_it_was_made() {
        let mut transitions = Transitions::default();
        assert!(transitions.legal().all(|(_, _, made)| !made));
        transitions.note(SlotState::Suspect, Event::Alive);
        let made: Vec<_> = transitions.legal().filter(|(_, _, made)| *made).collect();
        assert_eq!(made, [("suspect", "alive", true)]);
        let mut all = Transitions::default();
        all.merge(transitions);
        assert_eq!(all, transitions);
    }
}
