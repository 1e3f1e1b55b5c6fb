//! One attempt at a request: its order, what it sends, and the orders that its request gets.

use std::rc::Rc;
use std::task::Waker;

use http::uri::Authority;
use http::{Request, request};

use super::http1_link::Http1Attempt;
use super::http2_attempt::Http2Attempt;
use crate::pool::{BackendToken, EndedBy, Instant, Outcome, Protocol, StreamToken};
use crate::proxy::access_log::{Arrival, AttemptRecord};
use crate::proxy::backend_url::Scheme;
use crate::proxy::channel::Sender;
use crate::proxy::headers::{self, ClientFacts};

/// An attempt at a request, as the pool ordered it.
#[derive(Clone, Copy, Debug)]
pub struct AttemptOrder {
    /// The stream token to report facts under.
    pub stream: StreamToken,
    /// 1 for the first attempt.
    pub number: u8,
}

/// An attempt to start.
pub struct NewAttempt {
    /// The stream token and the number of the attempt.
    pub order: AttemptOrder,
    /// The request to send.
    pub head: Rc<RequestHead>,
    /// Receives the attempt.
    pub request: Sender<RequestOrder>,
}

/// The request, as every attempt at it needs it.
pub struct RequestHead {
    /// The client's request head.
    pub parts: request::Parts,
    /// The authority that the request is for (RFC 9110, 7.1).
    pub authority: Authority,
    /// The connection that the request came over.
    pub arrival: Rc<Arrival>,
    /// True if the method is idempotent (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// True if the request has a body.
    pub has_body: bool,
}

impl RequestHead {
    /// Returns the request head to send to a backend.
    pub fn for_backend(&self, protocol: Protocol, scheme: Scheme) -> Request<()> {
        let Arrival { client_address, tls, .. } = &*self.arrival;
        let client = ClientFacts { address: client_address, tls: *tls };
        headers::upstream_request(&self.parts, &self.authority, client, protocol, scheme)
    }
}

/// An order for a request's task.
pub enum RequestOrder {
    /// An attempt has failed; another one or the end follows.
    Failed(AttemptRecord),
    /// The request is on a stream; an earlier attempt is over.
    Opened(Opened, Attempt),
    /// The pool has ended the request.
    Ended {
        /// The outcome.
        outcome: Outcome,
        /// The number of times that the request was given to a connection.
        attempts: u8,
        /// The party that ended the request.
        by: EndedBy,
    },
}

/// An attempt that has begun.
pub struct Opened {
    /// The stream token and the number of the attempt.
    pub order: AttemptOrder,
    /// The stream identifier, for the log.
    pub stream_id: u32,
    /// When the attempt began.
    pub at: Instant,
    /// The backend and its name. It may have been removed since.
    pub backend: (BackendToken, Rc<str>),
}

/// One attempt's request on a connection.
pub enum Attempt {
    /// Over HTTP/2.
    Http2(Http2Attempt),
    /// Over HTTP/1.1.
    Http1(Http1Attempt),
}

impl Attempt {
    /// Registers the waker for the response. Returns false if something is there already. Only for
    /// requests without a body.
    pub fn will_wake(&mut self, waker: &Waker) -> bool {
        match self {
            Self::Http2(attempt) => attempt.will_wake(waker),
            Self::Http1(attempt) => attempt.will_wake(waker),
        }
    }
}
