//! Facts about streams: opened, sent, answered, ended, failed, reset.

use super::blame::Fault;
use super::cause::FailureCause;
use super::connection::{DrainCause, Lifecycle};
use super::health::Blame;
use super::input::code;
use super::lanes::Lane;
use super::request::{RequestState, Upload};
use super::retry::Progress;
use super::slots::{Slots, StreamEntry};
use super::time::nanoseconds;
use super::timer::Timer;
use super::{
    BackendId, CloseReason, Handled, Instant, Outcome, Output, Pool, Protocol, StreamFailure,
    StreamToken, limits,
};
use core::time::Duration;

/// How a connection ends, on which streams fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionEnd {
    /// The peer sent GOAWAY; the streams below its last identifier go on.
    GoAway,
    /// It is closed, and the owners of the streams that were sent report their end.
    Lost,
    /// The pool closes it.
    Ordered(CloseReason),
}

impl Pool {
    pub(super) fn on_stream_opened(
        &mut self,
        now: Instant,
        stream: StreamToken,
        stream_id: u32,
    ) -> Handled {
        let Ok(StreamEntry::Open { stream_id: known, request, .. }) = self.slots.get_mut(stream)
        else {
            return Handled::Stale;
        };
        if *known != 0 || stream_id == 0 {
            return Handled::Refused;
        }
        *known = stream_id;
        let request = *request;
        let slot = Slots::index(stream.connection);
        if stream_id > self.slots.connection(slot).last_stream_id {
            // The order and a GOAWAY crossed: the peer will not process the stream (RFC 9113, 6.8).
            let failure = StreamFailure::Unprocessed;
            let failed = self.failed_attempt(request, stream, stream_id, failure);
            self.abandon_stream(now, request, code::CANCEL);
            self.fail_attempt(now, request, failed, None);
        }
        Handled::Done
    }

    pub(super) fn on_request_sent(&mut self, now: Instant, stream: StreamToken) -> Handled {
        let Ok(StreamEntry::Open { request: index, .. }) = self.slots.get(stream) else {
            return Handled::Stale;
        };
        match &mut self.requests.get_mut(index).state {
            RequestState::Sent { upload: upload @ Upload::Open { .. }, since, .. } => {
                *upload = Upload::Done;
                *since = now;
                self.arm_response_deadline(now, index);
            }
            RequestState::Responding { upload, .. } => *upload = Upload::Done,
            RequestState::Sent { upload: Upload::Done, .. } => {}
            RequestState::Waiting | RequestState::Deferred | RequestState::Free { .. } => {
                unreachable!("a stream carries a request that was sent")
            }
        }
        Handled::Done
    }

    pub(super) fn on_response_started(
        &mut self,
        now: Instant,
        stream: StreamToken,
        status: u16,
    ) -> Handled {
        let Ok(StreamEntry::Open { request: index, .. }) = self.slots.get(stream) else {
            return Handled::Stale;
        };
        let RequestState::Sent { upload, since, .. } = self.requests.get(index).state else {
            return Handled::Refused;
        };
        let backend = stream.connection.backend;
        if upload == Upload::Done {
            // The time that a client takes to send its request says nothing about the backend.
            let state = &mut self.backends[usize::from(backend.0)];
            let sample = nanoseconds(now.since(since));
            state.response_time = match state.response_time {
                0 => sample,
                before => before - before / 8 + sample / 8,
            };
        }
        self.leave_retry_budget(index);
        self.requests.get_mut(index).state = RequestState::Responding { stream, upload };
        self.arm_response_stall(now, index);
        self.end_doubt(now, index, backend, status);
        let slot = Slots::index(stream.connection);
        let connection = self.slots.connection_mut(slot);
        connection.responses = connection.responses.saturating_add(1);
        self.note_frame(now, slot);
        self.backend_answered(now, backend, index, status);
        Handled::Done
    }

    /// Arms the stall timeout of a response.
    fn arm_response_stall(&mut self, now: Instant, index: u32) {
        let at = now.after(self.config.timeouts.response_stall);
        self.timers.arm_in(Lane::ResponseStall, Timer::Request(index), at);
    }

    /// Handles the progress of a body. Progress restarts the stall timeout of a response. A request
    /// body must keep the minimum rate: its deadline moves by the time that the bytes take at that
    /// rate, at most to the full stall timeout from now.
    pub(super) fn on_body_progressed(
        &mut self,
        now: Instant,
        stream: StreamToken,
        bytes: u32,
    ) -> Handled {
        let Ok(StreamEntry::Open { request: index, .. }) = self.slots.get(stream) else {
            return Handled::Stale;
        };
        match &mut self.requests.get_mut(index).state {
            RequestState::Responding { .. } => self.arm_response_stall(now, index),
            RequestState::Sent { upload: Upload::Open { blocked }, .. } => {
                let timer = Timer::Request(index);
                *blocked = false;
                let full = now.after(self.config.timeouts.body_stall);
                let at = match self.config.body_rate_min {
                    0 => full,
                    rate => {
                        let earned = u64::from(bytes) * 1_000_000_000 / u64::from(rate);
                        let armed = self.timers.armed(timer).expect("a request has a deadline");
                        armed.after(Duration::from_nanos(earned)).min(full)
                    }
                };
                self.timers.arm(timer, at);
            }
            RequestState::Sent { upload: Upload::Done, .. } => return Handled::Refused,
            RequestState::Waiting | RequestState::Deferred | RequestState::Free { .. } => {
                unreachable!("a stream carries a request that was sent")
            }
        }
        Handled::Done
    }

    /// Notes that the backend takes no more of a request body.
    pub(super) fn on_upload_blocked(&mut self, stream: StreamToken) -> Handled {
        let Ok(StreamEntry::Open { request: index, .. }) = self.slots.get(stream) else {
            return Handled::Stale;
        };
        match &mut self.requests.get_mut(index).state {
            RequestState::Responding { .. } => Handled::Done,
            RequestState::Sent { upload: Upload::Open { blocked }, .. } => {
                *blocked = true;
                Handled::Done
            }
            RequestState::Sent { upload: Upload::Done, .. } => Handled::Refused,
            RequestState::Waiting | RequestState::Deferred | RequestState::Free { .. } => {
                unreachable!("a stream carries a request that was sent")
            }
        }
    }

    pub(super) fn on_response_ended(&mut self, now: Instant, stream: StreamToken) -> Handled {
        let Ok(StreamEntry::Open { request: index, .. }) = self.slots.get(stream) else {
            return Handled::Stale;
        };
        match self.requests.get(index).state {
            RequestState::Responding { upload: Upload::Done, .. } => {
                self.unbind(index, stream.connection.backend);
                self.give_back(now, stream, true);
            }
            // RFC 9113, 8.1: the response is complete before the request, so the rest of the
            // request is not wanted.
            RequestState::Responding { upload: Upload::Open { .. }, .. } => {
                self.abandon_stream(now, index, code::NO_ERROR);
            }
            RequestState::Sent { .. } => return Handled::Refused,
            RequestState::Waiting | RequestState::Deferred | RequestState::Free { .. } => {
                unreachable!("a stream carries a request that was sent")
            }
        }
        self.end_request(index, Outcome::Completed, None);
        Handled::Done
    }

    pub(super) fn on_stream_failed(
        &mut self,
        now: Instant,
        stream: StreamToken,
        failure: StreamFailure,
    ) -> Handled {
        let Ok(StreamEntry::Open { request: index, stream_id, .. }) = self.slots.get(stream) else {
            return Handled::Stale;
        };
        let slot = Slots::index(stream.connection);
        let multiplexed = self.slots.connection(slot).protocol == Protocol::Http2;
        let keep = match failure {
            StreamFailure::NotSent | StreamFailure::ConnectionLost => false,
            StreamFailure::Reset { code: code::HTTP_1_1_REQUIRED } => false,
            // RFC 9113, 8.1.1: a malformed message is an error of its stream.
            StreamFailure::Malformed => multiplexed && !self.note_malformed(slot),
            StreamFailure::HeadTooLarge
            | StreamFailure::Unprocessed
            | StreamFailure::Reset { .. } => multiplexed,
        };
        let backend = stream.connection.backend;
        let failed = self.failed_attempt(index, stream, stream_id, failure);
        let fault = self.fault(now, slot, failure);
        let is_trial = self.blame(backend, index) == Blame::TrialOrDial;
        let since = self.requests.get(index).sent_at().unwrap_or(now);
        let is_stale = self.slots.connection(slot).stale_after().is_some();
        let request = self.requests.get_mut(index);
        request.needs_live |= is_stale && failure == StreamFailure::ConnectionLost;
        self.unbind(index, backend);
        self.give_back(now, stream, keep);
        if let Some(fault) = fault
            && is_trial
            && !self.is_seconded(index, backend, fault)
        {
            self.backend_failed(now, backend, Blame::TrialOrDial);
        }
        let fault = fault.map(|fault| (fault, since));
        self.fail_attempt(now, index, failed, fault);
        Handled::Done
    }

    /// Counts a malformed response. Returns true if the connection has had too many: their resets
    /// count for limits whose excess ends it, with all that is on it.
    fn note_malformed(&mut self, slot: usize) -> bool {
        let malformed = &mut self.slots.connection_mut(slot).malformed;
        *malformed = malformed.saturating_add(1);
        *malformed >= limits::MALFORMED_PER_CONNECTION_MAX
    }

    /// Returns the fault that a failed stream is. A lost connection is one fault, however many of
    /// its streams were cut off. If it failed before its first response, the next dial waits, but
    /// not longer each time: the request may have caused it.
    fn fault(&mut self, now: Instant, slot: usize, failure: StreamFailure) -> Option<Fault> {
        let connection = self.slots.connection_mut(slot);
        let cut_off = connection.closed_without_goaway;
        let fault = Fault::of(failure, cut_off);
        connection.closed_without_goaway &= fault.is_none();
        let failed_before_response = connection.responses == 0;
        let counts = fault != Some(Fault::Connection)
            || !failed_before_response
            || self.back_off(now, self.slots.token(slot).backend);
        fault.filter(|_| counts)
    }

    pub(super) fn on_reset_sent(&mut self, now: Instant, stream: StreamToken) -> Handled {
        match self.slots.get(stream) {
            Err(_) => Handled::Stale,
            Ok(StreamEntry::Open { .. } | StreamEntry::Free { .. }) => Handled::Refused,
            Ok(StreamEntry::Resetting { .. }) => {
                self.give_back(now, stream, true);
                Handled::Done
            }
        }
    }

    /// Returns how far the present attempt of a request has come.
    pub(super) fn progress(&self, index: u32) -> Progress {
        match self.requests.get(index).state {
            RequestState::Sent { .. } => Progress::Sent,
            RequestState::Responding { .. } => Progress::Responding,
            RequestState::Waiting | RequestState::Deferred | RequestState::Free { .. } => {
                unreachable!("a stream carries a request that was sent")
            }
        }
    }

    /// Detaches a request from its stream, if it has one, and orders a reset of the stream. The
    /// stream counts as load until the reset is on the wire. On a lost connection no reset is
    /// needed, and the stream is released at once.
    pub(super) fn abandon_stream(&mut self, now: Instant, index: u32, code: u32) {
        let Some(stream) = self.requests.get(index).stream() else {
            return;
        };
        let slot = Slots::index(stream.connection);
        self.unbind(index, stream.connection.backend);
        if self.slots.connection(slot).lifecycle() == Lifecycle::Draining(DrainCause::Lost) {
            self.give_back(now, stream, true);
            return;
        }
        self.slots.set_resetting(stream).expect("a request with a stream token has a stream");
        self.order(Output::ResetStream { stream, code });
    }

    /// Releases a stream and settles its connection. With `keep` false the connection gets no
    /// further streams.
    pub(super) fn give_back(&mut self, now: Instant, stream: StreamToken, keep: bool) {
        let slot = Slots::index(stream.connection);
        let before = self.slots.connection(slot).lifecycle();
        self.slots.release(stream, keep).expect("the stream is live");
        if self.slots.connection(slot).lifecycle() != before {
            self.arm_drain(now, slot);
        }
        let connection = self.slots.connection_mut(slot);
        if connection.load() == 0
            && let Some(silent) = &mut connection.silent_before
        {
            *silent += now.since(connection.quiet_since);
        }
        if connection.lifecycle() == Lifecycle::Ready && connection.load() > 0 {
            self.refresh_room(stream.connection.backend);
        } else {
            self.settle(now, slot);
        }
    }

    /// Fails those streams of a connection for whose identifier `failure` returns a failure.
    /// Unless the connection goes on after GOAWAY, also releases the streams whose reset is not yet
    /// on the wire.
    pub(super) fn fail_streams(
        &mut self,
        now: Instant,
        slot: usize,
        end: ConnectionEnd,
        failure: impl Fn(u32) -> Option<StreamFailure>,
    ) {
        let token = self.slots.token(slot);
        let is_stale = self.slots.connection(slot).stale_after().is_some();
        let mut start = 0;
        while let Some((stream, entry)) = self.slots.next_stream(token, start) {
            start = usize::from(stream.stream) + 1;
            match entry {
                StreamEntry::Open { request, stream_id, .. } => {
                    if let Some(failure) = failure(stream_id) {
                        let mut failed = self.failed_attempt(request, stream, stream_id, failure);
                        if let ConnectionEnd::Ordered(reason) = end {
                            failed.cause = FailureCause::Closed(reason);
                        }
                        self.lose_stream(request, stream);
                        self.requests.get_mut(request).needs_live |= is_stale;
                        self.fail_attempt(now, request, failed, None);
                    }
                }
                StreamEntry::Resetting { .. } if end != ConnectionEnd::GoAway => {
                    self.slots.release(stream, true).expect("found just now");
                }
                StreamEntry::Resetting { .. } | StreamEntry::Free { .. } => {}
            }
        }
    }

    fn lose_stream(&mut self, request: u32, stream: StreamToken) {
        let backend: BackendId = stream.connection.backend;
        self.slots.release(stream, true).expect("found just now");
        self.unbind(request, backend);
    }
}
