//! One attempt over HTTP/2: the response to come, and the stream to send the body on.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};

use crate::pool::StreamFailure;
use crate::proxy::http2_wire::Facts;

/// The response head of a request, or the error that ended its stream.
type Answer = Result<http::Response<RecvStream>, h2::Error>;

/// A request on a stream: the response to come, and the stream to send the body on.
pub struct Http2Attempt {
    response: ResponseFuture,
    /// A result that arrived before the request's task first polled for it.
    early: Option<Box<Answer>>,
    /// The stream that the request body is sent on.
    pub body: Rc<RefCell<SendStream<Bytes>>>,
    facts: Rc<RefCell<Facts>>,
}

impl Http2Attempt {
    /// The attempt whose request was just handed to `h2`.
    pub(super) fn new(
        response: ResponseFuture,
        body: Rc<RefCell<SendStream<Bytes>>>,
        facts: Rc<RefCell<Facts>>,
    ) -> Self {
        Self { response, early: None, body, facts }
    }

    /// Polls for the response head. Must not be called again once it is ready.
    pub fn poll_response(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<http::Response<RecvStream>, StreamFailure>> {
        let polled = match self.early.take() {
            Some(early) => Poll::Ready(*early),
            None => Pin::new(&mut self.response).poll(context),
        };
        polled.map_err(|error| match failure(&error) {
            StreamFailure::Unprocessed if self.is_below_go_away() => StreamFailure::NotSent,
            failure => failure,
        })
    }

    /// True if a GOAWAY was received that lets this stream go on. If it makes `h2` fail the stream
    /// even so, the stream was not opened yet.
    fn is_below_go_away(&self) -> bool {
        let stream_id = u32::from(self.body.borrow().stream_id());
        self.facts.borrow().last_stream_id.is_some_and(|last| stream_id <= last)
    }

    /// Registers the waker for the response. Returns false if the response is there already.
    pub fn will_wake(&mut self, waker: &Waker) -> bool {
        match Pin::new(&mut self.response).poll(&mut Context::from_waker(waker)) {
            Poll::Pending => true,
            Poll::Ready(early) => {
                self.early = Some(Box::new(early));
                false
            }
        }
    }
}

/// Classifies an error of `h2` that ended a stream.
pub fn failure(error: &h2::Error) -> StreamFailure {
    if error.is_go_away() && error.is_remote() {
        return StreamFailure::Unprocessed;
    }
    match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => {
            StreamFailure::Reset { code: reason.into() }
        }
        // An error that `h2` has found on the connection is one of no stream.
        Some(_) if error.is_reset() && error.is_library() => StreamFailure::Malformed,
        Some(_) | None => StreamFailure::ConnectionLost,
    }
}
