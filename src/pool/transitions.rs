//! The transitions of the connection table that a pool has made. A simulation measures its coverage
//! by them.

use super::connection::{ConnectionState, Event, LEGAL, row};

/// A set of transitions that were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transitions(u128);

const _: () = assert!(ConnectionState::ALL.len() * LEGAL.len() <= u128::BITS as usize);

fn bit(state: ConnectionState, row: usize) -> u128 {
    1 << (state as usize * LEGAL.len() + row)
}

impl Transitions {
    /// Notes a transition that the table allowed.
    pub(crate) fn note(&mut self, state: ConnectionState, event: Event) {
        self.0 |= bit(state, row(event));
    }

    /// Adds the transitions of another pool.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Returns every legal transition: the state, the event, and true if the transition was made.
    pub fn legal(self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        ConnectionState::ALL.iter().copied().flat_map(move |state| {
            let events =
                LEGAL.iter().enumerate().filter(move |(_, (_, legal))| legal.contains(&state));
            events
                .map(move |(row, (event, _))| (state.name(), *event, self.0 & bit(state, row) != 0))
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
        transitions.note(ConnectionState::Suspect, Event::Alive);
        let made: Vec<_> = transitions.legal().filter(|(_, _, made)| *made).collect();
        assert_eq!(made, [("suspect", "alive", true)]);
        let mut all = Transitions::default();
        all.merge(transitions);
        assert_eq!(all, transitions);
    }
}
