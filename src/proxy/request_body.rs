//! The body of a client's request, over either protocol.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use http_body::Frame;

use super::http1_server::{Broken, Http1RequestBody};
use super::http2_body::Http2Body;

/// The body of a client's request.
#[derive(Debug)]
pub enum RequestBody {
    /// There is none.
    Nothing,
    /// Over HTTP/1.1.
    Http1(Http1RequestBody),
    /// Over HTTP/2.
    Http2 {
        /// The stream.
        body: Http2Body,
        /// Informed when the body is first asked for, if the client may wait for that.
        wanted: Option<Rc<Wanted>>,
    },
}

impl RequestBody {
    /// The body of a request over HTTP/1.1, if there is one.
    #[must_use]
    pub fn http1(body: Option<Http1RequestBody>) -> Self {
        body.map_or(Self::Nothing, Self::Http1)
    }

    /// A body over HTTP/2. `wanted` is for a client that expects 100 (Continue).
    #[must_use]
    pub fn http2(stream: RecvStream, wanted: Option<Rc<Wanted>>) -> Self {
        if stream.is_end_stream() {
            return Self::Nothing;
        }
        Self::Http2 { body: Http2Body::new(stream), wanted }
    }

    /// Polls for the next frame: data, or the trailers. `None` at the end of a whole body.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Self::Nothing => Poll::Ready(None),
            Self::Http1(body) => body.poll_frame(context),
            Self::Http2 { body, wanted } => {
                let polled = body.poll_frame(context);
                if let Some(wanted) = wanted.take()
                    && polled.is_pending()
                {
                    wanted.inform();
                }
                polled.map_err(|_| Broken)
            }
        }
    }

    /// True if the whole body was read.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2 { body, .. } => body.is_end_stream(),
        }
    }
}

/// Says once that the body of a request is wanted and has not begun to arrive: then a client that
/// expects 100 (Continue) is sent it (RFC 9110, 10.1.1).
#[derive(Debug, Default)]
pub struct Wanted(RefCell<Want>);

#[derive(Debug, Default)]
enum Want {
    #[default]
    NotYet,
    Awaited(Waker),
    Given,
    Taken,
}

impl Wanted {
    fn inform(&self) {
        if let Want::Awaited(waker) = self.0.replace(Want::Given) {
            waker.wake();
        }
    }

    /// Returns true once, after the body was asked for. Wakes the task then.
    pub fn take(&self, context: &Context<'_>) -> bool {
        let mut want = self.0.borrow_mut();
        match *want {
            Want::Given => mem::replace(&mut *want, Want::Taken).is_given(),
            Want::Taken => false,
            Want::NotYet | Want::Awaited(_) => {
                *want = Want::Awaited(context.waker().clone());
                false
            }
        }
    }
}

impl Want {
    fn is_given(&self) -> bool {
        matches!(self, Self::Given)
    }
}
