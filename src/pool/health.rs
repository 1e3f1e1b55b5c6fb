//! Passive health: what requests and dials tell about a backend (outlier ejection, in Envoy's terms).
//!
//! A *failure* is a round of dials that failed or of connections that never answered, a connection
//! that was lost under a request or fell silent (one failure, however many streams it carried), a
//! stream reset with an error or answered with nonsense, or a
//! response head that did not come in time. A *gateway failure* is a response with status 502, 503
//! or 504. A *success* is any other response head: the backend answered. GOAWAY, REFUSED_STREAM,
//! cancelled requests and stalled bodies say nothing.
//!
//! | state | failure | gateway failure | success | timer |
//! |---|---|---|---|---|
//! | healthy | the third in a row ejects, if the share of ejected backends allows | the fifth in a row, likewise | starts both counts anew | – |
//! | ejected | – | – | half-open, one success, if it is used because too few are healthy | half-open |
//! | half-open | of the probe, or a dial: ejected again, for longer | of the probe: likewise | of the probe: the second in a row heals | another probe |
//!
//! An ejection lasts as many times the least time as the backend was ejected without being well for
//! the longest time in between. Late responses to requests from before the ejection prove nothing,
//! and do not help; late failures do not harm. A probe that takes longer than a response may, such as a
//! long upload, is one no more: another request is tried beside it.

use core::time::Duration;

use super::config::{HealthConfig, Timeouts};
use super::time::Instant;

/// One backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Failures and gateway failures in a row so far. It was ejected `times` in a row before, the
    /// last time until `since`.
    Healthy { failures: u32, gateway_failures: u32, times: u32, since: Instant },
    /// Left out until a timer ends it.
    Ejected { times: u32 },
    /// Takes one request at a time, which is the probe.
    HalfOpen { times: u32, successes: u32, probe: Option<u32> },
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Of the request that is the backend's probe, or of a dial.
    Trial,
    /// Of another request or connection.
    Other,
}

/// What became of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As before.
    Unchanged,
    /// It would be out, but enough are.
    Spared,
    /// Out, for this long.
    Ejected(Duration),
    /// On trial.
    HalfOpened,
    /// Back.
    Healed,
}

/// What a verdict depends on besides the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a HealthConfig,
    pub(crate) timeouts: &'a Timeouts,
    /// Whether one more backend may be ejected.
    pub(crate) may_eject: bool,
    /// Whether backends are used although they are out.
    pub(crate) panicking: bool,
}

impl Health {
    pub(crate) const NEW: Self =
        Self::Healthy { failures: 0, gateway_failures: 0, times: 0, since: Instant::ZERO };

    /// The backend did not do what was asked of it. On trial, only what concerns the trial counts: the
    /// probe, or a dial. Requests from before the ejection may fail late.
    pub(crate) fn failure(&mut self, blame: Blame, of: &Circumstances<'_>) -> Verdict {
        match self {
            Self::Healthy { failures, .. } => {
                *failures = failures.saturating_add(1).min(of.config.failures);
                let out = *failures >= of.config.failures;
                self.judge(out, of)
            }
            Self::Ejected { .. } => Verdict::Unchanged,
            Self::HalfOpen { .. } if blame == Blame::Other => Verdict::Unchanged,
            Self::HalfOpen { times, .. } => {
                let times = times.saturating_add(1);
                self.eject(times, of)
            }
        }
    }

    /// A request was answered with status 502, 503 or 504.
    pub(crate) fn gateway_failure(&mut self, request: u32, of: &Circumstances<'_>) -> Verdict {
        match self {
            Self::Healthy { failures, gateway_failures, .. } => {
                *failures = 0;
                *gateway_failures =
                    gateway_failures.saturating_add(1).min(of.config.gateway_failures);
                let out = *gateway_failures >= of.config.gateway_failures;
                self.judge(out, of)
            }
            Self::HalfOpen { times, probe, .. } if *probe == Some(request) => {
                let times = times.saturating_add(1);
                self.eject(times, of)
            }
            Self::Ejected { .. } | Self::HalfOpen { .. } => Verdict::Unchanged,
        }
    }

    /// A request was answered.
    pub(crate) fn success(&mut self, request: u32, of: &Circumstances<'_>) -> Verdict {
        match *self {
            Self::Healthy { times, since, .. } => {
                *self = Self::Healthy { failures: 0, gateway_failures: 0, times, since };
                Verdict::Unchanged
            }
            Self::Ejected { times } if of.panicking => self.pass(times, 1, of),
            Self::HalfOpen { times, successes, probe } if probe == Some(request) => {
                self.pass(times, successes + 1, of)
            }
            Self::Ejected { .. } | Self::HalfOpen { .. } => Verdict::Unchanged,
        }
    }

    /// The ejection is over, or the probe takes so long that another one may be tried beside it. False
    /// if there was neither.
    pub(crate) fn time_over(&mut self) -> bool {
        match *self {
            Self::Ejected { times } => {
                *self = Self::HalfOpen { times, successes: 0, probe: None };
                true
            }
            Self::HalfOpen { times, successes, probe: Some(_) } => {
                *self = Self::HalfOpen { times, successes, probe: None };
                true
            }
            Self::Healthy { .. } | Self::HalfOpen { probe: None, .. } => false,
        }
    }

    /// Whether a timer must end this state.
    pub(crate) fn is_timed(&self) -> bool {
        match self {
            Self::Ejected { .. } | Self::HalfOpen { probe: Some(_), .. } => true,
            Self::Healthy { .. } | Self::HalfOpen { probe: None, .. } => false,
        }
    }

    /// The request that is the probe.
    pub(crate) fn probe(&self) -> Option<u32> {
        match self {
            Self::HalfOpen { probe, .. } => *probe,
            Self::Healthy { .. } | Self::Ejected { .. } => None,
        }
    }

    /// Whether any request may go there, apart from the case that too few are healthy.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Self::Healthy { .. } => true,
            Self::Ejected { .. } => false,
            Self::HalfOpen { probe, .. } => probe.is_none(),
        }
    }

    /// Whether it is neither ejected nor on trial.
    pub(crate) fn is_healthy(&self) -> bool {
        match self {
            Self::Healthy { .. } => true,
            Self::Ejected { .. } | Self::HalfOpen { .. } => false,
        }
    }

    /// A request was bound to the backend. Says whether it is the probe from now on.
    pub(crate) fn bound(&mut self, request: u32) -> bool {
        match self {
            Self::HalfOpen { probe: probe @ None, .. } => {
                *probe = Some(request);
                true
            }
            Self::HalfOpen { .. } | Self::Healthy { .. } | Self::Ejected { .. } => false,
        }
    }

    /// A request left the backend, with or without a verdict. Says whether it was the probe.
    pub(crate) fn unbound(&mut self, request: u32) -> bool {
        match self {
            Self::HalfOpen { probe, .. } if *probe == Some(request) => {
                *probe = None;
                true
            }
            Self::HalfOpen { .. } | Self::Healthy { .. } | Self::Ejected { .. } => false,
        }
    }

    /// How long the next ejection would last.
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

    fn judge(&mut self, out: bool, of: &Circumstances<'_>) -> Verdict {
        if !out {
            Verdict::Unchanged
        } else if of.may_eject {
            let times = self.next_times(of);
            self.eject(times, of)
        } else {
            Verdict::Spared
        }
    }

    fn pass(&mut self, times: u32, successes: u32, of: &Circumstances<'_>) -> Verdict {
        if successes >= of.config.successes {
            *self = Self::Healthy { failures: 0, gateway_failures: 0, times, since: of.now };
            return Verdict::Healed;
        }
        *self = Self::HalfOpen { times, successes, probe: None };
        Verdict::HalfOpened
    }

    fn eject(&mut self, times: u32, of: &Circumstances<'_>) -> Verdict {
        assert!(times >= 1, "this ejection is one");
        *self = Self::Ejected { times };
        Verdict::Ejected(ejection(times, of.timeouts))
    }
}

/// As long as the least time, so many times, at most the longest.
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
        panicking: false,
    };
    const FIVE: Verdict = Verdict::Ejected(Duration::from_secs(5));

    fn ejected() -> Health {
        let mut health = Health::NEW;
        for _ in 0..3 {
            let _ = health.failure(Blame::Trial, &OF);
        }
        health
    }

    #[test]
    fn the_third_failure_in_a_row_ejects() {
        let mut health = Health::NEW;
        let mut fail = || health.failure(Blame::Trial, &OF);
        assert_eq!([fail(), fail(), fail()], [Verdict::Unchanged, Verdict::Unchanged, FIVE]);
        assert!(!health.is_usable());
    }

    #[test]
    fn a_success_starts_the_counts_anew() {
        let mut health = Health::NEW;
        for _ in 0..10 {
            assert_eq!(health.failure(Blame::Trial, &OF), Verdict::Unchanged);
            assert_eq!(health.failure(Blame::Trial, &OF), Verdict::Unchanged);
            for _ in 0..4 {
                assert_eq!(health.gateway_failure(1, &OF), Verdict::Unchanged);
            }
            assert_eq!(health.success(1, &OF), Verdict::Unchanged);
        }
        assert!(health.is_usable());
    }

    #[test]
    fn the_fifth_gateway_failure_in_a_row_ejects() {
        let mut health = Health::NEW;
        for _ in 0..4 {
            assert_eq!(health.gateway_failure(1, &OF), Verdict::Unchanged);
        }
        assert_eq!(health.gateway_failure(1, &OF), FIVE);
    }

    #[test]
    fn a_backend_is_spared_while_enough_are_out_and_goes_at_the_next_failure() {
        let spared = Circumstances { may_eject: false, ..OF };
        let mut health = Health::NEW;
        for _ in 0..2 {
            let _ = health.failure(Blame::Trial, &spared);
        }
        assert_eq!(health.failure(Blame::Trial, &spared), Verdict::Spared);
        assert!(health.is_usable());
        assert_eq!(health.failure(Blame::Trial, &OF), FIVE);
    }

    #[test]
    fn one_probe_at_a_time_and_two_successes_heal() {
        let mut health = ejected();
        assert!(health.time_over());
        assert!(health.is_usable() && !health.is_healthy());
        assert!(health.bound(7) && !health.bound(8));
        assert!(!health.is_usable(), "the probe is out");
        assert_eq!(health.failure(Blame::Other, &OF), Verdict::Unchanged, "from before");
        assert_eq!(health.success(8, &OF), Verdict::Unchanged, "not the probe");
        assert_eq!(health.success(7, &OF), Verdict::HalfOpened);
        let _ = health.unbound(7);
        assert!(health.bound(9));
        assert_eq!(health.success(9, &OF), Verdict::Healed);
        assert!(health.is_healthy());
    }

    #[test]
    fn a_gateway_failure_of_the_probe_ejects_again() {
        let mut health = ejected();
        assert!(health.time_over());
        assert!(health.bound(7));
        assert_eq!(health.gateway_failure(8, &OF), Verdict::Unchanged, "not the probe");
        let ten = Verdict::Ejected(Duration::from_secs(10));
        assert_eq!(health.gateway_failure(7, &OF), ten);
    }

    #[test]
    fn a_probe_that_ends_without_a_verdict_makes_room_for_the_next() {
        let mut health = ejected();
        assert!(health.time_over());
        assert!(health.bound(7) && !health.unbound(8));
        assert!(!health.is_usable());
        assert!(health.unbound(7));
        assert!(health.is_usable());
        assert!(health.bound(9) && health.is_timed() && health.time_over());
        assert!(health.is_usable(), "it takes too long: another one may be tried");
    }

    #[test]
    fn each_ejection_lasts_longer_up_to_a_bound() {
        let mut health = ejected();
        for seconds in [10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60] {
            assert!(health.time_over());
            let time = Duration::from_secs(seconds);
            assert_eq!(health.failure(Blame::Trial, &OF), Verdict::Ejected(time));
        }
    }

    #[test]
    fn earlier_ejections_are_forgotten_after_being_well_for_the_longest_time() {
        for (later, seconds) in [(59, 10), (60, 5)] {
            let mut health = ejected();
            assert!(health.time_over());
            for probe in [1, 2] {
                assert!(health.bound(probe));
                let _ = health.success(probe, &OF);
            }
            assert!(health.is_healthy());
            let now = NOW.after(Duration::from_secs(later));
            let of = Circumstances { now, ..OF };
            let _ = health.failure(Blame::Trial, &of);
            let _ = health.failure(Blame::Trial, &of);
            let time = Duration::from_secs(seconds);
            assert_eq!(
                health.failure(Blame::Trial, &of),
                Verdict::Ejected(time),
                "{later} s later"
            );
        }
    }

    #[test]
    fn an_ejected_backend_that_is_used_all_the_same_comes_back_by_answering() {
        let mut health = ejected();
        assert_eq!(health.success(1, &OF), Verdict::Unchanged, "a late answer proves nothing");
        let panicking = Circumstances { panicking: true, ..OF };
        assert_eq!(health.failure(Blame::Trial, &panicking), Verdict::Unchanged);
        assert_eq!(health.gateway_failure(1, &panicking), Verdict::Unchanged);
        assert_eq!(health.success(1, &panicking), Verdict::HalfOpened);
        assert!(health.bound(2));
        assert_eq!(health.success(2, &panicking), Verdict::Healed);
    }
}
