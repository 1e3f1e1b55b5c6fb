//! Invariants that hold after every fact, checked by a recount in O(size of the tables). The
//! simulator and tests recount after each fact; a driver recounts once in a while.

use super::backend::Service;
use super::balance::Set;
use super::config::HealthChecking;
use super::connection::{DrainCause, Lifecycle};
use super::mismatch::{Mismatch, expect, same};
use super::request::RequestState;
use super::slots::StreamEntry;
use super::timer::Timer;
use super::{Pool, PoolPhase, backend_id};

impl Pool {
    /// Recounts everything, and changes nothing.
    ///
    /// # Errors
    /// The first check that failed. That is a bug in the pool, which must not be used any more.
    pub fn recount(&self) -> Result<(), Mismatch> {
        self.slots.recount()?;
        self.timers.recount()?;
        self.waiting.recount()?;
        self.deferred.recount()?;
        self.balancer.recount()?;
        self.recount_requests()?;
        self.recount_streams()?;
        self.recount_timers()?;
        self.recount_backends()?;
        self.recount_sets()?;
        self.recount_progress()
    }

    /// Recounts everything.
    ///
    /// # Panics
    /// If a check fails; the message names it.
    pub(super) fn check_invariants(&self) {
        if let Err(mismatch) = self.recount() {
            panic!("the pool is inconsistent: {mismatch}");
        }
    }

    fn live_requests(&self) -> impl Iterator<Item = u32> + '_ {
        let mut start = 0;
        core::iter::from_fn(move || {
            let index = self.requests.next_live(start)?;
            start = index + 1;
            Some(index)
        })
    }

    fn recount_requests(&self) -> Result<(), Mismatch> {
        let (mut live, mut waiting, mut deferred, mut retrying) = (0, 0, 0, 0);
        for index in self.live_requests() {
            let place = index as usize;
            let request = self.requests.get(index);
            live += 1;
            retrying += u32::from(request.is_retrying());
            let waits = request.state == RequestState::Waiting;
            let queued = self.waiting.contains(index);
            same(queued, waits, "a request is queued if and only if it waits", place)?;
            waiting += usize::from(waits);
            let defers = request.state == RequestState::Deferred;
            let held = self.deferred.contains(index);
            same(held, defers, "a request is in the heap of deferred ones if it is one", place)?;
            deferred += usize::from(defers);
            if let Some(stream) = request.stream() {
                let held = self.slots.get(stream);
                let own = matches!(held, Ok(StreamEntry::Open { request, .. }) if request == index);
                expect(own, "a request's stream carries that request", place)?;
            }
        }
        same(live, self.requests.live(), "live requests", 0)?;
        same(waiting, self.waiting.len(), "waiting requests", 0)?;
        same(deferred, self.deferred.len(), "deferred requests", 0)?;
        same(retrying, self.retrying, "requests on a retry", 0)
    }

    fn recount_streams(&self) -> Result<(), Mismatch> {
        for slot in self.slots.dialled() {
            let token = self.slots.token(slot);
            let mut start = 0;
            while let Some((stream, entry)) = self.slots.next_stream(token, start) {
                start = usize::from(stream.stream) + 1;
                if let StreamEntry::Open { request, .. } = entry {
                    let held = self.requests.peek(request).and_then(|request| request.stream());
                    same(held, Some(stream), "a stream's request holds that stream", slot)?;
                }
            }
        }
        Ok(())
    }

    fn recount_timers(&self) -> Result<(), Mismatch> {
        let armed = |timer| self.timers.armed(timer).is_some();
        let mut live = 0;
        for slot in self.slots.dialled() {
            let (life, quiet) = (armed(Timer::Life(slot as u32)), armed(Timer::Quiet(slot as u32)));
            let exists = self.slots.connection(slot).lifecycle() != Lifecycle::Empty;
            same(life, exists, "a slot has a deadline if and only if it is in use", slot)?;
            expect(exists || !quiet, "an empty slot has no silence timer", slot)?;
            live += usize::from(life) + usize::from(quiet);
        }
        for index in self.live_requests() {
            // This holds until the end: at its deadline, the shutdown ends all live requests.
            let due = armed(Timer::Request(index));
            expect(due, "a request has a deadline", index as usize)?;
            live += 1;
        }
        for (index, backend) in self.backends.iter().enumerate() {
            let place = index as u32;
            let health = armed(Timer::Health(place));
            let timed = backend.health.is_timed();
            same(health, timed, "an ejection has a timer that ends it", index)?;
            let checks_ordered = self.config.health_checking == HealthChecking::Ordered
                && self.phase == PoolPhase::Running
                && matches!(backend.service, Service::Serving | Service::Draining { .. });
            let health_check = armed(Timer::HealthCheck(place));
            same(health_check, checks_ordered, "a backend has a health check timer", index)?;
            let backoff = armed(Timer::Backoff(place));
            live += usize::from(health) + usize::from(backoff) + usize::from(health_check);
        }
        let shutdown = armed(Timer::Shutdown);
        let draining = self.phase == PoolPhase::Draining;
        same(shutdown, draining, "a shutdown has a deadline", 0)?;
        live += usize::from(shutdown);
        same(self.timers.len(), live, "armed timers", 0)
    }

    fn recount_backends(&self) -> Result<(), Mismatch> {
        self.recount_loads()?;
        let (mut in_service, mut healthy, mut ejected, mut removed) = (0, 0, 0, 0);
        for (index, backend) in self.backends.iter().enumerate() {
            let counted = backend.count();
            same(backend.counted, counted, "counters that include a backend", index)?;
            in_service += u32::from(counted.in_service);
            healthy += u32::from(counted.healthy);
            ejected += u32::from(counted.ejected);
            removed += u32::from(backend.service.is_removed());
            let idle = backend.service == Service::Vacant || backend.service.is_removed();
            let connections = self.slots.count(backend_id(index));
            let fits = match backend.service {
                Service::Vacant => connections == 0,
                Service::Removed { .. } => connections > 0,
                Service::Serving | Service::Draining { .. } => true,
            };
            expect(fits, "connections of a backend that was removed", index)?;
            let reported = backend.reported.map(|(state, ..)| state);
            same(reported, backend.state(), "reported state of a backend", index)?;
            expect(
                !idle || backend.check_in_flight.is_none(),
                "a removed backend has a health check",
                index,
            )?;
        }
        same(in_service, self.in_service, "backends in service", 0)?;
        same(healthy, self.healthy, "healthy backends", 0)?;
        same(ejected, self.ejected, "ejected backends", 0)?;
        same(removed, self.removed, "removed backends", 0)?;
        same(self.fail_open, self.should_fail_open(), "fail-open", 0)
    }

    /// Checks that each request with a stream counts as load of its backend, and that each trial
    /// request is one of them.
    fn recount_loads(&self) -> Result<(), Mismatch> {
        let (mut counted, mut sent) = (0, 0);
        for (index, backend) in self.backends.iter().enumerate() {
            let id = backend_id(index);
            let streams = self.slots.range(id).map(|slot| self.slots.requests_on(slot)).sum();
            same(self.balancer.load(id), streams, "requests that count for a backend", index)?;
            counted += streams;
            let trial = backend.health.trial_request();
            let stream = |request| self.requests.peek(request).and_then(|entry| entry.stream());
            let on_it = |request| stream(request).is_some_and(|it| it.connection.backend == id);
            expect(trial.is_none_or(on_it), "trial request of a half-open backend", index)?;
        }
        for index in self.live_requests() {
            sent += u32::from(self.requests.get(index).stream().is_some());
        }
        same(counted, sent, "requests with a stream", 0)
    }

    fn recount_sets(&self) -> Result<(), Mismatch> {
        for (index, backend) in self.backends.iter().enumerate() {
            let id = backend_id(index);
            let member = |set| self.balancer.is_member(set, id);
            let chosen = backend.is_usable() || (backend.counted.in_service && self.fail_open);
            same(member(Set::Usable), chosen, "usable backend", index)?;
            let with_capacity = chosen && self.slots.has_capacity(id);
            same(member(Set::WithCapacity), with_capacity, "backend with capacity", index)?;
            let waits = self.timers.armed(Timer::Backoff(index as u32)).is_some();
            let dialable = chosen && !waits && self.may_dial(id);
            let hangs = dialable && self.slots.has_slow_dial(id);
            same(member(Set::Dialable), dialable && !hangs, "backend that may be dialled", index)?;
            same(member(Set::SlowDial), hangs, "backend with a slow dial", index)?;
        }
        Ok(())
    }

    /// Checks that no request waits while a stream it may use is free, that enough dials are in
    /// progress for the waiting requests, and that no draining connection is without load.
    fn recount_progress(&self) -> Result<(), Mismatch> {
        let any = |set| {
            (0..self.backends.len()).any(|index| self.balancer.is_member(set, backend_id(index)))
        };
        let waits = !self.waiting.is_empty();
        expect(!(waits && any(Set::WithCapacity)), "a request waits while a stream is free", 0)?;
        let defers = !self.deferred.is_empty() && self.retrying < self.retry_budget();
        expect(!defers, "a retry waits although the budget has room", 0)?;
        let covered = self.waiting.len() as u64 <= self.slots.expected_streams();
        let served = covered || !(any(Set::Dialable) || any(Set::SlowDial));
        expect(served, "a request waits without a dial that could be made", 0)?;
        for slot in self.slots.dialled() {
            let connection = self.slots.connection(slot);
            let draining = matches!(connection.lifecycle(), Lifecycle::Draining(_));
            expect(!draining || connection.load() > 0, "a slot drains without a load", slot)?;
            let lost = connection.lifecycle() == Lifecycle::Draining(DrainCause::Lost);
            expect(!lost || connection.capacity() == 0, "a lost connection has capacity", slot)?;
        }
        Ok(())
    }
}
