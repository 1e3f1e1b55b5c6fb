//! The model of one backend: whether it is in service, and what health and checks say about it.

use baton::pool::{BackendState, Instant};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Service {
    #[default]
    Vacant,
    Serving,
    /// Its remaining streams end at this instant.
    Draining(Instant),
    /// Removed at this instant.
    Removed(Instant),
}

/// A backend slot and the backend in it.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelBackend {
    pub(super) generation: u32,
    pub(super) service: Service,
    pub(super) health: Health,
    pub(super) health_checks: HealthChecks,
    /// Consecutive rounds of failed dials.
    pub(super) rounds: u32,
    /// Bounds within which the wait for the next dial ends.
    pub(super) backoff: Option<(Instant, Instant)>,
    /// Streams that the next dial is expected to bring.
    pub(super) expected: u32,
    /// When its last response began.
    pub(super) answered_at: Option<Instant>,
    /// The smoothed time to a response head, nanoseconds; 0 if unknown. A new one counts for an
    /// eighth.
    pub(super) response_time: u64,
    /// ENHANCE_YOUR_CALM count after PINGs.
    pub(super) enhance_your_calm_count: u32,
    /// Requests on its connections.
    pub(super) requests: u32,
    /// When it returned or was added.
    pub(super) returned: Option<Instant>,
    pub(super) weight: u16,
    /// Consecutive requests that went elsewhere although it had capacity.
    pub(super) passed_over: u32,
    /// The state that the pool last reported, and when.
    pub(super) reported: Option<(BackendState, Instant)>,
}

impl ModelBackend {
    pub(super) fn occupy(&mut self, generation: u32, weight: u16, expected: u32) {
        *self = Self { generation, service: Service::Serving, weight, expected, ..Self::default() };
    }

    pub(super) fn is_in_service(&self) -> bool {
        self.service == Service::Serving
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.is_in_service() && !self.health_checks.down && self.health.is_healthy()
    }

    pub(super) fn is_usable(&self) -> bool {
        self.is_in_service() && !self.health_checks.down && self.health.is_usable()
    }

    pub(super) fn state(&self) -> Option<BackendState> {
        Some(match self.service {
            Service::Vacant => return None,
            Service::Draining(_) => BackendState::Draining,
            Service::Removed(_) => BackendState::Removed,
            Service::Serving if self.health_checks.down => BackendState::Down,
            Service::Serving => match self.health {
                Health::Healthy { .. } => BackendState::Up,
                Health::Ejected { .. } => BackendState::Ejected,
                Health::HalfOpen { .. } => BackendState::HalfOpen,
            },
        })
    }
}

/// The health of one backend, from its requests and dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Consecutive failures and gateway failures; consecutive ejections before, the last until
    /// `since`.
    Healthy {
        failures: u32,
        gateway_failures: u32,
        times: u32,
        since: Instant,
    },
    Ejected {
        times: u32,
        until: Instant,
    },
    /// Half-open. The trial request counts as one until the instant in `trial_request`.
    HalfOpen {
        times: u32,
        successes: u32,
        trial_request: Option<(u32, Instant)>,
    },
}

impl Default for Health {
    fn default() -> Self {
        Self::NEW
    }
}

impl Health {
    pub(super) const NEW: Self =
        Self::Healthy { failures: 0, gateway_failures: 0, times: 0, since: Instant::ZERO };

    pub(super) fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy { .. })
    }

    pub(super) fn is_trial_request(self, request: u32) -> bool {
        matches!(self, Self::HalfOpen { trial_request: Some((trial_request, _)), .. } if trial_request == request)
    }

    pub(super) fn is_usable(self) -> bool {
        match self {
            Self::Healthy { .. } => true,
            Self::Ejected { .. } => false,
            Self::HalfOpen { trial_request, .. } => trial_request.is_none(),
        }
    }
}

/// Result of health checks of one backend: its state, and the number of consecutive checks against
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HealthChecks {
    pub(super) down: bool,
    pub(super) against: u32,
    /// The number of the check in flight, and when it fails without a result.
    pub(super) out: Option<(u32, Instant)>,
    /// Bounds within which the next check is due.
    pub(super) not_before: Instant,
    pub(super) not_after: Instant,
}
