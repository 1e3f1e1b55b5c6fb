//! Why an attempt ended without a complete response, and which party ended a request.

use super::input::StreamFailure;
use super::outcome::{CloseReason, Outcome, Rejection};
use super::retry::Evidence;
use super::token::{RequestId, StreamToken};
use crate::words;

words! {
    /// The party that ended a request.
    pub enum EndedBy {
        /// The client closed the connection, reset the stream or sent an invalid body.
        Client = "client",
        /// The backend responded or failed.
        Backend = "backend",
        /// Baton applied a limit or a deadline, or shut down.
        Proxy = "proxy",
    }

    /// A limit of the pool that ended an attempt.
    pub enum Limit {
        /// No response head arrived within the deadline.
        ResponseDeadline = "response_deadline",
        /// The body of the response stalled.
        ResponseStalled = "response_stalled",
        /// The body of the request stalled, or was slower than allowed.
        BodyStalled = "body_stalled",
        /// The backend took no more of the request body.
        UploadBlocked = "upload_blocked",
        /// The body outgrew the replay buffer on an earlier attempt, so this attempt cannot send
        /// it from its first byte.
        NotReplayable = "not_replayable",
    }
}

impl Limit {
    /// Returns the reason for the response to the client, if no response has started.
    pub(super) const fn rejection(self) -> Rejection {
        match self {
            Self::ResponseDeadline | Self::ResponseStalled => Rejection::ResponseDeadline,
            Self::BodyStalled => Rejection::BodyStalled,
            Self::UploadBlocked => Rejection::UploadBlocked,
            Self::NotReplayable => Rejection::AttemptFailed,
        }
    }
}

/// An attempt that ended without a complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FailedAttempt {
    /// The stream that carried the attempt; its token is stale from here on.
    pub stream: StreamToken,
    /// Its stream identifier; 0 if it was never opened.
    pub stream_id: u32,
    /// The request concerned.
    pub request: RequestId,
    /// 1 for the first attempt.
    pub number: u8,
    /// The evidence about work done by the backend.
    pub evidence: Evidence,
    /// Why the attempt ended.
    pub cause: FailureCause,
    /// True if the request is to be repeated.
    pub retried: bool,
}

/// Why an attempt ended without a complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// The stream failed, or its connection was lost.
    Stream(StreamFailure),
    /// The pool closed the connection.
    Closed(CloseReason),
    /// A limit of the pool was reached.
    Limit(Limit),
}

impl FailureCause {
    /// Returns the name, in the form of the names that [`words`] declares.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream(failure) => failure.name(),
            Self::Closed(reason) => reason.name(),
            Self::Limit(limit) => limit.name(),
        }
    }

    /// Returns the party that ended a request whose last attempt ended like this.
    #[must_use]
    pub const fn ended_by(self) -> EndedBy {
        match self {
            Self::Stream(StreamFailure::HeadTooLarge) | Self::Closed(_) | Self::Limit(_) => {
                EndedBy::Proxy
            }
            Self::Stream(
                StreamFailure::NotSent
                | StreamFailure::Reset { .. }
                | StreamFailure::Unprocessed
                | StreamFailure::ConnectionLost
                | StreamFailure::Malformed,
            ) => EndedBy::Backend,
        }
    }
}

/// Returns the party that ended a request. `cause` is about an attempt that has just failed.
#[must_use]
pub(super) fn ended_by(outcome: Outcome, cause: Option<FailureCause>) -> EndedBy {
    match (outcome, cause) {
        (Outcome::Completed, _) => EndedBy::Backend,
        (Outcome::Cancelled, _) => EndedBy::Client,
        (Outcome::CutShort | Outcome::Rejected(_), Some(cause)) => cause.ended_by(),
        // The last attempt had failed before, and now its body cannot be replayed.
        (Outcome::Rejected(Rejection::AttemptFailed), None) => EndedBy::Backend,
        (Outcome::CutShort | Outcome::Rejected(_), None) => EndedBy::Proxy,
    }
}
