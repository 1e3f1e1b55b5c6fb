//! The model of backends: those in service, the operator's orders, the state the pool reports, and
//! the number of streams that their dials are expected to bring.

use std::time::Duration;

use baton::pool::{
    BackendState, BackendToken, Config, Input, Instant, Output, Probing, Setting, StateCause,
    TimerReason,
};

use super::backend::{Backend, Health, Probes, Service};
use super::books::{Books, ConnectionPhase, Decision, Phase};
use super::facts::lost_evidence;
use super::{Invariant, Verdict, Violation, fail, require};

impl Books {
    /// Adds the backends of the configuration, in service from the start.
    pub(super) fn configure(&mut self, config: &Config) {
        for (index, backend) in config.backends.iter().enumerate() {
            let expected = self.first_expectation(backend.exclusive);
            let state = &mut self.backends[index];
            state.occupy(1, backend.weight, expected);
            state.told = Some((BackendState::Up, Instant::ZERO));
        }
    }

    fn first_expectation(&self, exclusive: bool) -> u32 {
        let cap = self.config.limits.streams_per_connection as u32;
        if exclusive { 1 } else { cap.min(100) }
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
        state.is_usable() || (state.is_in_service() && self.is_panicking())
    }

    /// Returns true if another backend can be added: a slot is vacant or holds a removed backend.
    pub(super) fn has_place(&self) -> bool {
        let free = |state: &Backend| matches!(state.service, Service::Vacant | Service::Leaving(_));
        self.backends.iter().any(free)
    }

    /// The removed backend that must make room if no slot is vacant: the one removed first.
    pub(super) fn first_to_go(&self) -> Option<usize> {
        if self.backends.iter().any(|state| state.service == Service::Vacant) {
            return None;
        }
        let left = |(index, state): (usize, &Backend)| match state.service {
            Service::Leaving(since) => Some((since, index)),
            Service::Vacant | Service::Serving | Service::Draining => None,
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
                        self.kill(now, slot, all, Decision::Either);
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
        (state.probes.not_before, state.probes.not_after) = (now, now);
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
                state.service = Service::Leaving(now);
                state.probes.out = None;
                // A connection that drains may take at most this long.
                self.retire(now, index, now.after(self.longest_drain()));
            }
            Input::DrainRequested { within, .. } => {
                state.service = Service::Draining;
                self.retire(now, index, now.after(within));
            }
            Input::DrainCancelled { .. } => {
                state.service = Service::Serving;
                state.health = Health::NEW;
                state.returned = Some(now);
                self.resume(now, index);
            }
            Input::WeightChanged { weight, .. } => state.weight = weight,
            Input::ProbeFinished { passed, .. } => match self.config.probing {
                Probing::Ordered => self.judgement_due = Some((index, passed)),
                Probing::Told | Probing::Off => self.count_probe(now, index, passed),
            },
            _ => unreachable!("not about a backend"),
        }
    }

    /// The backend receives no new streams; its connections end by the deadline.
    fn retire(&mut self, now: Instant, index: usize, deadline: Instant) {
        for slot in self.slots_of(index) {
            match self.connections[slot].phase {
                ConnectionPhase::Up => {
                    self.set_phase(now, slot, ConnectionPhase::Draining);
                    self.connections[slot].ends_at = Some(deadline);
                    self.connections[slot].only_then = true;
                    self.connections[slot].resumable = true;
                }
                ConnectionPhase::Draining => {
                    let most = self.longest_drain();
                    let connection = &mut self.connections[slot];
                    let own = match connection.ends_at {
                        Some(before) => before,
                        None => connection.since.after(most),
                    };
                    connection.ends_at = Some(own.min(deadline));
                }
                ConnectionPhase::Gone | ConnectionPhase::Connecting | ConnectionPhase::Lost => {}
            }
        }
    }

    /// Connections that drained only because of their backend accept streams again.
    fn resume(&mut self, now: Instant, index: usize) {
        for slot in self.slots_of(index) {
            let connection = &mut self.connections[slot];
            if connection.phase == ConnectionPhase::Draining && connection.resumable {
                connection.ends_at = None;
                connection.only_then = false;
                connection.resumable = false;
                self.set_phase(now, slot, ConnectionPhase::Up);
            }
        }
    }

    pub(super) fn change(&mut self, now: Instant, setting: Setting) {
        let before = self.config.probing;
        self.config.set(setting).expect("answered Done");
        if self.config.probing == before {
            return;
        }
        for state in &mut self.backends {
            let was_down = state.probes.down;
            state.probes.out = None;
            if self.config.probing == Probing::Off {
                state.probes = Probes::default();
                if was_down {
                    state.returned = Some(now);
                }
            }
            (state.probes.not_before, state.probes.not_after) = (now, now);
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
            Output::Probe { backend, number } => {
                let index = self.known_backend(backend)?;
                let ordered = self.config.probing == Probing::Ordered
                    && self.phase == Phase::Running
                    && self.has_fired(TimerReason::Probe);
                let state = &mut self.backends[index];
                let there = matches!(state.service, Service::Serving | Service::Draining);
                let due = state.probes.out.is_none() && now >= state.probes.not_before;
                state.probes.out = Some((number, now));
                require(ordered && there && due, legal, || {
                    format!("{order:?} though {:?} and {:?}", state.service, state.probes)
                })
            }
            Output::ProbeJudged { backend, passed } => {
                let index = self.known_backend(backend)?;
                let told = self.judgement_due.take() == Some((index, passed));
                let out = self.backends[index].probes.out.take();
                let timeout = self.config.timeouts.probe_timeout;
                let late = input == Input::Timeout
                    && !passed
                    && out.is_some_and(|(_, since)| now >= since.after(timeout));
                require((told && out.is_some()) || late, legal, || {
                    format!("{order:?} for health check {out:?}")
                })?;
                let interval = self.config.timeouts.probe_interval;
                let most = interval / 10 * 11 + Duration::from_nanos(10);
                let probes = &mut self.backends[index].probes;
                (probes.not_before, probes.not_after) =
                    (now.after(interval / 10 * 9), now.after(most));
                self.count_probe(now, index, passed);
                Ok(())
            }
            Output::BackendChanged { backend, state, cause } => {
                let index = self.known_backend(backend)?;
                let before = self.backends[index].told.replace((state, now));
                let news = before.is_none_or(|(before, _)| before != state);
                require(news, legal, || format!("{order:?} was reported before"))?;
                require(is_likely(state, cause), Invariant::Health, || {
                    format!("{order:?}: this cause does not fit the state")
                })
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
        self.resolve_limbo()?;
        let slots = &self.connections[self.slots_of(index)];
        let empty = slots.iter().all(|connection| connection.phase == ConnectionPhase::Gone);
        let leaving = matches!(self.backends[index].service, Service::Leaving(_));
        require(leaving && empty, Invariant::CommandLegality, || {
            format!("{token:?} is reported gone, but is {:?}", self.backends[index].service)
        })?;
        let generation = self.backends[index].generation;
        self.backends[index] = Backend { generation, ..Backend::default() };
        if self.joining.is_some_and(|(joining, ..)| joining.backend == token.backend) {
            return self.join(now);
        }
        Ok(())
    }
}

/// Returns true if a state can have this cause.
fn is_likely(state: BackendState, cause: StateCause) -> bool {
    match state {
        BackendState::Down => matches!(cause, StateCause::Probes | StateCause::Operator),
        BackendState::Draining => cause == StateCause::Operator,
        BackendState::Leaving => cause == StateCause::Configured,
        // These states show again when a backend is no longer down: a check passed, or checks are
        // off.
        BackendState::Ejected => matches!(
            cause,
            StateCause::Failures
                | StateCause::GatewayFailures
                | StateCause::Probes
                | StateCause::Configured
        ),
        BackendState::OnTrial => matches!(
            cause,
            StateCause::EjectionOver
                | StateCause::Answered
                | StateCause::Probes
                | StateCause::Configured
        ),
        BackendState::Up => !matches!(cause, StateCause::Failures | StateCause::GatewayFailures),
    }
}
