//! Passive health: what requests and dials tell about a backend.
//!
//! A *failure* is a round of dials that failed or of connections that never answered, a connection
//! that was lost under a request or fell silent (one failure, however many streams it carried), a
//! stream reset with an error or answered with nonsense, or a
//! response head that did not come in time. A *success* is a response head, whatever its status:
//! the backend answered. GOAWAY, REFUSED_STREAM and cancelled requests say nothing.
//!
//! | state | failure | success | timer |
//! |---|---|---|---|
//! | healthy | the third in a row ejects | starts the count anew | – |
//! | ejected | – | half-open, one success, if it is tried because all are out | half-open |
//! | half-open | ejected for twice as long | of the probe: the second in a row heals | – |
//!
//! Late responses to requests from before the ejection prove nothing, and do not help.

use core::time::Duration;

use super::config::{HealthConfig, Timeouts};

/// One backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Failures in a row so far.
    Healthy { failures: u32 },
    /// Left out until a timer ends it. `times` in a row without being healed.
    Ejected { times: u32 },
    /// Takes one request at a time, which is the probe.
    HalfOpen { times: u32, successes: u32, probe: Option<u32> },
}

/// What became of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As before.
    Unchanged,
    /// Out, for this long.
    Ejected(Duration),
    /// On trial.
    HalfOpened,
    /// Back.
    Healed,
}

impl Health {
    pub(crate) const NEW: Self = Self::Healthy { failures: 0 };

    pub(crate) fn failure(&mut self, config: &HealthConfig, timeouts: &Timeouts) -> Verdict {
        match *self {
            Self::Healthy { failures } if failures + 1 < config.failures => {
                *self = Self::Healthy { failures: failures + 1 };
                Verdict::Unchanged
            }
            Self::Healthy { .. } => self.eject(1, timeouts),
            Self::Ejected { .. } => Verdict::Unchanged,
            Self::HalfOpen { times, .. } => self.eject(times.saturating_add(1), timeouts),
        }
    }

    /// A request was answered. `tried` says that the backend is in use although it is out.
    pub(crate) fn success(&mut self, request: u32, tried: bool, config: &HealthConfig) -> Verdict {
        match *self {
            Self::Healthy { .. } => {
                *self = Self::NEW;
                Verdict::Unchanged
            }
            Self::Ejected { times } if tried => self.pass(times, 1, config),
            Self::HalfOpen { times, successes, probe } if probe == Some(request) => {
                self.pass(times, successes + 1, config)
            }
            Self::Ejected { .. } | Self::HalfOpen { .. } => Verdict::Unchanged,
        }
    }

    /// The ejection is over. False if there was none.
    pub(crate) fn half_open(&mut self) -> bool {
        match *self {
            Self::Ejected { times } => {
                *self = Self::HalfOpen { times, successes: 0, probe: None };
                true
            }
            Self::Healthy { .. } | Self::HalfOpen { .. } => false,
        }
    }

    /// Whether any request may go there, apart from the case that all are out.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Self::Healthy { .. } => true,
            Self::Ejected { .. } => false,
            Self::HalfOpen { probe, .. } => probe.is_none(),
        }
    }

    /// A request was bound to the backend; on trial, it is the probe.
    pub(crate) fn bound(&mut self, request: u32) {
        if let Self::HalfOpen { probe, .. } = self
            && probe.is_none()
        {
            *probe = Some(request);
        }
    }

    /// A request left the backend, with or without a verdict.
    pub(crate) fn unbound(&mut self, request: u32) {
        if let Self::HalfOpen { probe, .. } = self
            && *probe == Some(request)
        {
            *probe = None;
        }
    }

    fn pass(&mut self, times: u32, successes: u32, config: &HealthConfig) -> Verdict {
        if successes >= config.successes {
            *self = Self::NEW;
            return Verdict::Healed;
        }
        *self = Self::HalfOpen { times, successes, probe: None };
        Verdict::HalfOpened
    }

    fn eject(&mut self, times: u32, timeouts: &Timeouts) -> Verdict {
        assert!(times >= 1);
        *self = Self::Ejected { times };
        let doublings = (times - 1).min(31);
        let time = timeouts.ejection_min.saturating_mul(1 << doublings);
        Verdict::Ejected(time.min(timeouts.ejection_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: HealthConfig = HealthConfig::DEFAULT;
    const TIMEOUTS: Timeouts = Timeouts::DEFAULT;

    fn ejected() -> Health {
        let mut health = Health::NEW;
        for _ in 0..3 {
            let _ = health.failure(&CONFIG, &TIMEOUTS);
        }
        health
    }

    #[test]
    fn the_third_failure_in_a_row_ejects() {
        let mut health = Health::NEW;
        let mut fail = || health.failure(&CONFIG, &TIMEOUTS);
        assert_eq!(fail(), Verdict::Unchanged);
        assert_eq!(fail(), Verdict::Unchanged);
        assert_eq!(fail(), Verdict::Ejected(Duration::from_secs(5)));
        assert!(!health.is_usable());
    }

    #[test]
    fn a_success_starts_the_count_anew() {
        let mut health = Health::NEW;
        for _ in 0..10 {
            assert_eq!(health.failure(&CONFIG, &TIMEOUTS), Verdict::Unchanged);
            assert_eq!(health.failure(&CONFIG, &TIMEOUTS), Verdict::Unchanged);
            assert_eq!(health.success(4, false, &CONFIG), Verdict::Unchanged);
        }
    }

    #[test]
    fn half_open_takes_one_probe_at_a_time_and_heals_after_two() {
        let mut health = ejected();
        assert!(health.half_open());
        for expected in [Verdict::HalfOpened, Verdict::Healed] {
            assert!(health.is_usable());
            health.bound(4);
            assert!(!health.is_usable(), "one request is the probe");
            assert_eq!(health.success(5, false, &CONFIG), Verdict::Unchanged, "not the probe");
            assert_eq!(health.success(4, false, &CONFIG), expected);
            health.unbound(4);
        }
        assert_eq!(health, Health::NEW);
    }

    #[test]
    fn late_answers_do_not_end_an_ejection_but_answers_to_a_last_resort_do() {
        let mut health = ejected();
        assert_eq!(health.success(4, false, &CONFIG), Verdict::Unchanged);
        assert_eq!(health, Health::Ejected { times: 1 });
        assert_eq!(health.success(4, true, &CONFIG), Verdict::HalfOpened);
    }

    #[test]
    fn a_probe_without_a_verdict_makes_room_for_the_next() {
        let mut health = ejected();
        assert!(health.half_open());
        health.bound(4);
        health.unbound(5);
        assert!(!health.is_usable(), "another request is not the probe");
        health.unbound(4);
        assert!(health.is_usable());
    }

    #[test]
    fn each_failed_probe_doubles_the_time_up_to_the_cap() {
        let mut health = ejected();
        for seconds in [10, 20, 40, 60, 60] {
            assert!(health.half_open());
            let verdict = health.failure(&CONFIG, &TIMEOUTS);
            assert_eq!(verdict, Verdict::Ejected(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn late_failures_do_not_prolong_an_ejection() {
        let mut health = ejected();
        for _ in 0..100 {
            assert_eq!(health.failure(&CONFIG, &TIMEOUTS), Verdict::Unchanged);
        }
        assert!(health.half_open());
        assert!(!health.half_open());
    }
}
