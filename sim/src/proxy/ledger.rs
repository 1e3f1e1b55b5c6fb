//! The events of a run as the peers of the proxy know them: written by peers, read by
//! judges.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

use super::content::{Body, Seen};
use super::peers::tls::Front;

/// The response field that names the execution which produced a response.
pub(crate) const EXECUTION: &str = "x-execution";
/// The trailer field of requests and responses; its value is that of [`trailer`].
pub(crate) const TRAILER: &str = "x-end";

/// The first id of requests that are not in the plan: they are sent once faults have stopped.
pub(crate) const RECOVERY: u32 = 1_000_000;

/// The value of [`TRAILER`] at the end of a body.
pub(crate) fn trailer(body: Body) -> String {
    match body {
        Body::Request(id) => format!("request-{id}"),
        Body::Response(execution) => format!("response-{execution}"),
    }
}

/// The target of a request.
pub(crate) fn path(request: u32) -> String {
    format!("/r{request}")
}

/// The request of a target; `None` if it is of no request of the plan (a health check).
pub(crate) fn request_of(path: &str) -> Option<u32> {
    path.strip_prefix("/r")?.parse().ok()
}

/// A request that a backend's application has received: it read the head.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) request: u32,
    pub(crate) backend: u16,
    /// The connection's number at its backend, from 1.
    pub(crate) connection: u32,
    /// The number of the request on its connection, from 1.
    pub(crate) stream: u32,
    /// When the head was read, in nanoseconds.
    pub(crate) at: u64,
    /// The body that arrived.
    pub(crate) body: Seen,
    /// True once the request's end was read.
    pub(crate) body_ended: bool,
    /// The value of the trailer field, if there was one.
    pub(crate) trailer: Option<String>,
    /// True if the backend informed the proxy that it has not processed the request.
    pub(crate) disowned: bool,
    /// The part of its answer that the backend wrote.
    pub(crate) answer: Option<Answer>,
}

/// The answer that a backend wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Bytes of the body that were written so far.
    pub(crate) length: u64,
    /// When the last of them were written, in nanoseconds.
    pub(crate) at: u64,
    /// True while the next ones wait for the proxy to widen a window of HTTP/2.
    pub(crate) waits: bool,
    /// When all of it, the end included, was written, in nanoseconds.
    pub(crate) ended: Option<u64>,
    /// True if it ends with trailers.
    pub(crate) trailers: bool,
}

impl Answer {
    /// An answer of which only the head is written.
    pub(crate) fn begun(status: u16, trailers: bool, at: u64) -> Self {
        Self { status, length: 0, at, waits: false, ended: None, trailers }
    }

    /// Bytes of the body were written.
    pub(crate) fn wrote(&mut self, length: u64, at: u64) {
        self.length += length;
        if length > 0 {
            self.at = at;
        }
    }
}

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The status; `None` if no head arrived.
    pub(crate) status: Option<u16>,
    /// The execution that the head names; `None` for an answer of the proxy itself.
    pub(crate) execution: Option<u32>,
    /// 1xx heads before the head, other than `100 Continue` to an expectation.
    pub(crate) informational: u32,
    /// The body: for an answer of the proxy itself only its length counts.
    pub(crate) body: Seen,
    /// The value of the trailer field, if there was one.
    pub(crate) trailer: Option<String>,
    /// The values of fields that judges read.
    pub(crate) proxy_status: Option<String>,
    pub(crate) date: Option<String>,
    /// How it ended.
    pub(crate) end: End,
    /// When, in nanoseconds.
    pub(crate) at: u64,
}

impl Received {
    /// The end of a request without any answer.
    pub(crate) fn nothing(end: End, at: u64) -> Self {
        Self {
            status: None,
            execution: None,
            informational: 0,
            body: Seen::NOTHING,
            trailer: None,
            proxy_status: None,
            date: None,
            end,
            at,
        }
    }
}

/// How a response ended at the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Completely, by its framing.
    Complete,
    /// Visibly cut short: the connection ended or broke within it.
    Broken,
    /// By RST_STREAM with this code.
    Reset(u32),
    /// The client has cancelled the request or broken the connection itself.
    Cancelled,
    /// It was above the last stream of a GOAWAY, or its connection was closed without a byte of
    /// an answer before the request was fully sent, or when it was not the first request on its
    /// connection (RFC 9112, 9.3.1), or it was sent behind one whose answer closed the connection:
    /// the client may send it again elsewhere.
    Unprocessed,
}

/// A GOAWAY that a client received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoneAway {
    pub(crate) client: u8,
    /// The connection's number at its client, from 1.
    pub(crate) connection: u32,
    /// The last stream id.
    pub(crate) last: u32,
    /// The error code.
    pub(crate) code: u32,
    /// When, in nanoseconds.
    pub(crate) at: u64,
}

/// A client's dial of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) client: u8,
    pub(crate) to: SocketAddr,
    /// When it began and ended, the handshake of TLS included, in nanoseconds.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) end: DialEnd,
}

/// How a client's dial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialEnd {
    /// There is no TCP connection.
    Failed(ErrorKind),
    /// A connection without TLS.
    Connected,
    /// The handshake of TLS failed.
    NoTls,
    /// A connection with TLS: the proxy has shown this certificate, or one that it was not given.
    Secured(Option<Front>),
}

/// Everything that happened, in order.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    executions: RefCell<Vec<Execution>>,
    /// When each request was sent, and how it ended; by the request's id.
    received: RefCell<Vec<(u32, Received)>>,
    /// The number of requests whose clients left before they had a complete answer.
    left: Cell<u64>,
    /// The requests that a client has begun to send, with the time.
    begun: RefCell<Vec<(u32, u64)>>,
    /// The requests whose bodies HTTP/2 clients have sent to the last byte.
    uploaded: RefCell<Vec<u32>>,
    /// The requests that found no connection, with the time.
    not_sent: RefCell<Vec<(u32, u64)>>,
    /// The acts of the proxy against the RFCs.
    faults: RefCell<Vec<String>>,
    go_aways: RefCell<Vec<GoneAway>>,
    /// The requests of which a client has sent all, and those with a `100 Continue`, with the time.
    sent: RefCell<BTreeMap<u32, u64>>,
    continued: RefCell<BTreeMap<u32, u64>>,
    dials: RefCell<Vec<Dial>>,
}

impl Ledger {
    /// Notes that a backend's application received a request. Returns the execution's number, which
    /// the response carries in [`EXECUTION`].
    pub(crate) fn execute(&self, execution: Execution) -> u32 {
        let mut executions = self.executions.borrow_mut();
        executions.push(execution);
        executions.len() as u32 - 1
    }

    /// Changes what is known of an execution.
    pub(crate) fn update(&self, execution: u32, change: impl FnOnce(&mut Execution)) {
        change(&mut self.executions.borrow_mut()[execution as usize]);
    }

    /// Notes that a client begins to send a request.
    pub(crate) fn begin(&self, request: u32, at: u64) {
        self.begun.borrow_mut().push((request, at));
    }

    /// Notes how a request ended for its client. Called exactly once for each that was begun.
    pub(crate) fn end(&self, request: u32, received: Received) {
        if matches!(received.end, End::Cancelled | End::Broken) {
            self.left.set(self.left.get() + 1);
        }
        self.received.borrow_mut().push((request, received));
    }

    /// Notes that an HTTP/1.1 client has sent all of a request.
    pub(crate) fn note_sent(&self, request: u32, at: u64) {
        self.sent.borrow_mut().insert(request, at);
    }

    /// When an HTTP/1.1 client had sent all of a request with a body, if it has.
    pub(crate) fn sent_at(&self, request: u32) -> Option<u64> {
        self.sent.borrow().get(&request).copied()
    }

    /// Notes that the expectation of a request was met: `100 Continue` has arrived.
    pub(crate) fn note_continued(&self, request: u32, at: u64) {
        self.continued.borrow_mut().insert(request, at);
    }

    /// When the expectation of a request was met, if it was.
    pub(crate) fn continued_at(&self, request: u32) -> Option<u64> {
        self.continued.borrow().get(&request).copied()
    }

    /// The number of requests that were begun and have not ended for their clients.
    pub(crate) fn open(&self) -> u64 {
        (self.begun.borrow().len() - self.received.borrow().len()) as u64
    }

    /// The number of requests whose clients left before they had a complete answer.
    pub(crate) fn left(&self) -> u64 {
        self.left.get()
    }

    /// Notes that an HTTP/2 client sends the last byte of a request's body.
    pub(crate) fn uploaded(&self, request: u32) {
        self.uploaded.borrow_mut().push(request);
    }

    /// True if an HTTP/2 client has sent the last byte of a request's body.
    pub(crate) fn has_uploaded(&self, request: u32) -> bool {
        self.uploaded.borrow().contains(&request)
    }

    /// Notes that a client could not send a request: it got no connection.
    pub(crate) fn not_sent(&self, request: u32, at: u64) {
        self.not_sent.borrow_mut().push((request, at));
    }

    /// The backend, connection and stream that last received a request.
    pub(crate) fn stream_of(&self, request: u32) -> Option<(u16, u32, u32)> {
        let executions = self.executions.borrow();
        let last = executions.iter().rev().find(|execution| execution.request == request)?;
        Some((last.backend, last.connection, last.stream))
    }

    /// The request that a stream of a backend's connection brought.
    pub(crate) fn request_on(&self, backend: u16, connection: u32, stream: u32) -> Option<u32> {
        let wanted = (backend, connection, stream);
        let executions = self.executions.borrow();
        let on = |execution: &&Execution| {
            (execution.backend, execution.connection, execution.stream) == wanted
        };
        executions.iter().rev().find(on).map(|execution| execution.request)
    }

    /// Notes that the proxy sent what an RFC forbids.
    pub(crate) fn fault(&self, what: String) {
        self.faults.borrow_mut().push(what);
    }

    /// All faults of the proxy, in order.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.borrow().clone()
    }

    /// Notes the end of a client's dial.
    pub(crate) fn dialled(&self, dial: Dial) {
        self.dials.borrow_mut().push(dial);
    }

    /// The dials of clients, in the order of their ends.
    pub(crate) fn dials(&self) -> Vec<Dial> {
        self.dials.borrow().clone()
    }

    /// Notes that a client received a GOAWAY.
    pub(crate) fn gone_away(&self, go_away: GoneAway) {
        self.go_aways.borrow_mut().push(go_away);
    }

    /// Every GOAWAY that a client received, in order.
    #[cfg(test)]
    pub(crate) fn go_aways(&self) -> Vec<GoneAway> {
        self.go_aways.borrow().clone()
    }

    /// All executions, by number.
    pub(crate) fn executions(&self) -> Vec<Execution> {
        self.executions.borrow().clone()
    }

    /// All ends, in order.
    pub(crate) fn received(&self) -> Vec<(u32, Received)> {
        self.received.borrow().clone()
    }

    /// The requests that were begun, in order.
    pub(crate) fn begun(&self) -> Vec<(u32, u64)> {
        self.begun.borrow().clone()
    }

    /// The requests that found no connection, in order.
    pub(crate) fn all_not_sent(&self) -> Vec<(u32, u64)> {
        self.not_sent.borrow().clone()
    }
}
