//! Facts that the pool is told, in the past tense. All of them are small `Copy` data, so a whole run
//! is a list of `(Instant, Input)`: that is what is logged, shrunk, fuzzed and replayed.

use core::time::Duration;

use super::setting::Setting;
use super::token::{BackendToken, ConnectionToken, RequestId, StreamToken};

/// RFC 9113, 7: error codes as they stand in RST_STREAM and GOAWAY frames.
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
}

/// Why a pool is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShutdownCause {
    /// The process is about to end, and waits: what is left after `Timeouts::drain` is cut.
    ProcessEnds,
    /// Another pool takes its place, or its cluster is gone. Nobody waits, so it has as long as a
    /// connection that drains while its responses go on: `Timeouts::drain` as many times as
    /// `DRAIN_EXTENSIONS_MAX` of [`limits`](super::limits).
    PoolReplaced,
}

/// What a connection speaks, known once its handshake is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/2: many streams, GOAWAY, PING.
    Http2,
    /// HTTP/1.1: a connection with a limit of one, and no PING.
    Http1,
}

/// Why a dial came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectFailure {
    /// No TCP connection.
    Tcp,
    /// TCP, but no TLS session.
    Tls,
    /// TLS, but no HTTP/2 SETTINGS, or not HTTP at all.
    Protocol,
}

/// How an attempt at a request failed, as the owner of its stream saw it. What it *means* (which
/// [`Evidence`](super::Evidence)) is the pool's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamFailure {
    /// The request was handed back unsent: no byte of it reached a socket.
    NotSent,
    /// The peer reset the stream with this RFC 9113 error code.
    Reset {
        /// RFC 9113, 7.
        code: u32,
    },
    /// The peer said that it did not process the stream (above a GOAWAY's last id).
    Unprocessed,
    /// The connection ended under it.
    ConnectionLost,
    /// The peer broke the protocol on this stream (malformed head, wrong length, …).
    Malformed,
}

/// A fact. Facts about tokens that are no longer current are counted and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A client's request head is complete. Answered by
    /// [`Handled::Accepted`](super::Handled::Accepted) with its id, or
    /// [`Handled::Rejected`](super::Handled::Rejected).
    RequestArrived {
        /// Whether the method is idempotent (RFC 9110, 9.2.2).
        idempotent: bool,
        /// Whether a body follows. Then the response-head deadline starts with `RequestSent`.
        has_body: bool,
    },
    /// More of the request body passed than the replay buffer holds: what was kept is gone, so only
    /// the attempt that it passed through can still send the body whole. If the request has left
    /// that attempt meanwhile, it ends.
    ReplayBufferExceeded {
        /// The request concerned.
        request: RequestId,
        /// The attempt that it passed through.
        stream: StreamToken,
    },
    /// The client is gone, or no longer wants the answer.
    RequestCancelled {
        /// The request concerned.
        request: RequestId,
    },
    /// A dial succeeded: for HTTP/2, TCP, TLS and the peer's first SETTINGS.
    Connected {
        /// The slot that owned the dial.
        connection: ConnectionToken,
        /// What the connection speaks.
        protocol: Protocol,
        /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS; `None` if not announced so far, which counts
        /// as 100. A peer that sent SETTINGS without the parameter has `Some(u32::MAX)`.
        max_streams: Option<u32>,
    },
    /// A dial failed.
    ConnectFailed {
        /// The slot that owned the dial.
        connection: ConnectionToken,
        /// How far it came.
        reason: ConnectFailure,
    },
    /// The peer changed SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 5.1.2). It may fall below what
    /// is open, even to zero.
    MaxStreamsChanged {
        /// The connection concerned.
        connection: ConnectionToken,
        /// The new limit.
        max_streams: u32,
    },
    /// GOAWAY (RFC 9113, 6.8). For HTTP/1.1, `Connection: close` on a response, with the greatest
    /// last id.
    GoAwayReceived {
        /// The connection concerned.
        connection: ConnectionToken,
        /// Streams above it were not processed.
        last_stream_id: u32,
        /// RFC 9113, 7.
        code: u32,
    },
    /// Any frame arrived: the connection is alive.
    FrameReceived {
        /// The connection concerned.
        connection: ConnectionToken,
    },
    /// The answer to our PING arrived.
    Pong {
        /// The connection concerned.
        connection: ConnectionToken,
    },
    /// The connection is gone: no more frames either way. Streams whose identifier is above
    /// `sent_through` were never written to the socket. The owners of the others may still hold
    /// received data, and each reports the end of its own stream.
    ConnectionClosed {
        /// The connection concerned.
        connection: ConnectionToken,
        /// The highest stream identifier of which a byte was written; 0 if none.
        sent_through: u32,
    },
    /// The order [`OpenStream`](super::Output::OpenStream) was carried out: the request has this
    /// stream identifier. It may still be unsent.
    StreamOpened {
        /// The stream concerned.
        stream: StreamToken,
        /// RFC 9113, 5.1.1. For HTTP/1.1 any number that grows by at least one each time.
        stream_id: u32,
    },
    /// The whole request, body included, was handed to the connection.
    RequestSent {
        /// The stream concerned.
        stream: StreamToken,
    },
    /// The final (not 1xx) response head arrived and goes to the client.
    ResponseStarted {
        /// The stream concerned.
        stream: StreamToken,
        /// Its status code.
        status: u16,
    },
    /// The response is complete. If the request is not (`RequestSent` has not come), the pool
    /// orders a reset with NO_ERROR (RFC 9113, 8.1).
    ResponseEnded {
        /// The stream concerned.
        stream: StreamToken,
    },
    /// The attempt failed.
    StreamFailed {
        /// The stream concerned.
        stream: StreamToken,
        /// How.
        failure: StreamFailure,
    },
    /// The RST_STREAM that the pool ordered was written, or the stream closed without one.
    ResetSent {
        /// The stream concerned.
        stream: StreamToken,
    },
    /// So many bytes of the request's or the response's body passed since the last such fact. Told
    /// now and then while a body passes, at least once a second.
    BodyProgressed {
        /// The stream concerned.
        stream: StreamToken,
        /// How many.
        bytes: u32,
    },
    /// The configuration has a further backend. Answered by
    /// [`Handled::Added`](super::Handled::Added), or `Refused` if there are as many as the limits
    /// allow or the weight is out of bounds.
    BackendAdded {
        /// As [`BackendConfig::weight`](super::BackendConfig::weight).
        weight: u16,
        /// As [`BackendConfig::exclusive`](super::BackendConfig::exclusive).
        exclusive: bool,
    },
    /// The configuration no longer has the backend: it gets no new streams, old ones finish, then
    /// [`BackendGone`](super::Output::BackendGone) is said.
    BackendRemoved {
        /// The backend concerned.
        backend: BackendToken,
    },
    /// The operator wants the backend to get no new streams; old ones finish.
    DrainRequested {
        /// The backend concerned.
        backend: BackendToken,
        /// Connections that still have streams after this long are closed.
        within: Duration,
    },
    /// The operator wants the backend back in service.
    DrainCancelled {
        /// The backend concerned.
        backend: BackendToken,
    },
    /// The operator changed the backend's weight, 1 to 1000.
    WeightChanged {
        /// The backend concerned.
        backend: BackendToken,
        /// As [`BackendConfig::weight`](super::BackendConfig::weight).
        weight: u16,
    },
    /// A probe of the backend is over. A pool that is told of another's probes
    /// ([`Probing::Told`](super::Probing::Told)) does not look at the number.
    ProbeFinished {
        /// The backend concerned.
        backend: BackendToken,
        /// As ordered.
        number: u32,
        /// Whether the backend answered as it should.
        passed: bool,
    },
    /// The configuration of what runs changed. Deadlines that are armed stay as they are.
    SettingChanged {
        /// The new value.
        setting: Setting,
    },
    /// Recount everything. If something does not add up, everything is given up and the pool starts
    /// anew: [`Handled::Rebuilt`](super::Handled::Rebuilt).
    AuditRequested,
    /// Finish what was accepted, then close everything. Asked for again, the end may only come sooner.
    ShutdownRequested {
        /// Decides how long that may take.
        cause: ShutdownCause,
    },
    /// Time passed. Handles the one timer that is most overdue; early or repeated timeouts change
    /// nothing. Call again while [`Pool::poll_timeout`](super::Pool::poll_timeout) is not later
    /// than now.
    Timeout,
}
