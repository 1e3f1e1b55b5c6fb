//! One HTTP/1.1 connection to a backend. It carries one request at a time.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request};
use tokio::io::AsyncWriteExt as _;

use super::attempt::{Attempt, NewAttempt};
use super::connection::{ConnectionOrder, Context, Ended, report};
use super::http1_link::{Http1Attempt, Link, SharedLink};
use crate::pool::{Handled, Input, Protocol};
use crate::proxy::channel::Receiver;
use crate::proxy::dial::BoxedIo;
use crate::proxy::headers::content_length;
use crate::proxy::heads::{self, RawTarget};
use crate::proxy::limits::POLITE_CLOSE_TIMEOUT;
use crate::proxy::seams;
use crate::wire::http1::{BodyFraming, Expected, request_head};

struct Task<'a> {
    context: &'a Context,
    link: SharedLink,
    /// The attempt to start as soon as the connection has finished the one before it.
    next: Option<NewAttempt>,
    sent_through: u32,
}

/// Serves the connection until it ends, and reports the end.
pub(super) async fn run(context: &Context, io: BoxedIo, orders: &mut Receiver<ConnectionOrder>) {
    let link = Link::new(io);
    context.connected(Protocol::Http1, None);
    let mut task = Task { context, link: Rc::clone(&link), next: None, sent_through: 0 };
    let ended = poll_fn(|task_context| task.poll(task_context, orders)).await;
    report(context, ended);
    let idle = link.borrow_mut().take_idle();
    link.borrow_mut().fail_attempt();
    if let Some(mut io) = idle {
        // This sends `close_notify` if it is TLS (RFC 8446, 6.1). The backend may have left.
        let _ = seams::timeout(POLITE_CLOSE_TIMEOUT, io.shutdown()).await;
    }
}

impl Task<'_> {
    fn poll(
        &mut self,
        task_context: &mut TaskContext<'_>,
        orders: &mut Receiver<ConnectionOrder>,
    ) -> Poll<Ended> {
        // The attempt has found it: orders of the pool about the connection come too late.
        if let Some(reason) = self.link.borrow().ended() {
            return Poll::Ready(self.closed(reason));
        }
        while let Poll::Ready(order) = orders.poll_recv(task_context) {
            match order {
                Some(ConnectionOrder::Open(attempt)) => self.next = Some(attempt),
                Some(ConnectionOrder::Reset { stream, .. })
                    if self.next.as_ref().is_some_and(|next| next.order.stream == stream) =>
                {
                    // Nothing of it was sent: the connection can carry another request.
                    self.next = None;
                    let _ = self.context.pool.tell(Input::ResetSent { stream });
                }
                // HTTP/1.1 cannot abort a request without closing its connection.
                Some(ConnectionOrder::Reset { .. }) => {
                    return Poll::Ready(self.closed("a request was reset"));
                }
                // The pool has no silence of an HTTP/1.1 connection.
                Some(ConnectionOrder::Ping | ConnectionOrder::CheckDelivery) => {}
                Some(ConnectionOrder::Close { reason }) => {
                    return Poll::Ready(Ended::Ordered(reason));
                }
                None => return Poll::Ready(Ended::Dropped),
            }
        }
        if let Poll::Ready(reason) = self.link.borrow_mut().poll_ended(task_context) {
            return Poll::Ready(self.closed(reason));
        }
        if self.link.borrow().is_free()
            && let Some(next) = self.next.take()
        {
            self.send(&next);
        }
        Poll::Pending
    }

    fn closed(&self, reason: &str) -> Ended {
        Ended::Closed { sent_through: self.sent_through, reason: reason.to_owned() }
    }

    /// Hands the connection to a request, unless the pool no longer wants it. The request's task
    /// writes it.
    fn send(&mut self, attempt: &NewAttempt) {
        let NewAttempt { order, head, .. } = attempt;
        let stream = order.stream;
        let stream_id = if self.sent_through == 0 { 1 } else { self.sent_through + 2 };
        let context = self.context;
        if context.pool.tell(Input::StreamOpened { stream, stream_id }) != Handled::Done {
            return;
        }
        self.sent_through = stream_id;
        let mut upstream = head.for_backend(Protocol::Http1, context.backend.url.scheme);
        let framing = frame(&mut upstream, head.has_body);
        let is_head = head.parts.method == Method::HEAD;
        let expected = if is_head { Expected::Head } else { Expected::Other };
        let number = self.link.borrow_mut().begin(expected, |outgoing| {
            let raw = head.parts.extensions.get().map(|RawTarget(target)| &target[..]);
            let known = upstream.uri().path_and_query().map_or("/", |target| target.as_str());
            let target = raw.unwrap_or(known.as_bytes());
            request_head(
                outgoing.small(),
                upstream.method().as_str().as_bytes(),
                target,
                heads::fields(upstream.headers()),
            );
        });
        let begun = Http1Attempt::new(Rc::clone(&self.link), number, framing);
        context.hand_over(attempt, stream_id, Attempt::Http1(begun));
    }
}

/// Sets the fields about the framing of a request, which follows from the message and not from its
/// method (RFC 9112, 6). Returns the framing of the body, if there is one.
fn frame(request: &mut Request<()>, has_body: bool) -> Option<BodyFraming> {
    let expects_content = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    let headers = request.headers_mut();
    match (has_body, content_length(headers)) {
        (true, Some(length)) => Some(BodyFraming::Length(length)),
        (true, None) => {
            // It is no number: a message has never both fields.
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            Some(BodyFraming::Chunked)
        }
        (false, None) if expects_content => {
            // RFC 9110, 8.6.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            None
        }
        (false, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(
        method: Method,
        length: Option<&str>,
        has_body: bool,
    ) -> (String, Option<BodyFraming>) {
        let mut request = Request::new(());
        *request.method_mut() = method;
        if let Some(length) = length {
            request.headers_mut().insert(CONTENT_LENGTH, length.parse().expect("a value"));
        }
        let framing = frame(&mut request, has_body);
        (format!("{:?}", request.headers()), framing)
    }

    #[test]
    fn the_framing_follows_from_the_message() {
        let chunked = || r#"{"transfer-encoding": "chunked"}"#.to_owned();
        let length = |length: &str| format!(r#"{{"content-length": "{length}"}}"#);
        for method in [Method::GET, Method::DELETE, Method::POST, Method::OPTIONS] {
            let framing = Some(BodyFraming::Chunked);
            assert_eq!(framed(method.clone(), None, true), (chunked(), framing));
            let framing = Some(BodyFraming::Length(7));
            assert_eq!(framed(method, Some("7"), true), (length("7"), framing));
        }
        assert_eq!(framed(Method::GET, None, false), ("{}".to_owned(), None));
        assert_eq!(framed(Method::GET, Some("0"), false), (length("0"), None));
        assert_eq!(framed(Method::PUT, None, false), (length("0"), None));
    }
}
