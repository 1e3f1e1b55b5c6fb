//! Orders that the pool gives. Whoever drives it carries them out and decides nothing.

use super::backend::{BackendState, StateCause};
use super::invariants::Mismatch;
use super::retry::Evidence;
use super::token::{BackendToken, ConnectionToken, RequestId, StreamToken};

/// What [`Pool::handle`](super::Pool::handle) says of the fact itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Handled {
    /// The fact was current and has been taken in.
    Done,
    /// The request was taken in under this id; exactly one `RequestEnded` will follow.
    Accepted(RequestId),
    /// The request was not taken in, and nothing more will be said of it.
    Rejected(Rejection),
    /// The backend was taken in under this token.
    Added(BackendToken),
    /// The audit found this, and everything was given up: each request ended, each connection is to
    /// be closed. That is a bug in the pool.
    Rebuilt(Mismatch),
    /// The fact was about something that no longer exists. Counted; nothing changed.
    Stale,
    /// The fact cannot be true in the present state (a pong without a ping, a second
    /// `ResponseStarted`, …). Counted; nothing changed.
    Refused,
}

/// Why a request got no (whole) response from a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// As many requests are waiting or in flight as the limits allow: 503.
    RequestsFull,
    /// The queue of waiting requests is full: 503.
    QueueFull,
    /// No connection could take it within the queue deadline: 503.
    QueueDeadline,
    /// The proxy is past its drain deadline: 503.
    ShuttingDown,
    /// No response head within the deadline: 504.
    ResponseDeadline,
    /// The last attempt failed and may not be repeated: 502.
    AttemptFailed,
    /// The request's body stood still, or was slower than allowed: 408.
    BodyStalled,
    /// The pool found itself inconsistent and started anew: 502.
    Rebuilt,
}

impl Rejection {
    /// The status that the client sees (RFC 9110, 15.5 and 15.6).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::RequestsFull | Self::QueueFull | Self::QueueDeadline | Self::ShuttingDown => 503,
            Self::ResponseDeadline => 504,
            Self::AttemptFailed | Self::Rebuilt => 502,
            Self::BodyStalled => 408,
        }
    }
}

/// The one end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The backend's response was complete.
    Completed,
    /// The client went away first.
    Cancelled,
    /// No response byte went to the client: it gets [`Rejection::status`].
    Rejected(Rejection),
    /// The response broke off after it had begun; it must look cut short to the client.
    CutShort,
}

/// Why the pool orders a connection, or a dial, to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The dial did not finish within the connect deadline.
    ConnectDeadline,
    /// Unused for the idle timeout.
    Idle,
    /// Draining, and the last stream ended.
    Drained,
    /// Draining, and the drain deadline passed with streams still open.
    DrainDeadline,
    /// Suspect, and no frame came in time.
    Silent,
    /// The backend was drained or removed before the dial was done.
    BackendDrained,
    /// The pool started anew.
    Rebuilt,
    /// Shutdown.
    Shutdown,
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
    /// `StreamOpened`, then what becomes of it.
    OpenStream {
        /// The stream to report under.
        stream: StreamToken,
        /// The request to send.
        request: RequestId,
        /// 1 for the first attempt.
        attempt: u8,
        /// Where the attempt before this one stood when it failed.
        evidence: Option<Evidence>,
    },
    /// Reset the stream if it is still open, and report `ResetSent` once that is on the wire (or
    /// nothing needed to be). Its request is no longer interested.
    ResetStream {
        /// The stream to reset.
        stream: StreamToken,
        /// RFC 9113, 7.
        code: u32,
    },
    /// Send one PING and report `Pong`.
    Ping {
        /// The connection concerned.
        connection: ConnectionToken,
    },
    /// Give up the connection or dial at once. The token is stale from here on.
    Close {
        /// The connection concerned.
        connection: ConnectionToken,
        /// Why.
        reason: CloseReason,
    },
    /// Find out whether the backend works, and report `ProbeFinished`.
    Probe {
        /// The backend concerned.
        backend: BackendToken,
        /// To report under.
        number: u32,
    },
    /// A probe that this pool ordered passed or failed, be it for want of a report in time. To be
    /// told to the other pools of the process as their `ProbeFinished`.
    ProbeJudged {
        /// The backend concerned.
        backend: BackendToken,
        /// Whether it passed.
        passed: bool,
    },
    /// The state of a backend changed. For people; nothing is to be done.
    BackendChanged {
        /// The backend concerned.
        backend: BackendToken,
        /// Its state from now on.
        state: BackendState,
        /// Why.
        cause: StateCause,
    },
    /// A removed backend has no connection any more; its token is stale from here on.
    BackendGone {
        /// The backend concerned.
        backend: BackendToken,
    },
    /// The one end of a request; its id is stale from here on.
    RequestEnded {
        /// The request concerned.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
        /// How many times it was given to a connection.
        attempts: u8,
        /// Where the last failed attempt stood, if one failed.
        evidence: Option<Evidence>,
    },
}
