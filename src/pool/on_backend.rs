//! Facts about the configuration: backends added, drained, put back in service or removed; settings
//! changed.

use super::backend::{HealthChecks, Service, StateCause};
use super::config::HealthChecking;
use super::connection::{DrainCause, Event, Lifecycle};
use super::health::Health;
use super::limits::WEIGHTS;
use super::outcome::CloseReason;
use super::reconfigure::Setting;
use super::settings::Timeout;
use super::slots::Stale;
use super::timer::Timer;
use super::{
    BackendId, BackendToken, Handled, Instant, Output, Pool, PoolPhase, backend_id, limits,
};
use core::time::Duration;

impl Pool {
    /// Returns the index of the backend that a token names, or `Stale`.
    pub(super) fn find_backend(&self, token: BackendToken) -> Result<BackendId, Stale> {
        let place = self.backends.get(usize::from(token.backend.0)).ok_or(Stale)?;
        let current = place.service != Service::Vacant && place.generation == token.generation;
        if current { Ok(token.backend) } else { Err(Stale) }
    }

    pub(super) fn backend_token_of(&self, backend: BackendId) -> BackendToken {
        let generation = self.backends[usize::from(backend.0)].generation;
        BackendToken { backend, generation }
    }

    pub(super) fn on_backend_added(
        &mut self,
        now: Instant,
        weight: u16,
        exclusive: bool,
    ) -> Handled {
        if !WEIGHTS.contains(&weight) {
            return Handled::Refused;
        }
        let Some(backend) = self.free_place(now) else {
            return Handled::Refused;
        };
        self.add_backend(now, backend, weight, exclusive);
        self.balancer.start_slowly(backend, now);
        Handled::Added(self.backend_token_of(backend))
    }

    /// Puts a new backend into a vacant table entry.
    pub(super) fn add_backend(
        &mut self,
        now: Instant,
        backend: BackendId,
        weight: u16,
        exclusive: bool,
    ) {
        let cap = u32::try_from(self.config.limits.streams_per_connection).expect("at most 256");
        let streams = if exclusive { 1 } else { limits::STREAMS_BEFORE_SETTINGS.min(cap) };
        self.slots.reserve(backend);
        self.backends[usize::from(backend.0)].occupy(weight, streams);
        self.balancer.set_weight(backend, weight);
        self.start_health_checks(now, backend);
        self.refresh(backend);
        self.report_state(now, backend, StateCause::Configured);
    }

    /// Returns a vacant table entry. If there is none, frees the entry of the backend that was
    /// removed first and closes its connections: the new configuration must have room for all its
    /// backends.
    fn free_place(&mut self, now: Instant) -> Option<BackendId> {
        let places = || self.backends.iter().enumerate();
        let vacant = places().find(|(_, place)| place.service == Service::Vacant);
        if let Some((index, _)) = vacant {
            return Some(backend_id(index));
        }
        let removed = places().filter(|(_, place)| place.service.is_removed());
        let (index, _) =
            removed.min_by_key(|(_, place)| place.reported.map(|(_, since, _)| since))?;
        let backend = backend_id(index);
        for slot in self.slots.range(backend) {
            if self.slots.connection(slot).lifecycle() != Lifecycle::Empty {
                self.close(now, slot, CloseReason::DrainDeadline);
            }
        }
        self.free(backend);
        Some(backend)
    }

    pub(super) fn on_backend_removed(&mut self, now: Instant, token: BackendToken) -> Handled {
        let Ok(backend) = self.find_backend(token) else {
            return Handled::Stale;
        };
        let place = &mut self.backends[usize::from(backend.0)];
        if place.service.is_removed() {
            return Handled::Refused;
        }
        let latest = now.after(self.config.timeouts.longest_drain());
        let until = place.service.deadline().map_or(latest, |until| until.min(latest));
        place.service = Service::Removed { until };
        self.removed += 1;
        self.removal_pending = true;
        self.stop_health_checks(backend);
        self.retire(now, backend, StateCause::Configured);
        Handled::Done
    }

    pub(super) fn on_drain_requested(
        &mut self,
        now: Instant,
        token: BackendToken,
        within: Option<Duration>,
    ) -> Handled {
        let Ok(backend) = self.find_backend(token) else {
            return Handled::Stale;
        };
        let until = now.after(within.unwrap_or(self.config.timeouts.drain));
        let place = &mut self.backends[usize::from(backend.0)];
        match place.service {
            Service::Vacant => unreachable!("a token never names a vacant entry"),
            Service::Removed { .. } => return Handled::Refused,
            Service::Draining { until: known } if within.is_none() || until >= known => {
                return Handled::Refused;
            }
            Service::Serving | Service::Draining { .. } => {
                place.service = Service::Draining { until };
            }
        }
        self.retire(now, backend, StateCause::Operator);
        Handled::Done
    }

    pub(super) fn on_drain_cancelled(&mut self, now: Instant, token: BackendToken) -> Handled {
        let Ok(backend) = self.find_backend(token) else {
            return Handled::Stale;
        };
        let place = &mut self.backends[usize::from(backend.0)];
        if !matches!(place.service, Service::Draining { .. }) {
            return Handled::Refused;
        }
        // The backend's failures from before the drain say nothing about it now.
        place.service = Service::Serving;
        place.health = Health::NEW;
        self.timers.disarm(Timer::Health(u32::from(backend.0)));
        self.balancer.start_slowly(backend, now);
        for slot in self.slots.range(backend) {
            match self.slots.connection(slot).lifecycle() {
                Lifecycle::Draining(DrainCause::Backend) => self.resume(now, slot),
                Lifecycle::Draining(_) => self.arm_drain_deadline(slot),
                Lifecycle::Empty
                | Lifecycle::Connecting { .. }
                | Lifecycle::Ready
                | Lifecycle::Suspect
                | Lifecycle::Busy => {}
            }
        }
        self.refresh(backend);
        self.report_state(now, backend, StateCause::Operator);
        Handled::Done
    }

    pub(super) fn on_weight_changed(&mut self, token: BackendToken, weight: u16) -> Handled {
        let Ok(backend) = self.find_backend(token) else {
            return Handled::Stale;
        };
        if !WEIGHTS.contains(&weight) {
            return Handled::Refused;
        }
        self.backends[usize::from(backend.0)].weight = weight;
        self.balancer.set_weight(backend, weight);
        Handled::Done
    }

    /// Stops new streams to a backend. Its dials are given up; its connections finish what they
    /// carry and are closed at the deadline of the backend.
    fn retire(&mut self, now: Instant, backend: BackendId, cause: StateCause) {
        self.refresh(backend);
        self.report_state(now, backend, cause);
        for slot in self.slots.range(backend) {
            match self.slots.connection(slot).lifecycle() {
                Lifecycle::Empty => {}
                Lifecycle::Connecting { .. } => {
                    self.close(now, slot, CloseReason::BackendDrained);
                }
                Lifecycle::Ready | Lifecycle::Suspect | Lifecycle::Busy => {
                    let token = self.slots.token(slot);
                    let drain = Event::Drain(DrainCause::Backend);
                    self.slots.apply(token, drain).expect("a ready connection can drain");
                    self.arm_drain(now, slot);
                    self.settle(now, slot);
                }
                Lifecycle::Draining(_) => self.arm_drain_deadline(slot),
            }
        }
    }

    /// Puts a connection that drained with its backend back into use. One that was busy is busy
    /// again: its successors may have all places.
    fn resume(&mut self, now: Instant, slot: usize) {
        let token = self.slots.token(slot);
        let connection = self.slots.connection(slot);
        let (ages_at, is_busy) = (connection.ages_at, connection.drained_busy);
        let resumed = if is_busy { Event::ResumedBusy } else { Event::Resumed };
        self.slots.apply(token, resumed).expect("it drains for its backend");
        self.timers.arm(Timer::Life(slot as u32), ages_at);
        if is_busy {
            self.arm_suspicion(now, slot);
        } else {
            self.arm_silence(slot, token.backend);
        }
    }

    /// Frees removed backends whose last connection is gone.
    pub(super) fn free_removed(&mut self) {
        if !core::mem::take(&mut self.removal_pending) {
            return;
        }
        for index in 0..self.backends.len() {
            let backend = backend_id(index);
            let removed = self.backends[index].service.is_removed();
            if removed && self.slots.count(backend) == 0 {
                self.free(backend);
            }
        }
    }

    /// Frees the table entry of a removed backend.
    pub(super) fn free(&mut self, backend: BackendId) {
        let token = self.backend_token_of(backend);
        let place = u32::from(backend.0);
        self.timers.disarm(Timer::Backoff(place));
        self.timers.disarm(Timer::Health(place));
        self.backends[usize::from(backend.0)].vacate();
        self.balancer.forget(backend);
        self.removed -= 1;
        self.refresh(backend);
        self.order(Output::BackendGone { backend: token });
    }

    pub(super) fn on_settings_changed(&mut self, now: Instant, changes: &[Setting]) -> Handled {
        if changes.iter().any(|setting| setting.check().is_err()) {
            return Handled::Refused;
        }
        let before = self.config.health_checking;
        for setting in changes {
            self.config.set(*setting).expect("it was checked");
            match *setting {
                Setting::Strategy(strategy) => self.balancer.set_strategy(strategy),
                Setting::Timeout(Timeout::SlowStart, time) => self.balancer.set_slow_start(time),
                Setting::Timeout(..) | Setting::Number(..) | Setting::HealthChecking(_) => {}
            }
        }
        if self.config.health_checking != before {
            self.change_health_checking(now, self.config.health_checking);
        }
        // The required share of healthy backends may have changed.
        for index in 0..self.backends.len() {
            self.refresh(backend_id(index));
        }
        Handled::Done
    }

    /// Changes how backends are health-checked. Without checks every backend counts as up.
    fn change_health_checking(&mut self, now: Instant, health_checking: HealthChecking) {
        for index in 0..self.backends.len() {
            let backend = backend_id(index);
            self.stop_health_checks(backend);
            let place = &mut self.backends[index];
            let there = matches!(place.service, Service::Serving | Service::Draining { .. });
            if health_checking == HealthChecking::Off {
                let was_down = !place.is_up();
                place.health_checks = HealthChecks::NEW;
                if was_down {
                    self.balancer.start_slowly(backend, now);
                }
            }
            if there {
                self.start_health_checks(now, backend);
                self.refresh(backend);
                self.report_state(now, backend, StateCause::Configured);
            }
        }
    }

    /// Stops all health checks, because the pool shuts down.
    pub(super) fn stop_all_health_checks(&mut self) {
        assert_ne!(self.phase, PoolPhase::Running);
        for index in 0..self.backends.len() {
            self.stop_health_checks(backend_id(index));
        }
    }
}
