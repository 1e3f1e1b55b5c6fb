//! The model of backends: those in service, the operator's orders, the state the pool reports, and
//! the number of streams that their dials are expected to bring.

use std::time::Duration;

use baton::pool::{
    BackendId, BackendState, BackendToken, Config, HealthChecking, Input, Instant, Output, Setting,
    TimerReason,
};

use super::backend::{Health, HealthChecks, ModelBackend, Service};
use super::facts::lost_evidence;
use super::model::{ConnectionPhase, Model, ModelPhase};
use super::time::{Time as _, longest_drain};
use super::{Invariant, Verdict, Violation, fail, require, settings};

impl Model {
    /// Adds the backends of the configuration, in service from the start.
    pub(super) fn configure(&mut self, config: &Config) {
        for (index, backend) in config.backends.iter().enumerate() {
            let expected = self.first_expectation(backend.exclusive);
            let state = &mut self.backends[index];
            state.occupy(1, backend.weight, expected);
            state.reported = Some((BackendState::Up, Instant::ZERO));
        }
    }

    fn first_expectation(&self, exclusive: bool) -> u32 {
        let cap = self.config.limits.streams_per_connection as u32;
        if exclusive { 1 } else { cap.min(100) }
    }

    /// The present token of a backend.
    pub(super) fn backend_token(&self, backend: BackendId) -> BackendToken {
        let generation = self.backends[usize::from(backend.0)].generation;
        BackendToken { backend, generation }
    }

    /// The slot that a token names, if its backend exists.
    pub(super) fn backend(&self, token: BackendToken) -> Option<usize> {
        let index = usize::from(token.backend.0);
        let state = self.backends.get(index)?;
        let current = state.service != Service::Vacant && state.generation == token.generation;
        current.then_some(index)
    }

    pub(super) fn may_be_used(&self, index: usize) -> bool {
        let state = &self.backends[index];
        state.is_usable() || (state.is_in_service() && self.is_fail_open())
    }

    /// Returns true if another backend can be added: a slot is vacant or holds a removed backend.
    pub(super) fn has_place(&self) -> bool {
        let free =
            |state: &ModelBackend| matches!(state.service, Service::Vacant | Service::Removed(_));
        self.backends.iter().any(free)
    }

    /// The removed backend that must make room if no slot is vacant: the one removed first.
    pub(super) fn first_to_go(&self) -> Option<usize> {
        if self.backends.iter().any(|state| state.service == Service::Vacant) {
            return None;
        }
        let left = |(index, state): (usize, &ModelBackend)| match state.service {
            Service::Removed(since) => Some((since, index)),
            Service::Vacant | Service::Serving | Service::Draining(_) => None,
        };
        self.backends.iter().enumerate().filter_map(left).min().map(|(_, index)| index)
    }

    /// A backend is added: at once, or when the pool reports its predecessor in the slot gone.
    pub(super) fn backend_added(
        &mut self,
        now: Instant,
        input: Input,
        token: BackendToken,
    ) -> Verdict {
        let Input::BackendAdded { weight, exclusive } = input else {
            return fail(
                Invariant::NoResurrection,
                format!("{input:?} was answered as an added backend"),
            );
        };
        let index = usize::from(token.backend.0);
        let known = self.backends.get(index);
        let fresh = known.is_some_and(|state| token.generation == state.generation + 1);
        require(fresh, Invariant::ExclusiveOwnership, || format!("{token:?} is not new"))?;
        self.joining = Some((token, weight, exclusive));
        match self.first_to_go() {
            None => self.join(now),
            Some(first) => {
                require(first == index, Invariant::Fairness, || {
                    format!("backend {index} had to make room, but {first} was removed before it")
                })?;
                // The pool orders no close of a connection that is already lost.
                for slot in self.slots_of(index) {
                    if self.connections[slot].phase == ConnectionPhase::Lost {
                        let all = |stream_id| Some(lost_evidence(stream_id));
                        self.kill(now, slot, all);
                        self.set_phase(now, slot, ConnectionPhase::Gone);
                    }
                }
                Ok(())
            }
        }
    }

    fn join(&mut self, now: Instant) -> Verdict {
        let Some((token, weight, exclusive)) = self.joining.take() else {
            return Ok(());
        };
        let index = usize::from(token.backend.0);
        let vacant = self.backends[index].service == Service::Vacant;
        require(vacant, Invariant::ExclusiveOwnership, || {
            format!("{token:?} was added in an occupied slot")
        })?;
        let expected = self.first_expectation(exclusive);
        let state = &mut self.backends[index];
        state.occupy(token.generation, weight, expected);
        state.returned = Some(now);
        (state.health_checks.not_before, state.health_checks.not_after) = (now, now);
        Ok(())
    }

    pub(super) fn slots_of(&self, index: usize) -> std::ops::Range<usize> {
        index * self.slots_per_backend..(index + 1) * self.slots_per_backend
    }

    /// Applies a fact about the backend at `index`.
    pub(super) fn apply_to_backend(&mut self, now: Instant, input: Input, index: usize) {
        let state = &mut self.backends[index];
        match input {
            Input::BackendRemoved { .. } => {
                state.service = Service::Removed(now);
                state.health_checks.out = None;
                // A connection that drains may take at most this long.
                self.retire(now, index, now.plus(longest_drain(self.config.timeouts.drain)));
            }
            Input::DrainRequested { within, .. } => {
                let until = now.plus(within.unwrap_or(self.config.timeouts.drain));
                state.service = Service::Draining(until);
                self.retire(now, index, until);
            }
            Input::DrainCancelled { .. } => {
                state.service = Service::Serving;
                state.health = Health::NEW;
                state.returned = Some(now);
                self.resume(now, index);
            }
            Input::WeightChanged { weight, .. } => {
                let before = std::mem::replace(&mut state.weight, weight);
                if weight > before {
                    self.reference.raise_weight(index, weight);
                }
            }
            Input::HealthCheckFinished { passed, .. } => match self.config.health_checking {
                HealthChecking::Ordered => self.judgement_due = Some((index, passed)),
                HealthChecking::Reported | HealthChecking::Off => {
                    self.count_health_check(now, index, passed);
                }
            },
            _ => unreachable!("not about a backend"),
        }
    }

    /// The backend receives no new streams; its connections end by the deadline.
    fn retire(&mut self, now: Instant, index: usize, deadline: Instant) {
        for slot in self.slots_of(index) {
            match self.connections[slot].phase {
                ConnectionPhase::Up => {
                    self.connections[slot].drained_busy = self.connections[slot].is_busy;
                    self.set_phase(now, slot, ConnectionPhase::Draining);
                    self.connections[slot].ends_at = Some(deadline);
                    self.connections[slot].only_with_backend = true;
                }
                ConnectionPhase::Draining | ConnectionPhase::Lost => {
                    let connection = &mut self.connections[slot];
                    let before = connection.ends_at.unwrap_or(deadline);
                    connection.ends_at = Some(before.min(deadline));
                }
                ConnectionPhase::Gone | ConnectionPhase::Connecting => {}
            }
        }
    }

    /// Connections that drained only because of their backend accept streams again. The others keep
    /// their own deadlines.
    fn resume(&mut self, now: Instant, index: usize) {
        for slot in self.slots_of(index) {
            let connection = &mut self.connections[slot];
            connection.ends_at = None;
            let drained = std::mem::take(&mut connection.only_with_backend);
            if drained && connection.phase == ConnectionPhase::Draining {
                self.set_phase(now, slot, ConnectionPhase::Up);
                let until = now.plus(self.config.timeouts.suspect);
                let connection = &mut self.connections[slot];
                connection.is_busy = connection.drained_busy;
                connection.suspect_until = connection.is_busy.then_some(until);
            }
        }
    }

    /// Applies settings that changed together: only what differs in the end has changed.
    pub(super) fn change(&mut self, now: Instant, changes: &[Setting]) {
        let before = self.config.health_checking;
        for setting in changes {
            if matches!(setting, Setting::Strategy(_)) {
                self.reference.begin_equal();
            }
            settings::set(&mut self.config, *setting);
        }
        let drain = self.config.timeouts.drain;
        for connection in &mut self.connections {
            connection.drain_most = connection.drain_most.max(drain);
        }
        if self.config.health_checking == before {
            return;
        }
        self.reference.doubt();
        for state in &mut self.backends {
            let was_down = state.health_checks.down;
            state.health_checks.out = None;
            if self.config.health_checking == HealthChecking::Off {
                state.health_checks = HealthChecks::default();
                if was_down {
                    state.returned = Some(now);
                }
            }
            (state.health_checks.not_before, state.health_checks.not_after) = (now, now);
        }
    }

    /// Applies an order about a backend.
    pub(super) fn order_of_backend(
        &mut self,
        now: Instant,
        input: Input,
        order: Output,
    ) -> Verdict {
        let legal = Invariant::CommandLegality;
        match order {
            Output::CheckHealth { backend, number } => {
                let index = self.known_backend(backend)?;
                let ordered = self.config.health_checking == HealthChecking::Ordered
                    && self.phase == ModelPhase::Running
                    && self.has_fired(TimerReason::HealthCheck);
                let state = &mut self.backends[index];
                let there = matches!(state.service, Service::Serving | Service::Draining(_));
                let due =
                    state.health_checks.out.is_none() && now >= state.health_checks.not_before;
                let until = now.plus(self.config.timeouts.health_check_timeout);
                state.health_checks.out = Some((number, until));
                require(ordered && there && due, legal, || {
                    format!("{order:?} though {:?} and {:?}", state.service, state.health_checks)
                })
            }
            Output::HealthCheckJudged { backend, passed } => {
                let index = self.known_backend(backend)?;
                let reported = self.judgement_due.take() == Some((index, passed));
                let out = self.backends[index].health_checks.out.take();
                let late = input == Input::Timeout
                    && !passed
                    && out.is_some_and(|(_, until)| now >= until);
                require((reported && out.is_some()) || late, legal, || {
                    format!("{order:?} for health check {out:?}")
                })?;
                let interval = self.config.timeouts.health_check_interval;
                let most = interval / 10 * 11 + Duration::from_nanos(10);
                let health_checks = &mut self.backends[index].health_checks;
                (health_checks.not_before, health_checks.not_after) =
                    (now.plus(interval / 10 * 9), now.plus(most));
                self.count_health_check(now, index, passed);
                Ok(())
            }
            Output::BackendChanged { backend, state, cause } => {
                let index = self.known_backend(backend)?;
                let before = self.backends[index].reported.replace((state, now));
                let before = before.map(|(before, _)| before);
                require(before != Some(state), legal, || format!("{order:?} was reported before"))?;
                self.expect_cause(input, backend, before, state, cause)
            }
            Output::BackendGone { backend } => self.backend_gone(now, backend),
            _ => unreachable!("not about a backend"),
        }
    }

    fn known_backend(&self, token: BackendToken) -> Result<usize, Violation> {
        self.backend(token).ok_or_else(|| Violation {
            invariant: Invariant::CommandLegality,
            what: format!("an order for {token:?}, which is gone"),
        })
    }

    fn backend_gone(&mut self, now: Instant, token: BackendToken) -> Verdict {
        let index = self.known_backend(token)?;
        self.resolve_pending_outcomes()?;
        let slots = &self.connections[self.slots_of(index)];
        let empty = slots.iter().all(|connection| connection.phase == ConnectionPhase::Gone);
        let removed = matches!(self.backends[index].service, Service::Removed(_));
        require(removed && empty, Invariant::CommandLegality, || {
            format!("{token:?} is reported gone, but is {:?}", self.backends[index].service)
        })?;
        let generation = self.backends[index].generation;
        self.backends[index] = ModelBackend { generation, ..ModelBackend::default() };
        self.reference.forget(index);
        if self.joining.is_some_and(|(joining, ..)| joining.backend == token.backend) {
            return self.join(now);
        }
        Ok(())
    }
}
