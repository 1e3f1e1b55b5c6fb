//! One client's connection, for either protocol: its addresses, its deadlines and its requests.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::deadlines::{Tracked, Watch};
use super::{Downstream, refusal};
use crate::pool::Instant;
use crate::proxy::access_log::Arrival;
use crate::proxy::client_limits::ClientLimit;
use crate::proxy::http2_wire::Flood;
use crate::proxy::relay::{self, Relaying};

/// A response to come.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response<Tracked>, Infallible>>>>;

/// One client's connection.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) downstream: Rc<Downstream>,
    pub(super) arrival: Rc<Arrival>,
    pub(super) accepted: Instant,
    pub(super) watch: Rc<Watch>,
}

impl Client {
    /// Creates the state of a connection that was just accepted.
    pub(super) fn new(downstream: Rc<Downstream>, peer: SocketAddr) -> Self {
        let arrival = Arrival::new(peer, downstream.address, downstream.tls.is_some());
        let watch = Watch::new(downstream.clock());
        let accepted = downstream.clock().now();
        Self { downstream, arrival, accepted, watch }
    }

    /// Answers a request. Does nothing until the future is polled. `hyper` creates the future when
    /// it has read the head, and then may find that the client is gone. Before it polls the future,
    /// it also reads from the body; if the whole body has arrived by then, the connection can be
    /// kept even if the request is refused.
    pub(super) fn answer(&self, request: Request<Incoming>) -> Answering {
        let in_flight = self.watch.enter();
        let downstream = Rc::clone(&self.downstream);
        let unserved = Unserved { client: self.clone(), request: Some(request) };
        Box::pin(async move {
            let mut response = unserved.begin().await;
            downstream.clusters.telemetry().dates().add(response.headers_mut());
            Ok(response.map(|body| Tracked::new(body, in_flight)))
        })
    }

    /// Starts to serve a request, or refuses it if it has too many fields.
    fn begin(&self, request: Request<Incoming>) -> Relaying {
        let limits = &self.downstream.limits;
        if request.headers().len() > limits.head_fields {
            let (parts, _) = request.into_parts();
            let limit = ClientLimit::HeadFields;
            self.note_refused(limit, 431, "too many fields");
            let response = refusal::too_many_fields();
            let telemetry = self.downstream.clusters.telemetry();
            let response = relay::refused(telemetry, &self.arrival, &parts, limit.name(), response);
            return relay::answered(response);
        }
        relay::serve(&self.downstream.clusters, &self.arrival, request)
    }

    /// The client's address.
    pub(super) fn peer(&self) -> SocketAddr {
        self.arrival.client
    }

    /// True if the proxy or the listener of this connection is about to stop.
    pub(super) fn draining(&self) -> bool {
        self.downstream.draining.is_ordered()
    }

    /// Logs and counts a refused request that `hyper` did not hand over. `status` is 0 if no
    /// response was sent.
    pub(super) fn refused(&self, limit: ClientLimit, status: u16, details: &str) {
        self.note_refused(limit, status, details);
        self.downstream.clusters.telemetry().unseen(&self.arrival, status, limit.name());
    }

    fn note_refused(&self, limit: ClientLimit, status: u16, details: &str) {
        self.count(limit);
        let (client, reason) = (self.peer(), limit.name());
        tracing::info!(target: "baton", %client, reason, status, details, "request refused");
    }

    /// Logs that the client closed the connection within a head.
    pub(super) fn left(&self) {
        self.downstream.clusters.telemetry().incomplete(&self.arrival);
    }

    /// Logs a request that the client cancelled before it was served.
    pub(super) fn took_back(&self) {
        self.downstream.clusters.telemetry().unserved(&self.arrival);
    }

    /// Logs and counts that the connection is closed for a limit. Called once per connection.
    pub(super) fn closed(&self, limit: ClientLimit, details: &str) {
        self.count(limit);
        let (client, reason) = (self.peer(), limit.name());
        tracing::info!(target: "baton", %client, reason, details, "client connection closed");
    }

    /// Logs and counts that the connection is closed for a flood.
    pub(super) fn flooded(&self, flood: Flood) {
        self.closed(refusal::of_flood(flood), flood.name());
    }

    /// Counts a limit without a log line.
    pub(super) fn count(&self, limit: ClientLimit) {
        self.downstream.stats().count(limit);
    }
}

/// A request that `hyper` has read and not yet asked to answer. If `hyper` drops it because the
/// client is gone, it has a line in the access log like any other that was cancelled.
struct Unserved {
    client: Client,
    request: Option<Request<Incoming>>,
}

impl Unserved {
    fn begin(mut self) -> Relaying {
        let request = self.request.take().expect("it begins once");
        self.client.begin(request)
    }
}

impl Drop for Unserved {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            let Client { downstream, arrival, .. } = &self.client;
            relay::unserved(&downstream.clusters, arrival, request);
        }
    }
}
