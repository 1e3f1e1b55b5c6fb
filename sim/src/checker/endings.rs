//! Checks that a request may end as the pool reports.

use baton::pool::{EndedBy, Evidence, Input, Instant, Outcome, Rejection, RequestId};

use super::model::{ConnectionPhase, Ending, Model, ModelStream, RequestPhase};
use super::{Invariant, Verdict, fail, require};

impl Model {
    pub(super) fn request_ended(
        &mut self,
        now: Instant,
        input: Input,
        id: RequestId,
        outcome: Outcome,
        attempts: u8,
        by: EndedBy,
    ) -> Verdict {
        let Some(index) = self.request(id) else {
            return fail(Invariant::Conservation, format!("{id:?} ended twice"));
        };
        let phase = self.requests[index as usize].phase;
        match phase {
            RequestPhase::Ending(ending) => {
                let wanted = match ending {
                    Ending::Completed => Outcome::Completed,
                    Ending::Cancelled => Outcome::Cancelled,
                    Ending::CutShort => Outcome::CutShort,
                    Ending::AttemptFailed => Outcome::Rejected(Rejection::AttemptFailed),
                };
                require(outcome == wanted, Invariant::TruthfulOutcome, || {
                    format!("{id:?} ended as {outcome:?}, expected {wanted:?}")
                })?;
            }
            RequestPhase::PendingOutcome { was_responding, must_retry } => {
                let failed = if self.requests[index as usize].is_too_large {
                    Rejection::HeadTooLarge
                } else {
                    Rejection::AttemptFailed
                };
                let wanted =
                    if was_responding { Outcome::CutShort } else { Outcome::Rejected(failed) };
                self.ended_with_outcome_pending(now, id, outcome, wanted, must_retry)?;
            }
            RequestPhase::Waiting
            | RequestPhase::Deferred
            | RequestPhase::Sent(_)
            | RequestPhase::Responding(_) => {
                self.ended_by_time(now, input, index, outcome)?;
            }
            RequestPhase::None => unreachable!("looked up just now"),
        }
        let made = self.requests[index as usize].attempts;
        require(attempts == made, Invariant::TruthfulOutcome, || {
            format!("{id:?} ended with {attempts} attempts, expected {made}")
        })?;
        self.expect_evidence(index)?;
        self.expect_ended_by(input, index, outcome, by)?;
        self.request_mut(index).phase = RequestPhase::None;
        self.pending_outcome.retain(|other| *other != index);
        self.live -= 1;
        Ok(())
    }

    /// Checks that the pool has reported how far the last attempt had come when it failed.
    pub(super) fn expect_evidence(&self, index: u32) -> Verdict {
        let request = &self.requests[index as usize];
        let reported = request.reported.map(|reported| reported.evidence);
        require(reported == request.evidence, Invariant::TruthfulOutcome, || {
            format!("request {index} failed with {reported:?}, expected {:?}", request.evidence)
        })
    }

    fn ended_with_outcome_pending(
        &self,
        now: Instant,
        id: RequestId,
        outcome: Outcome,
        wanted: Outcome,
        must_retry: bool,
    ) -> Verdict {
        if outcome == Outcome::Rejected(Rejection::ShuttingDown) && self.is_shutdown_due(now) {
            return Ok(());
        }
        require(!must_retry, Invariant::Retry, || {
            format!("{id:?} ended as {outcome:?}, but should have been retried")
        })?;
        require(outcome == wanted, Invariant::TruthfulOutcome, || {
            format!("{id:?} ended as {outcome:?}, expected {wanted:?}")
        })
    }

    /// Checks an ending by a deadline: of the queue, the response head, the body, or the shutdown.
    fn ended_by_time(
        &mut self,
        now: Instant,
        input: Input,
        index: u32,
        outcome: Outcome,
    ) -> Verdict {
        let request = &self.requests[index as usize];
        let queue = request.queued_until;
        let head_passed = request.response_deadline.is_some_and(|deadline| now >= deadline);
        let over = self.is_shutdown_due(now);
        let stalled = request.stalls_at.is_some_and(|at| now >= at) && !over;
        let phase = request.phase;
        let legal = input == Input::Timeout
            && match (phase, outcome) {
                (
                    RequestPhase::Waiting | RequestPhase::Deferred | RequestPhase::Sent(_),
                    Outcome::Rejected(Rejection::ShuttingDown),
                ) => over,
                (RequestPhase::Responding(_), Outcome::CutShort) => over || stalled,
                (RequestPhase::Waiting, Outcome::Rejected(Rejection::QueueDeadline)) => {
                    now >= queue && !head_passed
                }
                (RequestPhase::Waiting, Outcome::Rejected(Rejection::ResponseDeadline)) => {
                    head_passed
                }
                (RequestPhase::Deferred, Outcome::Rejected(Rejection::ResponseDeadline)) => {
                    now >= queue
                }
                (RequestPhase::Sent(_), Outcome::Rejected(Rejection::ResponseDeadline)) => {
                    head_passed && request.sent_whole
                }
                (RequestPhase::Sent(_), Outcome::Rejected(Rejection::BodyStalled)) => {
                    stalled && !request.sent_whole && !request.is_blocked
                }
                (RequestPhase::Sent(_), Outcome::Rejected(Rejection::UploadBlocked)) => {
                    stalled && !request.sent_whole && request.is_blocked
                }
                _ => false,
            };
        let invariant =
            if input == Input::Timeout { Invariant::Timers } else { Invariant::TruthfulOutcome };
        require(legal, invariant, || {
            format!("request {index} in phase {phase:?} ended as {outcome:?} after {input:?}")
        })?;
        if phase == RequestPhase::Waiting {
            self.waiting -= 1;
        }
        let mut of_trial_request = false;
        if let RequestPhase::Sent(stream) | RequestPhase::Responding(stream) = phase {
            let backend = stream.connection.backend;
            of_trial_request = self.backends[usize::from(backend.0)].health.is_trial_request(index);
            self.request_unbound(backend, index);
        }
        match phase {
            RequestPhase::Sent(stream) => {
                self.request_mut(index).evidence = Some(Evidence::Unknown);
                // A client that stalls its body, or a shutdown, says nothing of the backend.
                let of_client = stalled && !self.requests[index as usize].is_blocked;
                let sent_at = self.requests[index as usize].sent_at;
                let backend = stream.connection.backend;
                let alive = !of_trial_request && self.answers_others(now, backend, sent_at);
                if !of_client && !over && !alive {
                    self.backend_failed(now, stream.connection.backend, of_trial_request);
                }
            }
            RequestPhase::Responding(_) => {
                self.request_mut(index).evidence = Some(Evidence::Responding);
            }
            RequestPhase::Waiting
            | RequestPhase::Deferred
            | RequestPhase::None
            | RequestPhase::Ending(_)
            | RequestPhase::PendingOutcome { .. } => {}
        }
        self.part_from_stream(now, phase, over)
    }

    /// When a deadline ends a request, its stream is reset, or freed on a lost connection. At the
    /// end of a shutdown every stream is freed.
    fn part_from_stream(&mut self, now: Instant, phase: RequestPhase, over: bool) -> Verdict {
        let (RequestPhase::Sent(stream) | RequestPhase::Responding(stream)) = phase else {
            return Ok(());
        };
        let Some((slot, place, entry)) = self.stream(stream) else {
            return Ok(());
        };
        match entry {
            ModelStream::Open { .. }
                if self.connections[slot].phase == ConnectionPhase::Lost || over =>
            {
                self.free_stream(now, slot, place);
                Ok(())
            }
            ModelStream::Resetting { .. } => Ok(()),
            ModelStream::Open { .. } | ModelStream::Free => fail(
                Invariant::Limits,
                format!("{stream:?} was released without a reset: the peer still counts it"),
            ),
        }
    }
}
