//! Orders that the pool gives. The driver carries them out and decides nothing.

use super::backend::{BackendState, StateCause};
use super::cause::{EndedBy, FailedAttempt};
use super::outcome::{CloseReason, Outcome, Rejection};
use super::token::{BackendToken, ConnectionToken, RequestId, StreamToken};

/// Result of [`Pool::handle`](super::Pool::handle) for the fact itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Handled {
    /// The fact was current and was applied.
    Done,
    /// The request was accepted under this id; exactly one `RequestEnded` will follow.
    Accepted(RequestId),
    /// The request was not accepted; no order about it will follow.
    Rejected(Rejection),
    /// The backend was added under this token.
    Added(BackendToken),
    /// The fact was about something that no longer exists. It was counted and changed nothing.
    Stale,
    /// The fact cannot be true in the present state (a pong without a ping, a second
    /// `ResponseStarted`, …). It was counted and changed nothing.
    Refused,
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Dial the backend for this slot. Report `Connected` or `ConnectFailed`.
    Connect {
        /// The slot that owns the dial.
        connection: ConnectionToken,
    },
    /// Send the request on this connection, head and body from the first byte. Report
    /// `StreamOpened`, then the progress and the end of the stream.
    OpenStream {
        /// The stream to report under.
        stream: StreamToken,
        /// The request to send.
        request: RequestId,
        /// 1 for the first attempt.
        attempt: u8,
    },
    /// The request's present attempt ended without a complete response. For logs; the order for
    /// another attempt or the end of the request follows. An attempt has none if it was completed,
    /// or if the client cancelled the request.
    AttemptFailed(FailedAttempt),
    /// Reset the stream if it is still open. Report `ResetSent` once the reset is on the wire, or
    /// at once if the stream is closed already. The request no longer uses the stream.
    ResetStream {
        /// The stream to reset.
        stream: StreamToken,
        /// Error code of RFC 9113, 7.
        code: u32,
    },
    /// Send one PING and report `Pong`.
    Ping {
        /// The connection concerned.
        connection: ConnectionToken,
    },
    /// Ask the operating system if what was sent on the connection reaches the peer's host. Report
    /// `DeliveryChecked` at once; without an answer within [`Timeouts::suspect`] the connection
    /// counts as dead.
    ///
    /// [`Timeouts::suspect`]: super::Timeouts::suspect
    CheckDelivery {
        /// The connection concerned.
        connection: ConnectionToken,
    },
    /// Close the connection or give up the dial at once. The token is stale from here on.
    Close {
        /// The connection concerned.
        connection: ConnectionToken,
        /// Why the connection or dial is closed.
        reason: CloseReason,
    },
    /// Run a health check of the backend, and report `HealthCheckFinished`.
    CheckHealth {
        /// The backend concerned.
        backend: BackendToken,
        /// Number to report with the result.
        number: u32,
    },
    /// Result of a health check this pool ordered; a missed deadline counts as a failure. Report it
    /// to the other pools of the process as their `HealthCheckFinished`.
    HealthCheckJudged {
        /// The backend concerned.
        backend: BackendToken,
        /// True if the check passed.
        passed: bool,
    },
    /// The state of a backend changed. For logs; nothing is to be done.
    BackendChanged {
        /// The backend concerned.
        backend: BackendToken,
        /// The new state.
        state: BackendState,
        /// Why the state changed.
        cause: StateCause,
    },
    /// A removed backend has no connection any more. Its token is stale from here on.
    BackendGone {
        /// The backend concerned.
        backend: BackendToken,
    },
    /// The request ended. Each accepted request ends once; its id is stale from here on.
    RequestEnded {
        /// The request concerned.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
        /// Number of times that the request was given to a connection.
        attempts: u8,
        /// The party that ended it.
        by: EndedBy,
    },
}
