//! A request body that can be sent again from its first byte, as long as it is small.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::driver::Driver;
use super::progress::Progress;
use crate::pool::{Input, Instant, RequestId, StreamToken};

enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// Whether another attempt could start at the first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replay {
    Keeping { bytes: usize },
    GivenUp,
}

/// The client's request body, and what of it was kept for another attempt.
pub struct ReplayBody {
    incoming: Incoming,
    kept: Vec<Kept>,
    replay: Replay,
    limit: usize,
    /// Whose body it is, once the pool has said so.
    request: Option<RequestId>,
    /// Bytes of data that came from the client.
    received: u64,
    /// Bytes of data that were given to attempts, all together.
    sent: u64,
    /// When an attempt last had the whole of it.
    sent_at: Option<Instant>,
    /// The attempt that reads it; uploads of earlier ones may not take anything any more.
    reader: Option<StreamToken>,
    /// Whether the client speaks HTTP/2.
    multiplexed: bool,
}

impl ReplayBody {
    /// Keeps up to `limit` bytes for replay. `multiplexed` says that it came over HTTP/2.
    pub fn new(incoming: Incoming, limit: usize, multiplexed: bool) -> Self {
        Self {
            incoming,
            kept: Vec::new(),
            replay: Replay::Keeping { bytes: 0 },
            limit,
            request: None,
            received: 0,
            sent: 0,
            sent_at: None,
            reader: None,
            multiplexed,
        }
    }

    /// Whether the end of the data is the end of the body. hyper says the same of a stream that the
    /// client reset with NO_ERROR, which is a request broken off.
    fn is_broken_off(&self) -> bool {
        self.multiplexed && !self.incoming.is_end_stream()
    }

    /// Names the request, to report by.
    pub fn belongs_to(&mut self, request: RequestId) {
        self.request = Some(request);
    }

    /// No further attempt will be made. What the present one has yet to replay stays.
    pub fn stop_keeping(&mut self) {
        self.replay = Replay::GivenUp;
    }

    /// Bytes of data that came from the client.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of data that were given to attempts, all together.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// When an attempt last had the whole of it.
    pub fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }

    /// Keeps a frame if there is room. True if this was the one too many.
    fn keep(&mut self, frame: &Frame<Bytes>) -> bool {
        let Replay::Keeping { bytes } = self.replay else {
            return false;
        };
        let kept = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Kept::Data(data.clone()),
            (None, Some(trailers)) => Kept::Trailers(trailers.clone()),
            (None, None) => return false,
        };
        let bytes = bytes + frame.data_ref().map_or(0, Bytes::len);
        if bytes > self.limit {
            // Only this attempt has it whole from here on, which the pool is told at once.
            self.replay = Replay::GivenUp;
            self.kept = Vec::new();
            return true;
        }
        self.kept.push(kept);
        self.replay = Replay::Keeping { bytes };
        false
    }
}

/// One attempt's way through a [`ReplayBody`]: what was kept, then what still comes.
pub struct Upload {
    driver: Rc<Driver>,
    stream: StreamToken,
    body: Rc<RefCell<ReplayBody>>,
    replayed: usize,
    done: bool,
    progress: Progress,
}

impl Upload {
    /// From the first byte.
    pub fn new(driver: Rc<Driver>, stream: StreamToken, body: Rc<RefCell<ReplayBody>>) -> Self {
        body.borrow_mut().reader = Some(stream);
        let progress = Progress::start(&driver);
        Self { driver, stream, body, replayed: 0, done: false, progress }
    }

    /// The next frame, whether it was kept or comes now.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = self.body.borrow_mut();
        if body.reader != Some(self.stream) {
            // Another attempt took over; this one is about to be dropped.
            return Poll::Pending;
        }
        if let Some(kept) = body.kept.get(self.replayed) {
            self.replayed += 1;
            let frame = match kept {
                Kept::Data(data) => Frame::data(data.clone()),
                Kept::Trailers(trailers) => Frame::trailers(trailers.clone()),
            };
            body.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
            return Poll::Ready(Some(Ok(frame)));
        }
        let polled = Pin::new(&mut body.incoming).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) && body.is_broken_off() {
            drop(body);
            self.client_failed();
            return Poll::Pending;
        }
        let Poll::Ready(Some(Ok(frame))) = &polled else {
            return polled;
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        body.received += length;
        body.sent += length;
        let exceeded = body.keep(frame);
        self.replayed = body.kept.len();
        let request = body.request;
        drop(body);
        let stream = self.stream;
        if let Some(request) = request.filter(|_| exceeded) {
            let _ = self.driver.tell(Input::ReplayBufferExceeded { request, stream });
        }
        self.progress.note(&self.driver, stream, length);
        polled
    }

    /// Whether all of it was given out.
    pub fn is_at_end(&self) -> bool {
        let body = self.body.borrow();
        self.replayed >= body.kept.len() && body.incoming.is_end_stream()
    }

    /// The client broke off its body: it is gone, whatever else it says.
    pub fn client_failed(&self) {
        let request = self.body.borrow().request;
        if let Some(request) = request {
            let _ = self.driver.tell(Input::RequestCancelled { request });
        }
    }

    /// The whole request was handed over. Told once.
    pub fn tell_sent(&mut self) {
        if !std::mem::replace(&mut self.done, true) {
            self.body.borrow_mut().sent_at = Some(self.driver.now());
            let _ = self.driver.tell(Input::RequestSent { stream: self.stream });
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = self.poll_next(context);
        match &polled {
            Poll::Ready(None) => self.tell_sent(),
            Poll::Ready(Some(Ok(_))) if self.is_at_end() => self.tell_sent(),
            Poll::Ready(Some(Err(_))) => self.client_failed(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.borrow();
        let kept = body.kept[self.replayed.min(body.kept.len())..].iter();
        let kept: usize =
            kept.map(|kept| if let Kept::Data(data) = kept { data.len() } else { 0 }).sum();
        let mut hint = SizeHint::new();
        if let Some(exact) = body.incoming.size_hint().exact() {
            hint.set_exact(exact + kept as u64);
        }
        hint
    }
}
