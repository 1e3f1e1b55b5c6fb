//! Facts that the driver reports to the pool, in the past tense. All of them are small `Copy` data,
//! so a whole run is a list of `(Instant, Input)`, which can be logged, shrunk, fuzzed and
//! replayed.

use core::time::Duration;

use super::reconfigure::Setting;
use super::token::{BackendToken, ConnectionToken, RequestId, StreamToken};
use crate::words;

/// Error codes of RST_STREAM and GOAWAY frames (RFC 9113, 7).
pub mod code {
    /// Not an error: a graceful end.
    pub const NO_ERROR: u32 = 0x0;
    /// The stream was not processed at all (RFC 9113, 8.7).
    pub const REFUSED_STREAM: u32 = 0x7;
    /// The stream is no longer needed.
    pub const CANCEL: u32 = 0x8;
    /// The peer sends too much of something, such as PING.
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
    /// The peer wants this request over HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: u32 = 0xd;
    /// Codes that say that the receiver has violated the protocol or asks for too much:
    /// PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR,
    /// ENHANCE_YOUR_CALM and INADEQUATE_SECURITY.
    pub const ACCUSING: [u32; 7] = [0x1, 0x3, 0x5, 0x6, 0x9, ENHANCE_YOUR_CALM, 0xc];
}

/// Why a pool shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShutdownCause {
    /// The process is about to end and waits. Anything left after `Timeouts::drain` is cut off.
    ProcessEnds,
    /// Another pool replaces this one, or its cluster was removed. The process does not wait for
    /// it, so the shutdown may take as long as the drain of a connection with ongoing responses:
    /// `Timeouts::drain` times `DRAIN_EXTENSIONS_MAX` of [`limits`](super::limits).
    PoolReplaced,
}

words! {
    /// Protocol of a connection, known once the handshake is done.
    pub enum Protocol {
        /// HTTP/2: many streams, GOAWAY, PING.
        Http2 = "HTTP/2",
        /// HTTP/1.1: one request at a time, and no PING.
        Http1 = "HTTP/1.1",
    }

    /// Why a dial failed.
    pub enum ConnectFailure {
        /// No TCP connection.
        Tcp = "tcp",
        /// A TCP connection, but no TLS session.
        Tls = "tls",
        /// A TLS session, but no HTTP/2 SETTINGS, or no HTTP at all.
        Protocol = "protocol",
    }
}

/// How an attempt failed, as the owner of its stream saw it. The pool decides what the failure
/// proves (its [`Evidence`](super::Evidence)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamFailure {
    /// The request came back unsent: no byte of it reached a socket.
    NotSent,
    /// The head is larger than the peer's SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113, 6.5.2), so no
    /// byte of it was sent.
    HeadTooLarge,
    /// The peer reset the stream with this RFC 9113 error code.
    Reset {
        /// Error code of RFC 9113, 7.
        code: u32,
    },
    /// The peer reported that it did not process the stream: the stream is above a GOAWAY's last
    /// id.
    Unprocessed,
    /// The connection ended before the stream did.
    ConnectionLost,
    /// The peer violated the protocol on this stream (malformed head, wrong length, …).
    Malformed,
}

impl StreamFailure {
    /// Returns the failure's name, in the form of the names that [`words`] declares.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::HeadTooLarge => "head_too_large",
            Self::Reset { .. } => "reset",
            Self::Unprocessed => "unprocessed",
            Self::ConnectionLost => "connection_lost",
            Self::Malformed => "malformed",
        }
    }
}

/// A fact. Facts about stale tokens are counted and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The head of a client's request is complete. The pool answers with
    /// [`Handled::Accepted`](super::Handled::Accepted) and an id, or with
    /// [`Handled::Rejected`](super::Handled::Rejected).
    RequestArrived {
        /// True if the method is idempotent (RFC 9110, 9.2.2).
        idempotent: bool,
        /// True if a body follows. The response-head deadline then starts with `RequestSent`.
        has_body: bool,
    },
    /// The request body outgrew the replay buffer, so the buffered part was dropped. Only the
    /// attempt that the body passed through can still send the whole body. If the request is no
    /// longer on that attempt, the request ends.
    ReplayBufferExceeded {
        /// The request concerned.
        request: RequestId,
        /// The attempt that the body passed through.
        stream: StreamToken,
    },
    /// The client is gone, or no longer wants the response.
    RequestCancelled {
        /// The request concerned.
        request: RequestId,
    },
    /// A dial succeeded. For HTTP/2 that means TCP, TLS and the peer's first SETTINGS.
    Connected {
        /// The slot that owned the dial.
        connection: ConnectionToken,
        /// Protocol of the connection.
        protocol: Protocol,
        /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS, or `None` if not announced yet, which counts
        /// as 100. A peer that sent SETTINGS without the parameter has `Some(u32::MAX)`.
        max_streams: Option<u32>,
    },
    /// A dial failed.
    ConnectFailed {
        /// The slot that owned the dial.
        connection: ConnectionToken,
        /// The step that failed.
        reason: ConnectFailure,
    },
    /// The peer changed SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 5.1.2). The new limit may be
    /// below the number of open streams, and may be zero.
    MaxStreamsChanged {
        /// The connection concerned.
        connection: ConnectionToken,
        /// The new limit.
        max_streams: u32,
    },
    /// The peer sent GOAWAY (RFC 9113, 6.8). For HTTP/1.1: a response had `Connection: close`,
    /// reported with the highest possible last id.
    GoAwayReceived {
        /// The connection concerned.
        connection: ConnectionToken,
        /// Streams above this identifier were not processed.
        last_stream_id: u32,
        /// Error code of RFC 9113, 7.
        code: u32,
    },
    /// A response over HTTP/1.1 announced how long its backend keeps the connection open while no
    /// request uses it: `Keep-Alive: timeout` (RFC 2068, 19.7.1.1). The last announcement counts.
    KeepAliveAnnounced {
        /// The connection concerned.
        connection: ConnectionToken,
        /// The time that was announced.
        timeout: Duration,
    },
    /// A frame of any type arrived, or part of one: the connection is alive.
    FrameReceived {
        /// The connection concerned.
        connection: ConnectionToken,
        /// True if HEADERS or DATA were among what arrived since the last such fact. Servers that
        /// count PINGs begin again when they send one of these.
        carries_message: bool,
    },
    /// The answer to the pool's PING arrived.
    Pong {
        /// The connection concerned.
        connection: ConnectionToken,
    },
    /// The order [`CheckDelivery`](super::Output::CheckDelivery) was carried out.
    DeliveryChecked {
        /// The connection concerned.
        connection: ConnectionToken,
        /// Segments in a row that TCP has repeated without an acknowledgement from the peer's host
        /// (RFC 9293, 3.8), those that keep the connection alive or ask for room included; 0 if
        /// it has acknowledged the last ones, or if none were needed. `None` if the system cannot
        /// tell.
        unanswered: Option<u32>,
    },
    /// The connection is closed in both directions. Streams whose identifier is above
    /// `sent_through` were never written to the socket. The owners of the other streams may still
    /// hold received data; each owner reports the end of its own stream.
    ConnectionClosed {
        /// The connection concerned.
        connection: ConnectionToken,
        /// The highest identifier of a stream that wrote at least one byte; 0 if none did.
        sent_through: u32,
    },
    /// The order [`OpenStream`](super::Output::OpenStream) was carried out, and the request has
    /// this stream identifier. The request may still be unsent.
    StreamOpened {
        /// The stream concerned.
        stream: StreamToken,
        /// Stream identifier (RFC 9113, 5.1.1). For HTTP/1.1, any number that grows with each
        /// request.
        stream_id: u32,
    },
    /// The whole request, including its body, was passed to the connection.
    RequestSent {
        /// The stream concerned.
        stream: StreamToken,
    },
    /// The final (not 1xx) response head arrived and goes to the client.
    ResponseStarted {
        /// The stream concerned.
        stream: StreamToken,
        /// Status code of the response.
        status: u16,
    },
    /// The response is complete. If the request is not complete (`RequestSent` has not come), the
    /// pool orders a reset with NO_ERROR (RFC 9113, 8.1).
    ResponseEnded {
        /// The stream concerned.
        stream: StreamToken,
    },
    /// The attempt failed.
    StreamFailed {
        /// The stream concerned.
        stream: StreamToken,
        /// How the attempt failed.
        failure: StreamFailure,
    },
    /// The RST_STREAM that the pool ordered was written, or the stream closed without one.
    ResetSent {
        /// The stream concerned.
        stream: StreamToken,
    },
    /// Bytes of the request or response body passed since the last such fact. Report this at least
    /// once a second while a body passes, and at once after `UploadBlocked`.
    BodyProgressed {
        /// The stream concerned.
        stream: StreamToken,
        /// Number of bytes.
        bytes: u32,
    },
    /// The backend takes no more of the request body for now: the rest waits for its flow-control
    /// window or its socket. The next `BodyProgressed`, also one of no bytes, says that it goes on.
    UploadBlocked {
        /// The stream concerned.
        stream: StreamToken,
    },
    /// A backend was added to the configuration. The pool answers with
    /// [`Handled::Added`](super::Handled::Added), or with `Refused` if the limit of backends is
    /// reached or the weight is out of bounds.
    BackendAdded {
        /// As [`BackendConfig::weight`](super::BackendConfig::weight).
        weight: u16,
        /// As [`BackendConfig::exclusive`](super::BackendConfig::exclusive).
        exclusive: bool,
    },
    /// The backend was removed from the configuration. It gets no new streams. When its open
    /// streams have finished, the pool orders [`BackendGone`](super::Output::BackendGone).
    BackendRemoved {
        /// The backend concerned.
        backend: BackendToken,
    },
    /// The operator drains the backend: it gets no new streams, and open streams finish. If it
    /// drains already, an earlier deadline replaces the present one, and anything else is refused.
    DrainRequested {
        /// The backend concerned.
        backend: BackendToken,
        /// After this time, connections that still have streams are closed. `None`:
        /// [`Timeouts::drain`](super::Timeouts::drain).
        within: Option<Duration>,
    },
    /// The operator wants the backend back in service.
    DrainCancelled {
        /// The backend concerned.
        backend: BackendToken,
    },
    /// The operator changed the weight of the backend. Bounds: 1 to
    /// [`WEIGHT_MAX`](super::limits::WEIGHT_MAX).
    WeightChanged {
        /// The backend concerned.
        backend: BackendToken,
        /// As [`BackendConfig::weight`](super::BackendConfig::weight).
        weight: u16,
    },
    /// A health check of the backend finished. A pool that receives the results of another pool's
    /// checks ([`HealthChecking::Reported`](super::HealthChecking::Reported)) ignores the number.
    HealthCheckFinished {
        /// The backend concerned.
        backend: BackendToken,
        /// The number given in the order.
        number: u32,
        /// True if the check passed.
        passed: bool,
    },
    /// The configuration was changed at run time. Armed deadlines keep their values. For several
    /// values at once see [`Pool::reconfigure`](super::Pool::reconfigure).
    SettingChanged {
        /// The new value.
        setting: Setting,
    },
    /// Finish what was accepted, then close everything. A repeated request can only bring the
    /// deadline forward.
    ShutdownRequested {
        /// Decides how long the shutdown may take.
        cause: ShutdownCause,
    },
    /// Time passed. The pool handles the one timer that is most overdue; early or repeated timeouts
    /// change nothing. Call again while [`Pool::poll_timeout`](super::Pool::poll_timeout) is not
    /// later than now.
    Timeout,
}
