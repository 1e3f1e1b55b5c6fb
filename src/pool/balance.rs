//! Which backend is next. Backends are kept in three sets (may be used; may be used and has room;
//! may be dialled), each a queue ordered by turn, so that every choice is O(log n).
//!
//! A backend's turn is a virtual time that advances by a stride when it is chosen, the inverse of its
//! weight (stride scheduling, Waldspurger 1995). With equal strides that is round robin. A backend
//! that comes back joins at the present time rather than collecting the turns it missed.

use core::hash::{Hash, Hasher};

use alloc::vec;
use alloc::vec::Vec;

use super::config::{BackendConfig, Strategy};
use super::heap::IndexedHeap;
use super::random::Random;
use super::token::BackendId;

/// A set of backends to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// Health allows it.
    Usable,
    /// Usable, and a connection has room.
    Roomy,
    /// Usable, and a further connection may be dialled now.
    Dialable,
}

const SETS: [Set; 3] = [Set::Usable, Set::Roomy, Set::Dialable];
/// A turn of a backend of weight 1; large against the greatest weight.
const STRIDE: u64 = 1 << 16;

#[derive(Clone, Debug)]
pub(crate) struct Balancer {
    strategy: Strategy,
    sets: [IndexedHeap; 3],
    strides: Vec<u64>,
    turns: Vec<u64>,
    /// Requests in flight per backend.
    loads: Vec<u32>,
    now: u64,
}

impl Balancer {
    pub(crate) fn new(strategy: Strategy, backends: &[BackendConfig]) -> Self {
        let stride = |backend: &BackendConfig| match strategy {
            Strategy::Weighted => STRIDE / u64::from(backend.weight),
            Strategy::RoundRobin | Strategy::Random | Strategy::LeastLoaded => STRIDE,
        };
        Self {
            strategy,
            sets: SETS.map(|_| IndexedHeap::new(backends.len())),
            strides: backends.iter().map(stride).collect(),
            turns: vec![0; backends.len()],
            loads: vec![0; backends.len()],
            now: 0,
        }
    }

    pub(crate) fn set_member(&mut self, set: Set, backend: BackendId, member: bool) {
        let index = u32::from(backend.0);
        let heap = &mut self.sets[set as usize];
        if !member {
            heap.remove(index);
        } else if !heap.contains(index) {
            let turn = &mut self.turns[usize::from(backend.0)];
            *turn = self.now.max(*turn);
            heap.set(index, *turn);
        }
    }

    pub(crate) fn is_member(&self, set: Set, backend: BackendId) -> bool {
        self.sets[set as usize].contains(u32::from(backend.0))
    }

    /// The next backend of a set, another than `avoid` if there is one. It is not yet charged.
    pub(crate) fn pick(
        &self,
        set: Set,
        avoid: Option<BackendId>,
        random: &mut Random,
    ) -> Option<BackendId> {
        let heap = &self.sets[set as usize];
        let avoid = avoid.map(|backend| u32::from(backend.0)).filter(|index| heap.contains(*index));
        let candidates = heap.len() - usize::from(avoid.is_some());
        if candidates == 0 {
            return avoid.map(backend_id);
        }
        let index = match self.strategy {
            Strategy::RoundRobin | Strategy::Weighted => match avoid {
                Some(avoid) => heap.peek_except(avoid)?.1,
                None => heap.peek()?.1,
            },
            Strategy::Random => draw(heap, avoid, candidates, random),
            Strategy::LeastLoaded => {
                let one = draw(heap, avoid, candidates, random);
                let other = draw(heap, avoid, candidates, random);
                let load = |index: u32| self.loads[index as usize];
                if load(other) < load(one) { other } else { one }
            }
        };
        Some(backend_id(index))
    }

    /// The backend had its turn.
    pub(crate) fn charge(&mut self, backend: BackendId) {
        let index = usize::from(backend.0);
        self.now = self.now.max(self.turns[index]);
        self.turns[index] += self.strides[index];
        for heap in &mut self.sets {
            if heap.contains(u32::from(backend.0)) {
                heap.set(u32::from(backend.0), self.turns[index]);
            }
        }
    }

    pub(crate) fn request_bound(&mut self, backend: BackendId) {
        self.loads[usize::from(backend.0)] += 1;
    }

    pub(crate) fn request_unbound(&mut self, backend: BackendId) {
        self.loads[usize::from(backend.0)] -= 1;
    }

    pub(crate) fn load(&self, backend: BackendId) -> u32 {
        self.loads[usize::from(backend.0)]
    }

    /// Feeds the turns, by their differences, to a hasher.
    pub(crate) fn hash_state(&self, hasher: &mut impl Hasher) {
        let first = self.turns.iter().copied().min().unwrap_or(0).min(self.now);
        for turn in &self.turns {
            (turn - first).hash(hasher);
        }
        (self.now - first).hash(hasher);
    }

    pub(crate) fn check_invariants(&self) {
        for heap in &self.sets {
            heap.check_invariants();
        }
    }
}

/// One of the members that are not to be avoided, each with the same chance.
fn draw(heap: &IndexedHeap, avoid: Option<u32>, candidates: usize, random: &mut Random) -> u32 {
    let drawn = random.below(candidates as u64) as usize;
    let avoided = avoid.and_then(|index| heap.place(index));
    match avoided {
        Some(place) if drawn >= place => heap.member(drawn + 1),
        Some(_) | None => heap.member(drawn),
    }
}

fn backend_id(index: u32) -> BackendId {
    BackendId(u16::try_from(index).expect("at most 4096 backends"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(strategy: Strategy, weights: &[u16]) -> Balancer {
        let backend = |weight: &u16| BackendConfig { weight: *weight, exclusive: false };
        let backends: Vec<_> = weights.iter().map(backend).collect();
        let mut balancer = Balancer::new(strategy, &backends);
        for index in 0..weights.len() as u16 {
            balancer.set_member(Set::Usable, BackendId(index), true);
        }
        balancer
    }

    fn picks(balancer: &mut Balancer, count: usize) -> Vec<u16> {
        let mut random = Random::new(3);
        let mut pick = || {
            let backend = balancer.pick(Set::Usable, None, &mut random).expect("not empty");
            balancer.charge(backend);
            backend.0
        };
        (0..count).map(|_| pick()).collect()
    }

    fn shares(picks: &[u16], backends: u16) -> Vec<usize> {
        let share = |backend| picks.iter().filter(|pick| **pick == backend).count();
        (0..backends).map(share).collect()
    }

    #[test]
    fn round_robin_takes_turns() {
        let mut balancer = balancer(Strategy::RoundRobin, &[1, 9, 1]);
        assert_eq!(picks(&mut balancer, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn weighted_gives_shares_and_interleaves_them() {
        let mut balancer = balancer(Strategy::Weighted, &[1, 2, 5]);
        let picks = picks(&mut balancer, 800);
        let shares = shares(&picks, 3);
        for (share, expected) in shares.iter().zip([100_usize, 200, 500]) {
            assert!(share.abs_diff(expected) <= 2, "{shares:?}");
        }
        assert!(shares_of_window(&picks[..8]), "not in blocks: {:?}", &picks[..8]);
    }

    fn shares_of_window(window: &[u16]) -> bool {
        (0..3).all(|backend| window.contains(&backend))
    }

    #[test]
    fn random_is_even_and_repeats_with_its_seed() {
        let one = picks(&mut balancer(Strategy::Random, &[1; 4]), 4_000);
        let again = picks(&mut balancer(Strategy::Random, &[1; 4]), 4_000);
        assert_eq!(one, again);
        assert!(shares(&one, 4).iter().all(|share| (900..1_100).contains(share)));
    }

    #[test]
    fn least_loaded_prefers_the_idle_one() {
        let mut balancer = balancer(Strategy::LeastLoaded, &[1, 1]);
        for _ in 0..10 {
            balancer.request_bound(BackendId(0));
        }
        let shares = shares(&picks(&mut balancer, 1_000), 2);
        assert!(shares[1] > 2 * shares[0], "{shares:?}");
        assert!(shares[0] > 0, "two draws of the same backend are possible");
    }

    #[test]
    fn every_strategy_avoids_a_backend_unless_it_is_the_only_one() {
        let mut random = Random::new(1);
        let avoid = Some(BackendId(0));
        for strategy in
            [Strategy::RoundRobin, Strategy::Weighted, Strategy::Random, Strategy::LeastLoaded]
        {
            let mut balancer = balancer(strategy, &[1, 1, 1]);
            for _ in 0..50 {
                let backend = balancer.pick(Set::Usable, avoid, &mut random).expect("three");
                assert_ne!(Some(backend), avoid, "{strategy:?}");
            }
            balancer.set_member(Set::Usable, BackendId(1), false);
            balancer.set_member(Set::Usable, BackendId(2), false);
            assert_eq!(balancer.pick(Set::Usable, avoid, &mut random), avoid);
            balancer.set_member(Set::Usable, BackendId(0), false);
            assert_eq!(balancer.pick(Set::Usable, avoid, &mut random), None);
        }
    }

    #[test]
    fn a_backend_that_returns_does_not_collect_missed_turns() {
        let mut balancer = balancer(Strategy::RoundRobin, &[1, 1]);
        balancer.set_member(Set::Usable, BackendId(1), false);
        picks(&mut balancer, 100);
        balancer.set_member(Set::Usable, BackendId(1), true);
        let after = picks(&mut balancer, 10);
        assert_eq!(shares(&after, 2), [5, 5]);
    }
}
