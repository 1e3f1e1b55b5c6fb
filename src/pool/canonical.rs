//! The identity of a pool's state, for an exhaustive search that must recognise the states it has
//! seen.
//!
//! Two states with the same identity behave alike in every future. Times are relative to now,
//! virtual times relative to the smallest, and stream identifiers are only compared. Generations
//! and counters are left out. The identity is exact only for pools that make no random choices: a
//! strategy that draws nothing, a fixed backoff, a maximum age beyond [`FAR`], and no slow start;
//! and only if streams are opened in the order of their ordinals. The search must see to that.

use core::hash::{Hash, Hasher};
use core::time::Duration;

use super::backend::{Backend, Service};
use super::connection::Lifecycle;
use super::health::{Circumstances, Health};
use super::request::{RequestState, Upload};
use super::slots::StreamEntry;
use super::timer::Timer;
use super::{Instant, Pool, PoolPhase};

/// Times further away than this, in nanoseconds (13 days), count as never.
pub const FAR: u64 = 1 << 50;

impl Pool {
    /// Hashes the identity of the state at `now`.
    pub fn hash_state(&self, now: Instant, hasher: &mut impl Hasher) {
        match self.phase {
            PoolPhase::Running => 0_u8,
            PoolPhase::Draining => 1,
            PoolPhase::Over => 2,
        }
        .hash(hasher);
        let armed = |timer| self.armed_turn(now, timer);
        armed(Timer::Shutdown).hash(hasher);
        for slot in self.slots.dialled() {
            let connection = self.slots.connection(slot);
            // A slot that is empty again is like one that was never dialled.
            if connection.lifecycle() == Lifecycle::Empty {
                continue;
            }
            slot.hash(hasher);
            connection.hash_state(now, hasher);
            armed(Timer::Life(slot as u32)).hash(hasher);
            armed(Timer::Quiet(slot as u32)).hash(hasher);
            self.hash_streams(slot, hasher);
        }
        self.hash_requests(now, hasher);
        self.hash_backends(now, hasher);
    }

    /// Returns the time until a deadline, and how many were before it if it has passed: those that
    /// have passed are handled in their order.
    fn turn(&self, now: Instant, at: Instant) -> (u64, usize) {
        if at >= now {
            return (after(now, at), 0);
        }
        let requests = (0..self.config.limits.requests as u32)
            .filter_map(|index| self.requests.peek(index).and_then(|request| request.deadline));
        let before = requests.filter(|deadline| *deadline < at).count();
        (0, 1 + before + self.timers.count_before(at))
    }

    fn armed_turn(&self, now: Instant, timer: Timer) -> Option<(u64, usize)> {
        self.timers.armed(timer).map(|at| self.turn(now, at))
    }

    fn hash_streams(&self, slot: usize, hasher: &mut impl Hasher) {
        let token = self.slots.token(slot);
        let streams = || {
            let mut start = 0;
            core::iter::from_fn(move || {
                let (stream, entry) = self.slots.next_stream(token, start)?;
                start = usize::from(stream.stream) + 1;
                Some((stream.stream, entry))
            })
        };
        let ids = || {
            streams().filter_map(|(_, entry)| match entry {
                StreamEntry::Open { stream_id, .. } => Some(stream_id),
                StreamEntry::Resetting { .. } | StreamEntry::Free { .. } => None,
            })
        };
        let last = self.slots.connection(slot).last_stream_id;
        for (place, entry) in streams() {
            match entry {
                StreamEntry::Open { ordinal, stream_id, request } => {
                    let rank = ids().filter(|other| *other < stream_id).count();
                    (1_u8, place, stream_id == 0, rank, request).hash(hasher);
                    // The identifier that it will have, if streams are opened in their order.
                    (2 * u64::from(ordinal) < u64::from(last)).hash(hasher);
                }
                StreamEntry::Resetting { .. } => (2_u8, place).hash(hasher),
                StreamEntry::Free { .. } => {}
            }
        }
        let below = ids().filter(|id| *id <= last).count();
        (last >= u32::MAX >> 1, below).hash(hasher);
    }

    fn hash_requests(&self, now: Instant, hasher: &mut impl Hasher) {
        for index in 0..self.config.limits.requests as u32 {
            let Some(request) = self.requests.peek(index) else {
                0_u8.hash(hasher);
                continue;
            };
            let (state, upload) = match request.state {
                RequestState::Free { .. } => (0_u8, None),
                RequestState::Waiting => (1, None),
                RequestState::Sent { upload, .. } => (2, Some(upload)),
                RequestState::Responding { upload, .. } => (3, Some(upload)),
                RequestState::Deferred => (4, None),
            };
            let upload = upload.map(|upload| match upload {
                Upload::Open { blocked } => (0_u8, blocked),
                Upload::Done => (1, false),
            });
            (state, upload).hash(hasher);
            (request.idempotent, request.has_body, request.replayable).hash(hasher);
            let doubt = request.doubt.filter(|doubt| self.find_backend(doubt.backend).is_ok());
            let doubt = doubt.map(|doubt| (doubt.backend.backend, doubt.is_open));
            (doubt, request.needs_live).hash(hasher);
            if let RequestState::Sent { stream, upload, since } = request.state {
                // An answer from before counts too, but only for as long as `hash_backends` shows.
                let answered = self.backends[usize::from(stream.connection.backend.0)].answered_at;
                (answered.is_some_and(|answered| answered > since), since < now).hash(hasher);
                // The time to the response is measured from the end of the upload.
                (upload == Upload::Done).then(|| now.since(since)).hash(hasher);
            }
            (request.attempts, request.avoid, request.deadline.map(|at| self.turn(now, at)))
                .hash(hasher);
            // Only the order of arrival matters, not the time.
            let mut older = 0_u32;
            let mut start = 0;
            while let Some(other) = self.requests.next_live(start) {
                start = other + 1;
                older += u32::from(self.requests.get(other).arrival < request.arrival);
            }
            older.hash(hasher);
            self.armed_turn(now, Timer::Request(index)).hash(hasher);
        }
    }

    fn hash_backends(&self, now: Instant, hasher: &mut impl Hasher) {
        let timeouts = &self.config.timeouts;
        let of = Circumstances {
            now,
            config: &self.config.health,
            timeouts,
            may_eject: true,
            fail_open: self.fail_open,
        };
        for (index, backend) in self.backends.iter().enumerate() {
            let doubled = |least: Duration, most: Duration, times: u32| {
                least.saturating_mul(1 << times.min(31)).min(most)
            };
            backend.health.next_ejection(&of).hash(hasher);
            match backend.health {
                Health::Healthy { failures, gateway_failures, since, .. } => {
                    let forgotten = since.after(timeouts.ejection_max);
                    let fixed = timeouts.ejection_min == timeouts.ejection_max;
                    let left = if fixed { 0 } else { after(now, forgotten) };
                    (0_u8, left, failures, Some(gateway_failures))
                }
                Health::Ejected { .. } => (1, 0, 0, None),
                Health::HalfOpen { successes, trial_request, .. } => {
                    (2, 0, successes, trial_request)
                }
            }
            .hash(hasher);
            let service = match backend.service {
                Service::Vacant => (0_u8, None),
                Service::Serving => (1, None),
                Service::Draining { until } => (2, Some(after(now, until))),
                Service::Removed { until } => (3, Some(after(now, until))),
            };
            (service, backend.health_checks, backend.check_in_flight.is_some()).hash(hasher);
            // The order of removal matters: the backend removed first is freed first.
            let since = |backend: &Backend| backend.reported.map(|(_, since, _)| since);
            let left =
                |other: &&Backend| other.service.is_removed() && since(other) < since(backend);
            self.backends.iter().filter(left).count().hash(hasher);
            let (least, most) = (timeouts.backoff_min, timeouts.backoff_max);
            doubled(least, most, backend.dial_failures).hash(hasher);
            let silence = timeouts.silence;
            let answered = backend.answered_at.map(|at| now.since(at));
            answered.filter(|ago| *ago < silence).hash(hasher);
            (backend.response_time, backend.enhance_your_calm_count, backend.expected_streams)
                .hash(hasher);
            let armed = |timer| self.armed_turn(now, timer);
            armed(Timer::Backoff(index as u32)).hash(hasher);
            armed(Timer::Health(index as u32)).hash(hasher);
            armed(Timer::HealthCheck(index as u32)).hash(hasher);
        }
        self.balancer.hash_state(hasher);
        self.fail_open.hash(hasher);
    }
}

/// Returns the time until `at`, or `u64::MAX` if it is beyond [`FAR`].
fn after(now: Instant, at: Instant) -> u64 {
    let left = at.0.saturating_sub(now.0);
    if left > FAR { u64::MAX } else { left }
}
