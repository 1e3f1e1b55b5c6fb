//! All deadlines of a pool in one queue. Each timer has a fixed index that belongs to one slot,
//! request or backend, so a timer cannot outlive its cause: arming it again moves it, and the end
//! of the cause disarms it.
//!
//! The queue has two parts. Deadlines of every request are kept in [lists](super::lanes), if they
//! come in their order. All others are in a heap.

use alloc::vec;
use alloc::vec::Vec;

use super::heap::IndexedHeap;
use super::lanes::{Lane, Lanes};
use super::mismatch::{Mismatch, expect, same};
use super::slots::{slot_index, split_index};
use super::time::Instant;
use crate::words;

/// The slot, request or backend of a deadline. Its meaning depends on the state of that thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Connect deadline, maximum age or drain deadline of a connection slot.
    Life(u32),
    /// Slow-dial threshold, idle timeout, silence or suspect timeout of a connection slot.
    Quiet(u32),
    /// Queue deadline, response-head deadline or stall timeout of a request.
    Request(u32),
    /// End of a backend's backoff.
    Backoff(u32),
    /// End of a backend's ejection, or of the time of its trial request.
    Health(u32),
    /// Next health check of a backend, or deadline of the one in progress.
    HealthCheck(u32),
    /// Drain deadline of the whole pool.
    Shutdown,
}

words! {
    /// Reason of the next deadline, for logs and the admin API.
    pub enum TimerReason {
        /// Connect deadline, maximum age or drain deadline of a connection.
        ConnectionLife = "connection_life",
        /// Slow-dial threshold, idle timeout, silence or suspect timeout of a connection.
        ConnectionQuiet = "connection_quiet",
        /// Queue deadline, response-head deadline or stall timeout of a request.
        RequestDeadline = "request_deadline",
        /// End of a backend's backoff: it may be dialled again.
        Backoff = "backoff",
        /// End of a backend's ejection, or of the time of its trial request.
        Ejection = "ejection",
        /// Next health check of a backend, or deadline of the one in progress.
        HealthCheck = "health_check",
        /// Deadline of the shutdown.
        Shutdown = "shutdown",
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Timers {
    /// The armed timers that are in no list.
    heap: IndexedHeap,
    lanes: Lanes,
    /// The deadline of each timer, plus one; 0 if it is disarmed. Zeros take no memory pages.
    due: Vec<u64>,
    /// Slots per backend.
    slots: u32,
    /// The index of the first timer of a request.
    requests: u32,
    /// The index of the first timer of a backend.
    backends: u32,
    /// The index of [`Timer::Shutdown`].
    shutdown: u32,
}

impl Timers {
    /// Returns the timers of a pool. `slots` is the number for each backend.
    pub(crate) fn new(slots: u32, requests: u32, backends: u32) -> Self {
        let of_slots = 2 * slots * backends;
        let shutdown = of_slots + requests + 3 * backends;
        let capacity = shutdown as usize + 1;
        Self {
            heap: IndexedHeap::new(capacity),
            lanes: Lanes::new(capacity),
            due: vec![0; capacity],
            slots,
            requests: of_slots,
            backends: of_slots + requests,
            shutdown,
        }
    }

    /// Sets the deadline of a timer, whether or not it was armed before. The last instant of all
    /// counts as the one before it.
    pub(crate) fn arm(&mut self, timer: Timer, at: Instant) {
        let place = self.place(timer);
        if !self.heap.contains(place) {
            self.disarm_place(place);
        }
        self.due[place as usize] = due(at);
        self.heap.set(place, due(at));
    }

    /// As [`arm`](Self::arm), for a deadline that comes after all others of its lane, as a rule.
    #[inline]
    pub(super) fn arm_in(&mut self, lane: Lane, timer: Timer, at: Instant) {
        self.arm_place_in(lane, self.place(timer), at);
    }

    fn arm_place_in(&mut self, lane: Lane, place: u32, at: Instant) {
        self.disarm_place(place);
        let due = due(at);
        self.due[place as usize] = due;
        let last = self.lanes.last(lane).map(|last| (self.due[last as usize], last));
        if last < Some((due, place)) {
            self.lanes.append(lane, place);
        } else {
            self.heap.set(place, due);
        }
    }

    #[inline]
    pub(crate) fn disarm(&mut self, timer: Timer) {
        self.disarm_place(self.place(timer));
    }

    #[inline]
    fn disarm_place(&mut self, place: u32) {
        let before = core::mem::take(&mut self.due[place as usize]);
        if before != 0 && !self.heap.remove(place) {
            self.lanes.remove(place);
        }
    }

    pub(crate) fn armed(&self, timer: Timer) -> Option<Instant> {
        self.due[self.place(timer) as usize].checked_sub(1).map(Instant)
    }

    /// Returns the earliest deadline. Of equal ones, that of the lower index.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        let in_lanes = Lane::ALL.iter().filter_map(|lane| self.lanes.first(*lane));
        let in_lanes = in_lanes.map(|place| (self.due[place as usize], place));
        let (due, place) = in_lanes.chain(self.heap.peek()).min()?;
        Some((Instant(due - 1), self.timer(place)))
    }

    /// Returns the armed deadlines, in no particular order.
    fn deadlines(&self) -> impl Iterator<Item = Instant> + '_ {
        let in_lanes = Lane::ALL.iter().flat_map(|lane| self.lanes.members(*lane));
        let places = in_lanes.chain(self.heap.members());
        places.map(|place| Instant(self.due[place as usize] - 1))
    }

    /// Returns the number of deadlines before this time. It looks at each.
    pub(crate) fn count_before(&self, at: Instant) -> usize {
        self.deadlines().filter(|deadline| *deadline < at).count()
    }

    /// Returns the number of armed timers. It looks at each.
    pub(crate) fn len(&self) -> usize {
        self.deadlines().count()
    }

    #[inline]
    fn place(&self, timer: Timer) -> u32 {
        match timer {
            Timer::Life(slot) => 2 * self.slot_place(slot),
            Timer::Quiet(slot) => 2 * self.slot_place(slot) + 1,
            Timer::Request(request) => self.requests + request,
            Timer::Backoff(backend) => self.backends + 3 * backend,
            Timer::Health(backend) => self.backends + 3 * backend + 1,
            Timer::HealthCheck(backend) => self.backends + 3 * backend + 2,
            Timer::Shutdown => self.shutdown,
        }
    }

    /// Returns the number of a slot among those of all backends.
    fn slot_place(&self, index: u32) -> u32 {
        let (backend, slot) = split_index(index as usize);
        backend as u32 * self.slots + slot as u32
    }

    fn timer(&self, place: u32) -> Timer {
        if place < self.requests {
            let (backend, slot) = (place / 2 / self.slots, place / 2 % self.slots);
            let slot = slot_index(backend as usize, slot as usize) as u32;
            return if place.is_multiple_of(2) { Timer::Life(slot) } else { Timer::Quiet(slot) };
        }
        if place < self.backends {
            return Timer::Request(place - self.requests);
        }
        if place == self.shutdown {
            return Timer::Shutdown;
        }
        let backend = (place - self.backends) / 3;
        match (place - self.backends) % 3 {
            0 => Timer::Backoff(backend),
            1 => Timer::Health(backend),
            _ => Timer::HealthCheck(backend),
        }
    }

    /// Checks that the lists and the heap hold each armed timer once, and in its order.
    ///
    /// # Errors
    /// The first check that failed.
    pub(crate) fn recount(&self) -> Result<(), Mismatch> {
        self.heap.recount()?;
        self.lanes.recount()?;
        for lane in Lane::ALL {
            let members =
                || self.lanes.members(lane).map(|place| (self.due[place as usize], place));
            let in_order = members().zip(members().skip(1)).all(|(one, next)| one < next);
            expect(in_order, "order of a list of deadlines", lane as usize)?;
            for (due, place) in members() {
                let once = due > 0 && !self.heap.contains(place);
                expect(once, "a deadline in a list", place as usize)?;
            }
        }
        for place in self.heap.members() {
            let due = self.due[place as usize];
            same(self.heap.key(place), Some(due), "a deadline in the heap", place as usize)?;
        }
        let armed = self.due.iter().filter(|due| **due > 0).count();
        same(self.len(), armed, "deadlines in lists and the heap", 0)
    }
}

/// Returns a deadline as it is kept: not zero, which means none.
fn due(at: Instant) -> u64 {
    at.0.saturating_add(1)
}

impl From<Timer> for TimerReason {
    fn from(timer: Timer) -> Self {
        match timer {
            Timer::Life(_) => Self::ConnectionLife,
            Timer::Quiet(_) => Self::ConnectionQuiet,
            Timer::Request(_) => Self::RequestDeadline,
            Timer::Backoff(_) => Self::Backoff,
            Timer::Health(_) => Self::Ejection,
            Timer::HealthCheck(_) => Self::HealthCheck,
            Timer::Shutdown => Self::Shutdown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_has_an_index_of_its_own() {
        let mut timers = Timers::new(3, 4, 2);
        let mut all = alloc::vec![Timer::Shutdown];
        let slots = [0, 1].map(|backend| [0, 1, 2].map(|slot| slot_index(backend, slot) as u32));
        let slots = slots.into_iter().flatten();
        all.extend(slots.flat_map(|slot| [Timer::Life(slot), Timer::Quiet(slot)]));
        all.extend((0..4).map(Timer::Request));
        all.extend((0..2).flat_map(|backend| {
            [Timer::Backoff(backend), Timer::Health(backend), Timer::HealthCheck(backend)]
        }));
        for (at, timer) in all.iter().enumerate() {
            timers.arm(*timer, Instant(at as u64));
        }
        assert_eq!(timers.len(), all.len());
        for (at, timer) in all.iter().enumerate() {
            assert_eq!(timers.next(), Some((Instant(at as u64), *timer)));
            timers.disarm(*timer);
        }
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_next_deadline_is_the_earliest_after_any_changes() {
        let mut timers = Timers::new(8, 16, 2);
        let mut expected = [None; 16];
        for step in 0..8_000_u32 {
            let index = step * 37 % 16;
            let at = Instant(u64::from(step * 7_919 % 101));
            let timer = Timer::Request(index);
            expected[index as usize] = (step % 4 != 3).then_some(at);
            match step % 4 {
                0 => timers.arm(timer, at),
                1 => timers.arm_in(Lane::ResponseHead, timer, at),
                2 => timers.arm_in(Lane::ResponseStall, timer, at),
                _ => timers.disarm(timer),
            }
            assert_eq!(timers.armed(timer), expected[index as usize]);
            let armed = (0..16).filter_map(|index| Some((expected[index as usize]?, index)));
            let next = armed.min().map(|(at, index)| (at, Timer::Request(index)));
            assert_eq!(timers.next(), next, "step {step}");
            assert_eq!(timers.recount(), Ok(()));
            let before = expected.iter().flatten().filter(|deadline| **deadline < at).count();
            assert_eq!(timers.count_before(at), before);
            assert_eq!(timers.len(), expected.iter().flatten().count());
        }
    }

    #[test]
    fn a_deadline_at_the_end_of_time_is_armed() {
        let mut timers = Timers::new(1, 1, 1);
        timers.arm(Timer::Shutdown, Instant(u64::MAX));
        assert_eq!(timers.next(), Some((Instant(u64::MAX - 1), Timer::Shutdown)));
        timers.arm(Timer::Life(0), Instant::ZERO);
        assert_eq!(timers.next(), Some((Instant::ZERO, Timer::Life(0))));
    }
}
