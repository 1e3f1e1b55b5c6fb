//! Who is served by what: binding requests to streams, dialling, and which backends may be used.

use super::balance::Set;
use super::health::{Health, Verdict};
use super::request::{RequestState, Upload};
use super::time::nanoseconds;
use super::timer::Timer;
use super::{BackendId, Instant, Output, Pool, backend_id};
use core::time::Duration;

impl Pool {
    /// Serves waiting requests, oldest first, until one cannot be; then sees that enough dials are
    /// under way for the rest. After this no request waits while a stream it may use is free.
    pub(super) fn dispatch(&mut self, now: Instant) {
        while let Some((_, index)) = self.waiting.peek() {
            let Some(backend) = self.choose(now, index) else {
                break;
            };
            self.bind(now, index, backend);
        }
        while self.waiting.len() as u64 > self.slots.expected_streams() {
            let Some(backend) = self.balancer.pick(Set::Dialable, None, &mut self.random) else {
                break;
            };
            self.dial(now, backend);
        }
    }

    /// A backend with room for the request, if there is one. If it is another backend's turn and
    /// that one has no room, a connection to it is dialled, so that the next one finds room.
    fn choose(&mut self, now: Instant, index: u32) -> Option<BackendId> {
        let avoid = self.requests.get(index).avoid;
        let turn = self.balancer.pick(Set::Usable, avoid, &mut self.random)?;
        if self.balancer.is_member(Set::Roomy, turn) {
            return Some(turn);
        }
        // Without room anywhere the request waits, and the number of dials follows from how many
        // wait, not from how often we look.
        let roomy = self.balancer.pick(Set::Roomy, avoid, &mut self.random)?;
        if self.balancer.is_member(Set::Dialable, turn) && !self.slots.is_connecting(turn) {
            self.dial(now, turn);
        }
        self.balancer.charge(turn);
        Some(roomy)
    }

    fn bind(&mut self, now: Instant, index: u32, backend: BackendId) {
        let stream = self.slots.acquire(backend, index).expect("a roomy backend has a stream");
        let slot = self.slots.find(stream.connection).expect("acquired just now");
        if self.slots.connection(slot).load() == 1 {
            self.slots.connection_mut(slot).quiet_since = now;
            self.arm_silence(slot, backend);
        }
        self.waiting.remove(index);
        let request = self.requests.get_mut(index);
        assert_eq!(request.state, RequestState::Waiting, "only a waiting request is bound");
        let upload = if request.has_body { Upload::Open } else { Upload::Done };
        request.state = RequestState::Sent { stream, upload, since: now };
        request.attempts += 1;
        let attempt = request.attempts;
        match upload {
            Upload::Open => self.timers.disarm(Timer::Request(index)),
            Upload::Done => self.arm_response_deadline(now, index),
        }
        self.balancer.charge(backend);
        self.balancer.request_bound(backend);
        self.backends[usize::from(backend.0)].health.bound(index);
        let id = self.requests.id(index);
        self.order(Output::OpenStream { stream, request: id, attempt });
        self.drain_when_spent(now, slot);
        self.refresh(backend);
    }

    /// Starts the response-head deadline, or goes on with the one of an earlier attempt.
    pub(super) fn arm_response_deadline(&mut self, now: Instant, index: u32) {
        let full = now.after(self.config.timeouts.response_head);
        let request = self.requests.get_mut(index);
        let deadline = *request.deadline.get_or_insert(full);
        self.timers.arm(Timer::Request(index), deadline);
    }

    /// A request no longer uses its backend.
    pub(super) fn unbind(&mut self, index: u32, backend: BackendId) {
        self.balancer.request_unbound(backend);
        self.backends[usize::from(backend.0)].health.unbound(index);
        self.refresh(backend);
    }

    fn dial(&mut self, now: Instant, backend: BackendId) {
        let expected = self.backends[usize::from(backend.0)].expected_streams;
        let connection = self.slots.dial(backend, expected).expect("a dialable backend has a slot");
        let slot = self.slots.find(connection).expect("dialled just now");
        let timeouts = &self.config.timeouts;
        self.timers.arm(Timer::Life(slot as u32), now.after(timeouts.connect));
        self.timers.arm(Timer::Quiet(slot as u32), now.after(timeouts.silence));
        self.counters.dials += 1;
        self.order(Output::Connect { connection });
        self.balancer.charge(backend);
        self.refresh(backend);
    }

    /// Puts a backend in the sets it belongs to. Called after every change that could matter.
    pub(super) fn refresh(&mut self, backend: BackendId) {
        let index = usize::from(backend.0);
        let usable = self.backends[index].health.is_usable();
        let before = core::mem::replace(&mut self.backends[index].usable, usable);
        self.usable = self.usable + u32::from(usable) - u32::from(before);
        let chosen = usable || self.fail_open == Some(backend);
        let waits = self.timers.armed(Timer::Backoff(u32::from(backend.0))).is_some();
        let roomy = chosen && self.slots.has_capacity(backend);
        let dialable = chosen && !waits && self.slots.can_dial(backend);
        self.balancer.set_member(Set::Usable, backend, chosen);
        self.balancer.set_member(Set::Roomy, backend, roomy);
        self.balancer.set_member(Set::Dialable, backend, dialable);
        self.fail_open_if_all_are_out();
    }

    /// If no backend may be used, the least recently ejected one is tried rather than none.
    fn fail_open_if_all_are_out(&mut self) {
        let wanted = if self.usable == 0 {
            self.ejected.peek().map(|(_, index)| backend_id(index as usize))
        } else {
            None
        };
        let before = core::mem::replace(&mut self.fail_open, wanted);
        if before == wanted {
            return;
        }
        for backend in [before, wanted].into_iter().flatten() {
            self.refresh(backend);
        }
    }
}

impl Pool {
    /// A dial failed, or a connection ended without one response: the next dial waits, each time
    /// twice as long, with a jitter of a fifth. Dials that were under way together are one failure,
    /// however many of them fail, also for the backend's health.
    pub(super) fn dial_failed(&mut self, now: Instant, backend: BackendId) {
        if self.timers.armed(Timer::Backoff(u32::from(backend.0))).is_some() {
            self.refresh(backend);
            return;
        }
        let state = &mut self.backends[usize::from(backend.0)];
        let doublings = state.dial_failures.min(31);
        state.dial_failures = state.dial_failures.saturating_add(1);
        let timeouts = &self.config.timeouts;
        let (least, most) = (timeouts.backoff_min, timeouts.backoff_max);
        let delay = nanoseconds(least.saturating_mul(1 << doublings).min(most));
        let drawn = Duration::from_nanos(self.random.jitter(delay, 20)).clamp(least, most);
        self.timers.arm(Timer::Backoff(u32::from(backend.0)), now.after(drawn));
        self.backend_failed(now, backend);
    }

    /// The wait for the next dial is over.
    pub(super) fn on_backoff_over(&mut self, backend: BackendId) {
        self.timers.disarm(Timer::Backoff(u32::from(backend.0)));
        self.refresh(backend);
    }

    /// The backend did not do what was asked of it.
    pub(super) fn backend_failed(&mut self, now: Instant, backend: BackendId) {
        let config = &self.config;
        let health = &mut self.backends[usize::from(backend.0)].health;
        match health.failure(&config.health, &config.timeouts) {
            Verdict::Ejected(time) => {
                self.timers.arm(Timer::Health(u32::from(backend.0)), now.after(time));
                self.move_to_back_of_ejected(backend);
            }
            Verdict::Unchanged if self.fail_open == Some(backend) => {
                self.move_to_back_of_ejected(backend);
            }
            Verdict::Unchanged => {}
            Verdict::HalfOpened | Verdict::Healed => unreachable!("a failure helps nobody"),
        }
        self.refresh(backend);
    }

    fn move_to_back_of_ejected(&mut self, backend: BackendId) {
        let health = self.backends[usize::from(backend.0)].health;
        if matches!(health, Health::Healthy { .. }) {
            return;
        }
        self.ejections += 1;
        self.ejected.set(u32::from(backend.0), self.ejections);
    }

    /// The backend answered a request: nothing delays the next dial any more, and if it was out or
    /// on trial, it may be better.
    pub(super) fn backend_succeeded(&mut self, backend: BackendId, request: u32) {
        let index = u32::from(backend.0);
        let tried = self.fail_open == Some(backend);
        let state = &mut self.backends[usize::from(backend.0)];
        state.dial_failures = 0;
        let verdict = state.health.success(request, tried, &self.config.health);
        if self.timers.armed(Timer::Backoff(index)).is_some() {
            self.on_backoff_over(backend);
        }
        match verdict {
            Verdict::Unchanged => return,
            Verdict::HalfOpened => self.timers.disarm(Timer::Health(index)),
            Verdict::Healed => {
                self.timers.disarm(Timer::Health(index));
                self.ejected.remove(index);
            }
            Verdict::Ejected(_) => unreachable!("a success hurts nobody"),
        }
        self.refresh(backend);
    }

    /// The ejection is over; one request may try the backend.
    pub(super) fn on_ejection_over(&mut self, backend: BackendId) {
        self.timers.disarm(Timer::Health(u32::from(backend.0)));
        let opened = self.backends[usize::from(backend.0)].health.half_open();
        assert!(opened, "the timer is armed only while the backend is ejected");
        self.refresh(backend);
    }
}
