//! The ends of requests and connections: their outcomes and reasons.

use crate::words;

words! {
    /// Why a request got no complete response from a backend.
    pub enum Rejection {
        /// The limit of live requests is reached: 503.
        RequestsFull = "requests_full",
        /// The queue of waiting requests is full: 503.
        QueueFull = "queue_full",
        /// No connection could take the request within the queue deadline: 503.
        QueueDeadline = "queue_deadline",
        /// The pool is past its drain deadline: 503.
        ShuttingDown = "shutting_down",
        /// No response head arrived within the deadline: 504.
        ResponseDeadline = "response_deadline",
        /// The last attempt failed and may not be retried: 502.
        AttemptFailed = "attempt_failed",
        /// The body of the request stalled, or was slower than allowed: 408.
        BodyStalled = "body_stalled",
        /// The backend took no more of the request body: 504.
        UploadBlocked = "upload_blocked",
        /// The head of the request is larger than the last backend that was asked accepts: 431.
        HeadTooLarge = "head_too_large",
    }
}

impl Rejection {
    /// Returns the status that the client gets (RFC 9110, 15.5 and 15.6).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::RequestsFull | Self::QueueFull | Self::QueueDeadline | Self::ShuttingDown => 503,
            Self::ResponseDeadline | Self::UploadBlocked => 504,
            Self::AttemptFailed => 502,
            Self::BodyStalled => 408,
            Self::HeadTooLarge => 431,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The response of the backend was complete.
    Completed,
    /// The client cancelled the request.
    Cancelled,
    /// No response byte went to the client: the client gets [`Rejection::status`].
    Rejected(Rejection),
    /// The response broke off after it had started. The client must see it as incomplete.
    CutShort,
}

impl Outcome {
    /// Returns the outcome without the reason of a rejection.
    #[must_use]
    pub const fn kind(self) -> OutcomeKind {
        match self {
            Self::Completed => OutcomeKind::Completed,
            Self::Cancelled => OutcomeKind::Cancelled,
            Self::Rejected(_) => OutcomeKind::Rejected,
            Self::CutShort => OutcomeKind::CutShort,
        }
    }
}

words! {
    /// [`Outcome`] without the reason of a rejection.
    pub enum OutcomeKind {
        /// [`Outcome::Completed`].
        Completed = "completed",
        /// [`Outcome::Cancelled`].
        Cancelled = "cancelled",
        /// [`Outcome::Rejected`].
        Rejected = "rejected",
        /// [`Outcome::CutShort`].
        CutShort = "cut_short",
    }

    /// Why the pool orders the driver to close a connection or dial.
    pub enum CloseReason {
        /// The dial did not finish within the connect deadline.
        ConnectDeadline = "connect_deadline",
        /// The connection was unused for the idle timeout.
        Idle = "idle",
        /// Another connection to the backend was dead when it was used after being idle, and this
        /// one has been idle for as long.
        Stale = "stale",
        /// The connection drained or was busy, and its last stream ended.
        Drained = "drained",
        /// The drain deadline passed while streams were still open.
        DrainDeadline = "drain_deadline",
        /// The connection was suspect, no frame came in time, and its host acknowledges nothing, or
        /// the system cannot tell.
        Silent = "silent",
        /// The backend was drained or removed before the dial was done.
        BackendDrained = "backend_drained",
        /// The pool shuts down.
        Shutdown = "shutdown",
    }
}
