//! Facts about requests: arrival, cancellation, and the ends of attempts and requests.

use super::blame::Fault;
use super::health::Blame;
use super::input::code;
use super::request::{RequestState, Upload};
use super::retry::{self, Attempt, Evidence};
use super::timer::Timer;
use super::{
    BackendId, Handled, Instant, Outcome, Output, Pool, PoolPhase, Rejection, ShutdownCause,
    StreamToken,
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
        let outcome = match request.state {
            RequestState::Responding { .. } => Outcome::CutShort,
            RequestState::Waiting | RequestState::Sent { .. } | RequestState::Free { .. } => {
                Outcome::Rejected(Rejection::AttemptFailed)
            }
        };
        self.abandon_stream(now, index, code::CANCEL);
        self.end_request(index, outcome);
        Handled::Done
    }

    pub(super) fn on_request_cancelled(&mut self, now: Instant, index: u32) -> Handled {
        self.abandon_stream(now, index, code::CANCEL);
        self.end_request(index, Outcome::Cancelled);
        Handled::Done
    }

    /// Queues a request and arms its queue deadline.
    fn wait(&mut self, now: Instant, index: u32) {
        let request = self.requests.get_mut(index);
        request.state = RequestState::Waiting;
        let queue = now.after(self.config.timeouts.queue);
        let deadline = request.deadline.map_or(queue, |deadline| deadline.min(queue));
        self.waiting.set(index, request.arrival);
        self.timers.arm(Timer::Request(index), deadline);
    }

    /// Ends an attempt that has no complete response. Its stream must be released. The request
    /// waits for another attempt if the table in [`retry`] allows it, and ends otherwise. `fault`
    /// is the failure if the request may have caused it, with the time at which it was sent.
    pub(super) fn fail_attempt(
        &mut self,
        now: Instant,
        index: u32,
        backend: BackendId,
        evidence: Evidence,
        fault: Option<(Fault, Instant)>,
    ) {
        let seconded = fault.is_some_and(|(fault, _)| self.is_seconded(index, backend, fault));
        // The present retry of this request must not count against its next one.
        let others = self.retrying - u32::from(self.requests.get(index).is_retrying());
        let within_budget = retry::within_budget(&self.config.retry, self.requests.live(), others);
        let request = self.requests.get_mut(index);
        request.evidence = Some(evidence);
        request.avoid = Some(backend);
        let attempt = Attempt {
            idempotent: request.idempotent,
            replayable: request.replayable,
            attempts: request.attempts,
            within_budget,
            is_to_blame: seconded && matches!(fault, Some((Fault::Stream { .. }, _))),
        };
        if retry::may_retry(&self.config.retry, evidence, attempt) && self.phase != PoolPhase::Over
        {
            self.retrying = others + 1;
            if fault.is_some() {
                self.doubt(index, backend);
            }
            self.wait(now, index);
            return;
        }
        if let Some((fault, since)) = fault
            && !seconded
        {
            self.blame_alone(now, index, backend, fault, since);
        }
        let outcome = match evidence {
            Evidence::Responding => Outcome::CutShort,
            _ if self.requests.get(index).is_too_large => {
                Outcome::Rejected(Rejection::HeadTooLarge)
            }
            Evidence::NeverSent | Evidence::Unprocessed | Evidence::Refused | Evidence::Unknown => {
                Outcome::Rejected(Rejection::AttemptFailed)
            }
        };
        self.end_request(index, outcome);
    }

    /// Ends a request. Its stream must be released or being reset.
    pub(super) fn end_request(&mut self, index: u32, outcome: Outcome) {
        let request = *self.requests.get(index);
        self.retrying -= u32::from(request.is_retrying());
        self.waiting.remove(index);
        self.timers.disarm(Timer::Request(index));
        let id = self.requests.id(index);
        self.requests.remove(index);
        self.order(Output::RequestEnded {
            request: id,
            outcome,
            attempts: request.attempts,
            evidence: request.evidence,
        });
    }

    /// Handles the queue or response-head deadline of a request, or a stalled body.
    pub(super) fn on_request_deadline(&mut self, now: Instant, index: u32) {
        let request = *self.requests.get(index);
        let rejection = match request.state {
            RequestState::Waiting if request.deadline.is_some_and(|deadline| deadline <= now) => {
                Rejection::ResponseDeadline
            }
            RequestState::Waiting => Rejection::QueueDeadline,
            RequestState::Sent { upload: Upload::Open { blocked: false }, .. } => {
                self.requests.get_mut(index).evidence = Some(Evidence::Unknown);
                self.abandon_stream(now, index, code::CANCEL);
                Rejection::BodyStalled
            }
            RequestState::Sent { stream, upload: Upload::Open { blocked: true }, since } => {
                self.give_up(now, index, stream.connection.backend, since);
                Rejection::UploadBlocked
            }
            RequestState::Sent { stream, upload: Upload::Done, since } => {
                self.give_up(now, index, stream.connection.backend, since);
                Rejection::ResponseDeadline
            }
            RequestState::Responding { .. } => {
                self.requests.get_mut(index).evidence = Some(Evidence::Responding);
                self.abandon_stream(now, index, code::CANCEL);
                return self.end_request(index, Outcome::CutShort);
            }
            RequestState::Free { .. } => unreachable!("the timer of a request ends with it"),
        };
        self.end_request(index, Outcome::Rejected(rejection));
    }

    /// Abandons an attempt because the backend takes too long for it. A backend that answers others
    /// is well: it is the request that takes long.
    fn give_up(&mut self, now: Instant, index: u32, backend: BackendId, since: Instant) {
        let blame = self.blame(backend, index);
        self.requests.get_mut(index).evidence = Some(Evidence::Unknown);
        self.abandon_stream(now, index, code::CANCEL);
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
            if let Some(stream) = request.stream() {
                self.unbind(index, stream.connection.backend);
            }
            // The attempt that is cut has evidence of its own, as at other deadlines.
            let (outcome, evidence) = match request.state {
                RequestState::Responding { .. } => (Outcome::CutShort, Some(Evidence::Responding)),
                RequestState::Sent { .. } => {
                    (Outcome::Rejected(Rejection::ShuttingDown), Some(Evidence::Unknown))
                }
                RequestState::Waiting | RequestState::Free { .. } => {
                    (Outcome::Rejected(Rejection::ShuttingDown), request.evidence)
                }
            };
            self.requests.get_mut(index).evidence = evidence;
            self.end_request(index, outcome);
            start = index + 1;
        }
    }
}
