//! Checks what the pool says of attempts that ended without a complete response, and of the party
//! that ended a request. Each is compared with the fact that the pool was given.

use baton::pool::{
    CloseReason, EndedBy, FailedAttempt, FailureCause, Input, Limit, Outcome, Rejection,
    StreamFailure, StreamToken,
};

use super::model::{Model, ReportedFailure};
use super::{Invariant, Verdict, fail, require};

impl Model {
    /// Checks the order that an attempt has failed.
    pub(super) fn attempt_failed(&mut self, input: Input, failed: FailedAttempt) -> Verdict {
        let FailedAttempt { stream, stream_id, request: id, number, evidence, cause, retried } =
            failed;
        let truthful = Invariant::TruthfulOutcome;
        let Some(index) = self.request(id) else {
            return fail(truthful, format!("an attempt of {id:?} failed after its end"));
        };
        let request = &self.requests[index as usize];
        require(request.reported.is_none(), truthful, || {
            format!("{id:?} failed twice on {stream:?}")
        })?;
        let own = (request.attempts, request.last_stream, request.last_stream_id);
        require(own == (number, Some(stream), stream_id), truthful, || {
            format!("attempt {number} of {id:?} failed on {stream:?} as {stream_id}, not {own:?}")
        })?;
        let shutting_down = cause == FailureCause::Closed(CloseReason::Shutdown);
        let possible = match cause {
            FailureCause::Stream(failure) => is_reported(input, stream, failure),
            FailureCause::Closed(reason) => {
                // No order closes a lost connection: its drain deadline passes, or its backend was
                // removed and another one needs its place.
                let ends = matches!(input, Input::Timeout | Input::BackendAdded { .. });
                let overdue = reason == CloseReason::DrainDeadline && ends;
                let closed = self.closed_now == Some((stream.connection, reason));
                closed || shutting_down || overdue
            }
            FailureCause::Limit(Limit::NotReplayable) => {
                matches!(input, Input::ReplayBufferExceeded { request, .. } if request == id)
            }
            FailureCause::Limit(_) => input == Input::Timeout,
        };
        require(possible, truthful, || {
            format!("{id:?} failed on {stream:?} because of {cause:?}, after {input:?}")
        })?;
        let reported = ReportedFailure { evidence, cause, retried, step: self.step };
        self.request_mut(index).reported = Some(reported);
        Ok(())
    }

    /// Checks that a request was reported to be repeated, if one of its attempts has failed.
    pub(super) fn expect_repeated(&self, index: u32) -> Verdict {
        self.expect_evidence(index)?;
        let reported = self.requests[index as usize].reported;
        require(
            reported.is_none_or(|reported| reported.retried),
            Invariant::TruthfulOutcome,
            || format!("request {index} is repeated after {reported:?}"),
        )
    }

    /// Checks the reported party that ended a request, and that the end fits the report of its
    /// last attempt.
    pub(super) fn expect_ended_by(
        &self,
        input: Input,
        index: u32,
        outcome: Outcome,
        by: EndedBy,
    ) -> Verdict {
        let reported =
            self.requests[index as usize].reported.filter(|reported| reported.step == self.step);
        let cause = reported.map(|reported| reported.cause);
        let fits = match (outcome, cause) {
            (Outcome::Completed | Outcome::Cancelled, reported) => reported.is_none(),
            (Outcome::Rejected(rejection), Some(FailureCause::Limit(limit))) => match limit {
                Limit::ResponseDeadline => rejection == Rejection::ResponseDeadline,
                Limit::BodyStalled => rejection == Rejection::BodyStalled,
                Limit::UploadBlocked => rejection == Rejection::UploadBlocked,
                Limit::NotReplayable => rejection == Rejection::AttemptFailed,
                Limit::ResponseStalled => false,
            },
            (Outcome::CutShort, Some(FailureCause::Limit(limit))) => {
                matches!(limit, Limit::ResponseStalled | Limit::NotReplayable)
            }
            (Outcome::CutShort, reported) => reported.is_some(),
            (Outcome::Rejected(_), _) => true,
        };
        let repeated = reported.is_some_and(|reported| reported.retried);
        require(fits && !repeated, Invariant::TruthfulOutcome, || {
            format!("request {index} ended as {outcome:?} after {reported:?}")
        })?;
        // A peer has ended it only by a fact about its stream or connection.
        let of_backend = matches!(
            input,
            Input::StreamFailed { .. }
                | Input::GoAwayReceived { .. }
                | Input::ConnectionClosed { .. }
                | Input::StreamOpened { .. }
                | Input::ResponseEnded { .. }
        );
        let too_large =
            matches!(input, Input::StreamFailed { failure: StreamFailure::HeadTooLarge, .. });
        let in_queue = matches!(input, Input::ReplayBufferExceeded { .. }) && cause.is_none();
        let wanted = match input {
            Input::RequestCancelled { .. } => EndedBy::Client,
            _ if (of_backend && !too_large) || in_queue => EndedBy::Backend,
            _ => EndedBy::Proxy,
        };
        require(by == wanted, Invariant::TruthfulOutcome, || {
            format!("request {index} ended as {outcome:?} by the {by} after {input:?}")
        })
    }
}

/// True if a fact is that a stream failed like this.
fn is_reported(input: Input, stream: StreamToken, failure: StreamFailure) -> bool {
    match (input, failure) {
        (Input::StreamFailed { stream: failed, failure: reported }, _) => {
            (failed, reported) == (stream, failure)
        }
        (Input::GoAwayReceived { connection, .. }, StreamFailure::Unprocessed)
        | (Input::ConnectionClosed { connection, .. }, StreamFailure::NotSent) => {
            connection == stream.connection
        }
        (Input::StreamOpened { stream: opened, .. }, StreamFailure::Unprocessed) => {
            opened == stream
        }
        _ => false,
    }
}
