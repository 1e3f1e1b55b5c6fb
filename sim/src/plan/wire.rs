//! The parts of a plan that only the world of the proxy uses: what is on the wire.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

/// The size of the proxy's replay buffer in this world, in bytes: small, so that bodies outgrow it.
pub const REPLAY_BUFFER_BYTES: usize = 2_000;

/// The process and the clients around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct WirePlan {
    /// Workers; 0 means one.
    pub workers: u8,
    /// True for TLS at both sides of the proxy.
    pub tls: bool,
    /// The share of the polls of tasks that are delayed once, in percent.
    pub delayed_polls_percent: u8,
    /// The share of rare things that are made to happen where the shell or its sockets allow it,
    /// in percent: late orders, early timers, short reads and writes, small buffers.
    pub rare_percent: u8,
    /// The time for which a client may not read, in milliseconds; 0 for the default.
    pub write_stall_ms: u32,
    /// The clients. Without any there is one that speaks HTTP/1.1.
    pub clients: Vec<ClientPlan>,
}

impl WirePlan {
    /// The index of the client that sends a request.
    #[must_use]
    pub fn client_of(&self, request: &RequestWire) -> usize {
        usize::from(request.client) % self.clients.len().max(1)
    }

    /// The protocol of the client that sends a request.
    #[must_use]
    pub fn protocol_of(&self, request: &RequestWire) -> ClientProtocol {
        self.clients.get(self.client_of(request)).copied().unwrap_or_default().protocol
    }
}

/// A client. It opens connections as it needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct ClientPlan {
    /// Its protocol.
    pub protocol: ClientProtocol,
    /// True if an HTTP/1.1 client sends requests before earlier responses have ended.
    pub pipelines: bool,
    /// True if an HTTP/1.1 client closes its sending side after its last request.
    pub half_closes: bool,
    /// True if an HTTP/1.1 client sends requests without a body over HTTP/1.0.
    pub http10: bool,
}

impl ClientPlan {
    /// True if it sends such a request over HTTP/1.0.
    #[must_use]
    pub fn sends_http10(&self, has_body: bool) -> bool {
        self.http10 && self.protocol == ClientProtocol::Http1 && !has_body
    }
}

/// The protocol of a client, and the code that speaks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum ClientProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, by the `h2` library.
    Http2,
    /// HTTP/2, frame by frame.
    Frames,
}

/// The conduct of a backend on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct BackendWire {
    /// True if an HTTP/2 backend is served by the `h2` library, which obeys the RFC; false if it
    /// writes its frames itself.
    pub by_library: bool,
    /// The initial window of its streams, in bytes; 0 means 65 535.
    pub window: u32,
    /// The addresses of its name, in the order in which a resolver lists them. Without any the
    /// proxy has its address, and no name.
    pub name: [Address; ADDRESSES_MAX],
}

impl BackendWire {
    /// True if the backend is a name.
    #[must_use]
    pub fn has_name(&self) -> bool {
        self.name.iter().any(|address| *address != Address::None)
    }
}

/// The number of addresses that a name may have.
pub const ADDRESSES_MAX: usize = 4;

/// A place in the list of addresses of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Address {
    /// There is none.
    #[default]
    None,
    /// The backend accepts there.
    Lives,
    /// Dials are refused.
    Refuses,
    /// Dials get no answer.
    Silent,
}

/// A request and its response on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct RequestWire {
    /// The index of its client, modulo their number.
    pub client: u8,
    /// Bytes of the request body, if the request has one.
    pub body_bytes: u32,
    /// True if an HTTP/1.1 client sends the body chunked, false with a length.
    pub chunked: bool,
    /// True if the request ends with trailers (only with a body; over HTTP/1.1 only if chunked).
    pub trailers: bool,
    /// True if an HTTP/1.1 client waits for `100 Continue` before it sends the body.
    pub expects: bool,
    /// Bytes of the response body.
    pub answer_bytes: u32,
    /// How the response body is framed.
    pub framing: Framing,
    /// True if the response ends with trailers (over HTTP/1.1 only if chunked).
    pub answer_trailers: bool,
    /// Bytes in each piece that either peer writes of a body; 0 means all at once.
    pub piece_bytes: u16,
}

impl RequestWire {
    /// No bodies, and nothing special.
    pub const PLAIN: Self = Self {
        client: 0,
        body_bytes: 0,
        chunked: false,
        trailers: false,
        expects: false,
        answer_bytes: 0,
        framing: Framing::Length,
        answer_trailers: false,
        piece_bytes: 0,
    };
}

impl Default for RequestWire {
    fn default() -> Self {
        Self::PLAIN
    }
}

/// How a response body is framed (RFC 9112, 6.3). HTTP/2 distinguishes only whether there is a
/// `content-length`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Framing {
    /// With a length.
    #[default]
    Length,
    /// In chunks.
    Chunked,
    /// Until the connection is closed.
    Close,
}

/// A direction of a connection, as seen from the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Arbitrary)]
pub enum Direction {
    /// Bytes that the proxy reads.
    In,
    /// Bytes that the proxy writes.
    Out,
}

/// An effect of the network on one direction of a connection, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub enum WireEffect {
    /// Bytes arrive in pieces of this size, at least 1, each at its own time. After some hundreds
    /// of pieces they arrive as they come again.
    Pieces(u16),
    /// Bytes arrive cut at each frame boundary of HTTP/2 and once within each frame header (F21),
    /// in as many pieces.
    PiecesAtFrames,
    /// Bytes take this much longer.
    Delay {
        /// Added time.
        by_us: u64,
    },
    /// Nothing arrives for a while; forever if `None`.
    Stall {
        /// Duration.
        for_us: Option<u64>,
    },
    /// The buffer between writer and reader holds this many bytes, at least 1.
    Room(u32),
    /// The writer's side ends: what was written arrives, then the end.
    End,
    /// The connection is reset: what is in flight is lost, and both ends see an error.
    Reset,
    /// Writing fails after this many further bytes were written, and the connection is reset.
    ErrorAfter(u32),
    /// Bytes vanish from now on; the writer does not notice until its buffer is full.
    Vanish,
    /// The reader's system acknowledges bytes, but its process reads none; for a while, or forever.
    Asleep {
        /// Duration.
        for_us: Option<u64>,
    },
    /// The next close is not announced to TLS: the connection ends without `close_notify`.
    NoCloseNotify,
}
