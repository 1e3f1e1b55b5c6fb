//! One HTTP/1.1 connection to a backend, over `hyper`. It carries one request at a time.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::Method;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::{BoxedIo, ConnectionOrder, Context, Ended, NewAttempt};
use crate::pool::{ConnectFailure, Handled, Input, Protocol, StreamFailure};
use crate::proxy::channel::Receiver;
use crate::proxy::limits::{
    HTTP1_BUFFER_BYTES, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX, RESPONSE_TAKEN_TIMEOUT,
};
use crate::proxy::message_guard::Guarded;
use crate::proxy::message_guard::machine::{Expected, HeadLimits, Messages, Violation};
use crate::proxy::relay::Exchange;
use crate::proxy::replay_body::Upload;
use crate::proxy::seams;

type Failed = hyper::client::conn::TrySendError<http::Request<Upload>>;

/// A request that was handed to the connection.
pub struct Http1Exchange {
    /// Resolves to the response head, or to the error that ended the request.
    pub response: Pin<Box<dyn Future<Output = Result<http::Response<Incoming>, Failed>>>>,
}

pub(super) async fn run(
    context: &Context,
    io: BoxedIo,
    orders: &mut Receiver<ConnectionOrder>,
) -> Ended {
    let limits = HeadLimits { bytes: RESPONSE_HEAD_BYTES_MAX, fields: RESPONSE_FIELDS_MAX };
    let clock = context.driver.telemetry().clock();
    let (guarded, facts) = Guarded::new(io, Messages::Responses, limits, clock);
    let handshake = Builder::new()
        .max_headers(RESPONSE_FIELDS_MAX)
        .max_header_size(RESPONSE_HEAD_BYTES_MAX as usize)
        .max_buf_size(HTTP1_BUFFER_BYTES)
        .handshake::<_, Upload>(TokioIo::new(guarded));
    let (mut sender, connection) = match handshake.await {
        Ok(parts) => parts,
        Err(error) => return Ended::Dial(ConnectFailure::Protocol, error.to_string()),
    };
    context.connected(Protocol::Http1, None);
    let mut connection = pin!(connection);
    // The attempt to start as soon as the connection has finished the one before it.
    let mut next: Option<NewAttempt> = None;
    let mut sent_through = 0;
    let responses = Rc::new(Notify::new());
    let ended = poll_fn(|task_context| {
        while let Poll::Ready(order) = orders.poll_recv(task_context) {
            match order {
                Some(ConnectionOrder::Open(attempt)) => next = Some(attempt),
                Some(ConnectionOrder::Reset { stream, .. })
                    if next.as_ref().is_some_and(|next| next.order.stream == stream) =>
                {
                    // Nothing of it was sent: the connection can carry another request.
                    next = None;
                    let _ = context.driver.tell(Input::ResetSent { stream });
                }
                // HTTP/1.1 cannot abort a request without closing its connection.
                Some(ConnectionOrder::Reset { .. }) => {
                    let reason = "a request was reset".into();
                    return Poll::Ready(Ended::Closed { sent_through, reason });
                }
                Some(ConnectionOrder::Ping) => {}
                Some(ConnectionOrder::Close { reason }) => {
                    return Poll::Ready(Ended::Ordered(reason));
                }
                None => return Poll::Ready(Ended::Dropped),
            }
        }
        let mut ended = connection.as_mut().poll(task_context);
        if ended.is_pending() && next.is_some() && sender.poll_ready(task_context).is_ready() {
            let next = next.take().expect("checked above");
            let head = next.head.parts.method == Method::HEAD;
            if send(context, &mut sender, next, &mut sent_through, &responses) {
                facts.expect(if head { Expected::Head } else { Expected::Other });
            }
            ended = connection.as_mut().poll(task_context);
        }
        ended.map(|result| {
            let reason = match (facts.violation.get(), result) {
                (Some(violation), _) => violation.to_string(),
                (None, Ok(())) => "closed by the backend".to_owned(),
                (None, Err(error)) => error.to_string(),
            };
            Ended::Closed { sent_through, reason }
        })
    })
    .await;
    // A backend may close right behind its answer. The request's task reports the answer, so it
    // comes first: otherwise the pool would take the backend for one that fails before it answers.
    let requests = u64::from(sent_through).div_ceil(2);
    if facts.answers() >= requests {
        let _ = seams::timeout(RESPONSE_TAKEN_TIMEOUT, all_taken(&responses)).await;
    }
    ended
}

/// A response that its request's task has not taken yet.
struct Untaken(Rc<Notify>);

impl Drop for Untaken {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Waits until each response was taken, or will not be.
async fn all_taken(responses: &Rc<Notify>) {
    while Rc::strong_count(responses) > 1 {
        responses.notified().await;
    }
}

/// Hands a request to the connection unless the pool no longer wants it. Returns true if it was
/// handed over. Its response then counts among `responses` until it was taken, or will not be.
fn send(
    context: &Context,
    sender: &mut SendRequest<Upload>,
    attempt: NewAttempt,
    sent_through: &mut u32,
    responses: &Rc<Notify>,
) -> bool {
    let NewAttempt { order, head, request } = attempt;
    let stream = order.stream;
    let stream_id = if *sent_through == 0 { 1 } else { *sent_through + 2 };
    if context.driver.tell(Input::StreamOpened { stream, stream_id }) != Handled::Done {
        return false;
    }
    *sent_through = stream_id;
    let scheme = context.backend.url.scheme;
    let upstream = head.for_backend(Protocol::Http1, scheme);
    let mut upload = Upload::new(Rc::clone(&context.driver), stream, Rc::clone(&head.body));
    if head.has_body {
        upload.tell_if_empty();
    }
    let sending = sender.try_send_request(upstream.map(|()| upload));
    let untaken = Untaken(Rc::clone(responses));
    let response = Box::pin(async move {
        let response = sending.await;
        drop(untaken);
        response
    });
    let exchange = Exchange::Http1(Http1Exchange { response });
    request.send(context.opened(order, stream_id, exchange));
    true
}

/// Classifies an error of `hyper` that ended a request. `handed_back` is true if no byte of the
/// request was sent.
pub fn failure(error: &hyper::Error, handed_back: bool) -> StreamFailure {
    if handed_back {
        StreamFailure::NotSent
    } else if error.is_parse() || is_malformed(error) {
        StreamFailure::Malformed
    } else {
        StreamFailure::ConnectionLost
    }
}

/// True if the message guard found the response malformed.
fn is_malformed(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<Violation>()) {
            return true;
        }
        cause = error.source();
    }
    false
}
