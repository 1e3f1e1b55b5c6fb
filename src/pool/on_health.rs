//! Effects of requests, dials and health checks on the health and use of backends.

use super::backend::StateCause;
use super::config::HealthChecking;
use super::health::{Blame, Circumstances, Health, HealthChange};
use super::time::nanoseconds;
use super::timer::Timer;
use super::{BackendId, BackendToken, Handled, Instant, Output, Pool};
use core::time::Duration;

/// Statuses that mean that a backend, or a server behind it, is unavailable (RFC 9110, 15.6.3 to
/// 15.6.5).
const GATEWAY_FAILURES: core::ops::RangeInclusive<u16> = 502..=504;

impl Pool {
    /// Handles a failed dial, or a connection that failed before the first response and without a
    /// request that may have caused it. The failure counts for the backend's health, and doubles
    /// the wait before the dial after the next one.
    pub(super) fn dial_failed(&mut self, now: Instant, backend: BackendId) {
        if self.back_off(now, backend) {
            let state = &mut self.backends[usize::from(backend.0)];
            state.dial_failures = state.dial_failures.saturating_add(1);
            self.backend_failed(now, backend, Blame::TrialOrDial);
        }
    }

    /// Lets the next dial wait, with 20 % jitter. Dials that were in progress together count as one
    /// failure, however many of them fail: returns false if the next dial waits already.
    pub(super) fn back_off(&mut self, now: Instant, backend: BackendId) -> bool {
        if self.timers.armed(Timer::Backoff(u32::from(backend.0))).is_some() {
            self.refresh(backend);
            return false;
        }
        let doublings = self.backends[usize::from(backend.0)].dial_failures.min(31);
        let timeouts = &self.config.timeouts;
        let least = timeouts.backoff_min;
        let most = timeouts.backoff_max.max(least);
        let delay = nanoseconds(least.saturating_mul(1 << doublings).min(most));
        let drawn = Duration::from_nanos(self.random.jitter(delay, 20)).clamp(least, most);
        self.timers.arm(Timer::Backoff(u32::from(backend.0)), now.after(drawn));
        self.refresh(backend);
        true
    }

    /// Ends the backoff: the backend may be dialled again. It does not catch up on missed dials.
    pub(super) fn on_backoff_over(&mut self, backend: BackendId) {
        self.balancer.forgive(backend);
        self.timers.disarm(Timer::Backoff(u32::from(backend.0)));
        self.refresh(backend);
    }

    /// Returns whose failure it would be if this request's attempt failed on the backend.
    pub(super) fn blame(&self, backend: BackendId, request: u32) -> Blame {
        let trial_request = self.backends[usize::from(backend.0)].health.trial_request();
        if trial_request == Some(request) { Blame::TrialOrDial } else { Blame::Other }
    }

    /// Returns whose failure it would be if a connection failed. It is the trial request's failure
    /// if the connection carries the trial request.
    pub(super) fn blame_of_connection(&self, slot: usize) -> Blame {
        let token = self.slots.token(slot);
        let trial_request = self.backends[usize::from(token.backend.0)].health.trial_request();
        let stream =
            trial_request.and_then(|trial_request| self.requests.get(trial_request).stream());
        let carries = stream.is_some_and(|stream| stream.connection == token);
        if carries { Blame::TrialOrDial } else { Blame::Other }
    }

    /// Counts a failure of the backend.
    pub(super) fn backend_failed(&mut self, now: Instant, backend: BackendId, blame: Blame) {
        let change = self.judge(now, backend, |health, of| health.failure(blame, of));
        self.carry_out(now, backend, change, StateCause::Failures);
    }

    /// Counts a response of the backend. It ends the backoff, and may end an ejection or the
    /// half-open state.
    pub(super) fn backend_answered(
        &mut self,
        now: Instant,
        backend: BackendId,
        request: u32,
        status: u16,
    ) {
        let state = &mut self.backends[usize::from(backend.0)];
        state.dial_failures = 0;
        state.answered_at = Some(now);
        if self.timers.armed(Timer::Backoff(u32::from(backend.0))).is_some() {
            self.on_backoff_over(backend);
        }
        if self.config.health.gateway_failures > 0 && GATEWAY_FAILURES.contains(&status) {
            let change = self.judge(now, backend, |health, of| health.gateway_failure(request, of));
            self.carry_out(now, backend, change, StateCause::GatewayFailures);
        } else {
            let change = self.judge(now, backend, |health, of| health.success(request, of));
            self.carry_out(now, backend, change, StateCause::Answered);
        }
    }

    fn judge(
        &mut self,
        now: Instant,
        backend: BackendId,
        ask: impl FnOnce(&mut Health, &Circumstances<'_>) -> HealthChange,
    ) -> HealthChange {
        let config = &self.config;
        // One backend may always be ejected; beyond that, a share of those in service.
        let most = u64::from(self.in_service) * u64::from(config.health.ejected_percent_max) / 100;
        let of = Circumstances {
            now,
            config: &config.health,
            timeouts: &config.timeouts,
            may_eject: u64::from(self.ejected) < most.max(1),
            fail_open: self.fail_open,
        };
        ask(&mut self.backends[usize::from(backend.0)].health, &of)
    }

    fn carry_out(
        &mut self,
        now: Instant,
        backend: BackendId,
        change: HealthChange,
        cause: StateCause,
    ) {
        let timer = Timer::Health(u32::from(backend.0));
        match change {
            HealthChange::Unchanged => return,
            HealthChange::EjectionOverflow => {
                self.counters.ejection_overflow += 1;
                return;
            }
            HealthChange::Ejected(time) => {
                self.counters.ejections += 1;
                self.timers.arm(timer, now.after(time));
            }
            // The timer was for the ejection, or for the trial request that has just been answered.
            HealthChange::HalfOpened => self.timers.disarm(timer),
            HealthChange::Healed => {
                self.timers.disarm(timer);
                self.balancer.start_slowly(backend, now);
            }
        }
        self.refresh(backend);
        self.report_state(now, backend, cause);
    }

    /// Handles the end of an ejection, or a trial request that takes too long. The backend may get
    /// one trial request.
    pub(super) fn on_ejection_over(&mut self, now: Instant, backend: BackendId) {
        self.timers.disarm(Timer::Health(u32::from(backend.0)));
        let opened = self.backends[usize::from(backend.0)].health.time_over();
        assert!(opened, "the timer is armed only in a state that it ends");
        self.refresh(backend);
        self.report_state(now, backend, StateCause::EjectionOver);
    }

    /// Reports the state of a backend if it changed.
    pub(super) fn report_state(&mut self, now: Instant, backend: BackendId, cause: StateCause) {
        let place = &mut self.backends[usize::from(backend.0)];
        let state = place.state();
        if place.reported.map(|(reported, ..)| reported) == state {
            return;
        }
        place.reported = state.map(|state| (state, now, cause));
        if let Some(state) = state {
            let backend = self.backend_token_of(backend);
            self.order(Output::BackendChanged { backend, state, cause });
        }
    }
}

impl Pool {
    /// Starts the health checks of a backend, if this pool orders them.
    pub(super) fn start_health_checks(&mut self, now: Instant, backend: BackendId) {
        if self.config.health_checking == HealthChecking::Ordered
            && self.phase == super::PoolPhase::Running
        {
            self.timers.arm(Timer::HealthCheck(u32::from(backend.0)), now);
        }
    }

    /// Stops the health checks of a backend. A report that is still to come will be stale.
    pub(super) fn stop_health_checks(&mut self, backend: BackendId) {
        self.timers.disarm(Timer::HealthCheck(u32::from(backend.0)));
        self.backends[usize::from(backend.0)].check_in_flight = None;
    }

    /// Orders the next health check, or fails the one in progress because its deadline passed.
    pub(super) fn on_health_check_due(&mut self, now: Instant, backend: BackendId) {
        let place = &mut self.backends[usize::from(backend.0)];
        if place.check_in_flight.take().is_some() {
            self.health_check_over(now, backend, false);
            return;
        }
        place.checks_ordered = place.checks_ordered.wrapping_add(1);
        let number = place.checks_ordered;
        place.check_in_flight = Some(number);
        let timer = Timer::HealthCheck(u32::from(backend.0));
        self.timers.arm(timer, now.after(self.config.timeouts.health_check_timeout));
        let backend = self.backend_token_of(backend);
        self.order(Output::CheckHealth { backend, number });
    }

    pub(super) fn on_health_check_finished(
        &mut self,
        now: Instant,
        token: BackendToken,
        number: u32,
        passed: bool,
    ) -> Handled {
        let Ok(backend) = self.find_backend(token) else {
            return Handled::Stale;
        };
        let place = &mut self.backends[usize::from(backend.0)];
        match self.config.health_checking {
            HealthChecking::Off => Handled::Refused,
            HealthChecking::Reported if place.service.is_removed() => Handled::Refused,
            HealthChecking::Reported => {
                self.count_health_check(now, backend, passed);
                Handled::Done
            }
            HealthChecking::Ordered if place.check_in_flight == Some(number) => {
                place.check_in_flight = None;
                self.health_check_over(now, backend, passed);
                Handled::Done
            }
            HealthChecking::Ordered => Handled::Stale,
        }
    }

    fn health_check_over(&mut self, now: Instant, backend: BackendId, passed: bool) {
        let interval = nanoseconds(self.config.timeouts.health_check_interval);
        let next = now.after(Duration::from_nanos(self.random.jitter(interval, 10).max(1)));
        self.timers.arm(Timer::HealthCheck(u32::from(backend.0)), next);
        let token = self.backend_token_of(backend);
        self.order(Output::HealthCheckJudged { backend: token, passed });
        self.count_health_check(now, backend, passed);
    }

    fn count_health_check(&mut self, now: Instant, backend: BackendId, passed: bool) {
        let place = &mut self.backends[usize::from(backend.0)];
        if !place.health_checks.finished(passed, &self.config.health) {
            return;
        }
        if passed {
            self.balancer.start_slowly(backend, now);
        }
        self.refresh(backend);
        self.report_state(now, backend, StateCause::HealthChecks);
    }
}
