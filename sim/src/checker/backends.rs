//! The account of backends: their health, the wait before the next dial, and how many streams their
//! dials are expected to bring.

use std::time::Duration;

use baton::pool::{BackendId, Config, Instant, Pool, Strategy};

use super::books::{Books, ConnectionPhase};
use super::{Invariant, Verdict, require};

/// Times that a backend with room may be passed over, for each backend that there is.
const PASSED_OVER_MAX: u32 = 3;

/// One backend.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    health: Health,
    /// When it was last put at the end of those that are out; the least is tried if all are.
    ejection: u64,
    /// Rounds of failed dials in a row.
    rounds: u32,
    /// The wait for the next dial ends between these.
    backoff: Option<(Instant, Instant)>,
    /// Streams that the next dial is expected to bring.
    pub(super) expected: u32,
    /// The longest that a response head took.
    pub(super) longest_response: Duration,
    /// Times that it asked for calm after PINGs.
    pub(super) calm: u32,
    /// Requests in a row that went elsewhere although it had room.
    passed_over: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Healthy { failures: u32 },
    Ejected { times: u32, until: Instant },
    OnTrial { times: u32, successes: u32, probe: Option<u32> },
}

impl Backend {
    pub(super) fn new(config: &Config, index: usize) -> Self {
        let cap = config.limits.streams_per_connection as u32;
        let expected = if config.backends[index].exclusive { 1 } else { cap.min(100) };
        Self {
            health: Health::Healthy { failures: 0 },
            ejection: 0,
            rounds: 0,
            backoff: None,
            expected,
            longest_response: Duration::ZERO,
            calm: 0,
            passed_over: 0,
        }
    }

    fn is_usable(&self) -> bool {
        match self.health {
            Health::Healthy { .. } => true,
            Health::Ejected { .. } => false,
            Health::OnTrial { probe, .. } => probe.is_none(),
        }
    }
}

impl Books {
    /// A dial failed, or a connection ended without one response: one more round, unless the wait
    /// after the last one is not over.
    pub(super) fn dial_failed(&mut self, now: Instant, backend: BackendId) {
        let timeouts = &self.config.timeouts;
        let state = &mut self.backends[usize::from(backend.0)];
        if state.backoff.is_some() {
            return;
        }
        let doubled = timeouts.backoff_min.saturating_mul(1 << state.rounds.min(31));
        let delay = doubled.min(timeouts.backoff_max);
        state.rounds += 1;
        let least = (delay / 5 * 4).max(timeouts.backoff_min);
        let most = (delay / 5 * 6 + Duration::from_nanos(10)).min(timeouts.backoff_max);
        state.backoff = Some((now.after(least.min(most)), now.after(most)));
        self.backend_failed(now, backend);
    }

    /// The backend did not do what was asked of it.
    pub(super) fn backend_failed(&mut self, now: Instant, backend: BackendId) {
        let tried = self.fail_open() == Some(backend);
        let needed = self.config.health.failures;
        let state = &mut self.backends[usize::from(backend.0)];
        let times = match state.health {
            Health::Healthy { failures } if failures + 1 < needed => {
                state.health = Health::Healthy { failures: failures + 1 };
                return;
            }
            Health::Healthy { .. } => 1,
            Health::OnTrial { times, .. } => times + 1,
            Health::Ejected { .. } => {
                if tried {
                    self.ejections += 1;
                    state.ejection = self.ejections;
                }
                return;
            }
        };
        let timeouts = &self.config.timeouts;
        let doubled = timeouts.ejection_min.saturating_mul(1 << (times - 1).min(31));
        let until = now.after(doubled.min(timeouts.ejection_max));
        state.health = Health::Ejected { times, until };
        self.ejections += 1;
        state.ejection = self.ejections;
    }

    /// The backend answered a request.
    pub(super) fn backend_answered(&mut self, backend: BackendId, request: u32) {
        let tried = self.fail_open() == Some(backend);
        let needed = self.config.health.successes;
        let state = &mut self.backends[usize::from(backend.0)];
        state.rounds = 0;
        state.backoff = None;
        let (times, successes) = match state.health {
            Health::Healthy { .. } => {
                state.health = Health::Healthy { failures: 0 };
                return;
            }
            Health::Ejected { times, .. } if tried => (times, 1),
            Health::OnTrial { times, successes, probe } if probe == Some(request) => {
                (times, successes + 1)
            }
            Health::Ejected { .. } | Health::OnTrial { .. } => return,
        };
        state.health = if successes >= needed {
            Health::Healthy { failures: 0 }
        } else {
            Health::OnTrial { times, successes, probe: None }
        };
    }

    /// A request was given to the backend; on trial, it is the probe.
    pub(super) fn request_bound(&mut self, backend: BackendId, request: u32) {
        let state = &mut self.backends[usize::from(backend.0)];
        if let Health::OnTrial { probe, .. } = &mut state.health
            && probe.is_none()
        {
            *probe = Some(request);
        }
    }

    /// A request left the backend.
    pub(super) fn request_unbound(&mut self, backend: BackendId, request: u32) {
        let state = &mut self.backends[usize::from(backend.0)];
        if let Health::OnTrial { probe, .. } = &mut state.health
            && *probe == Some(request)
        {
            *probe = None;
        }
    }

    /// Turns are taken: a backend with room is not passed over again and again. A few times it is:
    /// dials and retries count as turns too.
    pub(super) fn take_turn(&mut self, backend: BackendId, attempt: u8) -> Verdict {
        if self.config.strategy != Strategy::RoundRobin {
            return Ok(());
        }
        let most = PASSED_OVER_MAX * self.backends.len() as u32;
        for index in 0..self.backends.len() {
            let ready = self.backends[index].is_usable() && self.has_room(index);
            let state = &mut self.backends[index];
            if index == usize::from(backend.0) || !ready {
                state.passed_over = 0;
            } else if attempt == 1 {
                state.passed_over += 1;
            }
            let times = state.passed_over;
            require(times <= most, Invariant::Fairness, || {
                format!("backend {index} had room and was passed over {times} times in a row")
            })?;
        }
        Ok(())
    }

    fn has_room(&self, backend: usize) -> bool {
        let slots = self.slots_per_backend;
        self.connections[backend * slots..(backend + 1) * slots].iter().any(|connection| {
            connection.phase == ConnectionPhase::Up
                && !connection.suspect
                && connection.load < connection.limit
        })
    }

    /// The ejection that ends at this moment: of several, the first in order.
    pub(super) fn ejection_over(&mut self, at: Instant) {
        let due = self.backends.iter_mut().find_map(|state| match state.health {
            Health::Ejected { times, until } if until == at => Some((state, times)),
            _ => None,
        });
        if let Some((state, times)) = due {
            state.health = Health::OnTrial { times, successes: 0, probe: None };
        }
    }

    /// The backend that is tried because all are out: the one that is out longest.
    fn fail_open(&self) -> Option<BackendId> {
        if self.backends.iter().any(Backend::is_usable) {
            return None;
        }
        let out = self.backends.iter().enumerate();
        let longest = out.min_by_key(|(_, state)| state.ejection)?;
        Some(BackendId(longest.0 as u16))
    }

    /// What the pool says of its backends equals the account.
    pub(super) fn compare_backends(&mut self, now: Instant, pool: &Pool) -> Verdict {
        let tried = self.fail_open();
        for index in 0..self.backends.len() {
            let backend = BackendId(index as u16);
            let state = &mut self.backends[index];
            let healthy = matches!(state.health, Health::Healthy { .. });
            let told = (pool.may_be_used(backend), pool.is_healthy(backend));
            let own = (state.is_usable() || tried == Some(backend), healthy);
            let health = state.health;
            require(told == own, Invariant::Health, || {
                format!(
                    "backend {index} is usable and healthy: {told:?}, expected {own:?} ({health:?})"
                )
            })?;
            let until = pool.backoff_until(backend);
            let fits = match (until, state.backoff) {
                (None, None) => true,
                (Some(until), Some((least, most))) => least <= until && until <= most,
                // Only its timer ends a wait.
                (None, Some((least, _))) => now >= least,
                (Some(_), None) => false,
            };
            let backoff = state.backoff;
            require(fits, Invariant::Timers, || {
                format!("backend {index} is not dialled until {until:?}, expected {backoff:?}")
            })?;
            if until.is_none() {
                state.backoff = None;
            }
        }
        Ok(())
    }
}
