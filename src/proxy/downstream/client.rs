//! One client's connection, whatever it speaks: who it is, and what becomes of its requests.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::watch::{Tracked, Watch};
use super::{Downstream, refusal};
use crate::pool::Instant;
use crate::proxy::client_limits::ClientLimit;
use crate::proxy::frame_tap::Flood;
use crate::proxy::relay;
use crate::proxy::relay_body::RelayBody;

/// The answer to a request, on its way.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response<Tracked>, Infallible>>>>;

/// One client's connection.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) downstream: Downstream,
    pub(super) peer: SocketAddr,
    pub(super) tls: bool,
    pub(super) accepted: Instant,
    pub(super) watch: Rc<Watch>,
}

impl Client {
    /// Answers a request.
    pub(super) fn answer(&self, request: Request<Incoming>) -> Answering {
        let in_flight = self.watch.enter();
        let limits = &self.downstream.limits;
        if request.headers().len() > limits.head_fields {
            let details = "too many fields";
            self.refused(ClientLimit::HeadFields, 431, details);
            let response = refusal::too_many_fields().map(RelayBody::local);
            return Box::pin(async move { Ok(response.map(|body| Tracked::new(body, in_flight))) });
        }
        let driver = Rc::clone(&self.downstream.driver);
        let (peer, tls) = (self.peer, self.tls);
        Box::pin(async move {
            let response = relay::serve(driver, peer, tls, request).await;
            Ok(response.map(|body| Tracked::new(body, in_flight)))
        })
    }

    /// Whether the proxy is about to stop.
    pub(super) fn draining(&self) -> bool {
        *self.downstream.draining.borrow()
    }

    /// Tells that a request was refused; the status is 0 if it was not answered.
    pub(super) fn refused(&self, limit: ClientLimit, status: u16, details: &str) {
        refusal::request(&self.downstream.stats, self.peer, limit, status, details);
    }

    /// Tells that the connection is closed.
    pub(super) fn closed(&self, limit: ClientLimit, details: &str) {
        refusal::connection(&self.downstream.stats, self.peer, limit, details);
    }

    /// Tells that the connection is closed for a flood.
    pub(super) fn flooded(&self, flood: Flood) {
        self.closed(refusal::of_flood(flood), flood.name());
    }

    /// Counts something that is of no interest to the log.
    pub(super) fn count(&self, limit: ClientLimit) {
        self.downstream.stats.count(limit);
    }
}
