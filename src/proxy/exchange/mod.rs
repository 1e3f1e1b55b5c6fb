//! Serves one request from its head to its end: runs the attempts that the pool orders, sends the
//! request body, returns the response, and reports facts about each to the pool.

mod answer;
mod coalesce;
mod progress;
mod relayed;
mod replay_body;
pub mod response_body;
mod upload;

use std::cell::RefCell;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request, response};
use http_body::Body as _;
use http_body_util::Full;

use self::answer::{Answer, PresentAttempt, answer};
use self::relayed::RelayedRequest;
use self::replay_body::ReplayBody;
use self::response_body::{RelayBody, UpstreamBody};
use crate::pool::{EndedBy, Handled, Input, Outcome, Rejection, StreamToken};
use crate::proxy::access_log::{AccessRecord, Arrival, Unrouted};
use crate::proxy::channel::channel;
use crate::proxy::client_limits::ClientLimit;
use crate::proxy::clusters::Clusters;
use crate::proxy::request_body::RequestBody;
use crate::proxy::telemetry::Telemetry;
use crate::proxy::upstream::attempt::{RequestHead, RequestOrder};
use crate::proxy::{error_response, headers};

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
    });
    let body = Rc::new(RefCell::new(ReplayBody::new(incoming, named, limit)));
    let (sender, orders) = channel();
    match driver.arrive(Rc::clone(&head), sender) {
        Ok(request) => {
            body.borrow_mut().belongs_to(request);
            let live = RelayedRequest { driver, request, orders, record, head, body, upload: None };
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
    let mut attempt: Option<PresentAttempt> = None;
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
            Step::Ordered(Some(RequestOrder::Opened(opened, begun))) => {
                let stream = opened.order.stream;
                attempt = Some(PresentAttempt::begin(&mut live, stream, begun));
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

/// Returns the response with its head; the body follows as it arrives.
fn respond(
    mut live: RelayedRequest,
    stream: StreamToken,
    mut head: response::Parts,
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
    live.body.borrow_mut().stop_keeping();
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
