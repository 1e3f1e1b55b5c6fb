//! One backend: whether it is in service, what probes say, and what people see of it.
//!
//! | service | becomes | by |
//! |---|---|---|
//! | vacant | in service | `BackendAdded` |
//! | in service | draining | `DrainRequested` |
//! | draining | in service | `DrainCancelled` |
//! | in service, draining | leaving | `BackendRemoved` |
//! | leaving | vacant | its last connection is gone |
//!
//! Only a backend in service gets new streams, and only if neither probes nor
//! `health` speak against it.
//!
//! | probes | failed | passed |
//! |---|---|---|
//! | up | the third in a row: down | starts the count anew |
//! | down | starts the count anew | the second in a row: up |

use core::fmt;

use super::config::HealthConfig;
use super::health::Health;
use super::time::Instant;

/// Whether a backend is meant to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// The place is free.
    Vacant,
    /// It gets streams.
    Serving,
    /// By order of the operator it gets no new ones.
    Draining,
    /// It was removed; its connections have yet to end.
    Leaving,
}

/// A backend as people, metrics and logs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendState {
    /// Nothing speaks against it.
    Up,
    /// Left out for a time because of failures.
    Ejected,
    /// Takes one request at a time to show whether it is well again.
    OnTrial,
    /// Probes failed.
    Down,
    /// Gets no new streams by order of the operator.
    Draining,
    /// Removed; old streams finish.
    Leaving,
}

/// Why a backend is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateCause {
    /// It came with the configuration.
    Configured,
    /// Connections, streams or deadlines failed in a row.
    Failures,
    /// Responses with status 502, 503 or 504 in a row.
    GatewayFailures,
    /// The time of its ejection is over.
    EjectionOver,
    /// It answered a request although it was out.
    Answered,
    /// Probes, in a row.
    Probes,
    /// The operator.
    Operator,
    /// The pool started anew.
    Rebuilt,
}

impl fmt::Display for BackendState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Up => "up",
            Self::Ejected => "ejected",
            Self::OnTrial => "on_trial",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        })
    }
}

impl fmt::Display for StateCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Configured => "configured",
            Self::Failures => "failures",
            Self::GatewayFailures => "gateway_failures",
            Self::EjectionOver => "ejection_over",
            Self::Answered => "answered",
            Self::Probes => "probes",
            Self::Operator => "operator",
            Self::Rebuilt => "rebuilt",
        })
    }
}

/// What the pool knows of one backend, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// Its token.
    pub token: super::BackendToken,
    /// Its state.
    pub state: BackendState,
    /// Since when.
    pub since: Instant,
    /// Why.
    pub cause: StateCause,
    /// Its share under [`Strategy::Weighted`](super::Strategy::Weighted).
    pub weight: u16,
    /// Requests on its connections.
    pub requests: u32,
}

/// What probes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Probes {
    /// Failed ones in a row.
    Up { failed: u32 },
    /// Passed ones in a row.
    Down { passed: u32 },
}

impl Probes {
    pub(crate) const NEW: Self = Self::Up { failed: 0 };

    /// A probe is over. Says whether the backend went down or came up by it.
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

/// How a backend was counted when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) in_service: bool,
    pub(crate) healthy: bool,
    pub(crate) ejected: bool,
    pub(crate) usable: bool,
}

/// What the pool knows of a backend besides its connections.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// Which use of the place; 0 before the first.
    pub(crate) generation: u32,
    pub(crate) service: Service,
    pub(crate) health: Health,
    pub(crate) probes: Probes,
    /// The number of the probe that is out.
    pub(crate) probing: Option<u32>,
    /// Probes ordered so far, over all uses of the place.
    pub(crate) probed: u32,
    pub(crate) weight: u16,
    /// Dials in a row that failed, or connections that ended without a single response.
    pub(crate) dial_failures: u32,
    /// Smoothed time from a request's dispatch to its response head, nanoseconds; 0 if unknown.
    pub(crate) response_time: u64,
    /// Doublings of the PING interval that the backend asked for.
    pub(crate) calm: u32,
    /// Streams that the next connection is expected to bring.
    pub(crate) expected_streams: u32,
    pub(crate) counted: Counted,
    /// The state that was last told, since when and why.
    pub(crate) told: Option<(BackendState, Instant, StateCause)>,
}

impl Backend {
    /// A free place.
    pub(crate) fn vacant() -> Self {
        Self {
            generation: 0,
            service: Service::Vacant,
            health: Health::NEW,
            probes: Probes::NEW,
            probing: None,
            probed: 0,
            weight: 1,
            dial_failures: 0,
            response_time: 0,
            calm: 0,
            expected_streams: 1,
            counted: Counted::default(),
            told: None,
        }
    }

    /// Puts a new backend into the place.
    pub(crate) fn occupy(&mut self, weight: u16, expected_streams: u32) {
        assert_eq!(self.service, Service::Vacant, "a place holds one backend");
        assert!(self.generation < u32::MAX, "a place is used fewer times than there are tokens");
        *self = Self {
            generation: self.generation + 1,
            service: Service::Serving,
            probed: self.probed,
            weight,
            expected_streams,
            counted: self.counted,
            ..Self::vacant()
        };
    }

    /// Frees the place.
    pub(crate) fn vacate(&mut self) {
        assert_eq!(self.service, Service::Leaving, "only a removed backend goes");
        *self = Self {
            generation: self.generation,
            probed: self.probed,
            counted: self.counted,
            ..Self::vacant()
        };
    }

    /// Whether it may get streams on its own account.
    pub(crate) fn is_usable(&self) -> bool {
        self.service == Service::Serving && self.is_up() && self.health.is_usable()
    }

    /// Whether nothing speaks against it.
    pub(crate) fn is_healthy(&self) -> bool {
        self.service == Service::Serving && self.is_up() && self.health.is_healthy()
    }

    /// Whether probes do not speak against it.
    pub(crate) fn is_up(&self) -> bool {
        match self.probes {
            Probes::Up { .. } => true,
            Probes::Down { .. } => false,
        }
    }

    /// What people see; nothing of a vacant place.
    pub(crate) fn state(&self) -> Option<BackendState> {
        match self.service {
            Service::Vacant => None,
            Service::Draining => Some(BackendState::Draining),
            Service::Leaving => Some(BackendState::Leaving),
            Service::Serving if !self.is_up() => Some(BackendState::Down),
            Service::Serving => Some(match self.health {
                Health::Healthy { .. } => BackendState::Up,
                Health::Ejected { .. } => BackendState::Ejected,
                Health::HalfOpen { .. } => BackendState::OnTrial,
            }),
        }
    }

    /// How it counts now.
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
    fn the_third_failed_probe_in_a_row_takes_down_and_the_second_passed_brings_back() {
        let config = HealthConfig::DEFAULT;
        let mut probes = Probes::NEW;
        let mut finish = |passed| probes.finished(passed, &config);
        assert_eq!([false, false, true, false, false].map(&mut finish), [false; 5]);
        assert!(finish(false), "the third in a row");
        assert_eq!([false, true, false, true].map(&mut finish), [false; 4]);
        assert!(finish(true), "the second in a row");
        assert_eq!(probes, Probes::NEW);
    }

    #[test]
    fn a_place_is_used_again_under_another_generation() {
        let mut backend = Backend::vacant();
        assert_eq!(backend.state(), None);
        backend.occupy(7, 100);
        assert_eq!((backend.generation, backend.state()), (1, Some(BackendState::Up)));
        backend.service = Service::Leaving;
        assert!(!backend.is_usable() && !backend.is_healthy());
        backend.vacate();
        backend.occupy(1, 1);
        assert_eq!((backend.generation, backend.weight), (2, 1));
    }
}
