//! All deadlines of a pool in one queue. Each timer has a fixed index that belongs to one slot,
//! request or backend, so a timer cannot outlive its cause: arming it again moves it, and the end
//! of the cause disarms it.

use super::heap::IndexedHeap;
use super::mismatch::Mismatch;
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
    heap: IndexedHeap,
    slots: u32,
    requests: u32,
    backends: u32,
}

impl Timers {
    pub(crate) fn new(slots: u32, requests: u32, backends: u32) -> Self {
        let capacity = 2 * slots + requests + 3 * backends + 1;
        Self { heap: IndexedHeap::new(capacity as usize), slots, requests, backends }
    }

    /// Sets the deadline of a timer, whether or not it was armed before.
    pub(crate) fn arm(&mut self, timer: Timer, at: Instant) {
        let place = self.place(timer);
        self.heap.set(place, at.0);
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        let place = self.place(timer);
        self.heap.remove(place);
    }

    pub(crate) fn armed(&self, timer: Timer) -> Option<Instant> {
        self.heap.key(self.place(timer)).map(Instant)
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        self.heap.peek().map(|(at, place)| (Instant(at), self.timer(place)))
    }

    /// Returns the number of deadlines before this time. It looks at each.
    pub(crate) fn count_before(&self, at: Instant) -> usize {
        self.heap.keys().filter(|key| *key < at.0).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    fn place(&self, timer: Timer) -> u32 {
        let requests = 2 * self.slots;
        let backends = requests + self.requests;
        match timer {
            Timer::Life(slot) => 2 * slot,
            Timer::Quiet(slot) => 2 * slot + 1,
            Timer::Request(request) => requests + request,
            Timer::Backoff(backend) => backends + 3 * backend,
            Timer::Health(backend) => backends + 3 * backend + 1,
            Timer::HealthCheck(backend) => backends + 3 * backend + 2,
            Timer::Shutdown => backends + 3 * self.backends,
        }
    }

    fn timer(&self, place: u32) -> Timer {
        let requests = 2 * self.slots;
        let backends = requests + self.requests;
        if place < requests {
            let slot = place / 2;
            return if place.is_multiple_of(2) { Timer::Life(slot) } else { Timer::Quiet(slot) };
        }
        if place < backends {
            return Timer::Request(place - requests);
        }
        let backend = (place - backends) / 3;
        if backend == self.backends {
            return Timer::Shutdown;
        }
        match (place - backends) % 3 {
            0 => Timer::Backoff(backend),
            1 => Timer::Health(backend),
            _ => Timer::HealthCheck(backend),
        }
    }

    pub(crate) fn recount(&self) -> Result<(), Mismatch> {
        self.heap.recount()
    }
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
        all.extend((0..3).flat_map(|slot| [Timer::Life(slot), Timer::Quiet(slot)]));
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
}
