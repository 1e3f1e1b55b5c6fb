//! Serves one request from its head to its end: runs the attempts that the pool orders, sends the
//! request body, returns the response, and reports facts about each to the pool.

mod coalesce;
mod progress;
mod replay_body;
pub mod response_body;
mod upload;

use std::cell::RefCell;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body::Body as _;
use http_body_util::Full;

use self::replay_body::{ReplayBody, Upload};
use self::response_body::{RelayBody, UpstreamBody};
use crate::pool::{
    BackendToken, EndedBy, Handled, Input, Instant, Outcome, Protocol, Rejection, RequestId,
    StreamFailure, StreamToken,
};
use crate::proxy::access_log::{AccessRecord, Arrival, AttemptRecord, Unrouted};
use crate::proxy::backend_url::Scheme;
use crate::proxy::channel::{Receiver, channel};
use crate::proxy::client_limits::ClientLimit;
use crate::proxy::clusters::Clusters;
use crate::proxy::driver::Driver;
use crate::proxy::error_response;
use crate::proxy::headers::{self, ClientFacts};
use crate::proxy::limits::RESPONSE_FIELDS_MAX;
use crate::proxy::request_body::RequestBody;
use crate::proxy::seams::{self, Task};
use crate::proxy::telemetry::Telemetry;
use crate::proxy::upstream::{self, AttemptOrder, Http1Exchange, Http2Exchange};

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
    /// The request body.
    pub body: Rc<RefCell<ReplayBody>>,
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
    Opened(Opened, Exchange),
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
pub enum Exchange {
    /// Over HTTP/2.
    Http2(Http2Exchange),
    /// Over HTTP/1.1.
    Http1(Http1Exchange),
}

impl Exchange {
    /// Registers the waker for the response. Returns false if something is there already. Only for
    /// requests without a body.
    pub fn will_wake(&mut self, waker: &Waker) -> bool {
        match self {
            Self::Http2(exchange) => exchange.will_wake(waker),
            Self::Http1(exchange) => exchange.will_wake(waker),
        }
    }
}

/// A request that the pool knows. Dropping it before its end cancels it: the client is gone.
pub struct RelayedRequest {
    pub(super) driver: Rc<Driver>,
    pub(super) request: RequestId,
    pub(super) orders: Receiver<RequestOrder>,
    pub(super) record: Box<AccessRecord>,
    pub(super) head: Rc<RequestHead>,
    /// The task that sends the body of the present attempt.
    pub(super) upload: Option<Task>,
}

impl RelayedRequest {
    /// Records attempts and the end that were ordered but not yet received.
    pub(super) fn note_end(&mut self) {
        while self.record.outcome.is_none()
            && let Some(order) = self.orders.try_recv()
        {
            self.note(&order);
        }
    }

    /// Records an order for the access log.
    pub(super) fn note(&mut self, order: &RequestOrder) {
        match order {
            RequestOrder::Opened(Opened { order, stream_id, at, backend }, _) => {
                let AttemptOrder { stream, number } = *order;
                let attempt = AttemptRecord::new(number, backend.clone(), stream, *stream_id);
                self.record.opened.get_or_insert(*at);
                self.record.attempts.push(attempt);
            }
            RequestOrder::Failed(attempt) => self.record.attempt_failed(attempt),
            RequestOrder::Ended { outcome, attempts, by } => {
                self.record.ended(*outcome, *attempts, *by);
            }
        }
    }

    /// Reports to the pool that an attempt failed. The pool decides what that proves and what
    /// follows, unless it has already given up the attempt for another reason.
    pub(super) fn fail(&self, stream: StreamToken, failure: StreamFailure) {
        let _ = self.driver.tell(Input::StreamFailed { stream, failure });
    }
}

impl Drop for RelayedRequest {
    fn drop(&mut self) {
        self.upload = None;
        self.note_end();
        if self.record.outcome.is_none() {
            let _ = self.driver.tell(Input::RequestCancelled { request: self.request });
            self.note_end();
            if self.driver.telemetry().is_stopping() {
                self.record.ended_by = EndedBy::Proxy;
                self.record.reason = Rejection::ShuttingDown.name();
            }
        }
        let body = self.head.body.borrow();
        self.record.request_bytes = body.received();
        self.record.backend_request_bytes = body.sent();
        let sent_at = if self.head.has_body { body.sent_at() } else { self.record.opened };
        self.record.uploaded = sent_at;
        drop(body);
        self.driver.request_ended(&self.record);
    }
}

/// A response to come.
pub type Relaying = Pin<Box<dyn Future<Output = Response<RelayBody>>>>;

/// Wraps a response that is there already.
pub fn answered(response: Response<RelayBody>) -> Relaying {
    Box::pin(ready(response))
}

/// Serves one request of a client.
pub fn serve(
    clusters: &Clusters,
    arrival: &Rc<Arrival>,
    request: Request<RequestBody>,
) -> Relaying {
    let (mut parts, incoming) = request.into_parts();
    let telemetry = clusters.telemetry();
    let mut record = Box::new(AccessRecord::new(&parts, arrival, telemetry.now()));
    record.trace = Some(telemetry.adopt_trace(&mut parts.headers));
    let authority = match headers::authority(&parts) {
        Ok(authority) => authority,
        Err((status, line)) => {
            let response = error_response::refused(status, line);
            let reason = Unrouted::Refused.name();
            return answered(without_cluster(telemetry, &mut record, reason, response));
        }
    };
    if headers::max_forwards(&parts) == Some(0) {
        let response = error_response::last_recipient(&parts.method);
        let reason = Unrouted::Refused.name();
        return answered(without_cluster(telemetry, &mut record, reason, response));
    }
    let Some(driver) = clusters.find(&parts) else {
        let response = error_response::unrouted();
        let reason = Unrouted::NoRoute.name();
        return answered(without_cluster(telemetry, &mut record, reason, response));
    };
    record.cluster = Some(Rc::clone(driver.cluster()));
    let limit = driver.config(|config| config.retry.replay_buffer_bytes);
    let has_body = !incoming.is_end_stream();
    let named = if has_body { headers::connection_options(&parts.headers) } else { Vec::new() };
    let head = Rc::new(RequestHead {
        idempotent: headers::is_idempotent(&parts.method),
        has_body,
        parts,
        authority,
        arrival: Rc::clone(arrival),
        body: Rc::new(RefCell::new(ReplayBody::new(incoming, named, limit))),
    });
    let (sender, orders) = channel();
    match driver.arrive(Rc::clone(&head), sender) {
        Ok(request) => {
            head.body.borrow_mut().belongs_to(request);
            let live = RelayedRequest { driver, request, orders, record, head, upload: None };
            Box::pin(relay(live))
        }
        Err(rejection) => {
            record.ended(Outcome::Rejected(rejection), 0, EndedBy::Proxy);
            let response = error_response::rejected(rejection, None);
            note_own(&mut record, rejection.name(), &response);
            driver.request_ended(&record);
            answered(response.map(RelayBody::local))
        }
    }
}

/// Logs and counts a request whose client was gone before the request was served.
pub fn unserved(clusters: &Clusters, arrival: &Rc<Arrival>, mut parts: request::Parts) {
    let telemetry = clusters.telemetry();
    let mut record = AccessRecord::new(&parts, arrival, telemetry.now());
    record.trace = Some(telemetry.adopt_trace(&mut parts.headers));
    record.ended(Outcome::Cancelled, 0, EndedBy::Client);
    let Some(driver) = clusters.find(&parts) else {
        record.reason = Unrouted::NoRoute.name();
        return telemetry.refused(&record);
    };
    record.cluster = Some(Rc::clone(driver.cluster()));
    driver.request_ended(&record);
}

/// Logs and returns Baton's own response to a request whose head exceeds a limit.
pub fn refused(
    telemetry: &Telemetry,
    arrival: &Rc<Arrival>,
    parts: &request::Parts,
    reason: &'static str,
    response: Response<Full<Bytes>>,
) -> Response<RelayBody> {
    let mut record = AccessRecord::new(parts, arrival, telemetry.now());
    without_cluster(telemetry, &mut record, reason, response)
}

/// Logs and returns Baton's own response to a request that reached no cluster.
fn without_cluster(
    telemetry: &Telemetry,
    record: &mut AccessRecord,
    reason: &'static str,
    response: Response<Full<Bytes>>,
) -> Response<RelayBody> {
    note_own(record, reason, &response);
    telemetry.refused(record);
    response.map(RelayBody::local)
}

/// Records a response of Baton's own.
fn note_own(record: &mut AccessRecord, reason: &'static str, response: &Response<Full<Bytes>>) {
    record.status = response.status().as_u16();
    record.reason = reason;
    if record.method != Some(Method::HEAD) {
        record.response_bytes = response.body().size_hint().exact().unwrap_or_default();
    }
}

/// Follows the pool's orders until a response head can go to the client or the request ends.
async fn relay(mut live: RelayedRequest) -> Response<RelayBody> {
    let mut attempt: Option<Attempt> = None;
    loop {
        let step = tokio::select! {
            biased;
            order = live.orders.recv() => Step::Ordered(order),
            answer = answer(&mut attempt) => Step::Answered(answer),
        };
        if let Step::Ordered(Some(order)) = &step {
            live.note(order);
        }
        match step {
            Step::Ordered(Some(RequestOrder::Opened(opened, exchange))) => {
                attempt = Some(begin(&mut live, opened.order.stream, exchange));
            }
            Step::Ordered(Some(RequestOrder::Ended { outcome, .. })) => {
                return without_response(live, outcome);
            }
            Step::Ordered(Some(RequestOrder::Failed(_))) => {}
            Step::Ordered(None) => {
                unreachable!("the driver keeps the channel until it has sent the end")
            }
            Step::Answered(Ok((stream, head, body))) => {
                attempt = None;
                let started = Input::ResponseStarted { stream, status: head.status.as_u16() };
                if live.driver.tell(started) == Handled::Done {
                    return respond(live, stream, head, body);
                }
                // The pool has given up that attempt: stop its upload.
                live.upload = None;
            }
            Step::Answered(Err((stream, failure))) => {
                attempt = None;
                live.upload = None;
                live.fail(stream, failure);
            }
        }
    }
}

enum Step {
    Ordered(Option<RequestOrder>),
    Answered(Answer),
}

type Answer =
    Result<(StreamToken, http::response::Parts, UpstreamBody), (StreamToken, StreamFailure)>;

struct Attempt {
    stream: StreamToken,
    exchange: Exchange,
}

/// Waits for the response head of the present attempt, or its failure. Never ready without an
/// attempt.
async fn answer(attempt: &mut Option<Attempt>) -> Answer {
    poll_fn(|context| match attempt {
        None => Poll::Pending,
        Some(attempt) => attempt.poll(context),
    })
    .await
}

impl Attempt {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let stream = self.stream;
        match &mut self.exchange {
            Exchange::Http2(exchange) => {
                exchange.poll_response(context).map(|result| match result {
                    Ok(response) if is_malformed(response.headers()) => {
                        Err((stream, StreamFailure::Malformed))
                    }
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        let keep = Rc::clone(&exchange.body);
                        Ok((stream, head, UpstreamBody::http2(body, keep)))
                    }
                    Err(error) => Err((stream, upstream::http2_failure(&error))),
                })
            }
            Exchange::Http1(exchange) => {
                exchange.poll_response(context).map(|result| match result {
                    Ok((head, body)) => Ok((stream, head, UpstreamBody::Http1(body))),
                    Err(failure) => Err((stream, failure)),
                })
            }
        }
    }
}

/// True if a response over HTTP/2 with these fields is malformed although `h2` accepts it.
fn is_malformed(fields: &HeaderMap) -> bool {
    fields.len() > RESPONSE_FIELDS_MAX
        || headers::has_padded_value(fields)
        || headers::has_wrong_length(fields)
}

/// Starts an attempt, and the upload if the request has a body.
fn begin(live: &mut RelayedRequest, stream: StreamToken, mut exchange: Exchange) -> Attempt {
    live.upload = live.head.has_body.then(|| {
        let upload = Upload::new(Rc::clone(&live.driver), stream, Rc::clone(&live.head.body));
        match &mut exchange {
            Exchange::Http2(exchange) => {
                seams::spawn_bound(upload::over_http2(upload, Rc::clone(&exchange.body)))
            }
            Exchange::Http1(exchange) => {
                let sender = exchange.take_sender().expect("the request has a body");
                seams::spawn_bound(upload::over_http1(upload, sender))
            }
        }
    });
    Attempt { stream, exchange }
}

/// Returns the response with its head; the body follows as it arrives.
fn respond(
    mut live: RelayedRequest,
    stream: StreamToken,
    mut head: http::response::Parts,
    body: UpstreamBody,
) -> Response<RelayBody> {
    if let UpstreamBody::Http1(body) = &body
        && let Some(timeout) = body.keep_alive()
    {
        let connection = stream.connection;
        let _ = live.driver.tell(Input::KeepAliveAnnounced { connection, timeout });
    }
    live.record.first_byte = Some(live.driver.now());
    live.record.status = head.status.as_u16();
    live.head.body.borrow_mut().stop_keeping();
    let bodiless = headers::has_no_body(live.head.parts.method == Method::HEAD, head.status);
    let length = if bodiless { Some(0) } else { headers::content_length(&head.headers) };
    headers::downstream_response(&mut head, live.head.parts.version);
    Response::from_parts(head, RelayBody::upstream(live, stream, body, length))
}

/// Returns the response to a request that ended without a response head.
fn without_response(mut live: RelayedRequest, outcome: Outcome) -> Response<RelayBody> {
    let rejection = match outcome {
        Outcome::Rejected(rejection) => rejection,
        // The client is gone, or it sent a malformed body and waits for a response.
        Outcome::Cancelled => {
            live.record.status = StatusCode::BAD_REQUEST.as_u16();
            live.record.reason = ClientLimit::MalformedBody.name();
            let response = error_response::refused(StatusCode::BAD_REQUEST, "malformed body");
            return response.map(RelayBody::local);
        }
        // These follow only if the client is gone, and then no response is read.
        Outcome::Completed | Outcome::CutShort => Rejection::AttemptFailed,
    };
    let response = error_response::rejected(rejection, live.record.evidence);
    note_own(&mut live.record, rejection.name(), &response);
    response.map(RelayBody::local)
}
