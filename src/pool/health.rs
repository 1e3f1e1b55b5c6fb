//! Passive health: what requests and dials show about a backend (Envoy's outlier ejection).
//!
//! Counted as a *failure*:
//! - a round of dials that failed, or of connections that failed before the first response;
//! - a connection that was closed while it carried a request, or that stayed silent: one failure,
//!   however many streams it carried;
//! - a stream that was reset with an error, or a malformed response;
//! - a response head that did not arrive in time.
//!
//! A *gateway failure* is a response with status 502, 503 or 504. A *success* is any other response
//! head. GOAWAY, REFUSED_STREAM, cancelled requests and stalled bodies count as nothing.
//!
//! | state | failure | gateway failure | success | timer |
//! |---|---|---|---|---|
//! | healthy | `failures` in a row: ejected ¹ | `gateway_failures` in a row: ejected ¹ | resets both counts | – |
//! | ejected | – | – | half-open with one success, if failing open | half-open |
//! | half-open | ejected again ² | ejected again ² | `successes` in a row: healthy ³ | next trial |
//!
//! ¹ if the share of ejected backends allows it. ² if the failure is the trial request's or a
//! dial's. ³ only trial requests that succeed count.
//!
//! The n-th ejection in a row lasts n times the minimum. The count resets when the backend was
//! healthy for the maximum ejection time. Responses and failures of requests from before the
//! ejection count for nothing, because they show nothing about the present. A trial request that
//! takes longer than a response may, such as a long upload, no longer counts as the trial request,
//! and the next request takes its role.

use core::time::Duration;

use super::settings::{HealthConfig, Timeouts};
use super::time::Instant;

/// Passive health of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Counts failures and gateway failures in a row. The backend was ejected `times` in a row
    /// before, and the last ejection ended at `since`.
    Healthy { failures: u32, gateway_failures: u32, times: u32, since: Instant },
    /// Left out until a timer ends the ejection.
    Ejected { times: u32 },
    /// Gets one trial request at a time; `trial_request` is the one in progress.
    HalfOpen { times: u32, successes: u32, trial_request: Option<u32> },
}

/// The origin of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// A failure of the trial request or of a dial.
    TrialOrDial,
    /// A failure of another request or connection.
    Other,
}

/// How a fact changed the health of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthChange {
    /// No change.
    Unchanged,
    /// The ejection was due, but enough backends are ejected (ejection overflow).
    EjectionOverflow,
    /// Ejected for this long.
    Ejected(Duration),
    /// Half-open.
    HalfOpened,
    /// Healthy again.
    Healed,
}

/// Circumstances, apart from the backend itself, that decide how a fact changes its health.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a HealthConfig,
    pub(crate) timeouts: &'a Timeouts,
    /// True if one more backend may be ejected.
    pub(crate) may_eject: bool,
    /// True if unhealthy backends are used because too few are healthy (fail-open).
    pub(crate) fail_open: bool,
}

impl Health {
    pub(crate) const NEW: Self =
        Self::Healthy { failures: 0, gateway_failures: 0, times: 0, since: Instant::ZERO };

    /// Counts a failure. While half-open, only failures of the trial request and of dials count:
    /// requests from before the ejection may fail late.
    pub(crate) fn failure(&mut self, blame: Blame, of: &Circumstances<'_>) -> HealthChange {
        match self {
            Self::Healthy { failures, .. } => {
                *failures = failures.saturating_add(1).min(of.config.failures);
                let out = *failures >= of.config.failures;
                self.judge(out, of)
            }
            Self::Ejected { .. } => HealthChange::Unchanged,
            Self::HalfOpen { .. } if blame == Blame::Other => HealthChange::Unchanged,
            Self::HalfOpen { times, .. } => {
                let times = times.saturating_add(1);
                self.eject(times, of)
            }
        }
    }

    /// Counts a response with status 502, 503 or 504.
    pub(crate) fn gateway_failure(&mut self, request: u32, of: &Circumstances<'_>) -> HealthChange {
        match self {
            Self::Healthy { failures, gateway_failures, .. } => {
                *failures = 0;
                *gateway_failures =
                    gateway_failures.saturating_add(1).min(of.config.gateway_failures);
                let out = *gateway_failures >= of.config.gateway_failures;
                self.judge(out, of)
            }
            Self::HalfOpen { times, trial_request, .. } if *trial_request == Some(request) => {
                let times = times.saturating_add(1);
                self.eject(times, of)
            }
            Self::Ejected { .. } | Self::HalfOpen { .. } => HealthChange::Unchanged,
        }
    }

    /// Counts a response with any other status.
    pub(crate) fn success(&mut self, request: u32, of: &Circumstances<'_>) -> HealthChange {
        match *self {
            Self::Healthy { times, since, .. } => {
                *self = Self::Healthy { failures: 0, gateway_failures: 0, times, since };
                HealthChange::Unchanged
            }
            Self::Ejected { times } if of.fail_open => self.pass(times, 1, of),
            Self::HalfOpen { times, successes, trial_request }
                if trial_request == Some(request) =>
            {
                self.pass(times, successes + 1, of)
            }
            Self::Ejected { .. } | Self::HalfOpen { .. } => HealthChange::Unchanged,
        }
    }

    /// Ends the ejection, or stops waiting for a slow trial request, so that another request can
    /// take its role. Returns false if the backend was neither ejected nor waiting for a trial
    /// request.
    pub(crate) fn time_over(&mut self) -> bool {
        match *self {
            Self::Ejected { times } => {
                *self = Self::HalfOpen { times, successes: 0, trial_request: None };
                true
            }
            Self::HalfOpen { times, successes, trial_request: Some(_) } => {
                *self = Self::HalfOpen { times, successes, trial_request: None };
                true
            }
            Self::Healthy { .. } | Self::HalfOpen { trial_request: None, .. } => false,
        }
    }

    /// True if this state needs a timer to end it.
    pub(crate) fn is_timed(&self) -> bool {
        match self {
            Self::Ejected { .. } | Self::HalfOpen { trial_request: Some(_), .. } => true,
            Self::Healthy { .. } | Self::HalfOpen { trial_request: None, .. } => false,
        }
    }

    /// Returns the trial request.
    pub(crate) fn trial_request(&self) -> Option<u32> {
        match self {
            Self::HalfOpen { trial_request, .. } => *trial_request,
            Self::Healthy { .. } | Self::Ejected { .. } => None,
        }
    }

    /// True if a further request may go to the backend. Ignores fail-open.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Self::Healthy { .. } => true,
            Self::Ejected { .. } => false,
            Self::HalfOpen { trial_request, .. } => trial_request.is_none(),
        }
    }

    /// True if it is neither ejected nor half-open.
    pub(crate) fn is_healthy(&self) -> bool {
        match self {
            Self::Healthy { .. } => true,
            Self::Ejected { .. } | Self::HalfOpen { .. } => false,
        }
    }

    /// Notes that a request was bound to the backend. Returns true if it is now the trial request.
    pub(crate) fn bound(&mut self, request: u32) -> bool {
        match self {
            Self::HalfOpen { trial_request: trial_request @ None, .. } => {
                *trial_request = Some(request);
                true
            }
            Self::HalfOpen { .. } | Self::Healthy { .. } | Self::Ejected { .. } => false,
        }
    }

    /// Notes that a request left the backend, with or without a result. Returns true if it was the
    /// trial request.
    pub(crate) fn unbound(&mut self, request: u32) -> bool {
        match self {
            Self::HalfOpen { trial_request, .. } if *trial_request == Some(request) => {
                *trial_request = None;
                true
            }
            Self::HalfOpen { .. } | Self::Healthy { .. } | Self::Ejected { .. } => false,
        }
    }

    /// Returns how long the next ejection would last.
    pub(crate) fn next_ejection(&self, of: &Circumstances<'_>) -> Duration {
        ejection(self.next_times(of), of.timeouts)
    }

    fn next_times(&self, of: &Circumstances<'_>) -> u32 {
        match self {
            Self::Healthy { times, since, .. } => {
                let forgotten = of.now.since(*since) >= of.timeouts.ejection_max;
                if forgotten { 1 } else { times.saturating_add(1) }
            }
            Self::Ejected { times } | Self::HalfOpen { times, .. } => times.saturating_add(1),
        }
    }

    fn judge(&mut self, out: bool, of: &Circumstances<'_>) -> HealthChange {
        if !out {
            HealthChange::Unchanged
        } else if of.may_eject {
            let times = self.next_times(of);
            self.eject(times, of)
        } else {
            HealthChange::EjectionOverflow
        }
    }

    fn pass(&mut self, times: u32, successes: u32, of: &Circumstances<'_>) -> HealthChange {
        if successes >= of.config.successes {
            *self = Self::Healthy { failures: 0, gateway_failures: 0, times, since: of.now };
            return HealthChange::Healed;
        }
        *self = Self::HalfOpen { times, successes, trial_request: None };
        HealthChange::HalfOpened
    }

    fn eject(&mut self, times: u32, of: &Circumstances<'_>) -> HealthChange {
        assert!(times >= 1, "the present ejection counts");
        *self = Self::Ejected { times };
        HealthChange::Ejected(ejection(times, of.timeouts))
    }
}

/// Returns `times` times the minimum ejection time, at most the maximum.
fn ejection(times: u32, timeouts: &Timeouts) -> Duration {
    let most = timeouts.ejection_max.max(timeouts.ejection_min);
    timeouts.ejection_min.saturating_mul(times).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: HealthConfig = HealthConfig::DEFAULT;
    const TIMEOUTS: Timeouts = Timeouts::DEFAULT;
    const NOW: Instant = Instant(1 << 40);
    const OF: Circumstances<'_> = Circumstances {
        now: NOW,
        config: &CONFIG,
        timeouts: &TIMEOUTS,
        may_eject: true,
        fail_open: false,
    };
    const FIVE: HealthChange = HealthChange::Ejected(Duration::from_secs(5));

    fn ejected() -> Health {
        let mut health = Health::NEW;
        for _ in 0..3 {
            let _ = health.failure(Blame::TrialOrDial, &OF);
        }
        health
    }

    #[test]
    fn the_third_failure_in_a_row_ejects() {
        let mut health = Health::NEW;
        let mut fail = || health.failure(Blame::TrialOrDial, &OF);
        assert_eq!(
            [fail(), fail(), fail()],
            [HealthChange::Unchanged, HealthChange::Unchanged, FIVE]
        );
        assert!(!health.is_usable());
    }

    #[test]
    fn a_success_resets_the_counts() {
        let mut health = Health::NEW;
        for _ in 0..10 {
            assert_eq!(health.failure(Blame::TrialOrDial, &OF), HealthChange::Unchanged);
            assert_eq!(health.failure(Blame::TrialOrDial, &OF), HealthChange::Unchanged);
            for _ in 0..4 {
                assert_eq!(health.gateway_failure(1, &OF), HealthChange::Unchanged);
            }
            assert_eq!(health.success(1, &OF), HealthChange::Unchanged);
        }
        assert!(health.is_usable());
    }

    #[test]
    fn the_fifth_gateway_failure_in_a_row_ejects() {
        let mut health = Health::NEW;
        for _ in 0..4 {
            assert_eq!(health.gateway_failure(1, &OF), HealthChange::Unchanged);
        }
        assert_eq!(health.gateway_failure(1, &OF), FIVE);
    }

    #[test]
    fn an_ejection_overflows_while_enough_are_ejected_and_happens_at_the_next_failure() {
        let ejection_overflow = Circumstances { may_eject: false, ..OF };
        let mut health = Health::NEW;
        for _ in 0..2 {
            let _ = health.failure(Blame::TrialOrDial, &ejection_overflow);
        }
        assert_eq!(
            health.failure(Blame::TrialOrDial, &ejection_overflow),
            HealthChange::EjectionOverflow
        );
        assert!(health.is_usable());
        assert_eq!(health.failure(Blame::TrialOrDial, &OF), FIVE);
    }

    #[test]
    fn one_trial_request_at_a_time_and_two_successes_end_half_open() {
        let mut health = ejected();
        assert!(health.time_over());
        assert!(health.is_usable() && !health.is_healthy());
        assert!(health.bound(7) && !health.bound(8));
        assert!(!health.is_usable(), "the trial request is in flight");
        assert_eq!(
            health.failure(Blame::Other, &OF),
            HealthChange::Unchanged,
            "from before the ejection"
        );
        assert_eq!(health.success(8, &OF), HealthChange::Unchanged, "not the trial request");
        assert_eq!(health.success(7, &OF), HealthChange::HalfOpened);
        let _ = health.unbound(7);
        assert!(health.bound(9));
        assert_eq!(health.success(9, &OF), HealthChange::Healed);
        assert!(health.is_healthy());
    }

    #[test]
    fn a_gateway_failure_of_the_trial_request_ejects_again() {
        let mut health = ejected();
        assert!(health.time_over());
        assert!(health.bound(7));
        assert_eq!(
            health.gateway_failure(8, &OF),
            HealthChange::Unchanged,
            "not the trial request"
        );
        let ten = HealthChange::Ejected(Duration::from_secs(10));
        assert_eq!(health.gateway_failure(7, &OF), ten);
    }

    #[test]
    fn a_trial_request_that_ends_without_a_result_allows_the_next() {
        let mut health = ejected();
        assert!(health.time_over());
        assert!(health.bound(7) && !health.unbound(8));
        assert!(!health.is_usable());
        assert!(health.unbound(7));
        assert!(health.is_usable());
        assert!(health.bound(9) && health.is_timed() && health.time_over());
        assert!(health.is_usable(), "the trial request takes too long: another one may be tried");
    }

    #[test]
    fn each_ejection_in_a_row_lasts_longer_up_to_the_maximum() {
        let mut health = ejected();
        for seconds in [10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60] {
            assert!(health.time_over());
            let time = Duration::from_secs(seconds);
            assert_eq!(health.failure(Blame::TrialOrDial, &OF), HealthChange::Ejected(time));
        }
    }

    #[test]
    fn earlier_ejections_are_forgotten_after_being_healthy_for_the_maximum_ejection_time() {
        for (later, seconds) in [(59, 10), (60, 5)] {
            let mut health = ejected();
            assert!(health.time_over());
            for trial_request in [1, 2] {
                assert!(health.bound(trial_request));
                let _ = health.success(trial_request, &OF);
            }
            assert!(health.is_healthy());
            let now = NOW.after(Duration::from_secs(later));
            let of = Circumstances { now, ..OF };
            let _ = health.failure(Blame::TrialOrDial, &of);
            let _ = health.failure(Blame::TrialOrDial, &of);
            let time = Duration::from_secs(seconds);
            assert_eq!(
                health.failure(Blame::TrialOrDial, &of),
                HealthChange::Ejected(time),
                "{later} s later"
            );
        }
    }

    #[test]
    fn an_ejected_backend_that_is_used_by_fail_open_becomes_half_open_by_answering() {
        let mut health = ejected();
        assert_eq!(
            health.success(1, &OF),
            HealthChange::Unchanged,
            "a late response proves nothing"
        );
        let fail_open = Circumstances { fail_open: true, ..OF };
        assert_eq!(health.failure(Blame::TrialOrDial, &fail_open), HealthChange::Unchanged);
        assert_eq!(health.gateway_failure(1, &fail_open), HealthChange::Unchanged);
        assert_eq!(health.success(1, &fail_open), HealthChange::HalfOpened);
        assert!(health.bound(2));
        assert_eq!(health.success(2, &fail_open), HealthChange::Healed);
    }
}
