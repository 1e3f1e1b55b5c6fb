//! What must hold between any two inputs, by recount. O(size of the tables): for the simulator and
//! tests after each input, and for an audit now and then.

use super::balance::Set;
use super::connection::{DrainCause, Lifecycle};
use super::health::Health;
use super::request::RequestState;
use super::slots::Stream;
use super::timer::Timer;
use super::{Pool, backend_id};

impl Pool {
    /// Recounts everything.
    ///
    /// # Panics
    /// If something does not hold; the message names it. That is a bug in the pool.
    pub fn check_invariants(&self) {
        self.slots.check_invariants();
        self.timers.check_invariants();
        self.waiting.check_invariants();
        self.balancer.check_invariants();
        self.check_requests();
        self.check_streams();
        self.check_timers();
        self.check_backends();
        self.check_progress();
    }

    fn check_requests(&self) {
        let (mut live, mut waiting, mut retrying) = (0, 0, 0);
        let mut start = 0;
        while let Some(index) = self.requests.next_live(start) {
            start = index + 1;
            let request = self.requests.get(index);
            live += 1;
            retrying += u32::from(request.is_retrying());
            let queued = self.waiting.contains(index);
            let waits = request.state == RequestState::Waiting;
            assert_eq!(queued, waits, "request {index} is queued if and only if it waits");
            waiting += usize::from(waits);
            if let Some(stream) = request.stream() {
                match self.slots.get(stream) {
                    Ok(Stream::Open { request, .. }) => {
                        assert_eq!(request, index, "one request per stream");
                    }
                    other => panic!("request {index} holds a stream that is {other:?}"),
                }
            }
            if start as usize >= self.config.limits.requests {
                break;
            }
        }
        assert_eq!(live, self.requests.live(), "live requests");
        assert_eq!(waiting, self.waiting.len(), "waiting requests");
        assert_eq!(retrying, self.retrying, "requests on a retry");
    }

    fn check_streams(&self) {
        for slot in 0..self.slots.len() {
            let token = self.slots.token(slot);
            let mut start = 0;
            while let Some((stream, entry)) = self.slots.next_stream(token, start) {
                start = usize::from(stream.stream) + 1;
                if let Stream::Open { request, .. } = entry {
                    let held = self.requests.get(request).stream();
                    assert_eq!(held, Some(stream), "a stream's request holds that stream");
                }
            }
        }
    }

    fn check_timers(&self) {
        let mut live = 0;
        for slot in 0..self.slots.len() {
            let life = self.timers.armed(Timer::Life(slot as u32)).is_some();
            let quiet = self.timers.armed(Timer::Quiet(slot as u32)).is_some();
            let exists = self.slots.connection(slot).lifecycle() != Lifecycle::Empty;
            assert_eq!(life, exists, "slot {slot} has a deadline if and only if it is in use");
            assert!(exists || !quiet, "an empty slot is not watched");
            live += usize::from(life) + usize::from(quiet);
        }
        let mut start = 0;
        while let Some(index) = self.requests.next_live(start) {
            start = index + 1;
            let armed = self.timers.armed(Timer::Request(index)).is_some();
            let waits = self.requests.get(index).state == RequestState::Waiting;
            assert!(armed || !waits, "waiting request {index} has a deadline");
            live += usize::from(armed);
            if start as usize >= self.config.limits.requests {
                break;
            }
        }
        for index in 0..self.backends.len() {
            let health = self.timers.armed(Timer::Health(index as u32)).is_some();
            let ejected = matches!(self.backends[index].health, Health::Ejected { .. });
            assert_eq!(health, ejected, "backend {index} has a way back");
            let backoff = self.timers.armed(Timer::Backoff(index as u32)).is_some();
            live += usize::from(health) + usize::from(backoff);
        }
        live += usize::from(self.timers.armed(Timer::Shutdown).is_some());
        assert_eq!(self.timers.len(), live, "every timer has a live cause");
    }

    fn check_backends(&self) {
        let bound: u32 =
            (0..self.backends.len()).map(|index| self.balancer.load(backend_id(index))).sum();
        let sent = self.requests.live() - self.waiting.len() as u32;
        assert_eq!(bound, sent, "every sent request counts for one backend");
        let mut usable = 0;
        for (index, backend) in self.backends.iter().enumerate() {
            let id = backend_id(index);
            usable += u32::from(backend.health.is_usable());
            let healthy = matches!(backend.health, Health::Healthy { .. });
            assert_ne!(healthy, self.ejected.contains(index as u32), "backend {index} is listed");
            let chosen = backend.health.is_usable() || self.fail_open == Some(id);
            assert_eq!(self.balancer.is_member(Set::Usable, id), chosen, "usable {index}");
            let roomy = chosen && self.slots.has_capacity(id);
            assert_eq!(self.balancer.is_member(Set::Roomy, id), roomy, "roomy {index}");
            let waits = self.timers.armed(Timer::Backoff(index as u32)).is_some();
            let dialable = chosen && !waits && self.slots.can_dial(id);
            assert_eq!(self.balancer.is_member(Set::Dialable, id), dialable, "dialable {index}");
        }
        assert_eq!(usable, self.usable, "usable backends");
        assert!(usable > 0 || self.fail_open.is_some(), "some backend may always be tried");
    }

    /// No request waits while a stream it may use is free, and one that waits has something to wait
    /// for. A connection without load is never left draining.
    fn check_progress(&self) {
        let room = (0..self.backends.len())
            .any(|index| self.balancer.is_member(Set::Roomy, backend_id(index)));
        assert!(self.waiting.is_empty() || !room, "a request waits beside a free stream");
        let dialable = (0..self.backends.len())
            .any(|index| self.balancer.is_member(Set::Dialable, backend_id(index)));
        let covered = self.waiting.len() as u64 <= self.slots.expected_streams();
        assert!(covered || !dialable, "a request waits without a dial that could be made");
        for slot in 0..self.slots.len() {
            let connection = self.slots.connection(slot);
            let draining = matches!(connection.lifecycle(), Lifecycle::Draining(_));
            assert!(!draining || connection.load() > 0, "slot {slot} drains without a load");
            let lost = connection.lifecycle() == Lifecycle::Draining(DrainCause::Lost);
            assert!(!lost || connection.capacity() == 0);
        }
    }
}
