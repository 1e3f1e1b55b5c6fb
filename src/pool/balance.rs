//! Load balancing: which backend is next. Backends are kept in sets: usable; with capacity; may be
//! dialled; may be dialled, but has a slow dial. Each set is a queue ordered by virtual time, so
//! that every choice is O(log n).
//!
//! A backend's virtual time advances when it is chosen, by a stride that is the inverse of its
//! weight (stride scheduling, Waldspurger 1995). With equal strides this is round robin. A backend
//! that comes back, or has capacity again, continues at the present virtual time instead of
//! catching up on missed turns. During slow start its strides are longer: its share grows with the
//! time since it came back.
//!
//! Queues are updated lazily: a queue may hold an earlier virtual time for a backend than the true
//! one. The first entry of a queue is corrected before it is used. Most requests look at one queue
//! only.

use core::hash::{Hash, Hasher};

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::config::Strategy;
use super::heap::IndexedHeap;
use super::mismatch::{Mismatch, expect};
use super::random::Random;
use super::time::{Instant, nanoseconds};
use super::token::{BackendId, backend_id};

/// A set of backends to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// In service, and allowed by health or fail-open.
    Usable,
    /// Usable, and a connection has capacity.
    WithCapacity,
    /// Usable, a further connection may be dialled now, and no dial in progress is slow.
    Dialable,
    /// Usable, a further connection may be dialled now, but a dial in progress is slow.
    SlowDial,
}

const SETS: [Set; 4] = [Set::Usable, Set::WithCapacity, Set::Dialable, Set::SlowDial];
/// Stride of a backend of weight 1; large compared to the greatest weight.
const STRIDE: u64 = 1 << 16;
/// Share at the beginning of slow start, in percent of the full share.
const SLOW_START_LEAST: u64 = 10;
/// How often a random choice is repeated because the backend drawn is in slow start.
const SLOW_START_DRAWS: u32 = 8;

#[derive(Clone, Debug)]
pub(crate) struct Balancer {
    strategy: Strategy,
    slow_start: Duration,
    sets: [IndexedHeap; 4],
    weights: Vec<u16>,
    turns: Vec<u64>,
    /// When each backend came back; `None` if it was there from the beginning.
    returned: Vec<Option<Instant>>,
    /// Requests in flight per backend.
    loads: Vec<u32>,
    now: u64,
}

impl Balancer {
    /// Returns a balancer for `backends` table entries of weight 1.
    pub(crate) fn new(strategy: Strategy, slow_start: Duration, backends: usize) -> Self {
        Self {
            strategy,
            slow_start,
            sets: SETS.map(|_| IndexedHeap::new(backends)),
            weights: vec![1; backends],
            turns: vec![0; backends],
            returned: vec![None; backends],
            loads: vec![0; backends],
            now: 0,
        }
    }

    /// Resets virtual times; the old strategy's are meaningless.
    pub(crate) fn set_strategy(&mut self, strategy: Strategy) {
        self.strategy = strategy;
        for index in 0..self.turns.len() as u32 {
            self.set_turn(index, self.now);
        }
    }

    pub(crate) fn set_slow_start(&mut self, slow_start: Duration) {
        self.slow_start = slow_start;
    }

    /// Changes a weight. If it is raised, the backend's next turn comes no later than a stride of
    /// the new weight from now.
    pub(crate) fn set_weight(&mut self, backend: BackendId, weight: u16) {
        let index = usize::from(backend.0);
        let before = core::mem::replace(&mut self.weights[index], weight);
        if weight > before {
            let latest = self.now + STRIDE / u64::from(weight);
            self.set_turn(u32::from(backend.0), self.turns[index].min(latest));
        }
    }

    fn set_turn(&mut self, index: u32, turn: u64) {
        self.turns[index as usize] = turn;
        for heap in &mut self.sets {
            if heap.contains(index) {
                heap.set(index, turn);
            }
        }
    }

    /// Returns the first backend of a queue other than `avoid`, after correcting stale entries.
    fn first(&mut self, set: Set, avoid: Option<u32>) -> Option<u32> {
        let heap = &mut self.sets[set as usize];
        loop {
            let (held, index) = match avoid {
                Some(avoid) => heap.peek_except(avoid)?,
                None => heap.peek()?,
            };
            let turn = self.turns[index as usize];
            if held == turn {
                return Some(index);
            }
            heap.set(index, turn);
        }
    }

    /// Starts the slow start of a backend that came back.
    pub(crate) fn start_slowly(&mut self, backend: BackendId, now: Instant) {
        self.returned[usize::from(backend.0)] = Some(now);
    }

    /// Resets a table entry whose backend was removed.
    pub(crate) fn forget(&mut self, backend: BackendId) {
        self.returned[usize::from(backend.0)] = None;
        self.set_turn(u32::from(backend.0), self.now);
    }

    /// Returns the percentage of its full share that a backend gets now.
    pub(crate) fn share(&self, backend: u32, now: Instant) -> u64 {
        let Some(returned) = self.returned[backend as usize] else {
            return 100;
        };
        let (past, whole) = (nanoseconds(now.since(returned)), nanoseconds(self.slow_start));
        if past >= whole {
            return 100;
        }
        let share = u128::from(past) * 100 / u128::from(whole);
        u64::try_from(share).expect("below 100").max(SLOW_START_LEAST)
    }

    pub(crate) fn set_member(&mut self, set: Set, backend: BackendId, member: bool) {
        let index = u32::from(backend.0);
        if !member {
            self.sets[set as usize].remove(index);
        } else if !self.is_member(set, backend) {
            if matches!(set, Set::Usable | Set::WithCapacity) {
                self.forgive(backend);
            }
            self.sets[set as usize].set(index, self.turns[usize::from(backend.0)]);
        }
    }

    pub(crate) fn is_member(&self, set: Set, backend: BackendId) -> bool {
        self.sets[set as usize].contains(u32::from(backend.0))
    }

    /// Picks the next backend of a set; `avoid` is picked only if there is no other. Does not
    /// advance the backend's virtual time.
    pub(crate) fn pick(
        &mut self,
        set: Set,
        avoid: Option<BackendId>,
        now: Instant,
        random: &mut Random,
    ) -> Option<BackendId> {
        let heap = &self.sets[set as usize];
        let avoid = avoid.map(|backend| u32::from(backend.0)).filter(|index| heap.contains(*index));
        let candidates = heap.len() - usize::from(avoid.is_some());
        if candidates == 0 {
            return avoid.map(|index| backend_id(index as usize));
        }
        let index = match self.strategy {
            Strategy::RoundRobin | Strategy::Weighted => self.first(set, avoid)?,
            Strategy::Random => {
                let mut one = draw(heap, avoid, candidates, random);
                for _ in 0..SLOW_START_DRAWS {
                    let share = self.share(one, now);
                    if share == 100 || random.below(100) < share {
                        break;
                    }
                    one = draw(heap, avoid, candidates, random);
                }
                one
            }
            Strategy::LeastLoaded => {
                let one = draw(heap, avoid, candidates, random);
                let other = draw(heap, avoid, candidates, random);
                // The smaller the share, the more a request counts.
                let load = |index: u32| {
                    let share = self.share(index, now);
                    let request = u64::from(share < 100);
                    (u64::from(self.loads[index as usize]) + request) * 100 / share
                };
                if load(other) < load(one) { other } else { one }
            }
        };
        Some(backend_id(index as usize))
    }

    /// Lets a backend that missed turns continue at the present virtual time.
    pub(crate) fn forgive(&mut self, backend: BackendId) {
        let turn = &mut self.turns[usize::from(backend.0)];
        *turn = self.now.max(*turn);
    }

    /// Advances the present virtual time to that of a backend that gets the first attempt of a
    /// request.
    pub(crate) fn reach(&mut self, backend: BackendId) {
        self.now = self.now.max(self.turns[usize::from(backend.0)]);
    }

    /// Advances the virtual time of a backend that gets a request, is dialled, or has no room when
    /// it is its turn. Dials, turns without room and retries do not advance the present virtual
    /// time: others that are full for a moment would lose all the turns that this one has used up
    /// in advance.
    pub(crate) fn charge(&mut self, backend: BackendId, now: Instant) {
        let index = usize::from(backend.0);
        let weight = match self.strategy {
            Strategy::Weighted => self.weights[index],
            Strategy::RoundRobin => 1,
            Strategy::Random | Strategy::LeastLoaded => return,
        };
        let share = self.share(u32::from(backend.0), now);
        self.turns[index] += STRIDE / u64::from(weight) * 100 / share;
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

    /// Hashes the virtual times, relative to the smallest.
    pub(crate) fn hash_state(&self, hasher: &mut impl Hasher) {
        let first = self.turns.iter().copied().min().unwrap_or(0).min(self.now);
        for turn in &self.turns {
            (turn - first).hash(hasher);
        }
        (self.now - first).hash(hasher);
    }

    pub(crate) fn recount(&self) -> Result<(), Mismatch> {
        for heap in &self.sets {
            heap.recount()?;
            for (index, turn) in self.turns.iter().enumerate() {
                let early = heap.key(index as u32).is_none_or(|held| held <= *turn);
                expect(early, "virtual time is behind its queue", index)?;
            }
        }
        Ok(())
    }
}

/// Draws a member of the heap other than `avoid`, all with the same probability.
fn draw(heap: &IndexedHeap, avoid: Option<u32>, candidates: usize, random: &mut Random) -> u32 {
    let drawn = random.below(candidates as u64) as usize;
    let avoided = avoid.and_then(|index| heap.place(index));
    match avoided {
        Some(place) if drawn >= place => heap.member(drawn + 1),
        Some(_) | None => heap.member(drawn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn balancer(strategy: Strategy, weights: &[u16]) -> Balancer {
        let mut balancer = Balancer::new(strategy, Duration::from_secs(10), weights.len());
        for (index, weight) in weights.iter().enumerate() {
            let backend = BackendId(index as u16);
            balancer.set_weight(backend, *weight);
            balancer.set_member(Set::Usable, backend, true);
        }
        balancer
    }

    fn picks(balancer: &mut Balancer, count: usize) -> Vec<u16> {
        picks_at(balancer, NOW, count)
    }

    fn picks_at(balancer: &mut Balancer, now: Instant, count: usize) -> Vec<u16> {
        let mut random = Random::new(3);
        let mut pick = || {
            let backend = balancer.pick(Set::Usable, None, now, &mut random).expect("not empty");
            balancer.reach(backend);
            balancer.charge(backend, now);
            backend.0
        };
        (0..count).map(|_| pick()).collect()
    }

    #[test]
    fn a_backend_in_slow_start_gets_its_share_gradually() {
        let strategies = [Strategy::RoundRobin, Strategy::Weighted, Strategy::Random];
        for strategy in strategies {
            for (seconds, least, most) in [(0, 60, 140), (5, 250, 420), (10, 450, 550)] {
                let mut balancer = balancer(strategy, &[1, 1]);
                balancer.start_slowly(BackendId(1), NOW);
                let now = NOW.after(Duration::from_secs(seconds));
                let shares = shares(&picks_at(&mut balancer, now, 1_000), 2);
                assert!((least..=most).contains(&shares[1]), "{strategy:?} {seconds} {shares:?}");
            }
        }
        let mut balancer = balancer(Strategy::LeastLoaded, &[1, 1]);
        balancer.start_slowly(BackendId(1), NOW);
        for _ in 0..5 {
            balancer.request_bound(BackendId(0));
        }
        let shares = shares(&picks(&mut balancer, 1_000), 2);
        assert!(shares[0] > shares[1], "slow start outweighs five requests of load: {shares:?}");
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
        assert!(shares_of_window(&picks[..8]), "interleaved: {:?}", &picks[..8]);
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
                let backend = balancer.pick(Set::Usable, avoid, NOW, &mut random).expect("three");
                assert_ne!(Some(backend), avoid, "{strategy:?}");
            }
            balancer.set_member(Set::Usable, BackendId(1), false);
            balancer.set_member(Set::Usable, BackendId(2), false);
            assert_eq!(balancer.pick(Set::Usable, avoid, NOW, &mut random), avoid);
            balancer.set_member(Set::Usable, BackendId(0), false);
            assert_eq!(balancer.pick(Set::Usable, avoid, NOW, &mut random), None);
        }
    }

    #[test]
    fn turns_used_up_in_advance_cost_others_none() {
        let mut balancer = balancer(Strategy::RoundRobin, &[1, 1, 1]);
        for index in 0..3 {
            balancer.set_member(Set::WithCapacity, BackendId(index), true);
        }
        // In slow start, it is dialled and passed over: twenty turns of the others.
        balancer.start_slowly(BackendId(0), NOW);
        balancer.charge(BackendId(0), NOW);
        balancer.charge(BackendId(0), NOW);
        let mut all = Vec::new();
        for _ in 0..6 {
            all.extend(picks(&mut balancer, 1));
            // It is full for a moment.
            balancer.set_member(Set::WithCapacity, BackendId(2), false);
            balancer.set_member(Set::WithCapacity, BackendId(2), true);
        }
        assert_eq!(all, [1, 2, 1, 2, 1, 2]);
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
