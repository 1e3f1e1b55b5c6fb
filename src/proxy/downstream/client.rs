//! One client's connection, for either protocol: its addresses, its deadlines and its requests.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::buffered::Buffered;
use super::deadlines::{InFlight, Tracked, Watch};
use super::listener::Downstream;
use super::refusal;
use crate::pool::Instant;
use crate::proxy::access_log::{Arrival, Unrouted};
use crate::proxy::client_limits::ClientLimit;
use crate::proxy::exchange::response_body::RelayBody;
use crate::proxy::exchange::{self, Relaying};
use crate::proxy::http2_wire::Flood;
use crate::proxy::request_body::RequestBody;

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
        let watch = Watch::new(downstream.clock());
        Self::resumed(downstream, peer, watch)
    }

    /// Creates the state of a connection that was idle.
    pub(super) fn resumed(downstream: Rc<Downstream>, peer: SocketAddr, watch: Rc<Watch>) -> Self {
        let arrival = Arrival::new(peer, downstream.address, downstream.tls.is_some());
        let accepted = downstream.clock().now();
        Self { downstream, arrival, accepted, watch }
    }

    /// Answers a request.
    pub(super) fn answer(&self, request: Request<RequestBody>) -> Answering {
        let in_flight = self.watch.enter();
        let downstream = Rc::clone(&self.downstream);
        Answering { relaying: self.begin(request), in_flight: Some(in_flight), downstream }
    }

    /// A response of Baton's own to what is no request.
    pub(super) fn own_response(&self, response: Response<Full<Bytes>>) -> Response<Tracked> {
        let mut response = response.map(RelayBody::local);
        self.downstream.clusters.telemetry().dates().add(response.headers_mut());
        response.map(|body| Tracked::new(body, self.watch.enter()))
    }

    /// Starts to serve a request, or refuses it if it has too many fields.
    fn begin(&self, request: Request<RequestBody>) -> Relaying {
        let limits = &self.downstream.limits;
        if request.headers().len() > limits.head_fields {
            let (parts, _) = request.into_parts();
            let limit = ClientLimit::HeadFields;
            self.note_refused(limit, 431, "too many fields");
            let response = refusal::too_many_fields();
            let telemetry = self.downstream.clusters.telemetry();
            let response =
                exchange::refused(telemetry, &self.arrival, &parts, limit.name(), response);
            return exchange::answered(response);
        }
        exchange::serve(&self.downstream.clusters, &self.arrival, request)
    }

    /// The client's address.
    pub(super) fn peer(&self) -> SocketAddr {
        self.arrival.client
    }

    /// True if the proxy or the listener of this connection is about to stop.
    pub(super) fn draining(&self) -> bool {
        self.downstream.draining.is_ordered()
    }

    /// Logs and counts a request whose head was refused. `status` is 0 if no response was sent.
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

    /// Logs a request of which nothing was served, because the client cancelled it or the
    /// connection ends. `reason` says how far it had come.
    pub(super) fn left_with(&self, reason: Unrouted) {
        match self.arrival.cut_by() {
            Some(limit) => self.cut_off(limit),
            None => self.downstream.clusters.telemetry().unserved(&self.arrival, reason),
        }
    }

    /// Logs a request that ends by a limit before it is served. It gets no response.
    pub(super) fn cut_off(&self, limit: ClientLimit) {
        self.downstream.clusters.telemetry().unseen(&self.arrival, 0, limit.name());
    }

    /// Logs and counts that the connection is closed for a limit. Called once per connection.
    pub(super) fn closed(&self, limit: ClientLimit, details: &str) {
        self.count(limit);
        let (client, reason) = (self.peer(), limit.name());
        tracing::info!(target: "baton", %client, reason, details, "client connection closed");
    }

    /// The bytes that wait for the client, of whose connection this is the task.
    pub(super) fn buffered(&self, task: Waker) -> Rc<Buffered> {
        Buffered::new(Rc::clone(&self.downstream.buffered), task)
    }

    /// Logs and counts that the connection is closed with its requests, because too much waits for
    /// clients that are stalled.
    pub(super) fn shed(&self) {
        let limit = ClientLimit::BufferedBytes;
        self.arrival.cut(limit);
        self.closed(limit, "too much waits for clients, and this one is the most stalled");
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

/// A response to come. The request is in flight until the body of the response is dropped.
pub(super) struct Answering {
    relaying: Relaying,
    in_flight: Option<InFlight>,
    downstream: Rc<Downstream>,
}

impl Future for Answering {
    type Output = Response<Tracked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Tracked>> {
        let mut response = ready!(self.relaying.as_mut().poll(context));
        self.downstream.clusters.telemetry().dates().add(response.headers_mut());
        let in_flight = self.in_flight.take().expect("a future is ready once");
        Poll::Ready(response.map(|body| Tracked::new(body, in_flight)))
    }
}
