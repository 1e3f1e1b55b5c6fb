//! Dispatch: gives streams to requests, orders dials, and decides which backends may be used.

use super::balance::Set;
use super::lanes::Lane;
use super::request::{RequestState, Upload};
use super::retry;
use super::slots::Slots;
use super::timer::Timer;
use super::{BackendId, Instant, Output, Pool, backend_id, limits};

impl Pool {
    /// Lets retries into the queue. Serves waiting requests, oldest first, while there is capacity.
    /// Then orders enough dials for the rest. Afterwards no request waits while a stream that it
    /// may use is free.
    pub(super) fn dispatch(&mut self, now: Instant) {
        self.admit_retries(now);
        while let Some((_, index)) = self.waiting.peek() {
            let Some(backend) = self.choose(now, index) else {
                break;
            };
            self.bind(now, index, backend);
        }
        while self.waiting.len() as u64 > self.slots.expected_streams() {
            let Some(backend) = self.choose_dial(now) else {
                break;
            };
            self.dial(now, backend);
        }
    }

    /// Lets deferred requests into the queue, oldest first, while the retry budget has room.
    #[inline]
    pub(super) fn admit_retries(&mut self, now: Instant) {
        if !self.deferred.is_empty() {
            self.admit_deferred(now);
        }
    }

    #[cold]
    fn admit_deferred(&mut self, now: Instant) {
        while let Some((_, index)) = self.deferred.peek()
            && self.retrying < self.retry_budget()
        {
            self.deferred.remove(index);
            self.retrying += 1;
            self.wait(now, index);
        }
    }

    /// Returns the number of requests that may be on a retry at a time.
    pub(super) fn retry_budget(&self) -> u32 {
        retry::budget(&self.config.retry, self.requests.live())
    }

    /// Frees the place of a request in the retry budget, if it has one.
    pub(super) fn leave_retry_budget(&mut self, index: u32) {
        self.retrying -= u32::from(self.requests.get(index).is_retrying());
    }

    /// Picks the backend to dial next. Backends with a slow dial come last, so that an unresponsive
    /// backend delays a request only once.
    fn choose_dial(&mut self, now: Instant) -> Option<BackendId> {
        let dialable = self.balancer.pick(Set::Dialable, None, now, &mut self.random);
        dialable.or_else(|| self.balancer.pick(Set::SlowDial, None, now, &mut self.random))
    }

    /// Picks a backend with capacity for the request.
    fn choose(&mut self, now: Instant, index: u32) -> Option<BackendId> {
        let request = self.requests.get(index);
        let avoid = request.avoid;
        if request.needs_live {
            self.choose_live(now, avoid)
        } else {
            self.choose_in_turn(now, avoid)
        }
    }

    /// Picks a backend with capacity for a request that was lost on a stale connection. The long
    /// idle connections of each backend that is considered may be dead, too: they are closed. If
    /// there are no other connections, the request waits for a dial.
    fn choose_live(&mut self, now: Instant, avoid: Option<BackendId>) -> Option<BackendId> {
        loop {
            let backend = self.balancer.pick(Set::WithCapacity, avoid, now, &mut self.random)?;
            self.close_idle(now, backend, limits::SURELY_ALIVE);
            if self.balancer.is_member(Set::WithCapacity, backend) {
                return Some(backend);
            }
        }
    }

    /// Picks a backend with capacity. If the backend that is next in turn has no capacity, orders a
    /// dial to it, so that its next request finds a stream.
    fn choose_in_turn(&mut self, now: Instant, avoid: Option<BackendId>) -> Option<BackendId> {
        let turn = self.balancer.pick(Set::Usable, avoid, now, &mut self.random)?;
        if self.balancer.is_member(Set::WithCapacity, turn) {
            return Some(turn);
        }
        // If no backend has capacity, the request waits. The number of dials then depends on the
        // number of waiting requests, not on how often this function is called.
        let with_capacity = self.balancer.pick(Set::WithCapacity, avoid, now, &mut self.random)?;
        if self.balancer.is_member(Set::Dialable, turn) && !self.slots.is_connecting(turn) {
            self.dial(now, turn);
        }
        self.balancer.charge(turn, now);
        Some(with_capacity)
    }

    /// Serves a request that has just arrived without queueing it, if no request waits and a stream
    /// is free. Returns true if the request was served.
    pub(super) fn serve_at_once(&mut self, now: Instant, index: u32) -> bool {
        let first = self.waiting.is_empty();
        let backend = if first { self.choose(now, index) } else { None };
        if let Some(backend) = backend {
            self.bind(now, index, backend);
        }
        backend.is_some()
    }

    fn bind(&mut self, now: Instant, index: u32, backend: BackendId) {
        let stream =
            self.slots.acquire(backend, index).expect("a backend with capacity has a stream");
        let slot = Slots::index(stream.connection);
        let connection = self.slots.connection_mut(slot);
        let allows_ping = connection.pings.stream_opened();
        let begins = connection.load() == 1;
        if begins {
            // One that has answered nothing, was silent under its last requests, or was in use a
            // moment ago, is not dead of idleness.
            let was_idle = connection.responses > 0
                && connection.silent_before.is_none()
                && now.since(connection.quiet_since) >= limits::SURELY_ALIVE;
            let idle_since = was_idle.then_some(connection.quiet_since);
            connection.idle_before = connection.idle_before.or(idle_since);
            connection.quiet_since = now;
            connection.silent_before.get_or_insert_default();
        }
        if begins || allows_ping {
            self.arm_silence(slot, backend);
        }
        self.waiting.remove(index);
        let request = self.requests.get_mut(index);
        assert_eq!(request.state, RequestState::Waiting, "only a waiting request is bound");
        let upload = if request.has_body { Upload::Open { blocked: false } } else { Upload::Done };
        request.state = RequestState::Sent { stream, upload, since: now };
        request.attempts += 1;
        let attempt = request.attempts;
        match upload {
            Upload::Open { .. } => self.arm_body_stall(now, index),
            Upload::Done => self.arm_response_deadline(now, index),
        }
        if attempt == 1 {
            self.balancer.reach(backend);
        }
        self.balancer.charge(backend, now);
        self.balancer.request_bound(backend);
        if self.backends[usize::from(backend.0)].health.bound(index) {
            let at = now.after(self.config.timeouts.response_head);
            self.timers.arm(Timer::Health(u32::from(backend.0)), at);
            self.refresh(backend);
        }
        let id = self.requests.id(index);
        self.order(Output::OpenStream { stream, request: id, attempt });
        self.drain_when_spent(now, slot);
        self.refresh_room(backend);
    }

    /// Arms the response-head deadline. A retry keeps the deadline of the earlier attempt.
    pub(super) fn arm_response_deadline(&mut self, now: Instant, index: u32) {
        let full = now.after(self.config.timeouts.response_head);
        let request = self.requests.get_mut(index);
        let deadline = *request.deadline.get_or_insert(full);
        self.timers.arm_in(Lane::ResponseHead, Timer::Request(index), deadline);
    }

    /// Arms the stall timeout of a request body.
    fn arm_body_stall(&mut self, now: Instant, index: u32) {
        self.timers.arm(Timer::Request(index), now.after(self.config.timeouts.body_stall));
    }

    /// Notes that a request no longer uses its backend.
    pub(super) fn unbind(&mut self, index: u32, backend: BackendId) {
        self.balancer.request_unbound(backend);
        if self.backends[usize::from(backend.0)].health.unbound(index) {
            self.timers.disarm(Timer::Health(u32::from(backend.0)));
            self.refresh(backend);
        }
    }

    fn dial(&mut self, now: Instant, backend: BackendId) {
        let state = &self.backends[usize::from(backend.0)];
        // No request counts on a dial to a backend that is used only because of fail-open.
        let expected = if state.is_usable() { state.expected_streams } else { 0 };
        let connection = self.slots.dial(backend, expected).expect("a dialable backend has a slot");
        let slot = self.slots.find(connection).expect("dialled just now");
        let timeouts = &self.config.timeouts;
        self.timers.arm(Timer::Life(slot as u32), now.after(timeouts.connect));
        self.timers.arm(Timer::Quiet(slot as u32), now.after(timeouts.silence));
        self.order(Output::Connect { connection });
        self.balancer.charge(backend, now);
        self.refresh(backend);
    }

    /// Updates the capacity set of a backend, after a change of its capacity alone.
    pub(super) fn refresh_room(&mut self, backend: BackendId) {
        let chosen = self.balancer.is_member(Set::Usable, backend);
        let with_capacity = chosen && self.slots.has_capacity(backend);
        self.balancer.set_member(Set::WithCapacity, backend, with_capacity);
    }

    /// Updates the counters and sets of a backend. Call it after every change that may affect them.
    pub(super) fn refresh(&mut self, backend: BackendId) {
        let state = &mut self.backends[usize::from(backend.0)];
        let counted = state.count();
        let before = core::mem::replace(&mut state.counted, counted);
        let change = |total: u32, is: bool, was: bool| total + u32::from(is) - u32::from(was);
        self.in_service = change(self.in_service, counted.in_service, before.in_service);
        self.healthy = change(self.healthy, counted.healthy, before.healthy);
        self.ejected = change(self.ejected, counted.ejected, before.ejected);
        if before.usable && !counted.usable && self.slots.is_connecting(backend) {
            self.slots.expect_nothing_of(backend);
        }
        let fail_open = self.should_fail_open();
        if core::mem::replace(&mut self.fail_open, fail_open) == fail_open {
            self.sort_backend(backend);
            return;
        }
        for index in 0..self.backends.len() {
            self.sort_backend(backend_id(index));
        }
    }

    /// True if too few backends are healthy. They would be overloaded, so the pool fails open: it
    /// ignores health and uses all backends in service (Envoy's panic mode).
    pub(super) fn should_fail_open(&self) -> bool {
        let share = u64::from(self.healthy) * 100;
        share < u64::from(self.in_service) * u64::from(self.config.health.fail_open_percent)
    }

    /// True if the backend may be dialled. One that is used only because of fail-open gets one dial
    /// at a time.
    pub(super) fn may_dial(&self, backend: BackendId) -> bool {
        let usable = self.backends[usize::from(backend.0)].is_usable();
        self.slots.can_dial(backend) && (usable || !self.slots.is_connecting(backend))
    }

    fn sort_backend(&mut self, backend: BackendId) {
        let state = &self.backends[usize::from(backend.0)];
        let chosen = state.is_usable() || (state.counted.in_service && self.fail_open);
        let waits = self.timers.armed(Timer::Backoff(u32::from(backend.0))).is_some();
        let dialable = chosen && !waits && self.may_dial(backend);
        self.balancer.set_member(Set::Usable, backend, chosen);
        self.refresh_room(backend);
        let hangs = dialable && self.slots.has_slow_dial(backend);
        self.balancer.set_member(Set::Dialable, backend, dialable && !hangs);
        self.balancer.set_member(Set::SlowDial, backend, hangs);
    }
}
