//! Judges which backend and which connection the pool chooses for a request: random choices by
//! their chances, turns by a reference, no retry where the request has just failed, and first fit.

use baton::pool::{Instant, Strategy, StreamToken};

use super::model::{ConnectionPhase, Model};
use super::{Invariant, Verdict, require};
use crate::coverage::{Chance, Chances};

/// How often a random choice is repeated because the backend drawn is in slow start.
const REDRAWS: u32 = 8;

/// A backend that could have been chosen.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    index: usize,
    /// Percent of its full share; less than 100 in slow start.
    share: u64,
    /// Requests on its connections.
    load: u64,
}

impl Model {
    /// Judges the choice of a connection for the next attempt of a request, before it is applied.
    pub(super) fn judge_choice(
        &mut self,
        now: Instant,
        token: StreamToken,
        request: u32,
        attempt: u8,
    ) -> Verdict {
        let chosen = usize::from(token.connection.backend.0);
        self.expect_first_fit(chosen, usize::from(token.connection.slot))?;
        self.expect_another_backend(chosen, request, attempt)?;
        self.take_turn(token.connection.backend, attempt)?;
        self.expect_backend_in_turn(now, chosen, request)?;
        if self.is_by_turns() {
            return Ok(());
        }
        let usable = (0..self.backends.len()).filter(|index| self.may_be_used(*index));
        let usable: Vec<_> = usable.collect();
        // A retry avoids a backend, and one without room gets a dial.
        if attempt > 1 || !usable.iter().all(|index| self.has_room(*index)) {
            return Ok(());
        }
        let candidate = |index: &usize| Candidate {
            index: *index,
            share: self.share(now, *index),
            load: u64::from(self.backends[*index].requests),
        };
        let candidates: Vec<_> = usable.iter().map(candidate).collect();
        self.note_chance(&candidates, chosen);
        Ok(())
    }

    /// The first connection with room is taken, so that the others can become idle after a burst.
    fn expect_first_fit(&self, backend: usize, slot: usize) -> Verdict {
        let first = backend * self.slots_per_backend;
        let earlier = (first..first + slot).find(|slot| self.slot_has_room(*slot));
        require(earlier.is_none(), Invariant::Choice, || {
            format!(
                "slot {slot} of backend {backend} was taken; {earlier:?} is the first with room"
            )
        })
    }

    /// A retry goes to the backend that has just failed the request only if no other has room.
    fn expect_another_backend(&self, chosen: usize, request: u32, attempt: u8) -> Verdict {
        if self.avoided(request) != Some(chosen) {
            return Ok(());
        }
        let others = (0..self.backends.len()).filter(|index| *index != chosen);
        let other = { others }.find(|index| self.may_be_used(*index) && self.has_room(*index));
        require(other.is_none(), Invariant::Choice, || {
            format!("attempt {attempt} goes to backend {chosen} again, although {other:?} has room")
        })
    }

    /// Counts a random choice, for the judgement of the whole batch.
    fn note_chance(&mut self, candidates: &[Candidate], chosen: usize) {
        let count = candidates.len();
        if count < 2 {
            return;
        }
        let random = self.config.strategy == Strategy::Random;
        let chances: Vec<_> =
            if random { random_chances(candidates) } else { least_loaded_chances(candidates) };
        let place = candidates.iter().position(|candidate| candidate.index == chosen);
        let Some(place) = place else { return };
        let slow = candidates.iter().position(|candidate| candidate.share < 100);
        let least = (0..count).min_by_key(|place| candidates[*place].load);
        let of = if random { Chance::RANDOM } else { Chance::LEAST_LOADED };
        let subjects = [Some(0), Some(count - 1), least, slow];
        for (chance, subject) in of.into_iter().zip(subjects) {
            if let Some(subject) = subject {
                self.chances.get_or_insert_with(Chances::default).add(
                    chance,
                    chances[subject],
                    place == subject,
                );
            }
        }
    }

    pub(super) fn has_room(&self, backend: usize) -> bool {
        self.slots_of(backend).any(|slot| self.slot_has_room(slot))
    }

    pub(super) fn slot_has_room(&self, slot: usize) -> bool {
        let connection = &self.connections[slot];
        connection.phase == ConnectionPhase::Up
            && !connection.is_suspect()
            && connection.load < connection.limit
    }
}

/// The chance of each candidate, in parts per million, if all have the same and those in slow start
/// are drawn again in proportion to what they lack.
fn random_chances(candidates: &[Candidate]) -> Vec<u64> {
    let count = candidates.len() as f64;
    let share = |candidate: &Candidate| candidate.share as f64 / 100.0;
    let again: f64 = candidates.iter().map(|it| (1.0 - share(it)) / count).sum();
    let drawn: f64 = (0..REDRAWS).map(|times| again.powi(times as i32)).sum();
    let last = again.powi(REDRAWS as i32);
    let chance = |candidate: &Candidate| (drawn * share(candidate) + last) / count;
    candidates.iter().map(|candidate| (chance(candidate) * 1e6) as u64).collect()
}

/// The chance of each candidate, in parts per million, if the less loaded of two that are drawn is
/// taken. A request counts for more at a backend in slow start.
fn least_loaded_chances(candidates: &[Candidate]) -> Vec<u64> {
    let load = |candidate: &Candidate| {
        (candidate.load + u64::from(candidate.share < 100)) * 100 / candidate.share
    };
    let pairs = (candidates.len() * candidates.len()) as u64;
    let chance = |own: &Candidate| {
        let over = |other: &&Candidate| load(other) > load(own);
        let least = |other: &&Candidate| load(other) >= load(own);
        let won = candidates.iter().filter(over).count() + candidates.iter().filter(least).count();
        won as u64 * 1_000_000 / pairs
    };
    candidates.iter().map(chance).collect()
}
