//! The model of health: what requests, dials and health checks imply for backends, and the backoff
//! before the next dial.

use std::time::Duration;

use baton::pool::{BackendId, Instant};

use super::backend::{Health, ModelBackend};
use super::model::{ConnectionPhase, Model};
use super::time::Time as _;

impl Model {
    /// A dial failed, or a connection failed before the first response.
    pub(super) fn dial_failed(&mut self, now: Instant, backend: BackendId) {
        if self.back_off(now, backend) {
            self.backends[usize::from(backend.0)].rounds += 1;
            self.backend_failed(now, backend, true);
        }
    }

    /// One more round of failed dials, unless a backoff is already running: then returns false.
    pub(super) fn back_off(&mut self, now: Instant, backend: BackendId) -> bool {
        let timeouts = &self.config.timeouts;
        let state = &mut self.backends[usize::from(backend.0)];
        if state.backoff.is_some() {
            return false;
        }
        // One of the two may change before the other.
        let longest = timeouts.backoff_max.max(timeouts.backoff_min);
        let doubled = timeouts.backoff_min.saturating_mul(1 << state.rounds.min(31));
        let delay = doubled.min(longest);
        let least = (delay / 5 * 4).max(timeouts.backoff_min);
        let most = (delay / 5 * 6 + Duration::from_nanos(10)).min(longest);
        state.backoff = Some((now.plus(least.min(most)), now.plus(most)));
        true
    }

    /// True if the backend answered a request after `since`, or so recently that its silence means
    /// nothing yet.
    pub(super) fn answers_others(&self, now: Instant, backend: BackendId, since: Instant) -> bool {
        let answered = self.backends[usize::from(backend.0)].answered_at;
        answered.is_some_and(|at| at > since || now.past(at) < self.config.timeouts.silence)
    }

    /// Returns true if one more backend may be ejected: at least one, else up to a share of those
    /// in service.
    fn may_eject(&self) -> bool {
        let in_service = self.backends.iter().filter(|state| state.is_in_service()).count();
        let out = |state: &&ModelBackend| state.is_in_service() && !state.health.is_healthy();
        let ejected = self.backends.iter().filter(out).count();
        let share = in_service * self.config.health.ejected_percent_max as usize / 100;
        ejected < share.max(1)
    }

    pub(super) fn healthy(&self) -> usize {
        self.backends.iter().filter(|state| state.is_healthy()).count()
    }

    /// Returns true if so few backends are healthy that all in service are used.
    pub(super) fn is_fail_open(&self) -> bool {
        let in_service = self.backends.iter().filter(|state| state.is_in_service()).count();
        self.healthy() * 100 < in_service * self.config.health.fail_open_percent as usize
    }

    /// Ejects a backend, unless enough are ejected.
    fn eject_if(&mut self, now: Instant, backend: BackendId, may_eject: bool) {
        if may_eject {
            self.eject(now, backend);
        } else {
            self.counters.ejection_overflow += 1;
        }
    }

    fn eject(&mut self, now: Instant, backend: BackendId) {
        self.counters.ejections += 1;
        let timeouts = &self.config.timeouts;
        let state = &mut self.backends[usize::from(backend.0)];
        let times = match state.health {
            Health::Healthy { since, .. } if now.past(since) >= timeouts.ejection_max => 1,
            Health::Healthy { times, .. }
            | Health::HalfOpen { times, .. }
            | Health::Ejected { times, .. } => times + 1,
        };
        let longest = timeouts.ejection_max.max(timeouts.ejection_min);
        let time = timeouts.ejection_min.saturating_mul(times).min(longest);
        state.health = Health::Ejected { times, until: now.plus(time) };
        self.lose_dials(usize::from(backend.0));
    }

    /// No streams are expected from the dials of a backend that is not usable by its own health.
    pub(super) fn lose_dials(&mut self, index: usize) {
        if self.backends[index].is_usable() {
            return;
        }
        for slot in self.slots_of(index) {
            if self.connections[slot].phase == ConnectionPhase::Connecting {
                self.connections[slot].expected = 0;
            }
        }
    }

    /// Counts a failure of the backend. While the backend is half-open, only the failure of the
    /// trial request or of a dial counts.
    pub(super) fn backend_failed(
        &mut self,
        now: Instant,
        backend: BackendId,
        of_trial_request: bool,
    ) {
        let needed = self.config.health.failures;
        let may_eject = self.may_eject();
        let state = &mut self.backends[usize::from(backend.0)];
        match &mut state.health {
            Health::Healthy { failures, .. } => {
                *failures = (*failures + 1).min(needed);
                if *failures >= needed {
                    self.eject_if(now, backend, may_eject);
                }
            }
            Health::HalfOpen { .. } if of_trial_request => self.eject(now, backend),
            Health::HalfOpen { .. } | Health::Ejected { .. } => {}
        }
    }

    /// Counts a response with this status.
    pub(super) fn backend_answered(
        &mut self,
        now: Instant,
        backend: BackendId,
        request: u32,
        status: u16,
    ) {
        let fail_open = self.is_fail_open();
        let may_eject = self.may_eject();
        let config = self.config.health;
        let gateway = config.gateway_failures > 0 && matches!(status, 502..=504);
        let state = &mut self.backends[usize::from(backend.0)];
        state.rounds = 0;
        state.answered_at = Some(now);
        if state.backoff.take().is_some() {
            self.reference.forgive(usize::from(backend.0));
        }
        let state = &mut self.backends[usize::from(backend.0)];
        match &mut state.health {
            Health::Healthy { failures, gateway_failures, .. } => {
                *failures = 0;
                let one_more = (*gateway_failures + 1).min(config.gateway_failures);
                *gateway_failures = if gateway { one_more } else { 0 };
                if gateway && *gateway_failures >= config.gateway_failures {
                    self.eject_if(now, backend, may_eject);
                }
            }
            Health::HalfOpen { trial_request, .. }
                if trial_request.is_none_or(|(own, _)| own != request) => {}
            Health::HalfOpen { .. } if gateway => self.eject(now, backend),
            Health::Ejected { .. } if gateway || !fail_open => {}
            Health::Ejected { times, .. } => {
                let times = *times;
                self.pass(now, backend, times, 1);
            }
            Health::HalfOpen { times, successes, .. } => {
                let (times, successes) = (*times, *successes + 1);
                self.pass(now, backend, times, successes);
            }
        }
    }

    fn pass(&mut self, now: Instant, backend: BackendId, times: u32, successes: u32) {
        let healed = successes >= self.config.health.successes;
        let state = &mut self.backends[usize::from(backend.0)];
        if healed {
            state.health = Health::Healthy { failures: 0, gateway_failures: 0, times, since: now };
            state.returned = Some(now);
        } else {
            state.health = Health::HalfOpen { times, successes, trial_request: None };
        }
    }

    /// Assigns a request to the backend. If the backend is half-open, the request is its trial
    /// request until the timeout for a response head.
    pub(super) fn request_bound(&mut self, now: Instant, backend: BackendId, request: u32) {
        let until = now.plus(self.config.timeouts.response_head);
        let state = &mut self.backends[usize::from(backend.0)];
        state.requests += 1;
        if let Health::HalfOpen { trial_request, .. } = &mut state.health
            && trial_request.is_none()
        {
            *trial_request = Some((request, until));
            self.lose_dials(usize::from(backend.0));
        }
    }

    /// Removes a request from the backend.
    pub(super) fn request_unbound(&mut self, backend: BackendId, request: u32) {
        let state = &mut self.backends[usize::from(backend.0)];
        state.requests -= 1;
        let was_trial_request = state.health.is_trial_request(request);
        if let Health::HalfOpen { trial_request, .. } = &mut state.health
            && was_trial_request
        {
            *trial_request = None;
        }
    }

    /// Ends the ejection or trial request that expires at `at`; if there are several, the first in
    /// table order.
    pub(super) fn ejection_over(&mut self, at: Instant) {
        let due = self.backends.iter_mut().find_map(|state| match state.health {
            Health::Ejected { times, until } if until == at => Some((state, times, 0)),
            Health::HalfOpen { times, successes, trial_request: Some((_, until)) }
                if until == at =>
            {
                Some((state, times, successes))
            }
            _ => None,
        });
        if let Some((state, times, successes)) = due {
            state.health = Health::HalfOpen { times, successes, trial_request: None };
        }
    }

    /// Counts a health check: enough consecutive results take a backend down or bring it up.
    pub(super) fn count_health_check(&mut self, now: Instant, backend: usize, passed: bool) {
        let config = self.config.health;
        let state = &mut self.backends[backend];
        let health_checks = &mut state.health_checks;
        if passed != health_checks.down {
            health_checks.against = 0;
            return;
        }
        health_checks.against += 1;
        let needed = if passed { config.rise } else { config.fall };
        if health_checks.against >= needed {
            health_checks.down = !passed;
            health_checks.against = 0;
            if passed {
                state.returned = Some(now);
            }
            self.lose_dials(backend);
        }
    }
}
