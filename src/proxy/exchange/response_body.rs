//! A response body on its way to the client. The client sets the pace: the backend's body is read,
//! and its flow-control window released, only when the client's side polls for more.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::progress::Progress;
use super::relayed::RelayedRequest;
use crate::pool::{Input, Outcome, StreamFailure, StreamToken};
use crate::proxy::headers;
use crate::proxy::http2_body::Http2Body;
use crate::proxy::limits::{HTTP1_READ_BYTES_MAX, RESPONSE_FINISH_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::proxy::upstream::Http1Body;
use crate::proxy::{seams, upstream};

/// The response is incomplete: the client's connection or stream must not end as if it were
/// complete.
#[derive(Debug)]
pub struct CutShort;

impl fmt::Display for CutShort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the response was cut short")
    }
}

impl Error for CutShort {}

/// A response body as the backend's connection delivers it.
pub enum UpstreamBody {
    /// Over HTTP/2.
    Http2 {
        /// The content.
        body: Http2Body,
        /// Kept so that the stream is reset by the pool's order, with the right code, and not by
        /// dropping this half.
        _request: Rc<RefCell<SendStream<Bytes>>>,
    },
    /// Over HTTP/1.1.
    Http1(Http1Body),
}

type Polled = Poll<Option<Result<Frame<Bytes>, StreamFailure>>>;

impl UpstreamBody {
    /// A response body over HTTP/2.
    pub fn http2(body: RecvStream, request: Rc<RefCell<SendStream<Bytes>>>) -> Self {
        Self::Http2 { body: Http2Body::new(body), _request: request }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Polled {
        let mut polled = match self {
            // RFC 9113, 8.1: NO_ERROR after a complete response only ends the upload.
            Self::Http2 { body, .. } => {
                body.poll_frame(context).map_err(|error| upstream::http2_failure(&error))
            }
            Self::Http1(body) => body.poll(context),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            let named = match self {
                // Only HTTP/1.1 has `Connection`.
                Self::Http2 { .. } => &[],
                Self::Http1(body) => body.connection_options(),
            };
            headers::filter_trailers(trailers, named);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http2 { body, .. } => body.is_end_stream(),
            Self::Http1(body) => body.is_complete(),
        }
    }

    /// Bytes that the backend has sent and that were not polled for yet.
    fn unread(&mut self) -> usize {
        match self {
            Self::Http2 { body, .. } => body.unread(),
            Self::Http1(body) if body.is_complete() => 0,
            Self::Http1(body) => body.unread(),
        }
    }

    /// The most bytes that can be unread.
    fn unread_at_most(&self) -> u64 {
        match self {
            Self::Http2 { .. } => STREAM_WINDOW_BYTES.into(),
            Self::Http1(_) => HTTP1_READ_BYTES_MAX as u64,
        }
    }
}

struct Relayed {
    live: RelayedRequest,
    stream: StreamToken,
    body: UpstreamBody,
    /// Bytes still to come, if the head gave a length.
    remaining: Option<u64>,
    progress: Progress,
}

impl Relayed {
    fn poll(&mut self, context: &mut Context<'_>) -> Polled {
        // The pool may have ended the request, for instance because its connection was closed.
        while let Poll::Ready(Some(order)) = self.live.orders.poll_recv(context) {
            self.live.note(&order);
        }
        if self.is_cut() {
            return Poll::Ready(Some(Err(StreamFailure::ConnectionLost)));
        }
        let mut polled = self.body.poll(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && self.is_too_long(frame)
        {
            polled = Poll::Ready(Some(Err(StreamFailure::Malformed)));
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.live.record.response_bytes += length;
                self.live.record.backend_response_bytes += length;
                self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(length));
                self.tell_progress(length);
                // Trailers end a message, and no body is polled after them.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.tell_end();
                }
            }
            Poll::Ready(None) if !self.is_over() => self.tell_end(),
            Poll::Ready(None) => {}
            Poll::Ready(Some(Err(failure))) => {
                let (stream, failure) = (self.stream, *failure);
                self.live.fail(stream, failure);
                self.live.note_end();
            }
            Poll::Pending => {}
        }
        match polled {
            // What the log calls cut short must not look complete to the client.
            Poll::Ready(None | Some(Ok(_))) if self.is_cut() => {
                Poll::Ready(Some(Err(StreamFailure::ConnectionLost)))
            }
            polled => polled,
        }
    }

    /// True if the response has more content than its head allows. That is malformed (RFC 9113,
    /// 8.1.1), and `h2` accepts it of a 204 or 304 without a length.
    fn is_too_long(&self, frame: &Frame<Bytes>) -> bool {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.remaining.is_some_and(|remaining| length > remaining)
    }

    /// Reports progress, so that the pool does not cut a response that goes on, nor its connection
    /// while it drains. Over HTTP/1.1 also reports that the connection is alive; over HTTP/2 the
    /// connection's task does.
    fn tell_progress(&mut self, bytes: u64) {
        let reported = self.progress.note(&self.live.driver, self.stream, bytes);
        if reported && matches!(self.body, UpstreamBody::Http1(_)) {
            let connection = self.stream.connection;
            let input = Input::FrameReceived { connection, carries_message: true };
            let _ = self.live.driver.tell(input);
        }
    }

    fn tell_end(&mut self) {
        let stream = self.stream;
        if let UpstreamBody::Http1(body) = &self.body
            && body.closes()
        {
            let connection = stream.connection;
            let input = Input::GoAwayReceived { connection, last_stream_id: u32::MAX, code: 0 };
            let _ = self.live.driver.tell(input);
        }
        let _ = self.live.driver.tell(Input::ResponseEnded { stream });
        self.live.note_end();
    }

    fn is_over(&self) -> bool {
        self.live.record.outcome.is_some()
    }

    /// True if the pool has ended the request before its response was complete.
    fn is_cut(&self) -> bool {
        self.live.record.outcome.is_some_and(|outcome| outcome != Outcome::Completed)
    }

    /// Waits for the backend to end the stream after the client has received the whole content.
    async fn finish(mut self) {
        let drained = poll_fn(|context| {
            loop {
                match self.poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(_))) if !self.is_over() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
        });
        // If it takes too long, dropping the request resets the stream.
        let _ = seams::timeout(RESPONSE_FINISH_TIMEOUT, drained).await;
    }
}

enum Source {
    Local(Full<Bytes>),
    /// Shared only with [`Waiting`].
    Upstream(Rc<RefCell<Relayed>>),
    Over,
}

/// The body of a response that waits for its client.
#[derive(Debug)]
pub struct Waiting {
    relayed: Weak<RefCell<Relayed>>,
    at_most: u64,
}

impl Waiting {
    /// The most bytes that its backend may have sent.
    #[must_use]
    pub fn at_most(&self) -> u64 {
        self.at_most
    }

    /// The bytes that its backend has sent and that wait.
    #[must_use]
    pub fn held(&self) -> u64 {
        let relayed = self.relayed.upgrade();
        relayed.map_or(0, |relayed| relayed.borrow_mut().body.unread() as u64)
    }
}

/// The body of a response to a client.
pub struct RelayBody(Source);

impl RelayBody {
    /// A body that Baton made itself.
    pub fn local(body: Full<Bytes>) -> Self {
        Self(Source::Local(body))
    }

    /// A body from a backend; `length` is in bytes, if the head gives it.
    pub fn upstream(
        live: RelayedRequest,
        stream: StreamToken,
        body: UpstreamBody,
        length: Option<u64>,
    ) -> Self {
        let progress = Progress::start(&live.driver);
        let mut relayed = Relayed { live, stream, body, remaining: length, progress };
        if relayed.body.is_end_stream() {
            relayed.tell_end();
        }
        Self(Source::Upstream(Rc::new(RefCell::new(relayed))))
    }

    /// The body, for the time in which it waits for the client and is not polled.
    pub fn waiting(&self) -> Waiting {
        match &self.0 {
            Source::Upstream(relayed) => {
                let (present, weak) = (relayed.borrow(), Rc::downgrade(relayed));
                let most = present.body.unread_at_most();
                let at_most = present.remaining.map_or(most, |remaining| remaining.min(most));
                Waiting { relayed: weak, at_most }
            }
            Source::Local(_) | Source::Over => Waiting { relayed: Weak::new(), at_most: 0 },
        }
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match &mut self.0 {
            Source::Local(body) => {
                Pin::new(body).poll_frame(context).map_err(|never| match never {})
            }
            Source::Upstream(shared) => {
                let mut relayed = shared.borrow_mut();
                if relayed.body.is_end_stream() && relayed.is_over() {
                    drop(relayed);
                    self.0 = Source::Over;
                    return Poll::Ready(None);
                }
                relayed.poll(context).map_err(|_| CutShort)
            }
            Source::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Local(body) => body.is_end_stream(),
            Source::Upstream(relayed) => relayed.borrow().body.is_end_stream(),
            Source::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Local(body) => body.size_hint(),
            Source::Upstream(relayed) => {
                let remaining = relayed.borrow().remaining;
                remaining.map_or_else(SizeHint::new, SizeHint::with_exact)
            }
            Source::Over => SizeHint::with_exact(0),
        }
    }
}

impl Drop for RelayBody {
    fn drop(&mut self) {
        // A body is dropped as soon as its declared length is written (at once if that is 0, as for
        // HEAD), possibly before the backend has ended the stream.
        let Source::Upstream(shared) = std::mem::replace(&mut self.0, Source::Over) else { return };
        let is_unfinished = {
            let relayed = shared.borrow();
            relayed.remaining == Some(0) && !relayed.is_over()
        };
        if is_unfinished && let Some(relayed) = Rc::into_inner(shared) {
            seams::spawn(relayed.into_inner().finish());
        }
    }
}
