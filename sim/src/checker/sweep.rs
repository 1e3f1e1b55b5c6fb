//! Checks at the end of a step that the pool's own view equals the model.

use baton::pool::{
    BackendId, HealthChecking, Instant, Pool, SlotState, SlotStats, Stats, TimerReason,
};

use super::backend::{Health, ModelBackend, Service};
use super::model::{ConnectionPhase, Model, ModelPhase, ModelStream, RequestPhase};
use super::time::{Time as _, longest_drain};
use super::{Invariant, Verdict, Violation, require};

/// Checks the pool's own recount, which a driver makes once a second, after every fact.
pub(super) fn recount(pool: &Pool) -> Verdict {
    pool.recount().map_err(|mismatch| Violation {
        invariant: Invariant::PoolAssert,
        what: format!("the pool is inconsistent: {mismatch}"),
    })
}

impl Model {
    pub(super) fn sweep(&mut self, pool: &Pool) -> Verdict {
        require(self.resets_due == 0, Invariant::Limits, || {
            "a stream was released without a reset: the peer still counts it".to_owned()
        })?;
        self.see_shutdown();
        self.check_siblings()?;
        let (slots, room) = self.sweep_connections(pool)?;
        self.sweep_requests()?;
        let stats = pool.stats();
        self.compare_stats(slots, &stats)?;
        self.check_emptiness()?;
        self.compare_backends(self.step_at, pool)?;
        self.compare_counters(stats.counters)?;
        self.compare_views(pool)?;
        self.check_progress(room, pool)?;
        self.check_dials(pool)?;
        self.check_timers(pool)
    }

    /// Ends the shutdown if its deadline passed in this step.
    fn see_shutdown(&mut self) {
        if matches!(self.phase, ModelPhase::Draining(_)) && self.has_fired(TimerReason::Shutdown) {
            self.phase = ModelPhase::Over;
        }
    }

    /// Checks that no connection is left of those that were idle for so long that they are dead
    /// like the one that was found in this step.
    fn check_siblings(&self) -> Verdict {
        let Some((backend, least)) = self.stale else {
            return Ok(());
        };
        let own = usize::from(backend.0) * self.slots_per_backend;
        for slot in own..own + self.slots_per_backend {
            let idle = self.idle_for(slot, self.step_at).filter(|idle| *idle >= least);
            require(idle.is_none(), Invariant::Retry, || {
                let token = self.token(slot);
                format!("{token:?} stays, idle for {idle:?}; one idle for twice {least:?} was dead")
            })?;
        }
        Ok(())
    }

    /// Checks that every slot has the state that the model implies. Returns the counts of slots and
    /// streams, and a bit set of the backends with capacity.
    fn sweep_connections(&mut self, pool: &Pool) -> Result<(SlotStats, u64), super::Violation> {
        let mut counted = SlotStats::default();
        let mut room = 0_u64;
        for slot in 0..self.connections.len() {
            let token = self.token(slot);
            let state = pool.slot_state(token.backend, token.slot).expect("the slot exists");
            let drained = self.phase != ModelPhase::Running && self.live == 0;
            let idle = self.idle_timeout(slot);
            let connection = &mut self.connections[slot];
            if drained && connection.phase == ConnectionPhase::Lost && state == SlotState::Empty {
                connection.phase = ConnectionPhase::Gone;
                connection.load = 0;
            }
            let full = connection.load >= connection.limit;
            let same = match connection.phase {
                ConnectionPhase::Gone => state == SlotState::Empty,
                ConnectionPhase::Connecting => state == SlotState::Connecting,
                ConnectionPhase::Up => match state {
                    SlotState::Available => !full,
                    SlotState::InUse => full,
                    SlotState::Suspect => true,
                    SlotState::Empty | SlotState::Connecting | SlotState::Draining => false,
                },
                ConnectionPhase::Draining | ConnectionPhase::Lost => state == SlotState::Draining,
            };
            let silent = state == SlotState::Suspect && !connection.is_suspect();
            connection.suspect_until =
                connection.suspect_until.filter(|_| state == SlotState::Suspect);
            connection.idle_most = connection.idle_most.max(idle);
            if connection.phase != ConnectionPhase::Gone {
                counted.streams += connection.load;
            }
            match state {
                SlotState::Empty if connection.generation >= self.generation_max => {
                    counted.retired += 1;
                }
                SlotState::Empty => counted.empty += 1,
                SlotState::Connecting => counted.connecting += 1,
                SlotState::Available => {
                    counted.available += 1;
                    room |= 1 << token.backend.0;
                }
                SlotState::InUse => counted.in_use += 1,
                SlotState::Suspect => counted.suspect += 1,
                SlotState::Draining => counted.draining += 1,
            }
            let (phase, load, limit) = (connection.phase, connection.load, connection.limit);
            require(same, Invariant::DerivedCounts, || {
                format!("{token:?} is {state:?}, expected {phase:?} with {load} of {limit} streams")
            })?;
            self.watch_silence(slot, silent)?;
        }
        Ok((counted, room))
    }

    /// Checks that a connection became suspect only after the silence that is allowed, and notes
    /// how long it may be silent, or suspect.
    fn watch_silence(&mut self, slot: usize, silent: bool) -> Verdict {
        if !silent && !self.is_watched(slot) {
            return Ok(());
        }
        if silent {
            let (now, due) = (self.step_at, self.silent_at(slot));
            let ping = self.connections[slot].ping;
            let is_pinged = ping.is_some_and(|ping| ping.step == self.step);
            require(is_pinged || now >= due, Invariant::PingBudget, || {
                format!("{:?} is suspect at {now:?}, due at {due:?}", self.token(slot))
            })?;
            let until = now.plus(self.config.timeouts.suspect);
            self.connections[slot].suspect_until = Some(until);
            self.note_place(slot / self.slots_per_backend);
        } else {
            let silence = self.silence(slot);
            let connection = &mut self.connections[slot];
            connection.silence_most = connection.silence_most.max(silence);
        }
        Ok(())
    }

    /// Checks that a shutdown with nothing left has closed all connections.
    fn check_emptiness(&self) -> Verdict {
        if self.phase == ModelPhase::Running || self.live > 0 {
            return Ok(());
        }
        let left = (0..self.connections.len())
            .find(|slot| self.connections[*slot].phase != ConnectionPhase::Gone);
        require(left.is_none(), Invariant::Quiescence, || {
            let left = left.map(|slot| self.token(slot));
            format!("no request is left at a shutdown, but {left:?} stays")
        })
    }

    /// Checks that each sent request and its stream refer to each other.
    fn sweep_requests(&self) -> Verdict {
        let (mut live, mut waiting) = (0, 0);
        for (index, request) in self.requests.iter().enumerate() {
            match request.phase {
                RequestPhase::None => continue,
                RequestPhase::Waiting => waiting += 1,
                RequestPhase::Deferred => {}
                RequestPhase::Sent(stream) | RequestPhase::Responding(stream) => {
                    let entry = self.stream(stream);
                    let own = matches!(entry, Some((_, _, ModelStream::Open { request, .. }))
                        if request as usize == index);
                    require(own, Invariant::ExclusiveOwnership, || {
                        format!("request {index} is on {stream:?}, which is {entry:?}")
                    })?;
                }
                RequestPhase::PendingOutcome { .. } | RequestPhase::Ending(_) => {
                    unreachable!("resolved before the sweep")
                }
            }
            live += 1;
        }
        assert_eq!((live, waiting), (self.live, self.waiting), "the model is consistent");
        Ok(())
    }

    fn compare_stats(&self, slots: SlotStats, stats: &Stats) -> Verdict {
        let reported = (stats.requests, stats.waiting, stats.deferred, stats.retrying, stats.slots);
        let deferred = self.deferred().count() as u32;
        let own = (self.live, self.waiting, deferred, self.retrying(), slots);
        require(reported == own, Invariant::DerivedCounts, || {
            format!(
                "the pool counts {reported:?} (requests, waiting, deferred, retrying, slots), expected {own:?}"
            )
        })?;
        let limits = &self.config.limits;
        require(self.live as usize <= limits.requests, Invariant::Limits, || {
            format!("{} requests are live", self.live)
        })
    }

    fn check_progress(&self, room: u64, pool: &Pool) -> Verdict {
        if self.waiting == 0 || room == 0 {
            return Ok(());
        }
        for index in 0..self.backends.len() {
            let backend = BackendId(index as u16);
            let idle = room & (1 << index) != 0 && pool.may_be_used(backend);
            require(!idle, Invariant::Progress, || {
                format!("{} requests wait while backend {index} has capacity", self.waiting)
            })?;
        }
        Ok(())
    }

    /// The deadline at which a dial becomes slow, unless it is slow already.
    fn slow_deadline(&self, slot: usize) -> Option<Instant> {
        let connection = &self.connections[slot];
        let counted = connection.phase == ConnectionPhase::Connecting && connection.expected > 0;
        counted.then_some(connection.slow_at)
    }

    /// The latest deadline for a PING on a silent connection with streams: the pool may learn later
    /// that the backend is faster than it was.
    fn silence_deadline(&self, slot: usize) -> Option<Instant> {
        let connection = &self.connections[slot];
        self.is_watched(slot).then(|| {
            let silence = connection.silence_most.max(self.silence(slot));
            self.spaced(slot, connection.quiet_latest.plus(self.silence_left(slot, silence)))
        })
    }

    /// True if the connection gets a PING when it is silent for too long.
    pub(super) fn is_watched(&self, slot: usize) -> bool {
        let connection = &self.connections[slot];
        connection.phase == ConnectionPhase::Up
            && !connection.http1
            && connection.load > 0
            && !connection.is_suspect()
    }

    /// The deadline of a connection or dial.
    pub(super) fn connection_deadline(&self, slot: usize) -> Option<Instant> {
        let connection = &self.connections[slot];
        match connection.phase {
            ConnectionPhase::Gone => None,
            ConnectionPhase::Connecting => Some(connection.dials_until),
            ConnectionPhase::Draining => {
                // While responses continue, at most twenty times the timeout.
                let latest = connection.since.plus(longest_drain(connection.drain_most));
                let since = connection.since.max(connection.quiet_latest);
                let quiet = since.plus(connection.drain_most).min(latest);
                Some(match connection.ends_at {
                    Some(at) if connection.only_with_backend => at,
                    Some(at) => at.min(quiet),
                    None => quiet,
                })
            }
            ConnectionPhase::Lost => Some(self.lost_deadline(slot, connection.drain_most)),
            ConnectionPhase::Up => {
                let aged = connection.ages_between.map(|(_, most)| most);
                let idle = (connection.load == 0 && !connection.is_suspect())
                    .then(|| connection.idle_since.plus(connection.idle_most));
                [aged, idle, connection.suspect_until].into_iter().flatten().min()
            }
        }
    }

    /// The deadline for the next health check, or for the result of the check in flight.
    pub(super) fn health_check_deadline(&self, state: &ModelBackend) -> Option<Instant> {
        let checks_ordered = self.config.health_checking == HealthChecking::Ordered
            && self.phase == ModelPhase::Running
            && matches!(state.service, Service::Serving | Service::Draining(_));
        checks_ordered.then_some(match state.health_checks.out {
            Some((_, until)) => until,
            None => state.health_checks.not_after,
        })
    }

    /// The earliest deadline of a request.
    pub(super) fn first_request_deadline(&self) -> Option<Instant> {
        let requests = self.requests.iter().filter_map(|request| match request.phase {
            RequestPhase::Waiting => {
                let queue = request.queued_until;
                Some(request.response_deadline.map_or(queue, |deadline| deadline.min(queue)))
            }
            RequestPhase::Deferred => Some(request.queued_until),
            RequestPhase::Sent(_) if request.sent_whole => request.response_deadline,
            RequestPhase::Sent(_) | RequestPhase::Responding(_) => request.stalls_at,
            _ => None,
        });
        requests.min()
    }

    /// The latest moment for the earliest deadline of anything pending, with that of the requests.
    pub(super) fn first_deadline(&self, first_request: Option<Instant>) -> Option<Instant> {
        let slots = 0..self.connections.len();
        let connections = slots.filter_map(|slot| self.connection_deadline(slot));
        let shutdown = match self.phase {
            ModelPhase::Draining(deadline) => Some(deadline),
            ModelPhase::Running | ModelPhase::Over => None,
        };
        let silences = (0..self.connections.len()).filter_map(|slot| self.silence_deadline(slot));
        let slow = (0..self.connections.len()).filter_map(|slot| self.slow_deadline(slot));
        let health_checks =
            self.backends.iter().filter_map(|state| self.health_check_deadline(state));
        let trials = self.backends.iter().filter_map(|state| match state.health {
            Health::Ejected { until, .. }
            | Health::HalfOpen { trial_request: Some((_, until)), .. } => Some(until),
            Health::Healthy { .. } | Health::HalfOpen { trial_request: None, .. } => None,
        });
        connections
            .chain(first_request)
            .chain(trials)
            .chain(shutdown)
            .chain(silences)
            .chain(slow)
            .chain(health_checks)
            .min()
    }

    /// Checks that the earliest deadline of anything pending is armed.
    fn check_timers(&self, pool: &Pool) -> Verdict {
        let first_request = self.first_request_deadline();
        let armed = pool.poll_timeout();
        if let Some(first) = self.first_deadline(first_request) {
            require(armed.is_some_and(|(at, _)| at <= first), Invariant::Timers, || {
                format!("a deadline at {first:?} is not armed; the next timer is {armed:?}")
            })?;
        }
        if let Some((at, TimerReason::RequestDeadline)) = armed {
            require(first_request == Some(at), Invariant::Timers, || {
                format!(
                    "a request timer is armed at {at:?}, but the first deadline is {first_request:?}"
                )
            })?;
        }
        Ok(())
    }
}
