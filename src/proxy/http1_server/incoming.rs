//! The body of a request, on its way from the client's connection to who reads it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

use crate::proxy::limits::{COALESCE_BELOW_BYTES, HTTP1_READ_BYTES, HTTP1_UNREAD_BYTES};

/// A body ended before it was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// More is to come.
    Open,
    /// Everything was received.
    Whole,
    /// The client left within the body, or it is malformed.
    Broken,
}

/// The part of a body that was received and not yet read.
#[derive(Debug)]
struct Received {
    data: VecDeque<Bytes>,
    /// Small pieces behind them: each would cost as much memory as a large one.
    small: BytesMut,
    bytes: usize,
    trailers: Option<HeaderMap>,
    state: State,
    /// True once the body was asked for: until then a client may wait for a 100 (Continue).
    is_wanted: bool,
    /// True once data has arrived.
    has_begun: bool,
    reader: Option<Waker>,
    connection: Option<Waker>,
}

/// The end of a body that the client's connection fills.
#[derive(Debug)]
pub(super) struct Incoming(Rc<RefCell<Received>>);

/// The body of a request over HTTP/1.1.
#[derive(Debug)]
pub struct Http1RequestBody(Rc<RefCell<Received>>);

/// Creates a body of which nothing was received.
pub(super) fn incoming() -> (Incoming, Http1RequestBody) {
    let received = Rc::new(RefCell::new(Received {
        data: VecDeque::new(),
        small: BytesMut::new(),
        bytes: 0,
        trailers: None,
        state: State::Open,
        is_wanted: false,
        has_begun: false,
        reader: None,
        connection: None,
    }));
    (Incoming(Rc::clone(&received)), Http1RequestBody(received))
}

impl Incoming {
    /// True if more may be received. Less is buffered for a body that was not yet asked for.
    pub(super) fn has_room(&self, context: &Context<'_>) -> bool {
        if self.is_abandoned() {
            return true;
        }
        let mut received = self.0.borrow_mut();
        received.connection = Some(context.waker().clone());
        let most = if received.is_wanted { HTTP1_UNREAD_BYTES } else { HTTP1_READ_BYTES };
        received.bytes < most
    }

    /// True if the body was asked for, and nothing of it has arrived.
    pub(super) fn is_awaited(&self) -> bool {
        let received = self.0.borrow();
        received.is_wanted && !received.has_begun
    }

    /// Adds data.
    pub(super) fn data(&self, data: Bytes) {
        if self.is_abandoned() {
            return;
        }
        let mut received = self.0.borrow_mut();
        received.has_begun = true;
        received.bytes += data.len();
        received.push(data);
        received.wake_reader();
    }

    /// Adds the trailers.
    pub(super) fn trailers(&self, trailers: HeaderMap) {
        self.0.borrow_mut().trailers = Some(trailers);
    }

    /// The body is whole.
    pub(super) fn end(&self) {
        let mut received = self.0.borrow_mut();
        received.state = State::Whole;
        received.wake_reader();
    }

    /// True if the body cannot be read any more.
    pub(super) fn is_abandoned(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut received = self.0.borrow_mut();
        if received.state == State::Open {
            received.state = State::Broken;
            received.wake_reader();
        }
    }
}

impl Received {
    fn push(&mut self, data: Bytes) {
        if data.len() < COALESCE_BELOW_BYTES {
            return self.small.extend_from_slice(&data);
        }
        if !self.small.is_empty() {
            self.data.push_back(self.small.split().freeze());
        }
        self.data.push_back(data);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let small = || (!self.small.is_empty()).then(|| self.small.split().freeze());
        let data = self.data.pop_front().or_else(small)?;
        self.bytes -= data.len();
        Some(data)
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.wake();
        }
    }
}

impl Http1RequestBody {
    /// Polls for the next frame: data, or the trailers.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut received = self.0.borrow_mut();
        if !mem::replace(&mut received.is_wanted, true) {
            received.wake_connection();
        }
        if let Some(data) = received.pop() {
            if received.bytes == 0 {
                received.wake_connection();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match received.state {
            State::Open => {
                received.reader = Some(context.waker().clone());
                Poll::Pending
            }
            State::Whole => {
                let trailers = received.trailers.take();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            State::Broken => Poll::Ready(Some(Err(Broken))),
        }
    }

    /// True if the whole body was read.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        let received = self.0.borrow();
        received.state == State::Whole && received.bytes == 0 && received.trailers.is_none()
    }
}

impl Drop for Http1RequestBody {
    fn drop(&mut self) {
        let mut received = self.0.borrow_mut();
        received.data.clear();
        received.small = BytesMut::new();
        received.bytes = 0;
        received.wake_connection();
    }
}
