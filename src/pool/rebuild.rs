//! What follows when the pool finds that it does not add up: it gives up everything and starts anew,
//! rather than stay "full" or stuck until somebody restarts the process.

use super::backend::{Counted, Service, StateCause};
use super::connection::{DrainCause, Lifecycle};
use super::health::Health;
use super::output::CloseReason;
use super::timer::Timer;
use super::{Handled, Instant, Outcome, Output, Phase, Pool, Rejection, backend_id};

/// A miscount that a simulation plants, to see the audit find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planted {
    /// A connection carries one stream more than its table has.
    Load,
    /// A request that waits is not in the queue.
    Queue,
    /// One request more is on a retry than there are.
    Retries,
    /// The deadline of a request is lost.
    Timer,
    /// One backend more is healthy than there are.
    Backends,
    /// A request counts for another backend than the one that it is on.
    Loads,
    /// The request that is a backend's probe is none that lives.
    Probe,
    /// The deadline of the shutdown is lost.
    Shutdown,
}

impl Pool {
    /// Recounts, and starts anew if something does not add up.
    pub(super) fn on_audit(&mut self, now: Instant) -> Handled {
        match self.recount() {
            Ok(()) => Handled::Done,
            Err(mismatch) => {
                self.rebuild(now);
                Handled::Rebuilt(mismatch)
            }
        }
    }

    /// Ends every request, closes every connection, and builds all tables anew. Nothing that could be
    /// wrong is relied on but whether an entry is in use. Tokens stay what they are: stale.
    fn rebuild(&mut self, now: Instant) {
        self.counters.rebuilds += 1;
        for index in 0..self.config.limits.requests as u32 {
            let Some(request) = self.requests.peek(index).copied() else {
                continue;
            };
            let outcome = if request.response_began() {
                Outcome::CutShort
            } else {
                Outcome::Rejected(Rejection::Rebuilt)
            };
            let (attempts, evidence) = (request.attempts, request.evidence);
            let request = self.requests.id(index);
            self.order(Output::RequestEnded { request, outcome, attempts, evidence });
        }
        for slot in 0..self.slots.len() {
            let lost = Lifecycle::Draining(DrainCause::Lost);
            let lifecycle = self.slots.connection(slot).lifecycle();
            if lifecycle != Lifecycle::Empty && lifecycle != lost {
                let connection = self.slots.token(slot);
                self.order(Output::Close { connection, reason: CloseReason::Rebuilt });
            }
        }
        let shutdown = self.timers.armed(Timer::Shutdown);
        self.requests.rebuild();
        self.slots.rebuild();
        self.waiting.clear();
        self.timers.clear();
        self.balancer.clear();
        self.retrying = 0;
        if self.phase == Phase::Draining {
            let at = shutdown.unwrap_or(now.after(self.config.timeouts.drain));
            self.timers.arm(Timer::Shutdown, at);
        }
        self.rebuild_backends(now);
        self.check_invariants();
    }

    /// Passive health starts anew; what probes found and what the operator ordered stays.
    fn rebuild_backends(&mut self, now: Instant) {
        (self.in_service, self.healthy, self.ejected) = (0, 0, 0);
        for index in 0..self.backends.len() {
            let place = &mut self.backends[index];
            place.counted = Counted::default();
            place.health = Health::NEW;
            place.dial_failures = 0;
            place.probing = None;
        }
        self.leaving =
            self.backends.iter().filter(|place| place.service == Service::Leaving).count() as u32;
        for index in 0..self.backends.len() {
            let backend = backend_id(index);
            if matches!(self.backends[index].service, Service::Serving | Service::Draining) {
                self.start_probing(now, backend);
            }
            self.refresh(backend);
        }
        // A flip of the panic half-way must not leave anyone out.
        for index in 0..self.backends.len() {
            let backend = backend_id(index);
            self.refresh(backend);
            self.tell_state(now, backend, StateCause::Rebuilt);
        }
        self.emptied = true;
        self.let_go_of_removed();
    }

    /// Miscounts on purpose. Says whether there was something to miscount. For simulation only: what
    /// follows before the next audit may end in a panic.
    pub fn plant(&mut self, planted: Planted) -> bool {
        match planted {
            Planted::Load => self.slots.plant_load(),
            Planted::Queue => match self.waiting.peek() {
                Some((_, index)) => self.waiting.remove(index),
                None => false,
            },
            Planted::Retries => {
                self.retrying += 1;
                true
            }
            Planted::Timer => {
                let live = (0..self.config.limits.requests as u32)
                    .find(|index| self.requests.peek(*index).is_some());
                if let Some(index) = live {
                    self.timers.disarm(Timer::Request(index));
                }
                live.is_some()
            }
            Planted::Backends => {
                self.healthy += 1;
                true
            }
            Planted::Loads => {
                let places = || (0..self.backends.len()).map(backend_id);
                let loaded = places().find(|place| self.balancer.load(*place) > 0);
                let other = places().find(|place| Some(*place) != loaded);
                if let (Some(from), Some(to)) = (loaded, other) {
                    self.balancer.request_unbound(from);
                    self.balancer.request_bound(to);
                }
                loaded.is_some() && other.is_some()
            }
            Planted::Probe => self.backends.iter_mut().any(|place| place.health.bound(u32::MAX)),
            Planted::Shutdown => {
                let armed = self.timers.armed(Timer::Shutdown).is_some();
                self.timers.disarm(Timer::Shutdown);
                armed
            }
        }
    }
}
