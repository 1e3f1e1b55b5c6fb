//! Checks that an order is legal, and applies it.

use std::time::Duration;

use baton::pool::{
    CloseReason, ConnectionToken, Input, Instant, Output, RequestId, StreamToken, TimerReason,
};

use super::blame::SURELY_ALIVE;
use super::facts::lost_evidence;
use super::model::{
    ConnectionPhase, Model, ModelConnection, ModelPhase, ModelPing, ModelStream, RequestPhase,
};
use super::suspicion::Suspicion;
use super::time::{Time as _, longest_drain};
use super::{Invariant, Verdict, fail, require};

/// The time between PINGs that the manual promises to gRPC servers.
const APART: Duration = Duration::from_secs(310);

impl Model {
    /// Applies one order of the current step; `next` is the order after it.
    pub(super) fn order(
        &mut self,
        now: Instant,
        input: Input,
        order: Output,
        next: Option<&Output>,
    ) -> Verdict {
        match order {
            Output::Connect { connection } => self.connect(now, connection, next),
            Output::OpenStream { stream, request, attempt } => {
                self.open_stream(now, stream, request, attempt)
            }
            Output::AttemptFailed(failed) => self.attempt_failed(input, failed),
            Output::ResetStream { stream, code } => {
                self.expect_reset_code(input, stream, code)?;
                self.reset_stream(stream)
            }
            Output::Ping { connection } => self.ping(now, connection),
            Output::CheckDelivery { connection } => self.check_delivery(now, input, connection),
            Output::Close { connection, reason } => self.close(now, input, connection, reason),
            Output::RequestEnded { request, outcome, attempts, by } => {
                self.request_ended(now, input, request, outcome, attempts, by)
            }
            Output::CheckHealth { .. }
            | Output::HealthCheckJudged { .. }
            | Output::BackendChanged { .. }
            | Output::BackendGone { .. } => self.order_of_backend(now, input, order),
        }
    }

    fn connect(&mut self, now: Instant, token: ConnectionToken, next: Option<&Output>) -> Verdict {
        self.resolve_pending_outcomes()?;
        let legal = Invariant::CommandLegality;
        let (backend, slot) = (usize::from(token.backend.0), usize::from(token.slot));
        let known = backend < self.backends.len() && slot < self.slots_per_backend;
        require(known, legal, || format!("{token:?} names no slot"))?;
        require(self.may_be_used(backend), Invariant::Health, || {
            format!("a dial to backend {backend}, which may not be used")
        })?;
        let index = backend * self.slots_per_backend + slot;
        let fresh = self.connections[index].phase == ConnectionPhase::Gone
            && token.generation > self.connections[index].generation
            && token.generation <= self.generation_max;
        require(fresh, legal, || format!("a dial in a used slot or generation: {token:?}"))?;
        require(self.phase != ModelPhase::Over, legal, || "a dial after the shutdown".to_owned())?;
        let active = self.active(backend);
        let most = self.config.limits.connections_per_backend;
        require(active < most, Invariant::Limits, || {
            format!("a dial with {active} connections to backend {backend}, at most {most}")
        })?;
        require(self.backends[backend].expected > 0, legal, || "a needless dial".to_owned())?;
        // Either the streams expected from all dials do not cover the waiting requests, or it is
        // this backend's turn and another backend serves the request meanwhile.
        let usable = self.backends[backend].is_usable();
        let covered = self.expected_streams() >= u64::from(self.waiting);
        let dialling = self.dials(backend).next().is_some();
        // A backend used only because of fail-open gets one dial at a time, from which no streams
        // are expected.
        let extra = covered || self.waiting == 0;
        self.extra_dials += u32::from(extra);
        if extra || !usable {
            require(!dialling, Invariant::Limits, || {
                format!("a second dial to backend {backend} that no waiting request needs")
            })?;
        }
        let serves = match next {
            Some(Output::OpenStream { request, .. }) => self.request(*request),
            _ => None,
        };
        self.expect_dial(now, backend, serves)?;
        let expected = if usable { self.backends[backend].expected } else { 0 };
        self.note_repeated_dial(backend);
        self.connections[index] = ModelConnection {
            phase: ConnectionPhase::Connecting,
            generation: token.generation,
            since: now,
            dials_until: now.plus(self.config.timeouts.connect),
            slow_at: now.plus(self.config.timeouts.silence),
            last_stream_id: u32::MAX,
            expected,
            ..ModelConnection::default()
        };
        Ok(())
    }

    fn open_stream(
        &mut self,
        now: Instant,
        token: StreamToken,
        id: RequestId,
        attempt: u8,
    ) -> Verdict {
        self.resolve_pending_outcomes()?;
        let legal = Invariant::CommandLegality;
        let Some(slot) = self.slot(token.connection) else {
            return fail(legal, format!("{token:?} on a connection that is gone"));
        };
        let per_connection = self.config.limits.streams_per_connection;
        let connection = &self.connections[slot];
        require(connection.phase != ConnectionPhase::Draining, Invariant::GoAway, || {
            format!("{token:?} on a draining connection")
        })?;
        let ready = connection.phase == ConnectionPhase::Up && !connection.is_suspect();
        require(ready, legal, || {
            format!("{token:?} on a connection that is not ready ({:?})", connection.phase)
        })?;
        require(connection.load < connection.limit, Invariant::Limits, || {
            let (load, limit) = (connection.load, connection.limit);
            format!("{token:?} on a connection with {load} streams, at most {limit}")
        })?;
        let place = slot * per_connection + usize::from(token.stream);
        let free = usize::from(token.stream) < per_connection
            && self.streams[place] == ModelStream::Free
            && token.ordinal == connection.opened;
        require(free, Invariant::ExclusiveOwnership, || format!("{token:?} was given out before"))?;
        let Some(index) = self.request(id) else {
            return fail(Invariant::Conservation, format!("a stream for {id:?}, which has ended"));
        };
        let idle = self.idle_for(slot, now).unwrap_or_default();
        let doubtful = self.requests[index as usize].needs_live && idle >= SURELY_ALIVE;
        require(!doubtful, Invariant::Retry, || {
            format!("{id:?} was lost on a stale connection, and now gets one idle for {idle:?}")
        })?;
        self.expect_repeated(index)?;
        self.take_waiting(index, attempt)?;
        self.judge_choice(now, token, index, attempt)?;
        let head = now.plus(self.config.timeouts.response_head);
        let stalls_at = now.plus(self.config.timeouts.body_stall);
        let request = self.request_mut(index);
        request.phase = RequestPhase::Sent(token);
        request.sent_at = now;
        request.attempts = attempt;
        (request.evidence, request.reported) = (None, None);
        (request.last_stream, request.last_stream_id) = (Some(token), 0);
        request.is_too_large = false;
        request.is_blocked = false;
        request.sent_whole = !request.has_body;
        request.stalls_at = request.has_body.then_some(stalls_at);
        if request.sent_whole {
            request.response_deadline.get_or_insert(head);
        }
        self.waiting -= 1;
        self.served += 1;
        self.request_bound(now, token.connection.backend, index);
        self.streams[place] =
            ModelStream::Open { ordinal: token.ordinal, stream_id: 0, request: index };
        self.take_up(now, slot);
        Ok(())
    }

    /// A connection carries one more stream; it drains after its last one.
    fn take_up(&mut self, now: Instant, slot: usize) {
        let most = self.config.max_requests_per_connection.unwrap_or(u32::MAX);
        let connection = &mut self.connections[slot];
        connection.load += 1;
        connection.opened += 1;
        connection.opened_since_ping = true;
        if connection.load == 1 {
            let was_idle = connection.responses > 0
                && connection.silent_before.is_none()
                && now.past(connection.idle_since) >= SURELY_ALIVE;
            let idle_since = was_idle.then_some(connection.idle_since);
            connection.idle_before = connection.idle_before.or(idle_since);
            connection.quiet_since = now;
            connection.silent_before.get_or_insert_default();
            connection.quiet_latest = connection.quiet_latest.max(now);
            connection.silence_most = Duration::ZERO;
        }
        if connection.opened >= most {
            self.set_phase(now, slot, ConnectionPhase::Draining);
        }
    }

    /// Checks that the request is the oldest waiting one, and this its next attempt.
    fn take_waiting(&self, index: u32, attempt: u8) -> Verdict {
        let request = &self.requests[index as usize];
        let waits = request.phase == RequestPhase::Waiting;
        require(waits, Invariant::ExclusiveOwnership, || {
            format!("a stream for request {index}, which is {:?}", request.phase)
        })?;
        // That it may have another attempt was judged when the last one failed.
        let next = attempt == request.attempts + 1;
        require(next, Invariant::Retry, || {
            format!("attempt {attempt} after {} of request {index}", request.attempts)
        })?;
        let older = self
            .requests
            .iter()
            .find(|other| other.phase == RequestPhase::Waiting && other.arrival < request.arrival);
        require(older.is_none(), Invariant::Fairness, || {
            format!("request {index} was served before an older one")
        })
    }

    fn reset_stream(&mut self, token: StreamToken) -> Verdict {
        // The pool itself detects a passed deadline: the request on the stream ends right after
        // this order.
        if let Some((_, place, ModelStream::Open { ordinal, .. })) = self.stream(token) {
            self.streams[place] = ModelStream::Resetting { ordinal };
            return Ok(());
        }
        let due = self.resets_due > 0
            && matches!(self.stream(token), Some((_, _, ModelStream::Resetting { .. })));
        require(due, Invariant::CommandLegality, || {
            format!("a reset of {token:?}, which is not open")
        })?;
        self.resets_due -= 1;
        Ok(())
    }

    fn ping(&mut self, now: Instant, token: ConnectionToken) -> Verdict {
        let slot = self.slot(token);
        let Some(slot) = slot.filter(|slot| self.connections[*slot].phase == ConnectionPhase::Up)
        else {
            return fail(
                Invariant::CommandLegality,
                format!("a PING on {token:?}, which is not ready"),
            );
        };
        let due = self.silent_at(slot);
        let connection = &mut self.connections[slot];
        let legal = connection.ping.is_none() && connection.load > 0 && now >= due;
        require(legal, Invariant::PingBudget, || {
            format!("a PING on {token:?} at {now:?}, due at {due:?}")
        })?;
        let apart = now.past(connection.ponged_at);
        let is_spaced = connection.pongs > 0 && apart >= APART;
        connection.ping = Some(ModelPing { step: self.step, is_spaced });
        connection.opened_since_ping = false;
        self.counters.pings += 1;
        Ok(())
    }

    fn close(
        &mut self,
        now: Instant,
        input: Input,
        token: ConnectionToken,
        reason: CloseReason,
    ) -> Verdict {
        let Some(slot) = self.slot(token) else {
            return fail(
                Invariant::CommandLegality,
                format!("{token:?} was closed, but it is gone"),
            );
        };
        let connection = &self.connections[slot];
        let phase = connection.phase;
        let timed = input == Input::Timeout;
        let suspicion = self.suspicion(input, token, slot);
        let went_away = matches!(input, Input::GoAwayReceived { connection, .. }
            if connection == token);
        let legal = match reason {
            CloseReason::ConnectDeadline => {
                timed && phase == ConnectionPhase::Connecting && now >= connection.dials_until
            }
            CloseReason::Idle => {
                timed
                    && phase == ConnectionPhase::Up
                    && connection.load == 0
                    && now >= connection.idle_since.plus(self.idle_timeout(slot))
            }
            CloseReason::Stale => self.may_be_stale(slot, now),
            CloseReason::Drained => {
                let aged = timed && phase == ConnectionPhase::Up && self.is_aged(slot, now);
                let unused = phase == ConnectionPhase::Up && suspicion == Suspicion::Unused;
                unused && connection.is_suspect()
                    || connection.load == 0
                        && (phase == ConnectionPhase::Draining
                            || aged
                            || (went_away && phase == ConnectionPhase::Connecting))
            }
            CloseReason::DrainDeadline => {
                let made_room = self.joining.is_some_and(|(own, ..)| own.backend == token.backend);
                let overdue = timed && self.is_drain_overdue(slot, now);
                phase == ConnectionPhase::Draining && (overdue || made_room)
            }
            CloseReason::BackendDrained => {
                let index = usize::from(token.backend.0);
                phase == ConnectionPhase::Connecting && !self.backends[index].is_in_service()
            }
            CloseReason::Silent => {
                let due = connection.suspect_until.is_some_and(|until| now >= until);
                phase == ConnectionPhase::Up && due && suspicion == Suspicion::Dead
            }
            CloseReason::Shutdown => {
                self.phase != ModelPhase::Running
                    && self.live == 0
                    && phase != ConnectionPhase::Lost
            }
        };
        require(legal, Invariant::CommandLegality, || {
            format!("{token:?} in phase {phase:?} was closed as {reason:?} after {input:?}")
        })?;
        self.closed_now = Some((token, reason));
        let of_trial_request = self.carries_trial_request(slot);
        let is_dead = reason == CloseReason::Silent && suspicion == Suspicion::Dead;
        if is_dead {
            self.stale = self.stale_after(slot).map(|idle| (token.backend, idle / 2));
        }
        let failed_before_response = is_dead && self.note_failed_before_response(now, slot);
        self.forget_resets(now, slot);
        self.kill(now, slot, |stream_id| Some(lost_evidence(stream_id)));
        self.set_phase(now, slot, ConnectionPhase::Gone);
        if reason == CloseReason::ConnectDeadline {
            self.dial_failed(now, token.backend);
        } else if is_dead && self.stale.is_none() && !failed_before_response {
            self.backend_failed(now, token.backend, of_trial_request);
        }
        Ok(())
    }

    /// True if a request uses a stream of the connection.
    pub(super) fn carries_request(&self, slot: usize) -> bool {
        let streams = &self.streams[self.streams_of(slot)];
        streams.iter().any(|entry| matches!(entry, ModelStream::Open { .. }))
    }

    /// Returns true if the connection carries its backend's trial request.
    fn carries_trial_request(&self, slot: usize) -> bool {
        let health = self.backends[slot / self.slots_per_backend].health;
        self.streams[self.streams_of(slot)]
            .iter()
            .any(|entry| matches!(entry, ModelStream::Open { request, .. } if health.is_trial_request(*request)))
    }

    /// Returns true if a connection has drained for as long as it may.
    fn is_drain_overdue(&self, slot: usize, now: Instant) -> bool {
        let connection = &self.connections[slot];
        let drain = self.config.timeouts.drain;
        let due = connection.ends_at.is_some_and(|at| now >= at);
        let quiet = now >= connection.since.plus(drain)
            && (now >= connection.quiet_since.plus(drain)
                || now >= connection.since.plus(longest_drain(drain)));
        due || (quiet && !connection.only_with_backend)
    }

    /// Returns true if a connection may have reached its max age, which varies by a tenth.
    pub(super) fn is_aged(&self, slot: usize, now: Instant) -> bool {
        let aged = self.connections[slot].ages_between;
        aged.is_some_and(|(least, _)| now >= least)
    }

    /// How long a connection may be silent in all while it has streams, before a PING: the
    /// configured time, or four times the smoothed response time if that is longer; twice as long
    /// for each of two PINGs answered since a part of a message last arrived and for each
    /// ENHANCE_YOUR_CALM of the backend, at most 64 times.
    pub(super) fn silence(&self, slot: usize) -> Duration {
        let backend = &self.backends[slot / self.slots_per_backend];
        let measured = Duration::from_nanos(backend.response_time).saturating_mul(4);
        let pongs = self.connections[slot].pongs.min(2);
        let doublings = pongs.saturating_add(backend.enhance_your_calm_count).min(6);
        self.config.timeouts.silence.max(measured).saturating_mul(1 << doublings)
    }

    /// When a connection with streams will have been silent for too long.
    pub(super) fn silent_at(&self, slot: usize) -> Instant {
        let left = self.silence_left(slot, self.silence(slot));
        self.spaced(slot, self.connections[slot].quiet_since.plus(left))
    }

    /// When the next PING is due, if it is due at this time for the silence alone: gRPC servers
    /// allow one in five minutes, and two more, while they send no part of a message; one that has
    /// sent ENHANCE_YOUR_CALM allows fewer.
    pub(super) fn spaced(&self, slot: usize, at: Instant) -> Instant {
        let connection = &self.connections[slot];
        let calm = self.backends[slot / self.slots_per_backend].enhance_your_calm_count.min(2);
        let apart = APART * (1 << calm);
        let free = match (calm, connection.opened_since_ping) {
            (0, false) => 2,
            (0, true) => 3,
            _ => 1,
        };
        if connection.pongs < free { at } else { at.max(connection.ponged_at.plus(apart)) }
    }

    /// The part of a silence that is left after what was silent before.
    pub(super) fn silence_left(&self, slot: usize, silence: Duration) -> Duration {
        silence.saturating_sub(self.connections[slot].silent_before.unwrap_or_default())
    }

    /// Streams expected from all dials in flight.
    pub(super) fn expected_streams(&self) -> u64 {
        let dials = (0..self.backends.len()).flat_map(|index| self.dials(index));
        dials.map(u64::from).sum()
    }

    pub(super) fn is_shutdown_due(&self, now: Instant) -> bool {
        match self.phase {
            ModelPhase::Running => false,
            ModelPhase::Draining(deadline) => {
                now >= deadline && self.has_fired(TimerReason::Shutdown)
            }
            ModelPhase::Over => true,
        }
    }

    /// Lets requests whose attempt failed and that did not end wait for the next one.
    pub(super) fn resolve_pending_outcomes(&mut self) -> Verdict {
        while let Some(index) = self.pending_outcome.pop() {
            let request = &self.requests[index as usize];
            match request.phase {
                RequestPhase::PendingOutcome { must_retry, .. } => {
                    let evidence = request.evidence;
                    require(must_retry, Invariant::Retry, || {
                        format!("request {index} waits again after {evidence:?}; it may not")
                    })?;
                    self.retry(index);
                }
                RequestPhase::Ending(_) => {
                    return fail(
                        Invariant::Conservation,
                        format!("request {index} should have ended: {:?}", request.phase),
                    );
                }
                _ => {}
            }
        }
        self.admit_retries();
        Ok(())
    }
}
