//! Facts about requests: arrival, cancellation, and the ends of attempts and requests.

use super::blame::Fault;
use super::cause::{FailedAttempt, FailureCause, Limit, ended_by};
use super::health::Blame;
use super::input::code;
use super::request::{RequestState, Upload};
use super::retry::{self, Attempt, Evidence};
use super::slots::StreamEntry;
use super::timer::Timer;
use super::{
    BackendId, CloseReason, Handled, Instant, Outcome, Output, Pool, PoolPhase, Rejection,
    ShutdownCause, StreamFailure, StreamToken,
};

impl Pool {
    pub(super) fn on_request_arrived(
        &mut self,
        now: Instant,
        idempotent: bool,
        has_body: bool,
    ) -> Handled {
        if self.phase == PoolPhase::Over {
            return Handled::Rejected(Rejection::ShuttingDown);
        }
        let waits = self.waiting.len() >= self.config.limits.waiting;
        if waits {
            return Handled::Rejected(Rejection::QueueFull);
        }
        let Some(request) = self.requests.insert(idempotent, has_body) else {
            return Handled::Rejected(Rejection::RequestsFull);
        };
        // The share of retries is that of a larger number now.
        self.admit_retries(now);
        if !self.serve_at_once(now, request.index) {
            self.wait(now, request.index);
        }
        Handled::Accepted(request)
    }

    /// Handles a request body that outgrew the replay buffer. The upload runs concurrently with
    /// retries. If the request has left the attempt that the bytes passed through, no other attempt
    /// can send the body from its first byte, so the request ends.
    pub(super) fn on_replay_buffer_exceeded(
        &mut self,
        now: Instant,
        index: u32,
        stream: StreamToken,
    ) -> Handled {
        let request = self.requests.get_mut(index);
        request.replayable = false;
        if request.stream() == Some(stream) {
            return Handled::Done;
        }
        self.end_by(now, index, Limit::NotReplayable);
        Handled::Done
    }

    pub(super) fn on_request_cancelled(&mut self, now: Instant, index: u32) -> Handled {
        self.abandon_stream(now, index, code::CANCEL);
        self.end_request(index, Outcome::Cancelled, None);
        Handled::Done
    }

    /// Ends a request because of a limit, and the attempt that it is on, if any.
    fn end_by(&mut self, now: Instant, index: u32, limit: Limit) {
        let request = self.requests.get(index);
        let outcome = if request.response_began() {
            Outcome::CutShort
        } else {
            Outcome::Rejected(limit.rejection())
        };
        let cause =
            request.stream().map(|stream| self.cut(index, stream, FailureCause::Limit(limit)));
        self.abandon_stream(now, index, code::CANCEL);
        self.end_request(index, outcome, cause);
    }

    /// Reports that the pool ends the attempt on a stream, and its request with it. Returns the
    /// cause.
    fn cut(&mut self, index: u32, stream: StreamToken, cause: FailureCause) -> FailureCause {
        let Ok(StreamEntry::Open { stream_id, .. }) = self.slots.get(stream) else {
            unreachable!("a request with a stream token has a stream")
        };
        // It proves as little about the work of the backend as the loss of the connection.
        let failure = StreamFailure::ConnectionLost;
        let failed = self.failed_attempt(index, stream, stream_id, failure);
        self.order(Output::AttemptFailed(FailedAttempt { cause, ..failed }));
        cause
    }

    /// Describes the present attempt of a request, whose stream has failed.
    pub(super) fn failed_attempt(
        &self,
        index: u32,
        stream: StreamToken,
        stream_id: u32,
        failure: StreamFailure,
    ) -> FailedAttempt {
        FailedAttempt {
            stream,
            stream_id,
            request: self.requests.id(index),
            number: self.requests.get(index).attempts,
            evidence: retry::evidence(self.progress(index), failure),
            cause: FailureCause::Stream(failure),
            retried: false,
        }
    }

    /// Queues a request and arms its queue deadline.
    pub(super) fn wait(&mut self, now: Instant, index: u32) {
        let request = self.requests.get_mut(index);
        request.state = RequestState::Waiting;
        let queue = now.after(self.config.timeouts.queue);
        let deadline = request.deadline.map_or(queue, |deadline| deadline.min(queue));
        self.waiting.set(index, request.arrival);
        self.timers.arm(Timer::Request(index), deadline);
    }

    /// Lets a request wait for a place in the retry budget, until its response is due.
    fn defer(&mut self, now: Instant, index: u32) {
        let request = self.requests.get_mut(index);
        request.state = RequestState::Deferred;
        let due = request.deadline.unwrap_or(now.after(self.config.timeouts.response_head));
        self.deferred.set(index, request.arrival);
        self.timers.arm(Timer::Request(index), due);
    }

    /// Ends an attempt that has no complete response. Its stream must be released. The request
    /// waits for another attempt if the table in [`retry`] allows it, and ends otherwise. `fault`
    /// is the failure if the request may have caused it, with the time at which it was sent.
    pub(super) fn fail_attempt(
        &mut self,
        now: Instant,
        index: u32,
        failed: FailedAttempt,
        fault: Option<(Fault, Instant)>,
    ) {
        let FailedAttempt { evidence, cause, .. } = failed;
        let backend = failed.stream.connection.backend;
        let seconded = fault.is_some_and(|(fault, _)| self.is_seconded(index, backend, fault));
        let request = self.requests.get_mut(index);
        request.avoid = Some(backend);
        let attempt = Attempt {
            idempotent: request.idempotent,
            replayable: request.replayable,
            attempts: request.attempts,
            is_to_blame: seconded && matches!(fault, Some((Fault::Stream { .. }, _))),
        };
        let retried = retry::may_retry(&self.config.retry, evidence, attempt)
            && self.phase != PoolPhase::Over;
        self.order(Output::AttemptFailed(FailedAttempt { retried, ..failed }));
        let asks_another = retried && self.has_place_at_once(index, evidence);
        if let Some((fault, since)) = fault {
            // Another backend settles whose fault it is, if it is asked now.
            if !asks_another && !seconded {
                self.blame_alone(now, index, backend, fault, since);
            }
            if retried {
                self.doubt(index, backend, asks_another);
            }
        }
        if retried {
            return self.retry(now, index, evidence);
        }
        let outcome = match evidence {
            Evidence::Responding => Outcome::CutShort,
            _ if cause == FailureCause::Stream(StreamFailure::HeadTooLarge) => {
                Outcome::Rejected(Rejection::HeadTooLarge)
            }
            Evidence::NeverSent | Evidence::Unprocessed | Evidence::Refused | Evidence::Unknown => {
                Outcome::Rejected(Rejection::AttemptFailed)
            }
        };
        self.end_request(index, outcome, Some(cause));
    }

    /// True if the next attempt of a request, whose present one has failed, needs no wait for a
    /// place in the retry budget.
    fn has_place_at_once(&self, index: u32, evidence: Evidence) -> bool {
        let request = self.requests.get(index);
        let others = self.retrying - u32::from(request.is_retrying());
        let next = self.deferred.peek();
        let is_next = next.is_none_or(|(arrival, _)| request.arrival < arrival);
        !retry::needs_budget(evidence) || (is_next && others < self.retry_budget())
    }

    /// Lets a request wait for its next attempt. Its present retry does not count against that.
    fn retry(&mut self, now: Instant, index: u32, evidence: Evidence) {
        self.leave_retry_budget(index);
        if retry::needs_budget(evidence) {
            self.defer(now, index);
        } else {
            self.retrying += 1;
            self.wait(now, index);
        }
    }

    /// Ends a request. Its stream must be released or being reset. `cause` is about an attempt that
    /// has just failed.
    pub(super) fn end_request(
        &mut self,
        index: u32,
        outcome: Outcome,
        cause: Option<FailureCause>,
    ) {
        self.leave_retry_budget(index);
        self.waiting.remove(index);
        self.deferred.remove(index);
        self.timers.disarm(Timer::Request(index));
        let (request, attempts) = (self.requests.id(index), self.requests.get(index).attempts);
        self.requests.remove(index);
        self.order(Output::RequestEnded {
            request,
            outcome,
            attempts,
            by: ended_by(outcome, cause),
        });
    }

    /// Handles the queue or response-head deadline of a request, or a stalled body.
    pub(super) fn on_request_deadline(&mut self, now: Instant, index: u32) {
        let request = *self.requests.get(index);
        let limit = match request.state {
            RequestState::Deferred => {
                let outcome = Outcome::Rejected(Rejection::ResponseDeadline);
                return self.end_request(index, outcome, None);
            }
            RequestState::Waiting => {
                let is_late = request.deadline.is_some_and(|deadline| deadline <= now);
                let rejection =
                    if is_late { Rejection::ResponseDeadline } else { Rejection::QueueDeadline };
                return self.end_request(index, Outcome::Rejected(rejection), None);
            }
            RequestState::Sent { upload: Upload::Open { blocked: false }, .. } => {
                Limit::BodyStalled
            }
            RequestState::Sent { upload: Upload::Open { blocked: true }, .. } => {
                Limit::UploadBlocked
            }
            RequestState::Sent { upload: Upload::Done, .. } => Limit::ResponseDeadline,
            RequestState::Responding { .. } => Limit::ResponseStalled,
            RequestState::Free { .. } => unreachable!("the timer of a request ends with it"),
        };
        // A stalled client, or a response that has begun, says nothing about the backend.
        let says_nothing = matches!(limit, Limit::BodyStalled | Limit::ResponseStalled);
        let slow = request.stream().filter(|_| !says_nothing);
        let slow = slow.map(|stream| (stream, self.blame(stream.connection.backend, index)));
        self.end_by(now, index, limit);
        if let Some((stream, blame)) = slow {
            let since = request.sent_at().unwrap_or(now);
            self.was_too_slow(now, stream.connection.backend, blame, since);
        }
    }

    /// Notes that a backend took too long for a request. A backend that answers others is well: it
    /// is the request that takes long.
    fn was_too_slow(&mut self, now: Instant, backend: BackendId, blame: Blame, since: Instant) {
        if blame == Blame::TrialOrDial || !self.answers_others(now, backend, since) {
            self.backend_failed(now, backend, blame);
        }
    }

    pub(super) fn on_shutdown(&mut self, now: Instant, cause: ShutdownCause) -> Handled {
        let deadline = now.after(match cause {
            ShutdownCause::ProcessEnds => self.config.timeouts.drain,
            ShutdownCause::PoolReplaced => self.config.timeouts.longest_drain(),
        });
        let armed = self.timers.armed(Timer::Shutdown);
        match self.phase {
            PoolPhase::Running => {
                self.phase = PoolPhase::Draining;
                self.stop_all_health_checks();
            }
            PoolPhase::Draining if armed.is_some_and(|armed| deadline < armed) => {}
            PoolPhase::Draining | PoolPhase::Over => return Handled::Refused,
        }
        self.timers.arm(Timer::Shutdown, deadline);
        Handled::Done
    }

    /// Handles the drain deadline of the pool: ends all live requests.
    pub(super) fn on_shutdown_deadline(&mut self) {
        assert_eq!(self.phase, PoolPhase::Draining);
        self.phase = PoolPhase::Over;
        self.timers.disarm(Timer::Shutdown);
        let mut start = 0;
        while let Some(index) = self.requests.next_live(start) {
            let request = *self.requests.get(index);
            let cause = request.stream().map(|stream| {
                let cause = self.cut(index, stream, FailureCause::Closed(CloseReason::Shutdown));
                self.unbind(index, stream.connection.backend);
                cause
            });
            let outcome = match request.state {
                RequestState::Responding { .. } => Outcome::CutShort,
                RequestState::Waiting
                | RequestState::Deferred
                | RequestState::Sent { .. }
                | RequestState::Free { .. } => Outcome::Rejected(Rejection::ShuttingDown),
            };
            self.end_request(index, outcome, cause);
            start = index + 1;
        }
    }
}
