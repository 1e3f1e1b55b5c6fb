//! Applies what a fact alone implies, before any order is seen.

use baton::pool::input::code;
use baton::pool::{
    ConnectionToken, Evidence, Input, Instant, Protocol, ShutdownCause, StreamToken, TimerReason,
};

use super::model::{ConnectionPhase, Ending, Model, ModelPhase, ModelStream, RequestPhase};
use super::time::Time as _;
use super::{Invariant, Verdict, require};
use std::time::Duration;

impl Model {
    fn begin_step(&mut self) {
        self.step += 1;
        (self.resets_due, self.closed_now) = (0, None);
    }

    /// Applies a fact that the pool answered as current.
    pub(super) fn apply(&mut self, now: Instant, input: Input) -> Verdict {
        self.begin_step();
        match input {
            Input::RequestArrived { .. } => {}
            Input::ReplayBufferExceeded { request, stream } => {
                if let Some(index) = self.request(request) {
                    self.outgrow(now, index, stream);
                }
            }
            Input::RequestCancelled { request } => {
                if let Some(index) = self.request(request) {
                    self.abandon(now, index, Ending::Cancelled);
                }
            }
            Input::Connected { connection, protocol, max_streams } => {
                self.connected(now, connection, protocol, max_streams);
            }
            Input::ConnectFailed { connection, .. } => self.dial_ended(now, connection),
            Input::MaxStreamsChanged { connection, max_streams } => {
                self.max_streams_changed(connection, max_streams);
            }
            Input::KeepAliveAnnounced { connection, timeout } => {
                self.keep_alive_announced(connection, timeout);
            }
            Input::GoAwayReceived { connection, last_stream_id, code } => {
                self.go_away(now, connection, last_stream_id, code);
            }
            Input::FrameReceived { connection, carries_message } => {
                self.frame(now, connection, carries_message);
            }
            Input::Pong { connection } => self.pong(now, connection),
            Input::DeliveryChecked { connection, unanswered } => {
                self.delivery_checked(now, connection, unanswered);
            }
            Input::ConnectionClosed { connection, sent_through } => {
                self.closed(now, connection, sent_through);
            }
            Input::StreamOpened { stream, stream_id } => self.opened(now, stream, stream_id),
            Input::RequestSent { stream } => self.sent(now, stream),
            Input::ResponseStarted { stream, status } => {
                let index = self.carried(stream);
                self.response_started(now, index, stream, status);
            }
            Input::BodyProgressed { stream, bytes } => self.progressed(now, stream, bytes),
            Input::UploadBlocked { stream } => self.upload_blocked(stream),
            Input::BackendAdded { .. } => unreachable!("answered Added or Refused"),
            Input::BackendRemoved { backend }
            | Input::DrainRequested { backend, .. }
            | Input::DrainCancelled { backend }
            | Input::WeightChanged { backend, .. }
            | Input::HealthCheckFinished { backend, .. } => {
                let index = self.backend(backend).expect("answered Done");
                self.apply_to_backend(now, input, index);
            }
            Input::SettingChanged { setting } => self.change(now, &[setting]),
            Input::ResponseEnded { stream } => self.response_ended(now, stream),
            Input::StreamFailed { stream, failure } => self.failed(now, stream, failure),
            Input::ResetSent { stream } => self.release(now, stream),
            Input::ShutdownRequested { cause } => self.shut_down(now, cause),
            Input::Timeout => self.timer_fired(now)?,
        }
        Ok(())
    }

    fn keep_alive_announced(&mut self, connection: ConnectionToken, timeout: Duration) {
        let slot = self.known(connection);
        self.connections[slot].keep_alive = Some(timeout);
    }

    fn upload_blocked(&mut self, stream: StreamToken) {
        let index = self.carried(stream);
        self.request_mut(index).is_blocked = true;
    }

    fn shut_down(&mut self, now: Instant, cause: ShutdownCause) {
        self.phase = ModelPhase::Draining(self.shutdown_deadline(now, cause));
        for backend in &mut self.backends {
            backend.health_checks.out = None;
        }
    }

    fn max_streams_changed(&mut self, connection: ConnectionToken, max_streams: u32) {
        let slot = self.known(connection);
        if !self.connections[slot].http1 {
            let cap = self.config.limits.streams_per_connection as u32;
            self.connections[slot].limit = max_streams.min(cap);
        }
        self.note_limit(slot);
    }

    fn connected(
        &mut self,
        now: Instant,
        token: ConnectionToken,
        protocol: Protocol,
        max_streams: Option<u32>,
    ) {
        let slot = self.known(token);
        self.set_phase(now, slot, ConnectionPhase::Up);
        let cap = self.config.limits.streams_per_connection as u32;
        let max_age = self.config.timeouts.max_age;
        let connection = &mut self.connections[slot];
        connection.http1 = protocol == Protocol::Http1;
        // RFC 9113, 6.5.2: 100 is the recommended minimum that a peer should allow.
        let allowed = if connection.http1 { 1 } else { max_streams.unwrap_or(100) };
        connection.limit = allowed.min(cap);
        let (least, most) = (max_age / 10 * 9, max_age / 10 * 11 + Duration::from_nanos(10));
        connection.ages_between = Some((now.plus(least), now.plus(most)));
        self.begin_idle(now, slot);
        self.note_limit(slot);
    }

    /// The next connection is expected to allow as many streams as this one.
    fn note_limit(&mut self, slot: usize) {
        let backend = self.token(slot).backend;
        let limit = self.connections[slot].limit.max(1);
        self.backends[usize::from(backend.0)].expected = limit;
    }

    fn dial_ended(&mut self, now: Instant, token: ConnectionToken) {
        let slot = self.known(token);
        self.set_phase(now, slot, ConnectionPhase::Gone);
        self.dial_failed(now, token.backend);
    }

    /// A connection that took requests and failed before the first response counts as a failed
    /// dial. Returns true for such a connection.
    pub(super) fn note_failed_before_response(&mut self, now: Instant, slot: usize) -> bool {
        let connection = &self.connections[slot];
        let failed_before_response = connection.opened > 0 && connection.responses == 0;
        if failed_before_response {
            self.dial_failed(now, self.token(slot).backend);
        }
        failed_before_response
    }

    fn response_started(&mut self, now: Instant, index: u32, stream: StreamToken, status: u16) {
        let stalls_at = now.plus(self.config.timeouts.response_stall);
        let request = self.request_mut(index);
        request.phase = RequestPhase::Responding(stream);
        request.stalls_at = Some(stalls_at);
        let sample = request.sent_whole.then(|| now.past(request.sent_at));
        let doubt = request.doubted.take();
        self.confirm(now, doubt, stream, status);
        let slot = self.known(stream.connection);
        self.connections[slot].responses += 1;
        self.frame(now, stream.connection, false);
        let backend = stream.connection.backend;
        let state = &mut self.backends[usize::from(backend.0)];
        if let Some(sample) = sample {
            let sample = u64::try_from(sample.as_nanos()).expect("a time of the run");
            let before = state.response_time;
            let smoothed = before - before / 8 + sample / 8;
            state.response_time = if before == 0 { sample } else { smoothed };
        }
        self.backend_answered(now, backend, index, status);
    }

    /// Extends the stall deadline: a response gets its full timeout again; a request body gets the
    /// time that its bytes take at the minimum rate, so that a slow body runs out of time.
    fn progressed(&mut self, now: Instant, stream: StreamToken, bytes: u32) {
        let index = self.carried(stream);
        let timeouts = self.config.timeouts;
        let rate = u64::from(self.config.body_rate_min);
        let request = self.request_mut(index);
        request.is_blocked = false;
        let stalls_at = match request.phase {
            RequestPhase::Responding(_) => now.plus(timeouts.response_stall),
            _ if rate == 0 => now.plus(timeouts.body_stall),
            _ => {
                let before = request.stalls_at.expect("its body is being sent");
                let earned = Duration::from_nanos(u64::from(bytes) * 1_000_000_000 / rate);
                before.plus(earned).min(now.plus(timeouts.body_stall))
            }
        };
        request.stalls_at = Some(stalls_at);
    }

    fn go_away(&mut self, now: Instant, token: ConnectionToken, last_stream_id: u32, code: u32) {
        let slot = self.known(token);
        let pinged = self.connections[slot].ping.is_some() || self.connections[slot].pongs > 0;
        if code == code::ENHANCE_YOUR_CALM && pinged {
            self.backends[usize::from(token.backend.0)].enhance_your_calm_count += 1;
        }
        let connection = &mut self.connections[slot];
        connection.idle_before = None;
        connection.last_stream_id = connection.last_stream_id.min(last_stream_id);
        let last = connection.last_stream_id;
        if connection.phase == ConnectionPhase::Connecting {
            self.dial_failed(now, token.backend);
            return;
        }
        if connection.phase == ConnectionPhase::Up && last == 0 {
            self.note_failed_before_response(now, slot);
        }
        self.drain_for_itself(now, slot);
        let above = |stream_id: u32| (stream_id > last).then_some(Evidence::Unprocessed);
        self.kill(now, slot, above);
    }

    /// A connection drains for a cause of its own from now on, unless it does already.
    pub(super) fn drain_for_itself(&mut self, now: Instant, slot: usize) {
        let connection = &mut self.connections[slot];
        let drained = std::mem::take(&mut connection.only_with_backend);
        let with_backend = drained && connection.phase == ConnectionPhase::Draining;
        if with_backend || connection.phase == ConnectionPhase::Up {
            self.set_phase(now, slot, ConnectionPhase::Draining);
        }
    }

    fn closed(&mut self, now: Instant, token: ConnectionToken, sent_through: u32) {
        let slot = self.known(token);
        if self.connections[slot].phase == ConnectionPhase::Connecting {
            self.dial_ended(now, token);
            return;
        }
        let abrupt = self.connections[slot].phase == ConnectionPhase::Up && self.carries(slot);
        let stale = self.stale_after(slot).filter(|_| abrupt);
        self.stale = stale.map(|idle| (token.backend, idle / 2));
        self.connections[slot].only_with_backend = false;
        self.set_phase(now, slot, ConnectionPhase::Lost);
        self.forget_resets(now, slot);
        let unsent = |stream_id: u32| {
            (stream_id == 0 || stream_id > sent_through).then_some(Evidence::NeverSent)
        };
        self.kill(now, slot, unsent);
        // What was sent on it may have ended it; otherwise it is as if the dial had failed.
        let carries = self.carries(slot);
        self.connections[slot].closed_without_goaway = abrupt && stale.is_none() && carries;
        if abrupt && stale.is_none() && !carries {
            self.note_failed_before_response(now, slot);
        }
        if self.connections[slot].load == 0 {
            self.connections[slot].phase = ConnectionPhase::Gone;
        }
    }

    fn opened(&mut self, now: Instant, token: StreamToken, id: u32) {
        let (slot, place, stream) = self.stream(token).expect("answered Done");
        let ModelStream::Open { ordinal, request, .. } = stream else {
            unreachable!("answered Done");
        };
        self.streams[place] = ModelStream::Open { ordinal, stream_id: id, request };
        self.request_mut(request).last_stream_id = id;
        if id > self.connections[slot].last_stream_id {
            self.streams[place] = ModelStream::Resetting { ordinal };
            self.resets_due = 1;
            if self.connections[slot].phase == ConnectionPhase::Lost {
                self.resets_due = 0;
                self.free_stream(now, slot, place);
            }
            self.request_unbound(token.connection.backend, request);
            self.fail(request, Evidence::Unprocessed, false);
        }
    }

    fn sent(&mut self, now: Instant, token: StreamToken) {
        let index = self.carried(token);
        let deadline = now.plus(self.config.timeouts.response_head);
        let request = self.request_mut(index);
        if !request.sent_whole && matches!(request.phase, RequestPhase::Sent(_)) {
            request.response_deadline.get_or_insert(deadline);
            request.sent_at = now;
        }
        request.sent_whole = true;
        if matches!(request.phase, RequestPhase::Sent(_)) {
            request.stalls_at = None;
        }
    }

    /// Resets the stream of a request that no longer needs its response. The stream counts until
    /// RST_STREAM is on the wire; on a lost connection it is freed at once.
    fn abandon(&mut self, now: Instant, index: u32, ending: Ending) {
        let stream = match self.requests[index as usize].phase {
            RequestPhase::Sent(stream) | RequestPhase::Responding(stream) => stream,
            _ => {
                self.end(index, ending);
                return;
            }
        };
        let (slot, place, _) = self.stream(stream).expect("a request's stream exists");
        self.request_unbound(stream.connection.backend, index);
        if self.connections[slot].phase == ConnectionPhase::Lost {
            self.free_stream(now, slot, place);
        } else {
            self.streams[place] = ModelStream::Resetting { ordinal: stream.ordinal };
            self.resets_due += 1;
        }
        self.end(index, ending);
    }

    /// The replay buffer is dropped: only the attempt that the bytes passed through can send the
    /// whole body.
    fn outgrow(&mut self, now: Instant, index: u32, stream: StreamToken) {
        let request = self.request_mut(index);
        request.replayable = false;
        match request.phase {
            RequestPhase::Sent(own) | RequestPhase::Responding(own) if own == stream => {}
            RequestPhase::Responding(_) => {
                request.evidence = Some(Evidence::Responding);
                self.abandon(now, index, Ending::CutShort);
            }
            RequestPhase::Sent(_) => {
                request.evidence = Some(Evidence::Unknown);
                self.abandon(now, index, Ending::AttemptFailed);
            }
            _ => self.abandon(now, index, Ending::AttemptFailed),
        }
    }

    fn end(&mut self, index: u32, ending: Ending) {
        if self.requests[index as usize].phase == RequestPhase::Waiting {
            self.waiting -= 1;
        }
        self.request_mut(index).phase = RequestPhase::Ending(ending);
        self.pending_outcome.push(index);
    }

    pub(super) fn release(&mut self, now: Instant, token: StreamToken) {
        let (slot, place, _) = self.stream(token).expect("answered Done");
        self.free_stream(now, slot, place);
    }

    /// Fails the requests of a connection's streams for which `evidence` returns some.
    pub(super) fn kill(
        &mut self,
        now: Instant,
        slot: usize,
        evidence: impl Fn(u32) -> Option<Evidence>,
    ) {
        let stale = self.connections[slot].idle_before.is_some();
        for place in self.streams_of(slot) {
            if let ModelStream::Open { stream_id, request, .. } = self.streams[place]
                && let Some(evidence) = evidence(stream_id)
            {
                let backend = self.token(slot).backend;
                self.request_mut(request).needs_live |= stale;
                self.free_stream(now, slot, place);
                self.request_unbound(backend, request);
                self.fail(request, evidence, false);
            }
        }
    }

    pub(super) fn forget_resets(&mut self, now: Instant, slot: usize) {
        for place in self.streams_of(slot) {
            if matches!(self.streams[place], ModelStream::Resetting { .. }) {
                self.free_stream(now, slot, place);
            }
        }
    }

    fn frame(&mut self, now: Instant, token: ConnectionToken, carries_message: bool) {
        let slot = self.known(token);
        let backend = usize::from(token.backend.0);
        let stays = self.connections[slot].is_busy && !self.has_connection_place(backend);
        if stays {
            let until = now.plus(self.config.timeouts.suspect);
            self.connections[slot].suspect_until = Some(until);
        } else {
            self.recover(now, slot);
        }
        let connection = &mut self.connections[slot];
        connection.idle_before = None;
        connection.silent_before = None;
        if connection.load > 0 {
            connection.quiet_since = now;
            connection.quiet_latest = connection.quiet_latest.max(now);
        }
        // A backend that sends a part of a message forgets the PINGs before.
        if carries_message && std::mem::take(&mut connection.pongs) > 0 {
            connection.silence_most = Duration::ZERO;
        }
    }

    fn pong(&mut self, now: Instant, token: ConnectionToken) {
        let slot = self.known(token);
        let connection = &mut self.connections[slot];
        let ping = connection.ping.take().expect("answered Done");
        connection.pongs += u32::from(!ping.is_spaced);
        connection.ponged_at = now;
        self.frame(now, token, false);
    }

    fn response_ended(&mut self, now: Instant, stream: StreamToken) {
        let index = self.carried(stream);
        if self.requests[index as usize].sent_whole {
            self.request_unbound(stream.connection.backend, index);
            self.release(now, stream);
            self.end(index, Ending::Completed);
        } else {
            self.abandon(now, index, Ending::Completed);
        }
    }

    fn timer_fired(&mut self, now: Instant) -> Verdict {
        let Some((at, reason)) = self.fired else {
            return Ok(());
        };
        if reason == TimerReason::Ejection {
            self.ejection_over(at);
        }
        self.count_timeouts(now)
    }

    /// Checks that every firing ends or moves its timer: no more firings in a row than there are
    /// timers.
    fn count_timeouts(&mut self, now: Instant) -> Verdict {
        let (at, count) = self.timeouts;
        self.timeouts = if at == now { (now, count + 1) } else { (now, 1) };
        let timers = 2 * self.connections.len() + self.requests.len() + 3 * self.backends.len() + 1;
        require(self.timeouts.1 as usize <= 2 * timers + 16, Invariant::Timers, || {
            format!("more timeouts at {now:?} than timers")
        })
    }

    pub(super) fn has_fired(&self, reason: TimerReason) -> bool {
        self.fired.is_some_and(|(_, fired)| fired == reason)
    }

    /// Returns true if the connection carries a request, not only streams being reset.
    fn carries(&self, slot: usize) -> bool {
        let entries = &self.streams[self.streams_of(slot)];
        entries.iter().any(|entry| matches!(entry, ModelStream::Open { .. }))
    }

    pub(super) fn known(&self, token: ConnectionToken) -> usize {
        self.slot(token).expect("answered Done")
    }

    /// The request that an open stream carries.
    pub(super) fn carried(&self, token: StreamToken) -> u32 {
        match self.stream(token) {
            Some((_, _, ModelStream::Open { request, .. })) => request,
            _ => unreachable!("answered Done"),
        }
    }
}

pub(super) fn lost_evidence(stream_id: u32) -> Evidence {
    if stream_id == 0 { Evidence::NeverSent } else { Evidence::Unknown }
}
