//! One backend: its service state, the results of its health checks, and its public view.
//!
//! | service | becomes | by |
//! |---|---|---|
//! | vacant | in service | `BackendAdded` |
//! | in service | draining | `DrainRequested` |
//! | draining | in service | `DrainCancelled` |
//! | in service, draining | removed | `BackendRemoved` |
//! | removed | vacant | its last connection is gone |
//!
//! Only a backend in service gets new streams, and only if both its health checks and `health`
//! allow it.
//!
//! | health checks | failed | passed |
//! |---|---|---|
//! | up | `fall` in a row: down | resets the count |
//! | down | resets the count | `rise` in a row: up |

use super::health::Health;
use super::settings::HealthConfig;
use super::time::Instant;
use super::token::{BackendId, BackendToken};
use crate::words;

/// Service state of a backend, independent of its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// The table entry is free.
    Vacant,
    /// The backend gets streams.
    Serving,
    /// The operator drains the backend: it gets no new streams, and at this time its streams are
    /// cut.
    Draining { until: Instant },
    /// The backend was removed, but still has connections; at this time their streams are cut.
    Removed { until: Instant },
}

impl Service {
    pub(crate) fn is_removed(self) -> bool {
        matches!(self, Self::Removed { .. })
    }

    /// Returns when the streams of the backend are cut; `None` if it may keep them.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Vacant | Self::Serving => None,
            Self::Draining { until } | Self::Removed { until } => Some(until),
        }
    }
}

words! {
    /// Public state of a backend, for the admin API, metrics and logs.
    pub enum BackendState {
        /// In service and healthy.
        Up = "up",
        /// Left out for some time because of failures.
        Ejected = "ejected",
        /// Half-open: gets one trial request at a time.
        HalfOpen = "half_open",
        /// Health checks failed.
        Down = "down",
        /// Drained by the operator: gets no new streams.
        Draining = "draining",
        /// Removed; open streams finish.
        Removed = "removed",
    }

    /// Why a backend is in its state.
    pub enum StateCause {
        /// It came with the configuration.
        Configured = "configured",
        /// Connections or streams failed, or deadlines passed, several times in a row.
        Failures = "failures",
        /// Several responses in a row had status 502, 503 or 504.
        GatewayFailures = "gateway_failures",
        /// The time of its ejection is over.
        EjectionOver = "ejection_over",
        /// It answered a request while it was ejected or half-open.
        Answered = "answered",
        /// Several health checks in a row had the same result.
        HealthChecks = "health_checks",
        /// The operator changed it.
        Operator = "operator",
    }
}

/// Public view of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// Its token.
    pub token: BackendToken,
    /// Its state.
    pub state: BackendState,
    /// When the backend entered this state.
    pub since: Instant,
    /// Why the backend is in this state.
    pub cause: StateCause,
    /// Its share under [`Strategy::Weighted`](super::Strategy::Weighted).
    pub weight: u16,
    /// Requests on its connections.
    pub requests: u32,
    /// When its remaining requests are cut; `None` if no operator drains it.
    pub drain_deadline: Option<Instant>,
}

/// Result of the health checks of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HealthChecks {
    /// Up, with the number of failed checks in a row.
    Up { failed: u32 },
    /// Down, with the number of passed checks in a row.
    Down { passed: u32 },
}

impl HealthChecks {
    pub(crate) const NEW: Self = Self::Up { failed: 0 };

    /// Applies the result of a health check. Returns true if the backend went down or came up.
    pub(crate) fn finished(&mut self, passed: bool, config: &HealthConfig) -> bool {
        let (next, changed) = match (*self, passed) {
            (Self::Up { .. }, true) => (Self::Up { failed: 0 }, false),
            (Self::Up { failed }, false) if failed + 1 < config.fall => {
                (Self::Up { failed: failed + 1 }, false)
            }
            (Self::Up { .. }, false) => (Self::Down { passed: 0 }, true),
            (Self::Down { .. }, false) => (Self::Down { passed: 0 }, false),
            (Self::Down { passed }, true) if passed + 1 < config.rise => {
                (Self::Down { passed: passed + 1 }, false)
            }
            (Self::Down { .. }, true) => (Self::NEW, true),
        };
        *self = next;
        changed
    }
}

/// The pool counters that include a backend, as of its last refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) in_service: bool,
    pub(crate) healthy: bool,
    pub(crate) ejected: bool,
    pub(crate) usable: bool,
}

/// State of a backend, apart from its connections.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// Number of uses of this table entry; 0 before the first.
    pub(crate) generation: u32,
    pub(crate) service: Service,
    pub(crate) health: Health,
    pub(crate) health_checks: HealthChecks,
    /// Number of the health check that is in progress.
    pub(crate) check_in_flight: Option<u32>,
    /// Health checks ordered so far, over all uses of the table entry.
    pub(crate) checks_ordered: u32,
    pub(crate) weight: u16,
    /// Failed dials in a row; connections that failed before the first response count too.
    pub(crate) dial_failures: u32,
    /// Smoothed time from a request's dispatch to its response head, nanoseconds; 0 if unknown.
    pub(crate) response_time: u64,
    /// When the last response began.
    pub(crate) answered_at: Option<Instant>,
    /// ENHANCE_YOUR_CALM count: each one doubles the PING interval.
    pub(crate) enhance_your_calm_count: u32,
    /// Streams that the next connection is expected to provide.
    pub(crate) expected_streams: u32,
    pub(crate) counted: Counted,
    /// The state that was last reported, the time at which it began, and its cause.
    pub(crate) reported: Option<(BackendState, Instant, StateCause)>,
}

impl Backend {
    /// Returns a free table entry.
    pub(crate) fn vacant() -> Self {
        Self {
            generation: 0,
            service: Service::Vacant,
            health: Health::NEW,
            health_checks: HealthChecks::NEW,
            check_in_flight: None,
            checks_ordered: 0,
            weight: 1,
            dial_failures: 0,
            response_time: 0,
            answered_at: None,
            enhance_your_calm_count: 0,
            expected_streams: 1,
            counted: Counted::default(),
            reported: None,
        }
    }

    /// Puts a new backend into the table entry.
    pub(crate) fn occupy(&mut self, weight: u16, expected_streams: u32) {
        assert_eq!(self.service, Service::Vacant, "a table entry holds one backend");
        assert!(self.generation < u32::MAX, "a table entry is used at most u32::MAX times");
        *self = Self {
            generation: self.generation + 1,
            service: Service::Serving,
            checks_ordered: self.checks_ordered,
            weight,
            expected_streams,
            counted: self.counted,
            ..Self::vacant()
        };
    }

    /// Frees the table entry.
    pub(crate) fn vacate(&mut self) {
        assert!(self.service.is_removed(), "only a removed backend is freed");
        *self = Self {
            generation: self.generation,
            checks_ordered: self.checks_ordered,
            counted: self.counted,
            ..Self::vacant()
        };
    }

    /// True if its service state and its own health allow streams. Ignores fail-open.
    pub(crate) fn is_usable(&self) -> bool {
        self.service == Service::Serving && self.is_up() && self.health.is_usable()
    }

    /// True if it is in service, up, and neither ejected nor half-open.
    pub(crate) fn is_healthy(&self) -> bool {
        self.service == Service::Serving && self.is_up() && self.health.is_healthy()
    }

    /// True if health checks have not taken it down.
    pub(crate) fn is_up(&self) -> bool {
        match self.health_checks {
            HealthChecks::Up { .. } => true,
            HealthChecks::Down { .. } => false,
        }
    }

    /// Returns the public view; `None` if the table entry is vacant.
    pub(crate) fn view(&self, backend: BackendId, requests: u32) -> Option<BackendView> {
        let (state, since, cause) = self.reported?;
        let token = BackendToken { backend, generation: self.generation };
        let drain_deadline = match self.service {
            Service::Draining { until } => Some(until),
            Service::Vacant | Service::Serving | Service::Removed { .. } => None,
        };
        Some(BackendView {
            token,
            state,
            since,
            cause,
            weight: self.weight,
            requests,
            drain_deadline,
        })
    }

    /// Returns the public state, or `None` if the table entry is vacant.
    pub(crate) fn state(&self) -> Option<BackendState> {
        match self.service {
            Service::Vacant => None,
            Service::Draining { .. } => Some(BackendState::Draining),
            Service::Removed { .. } => Some(BackendState::Removed),
            Service::Serving if !self.is_up() => Some(BackendState::Down),
            Service::Serving => Some(match self.health {
                Health::Healthy { .. } => BackendState::Up,
                Health::Ejected { .. } => BackendState::Ejected,
                Health::HalfOpen { .. } => BackendState::HalfOpen,
            }),
        }
    }

    /// Returns the pool counters that include the backend now.
    pub(crate) fn count(&self) -> Counted {
        let in_service = self.service == Service::Serving;
        Counted {
            in_service,
            healthy: self.is_healthy(),
            ejected: in_service && !self.health.is_healthy(),
            usable: self.is_usable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_failed_check_in_a_row_takes_down_and_the_second_passed_brings_up() {
        let config = HealthConfig::DEFAULT;
        let mut health_checks = HealthChecks::NEW;
        let mut finish = |passed| health_checks.finished(passed, &config);
        assert_eq!([false, false, true, false, false].map(&mut finish), [false; 5]);
        assert!(finish(false), "the third in a row");
        assert_eq!([false, true, false, true].map(&mut finish), [false; 4]);
        assert!(finish(true), "the second in a row");
        assert_eq!(health_checks, HealthChecks::NEW);
    }

    #[test]
    fn a_table_entry_is_reused_with_another_generation() {
        let mut backend = Backend::vacant();
        assert_eq!(backend.state(), None);
        backend.occupy(7, 100);
        assert_eq!((backend.generation, backend.state()), (1, Some(BackendState::Up)));
        backend.service = Service::Removed { until: Instant::ZERO };
        assert!(!backend.is_usable() && !backend.is_healthy());
        backend.vacate();
        backend.occupy(1, 1);
        assert_eq!((backend.generation, backend.weight), (2, 1));
    }
}
