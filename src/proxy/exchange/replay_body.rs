//! A request body that can be sent again from its first byte while it fits the replay buffer.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use http_body::Frame;

use super::progress::Progress;
use crate::pool::{Input, Instant, RequestId, StreamToken};
use crate::proxy::driver::Driver;
use crate::proxy::headers;
use crate::proxy::http1_server::Broken;
use crate::proxy::limits::COALESCE_BELOW_BYTES;
use crate::proxy::request_body::RequestBody;

enum Kept {
    Data(Bytes),
    /// Small pieces, together: each would cost as much memory as a large one.
    Small(BytesMut),
    Trailers(HeaderMap),
}

impl Kept {
    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Small(data) => Frame::data(Bytes::copy_from_slice(data)),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }
}

/// The state of the kept bytes: either every received byte is kept, so that another attempt can
/// start at the first byte, or keeping was given up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replay {
    Keeping { bytes: usize },
    GivenUp,
}

/// The client's request body, and what was kept of it for another attempt.
pub(super) struct ReplayBody {
    incoming: RequestBody,
    /// The fields that `Connection` of the head names: trailers lose them, too.
    named: Vec<HeaderName>,
    /// True if it ended before it was complete.
    is_broken: bool,
    kept: Vec<Kept>,
    replay: Replay,
    limit: usize,
    /// The request that this body belongs to, once the pool has accepted it.
    request: Option<RequestId>,
    /// Bytes of data received from the client.
    received: u64,
    /// Bytes of data given to attempts, summed over all of them.
    sent: u64,
    /// When an attempt last had the whole body.
    sent_at: Option<Instant>,
    /// The attempt that reads the body; uploads of earlier attempts get nothing more.
    reader: Option<StreamToken>,
}

impl ReplayBody {
    /// Keeps up to `limit` bytes for replay. Trailers lose the fields that are `named`.
    pub(super) fn new(incoming: RequestBody, named: Vec<HeaderName>, limit: usize) -> Self {
        Self {
            incoming,
            named,
            is_broken: false,
            kept: Vec::new(),
            replay: Replay::Keeping { bytes: 0 },
            limit,
            request: None,
            received: 0,
            sent: 0,
            sent_at: None,
            reader: None,
        }
    }

    /// Sets the request to report under.
    pub(super) fn belongs_to(&mut self, request: RequestId) {
        self.request = Some(request);
    }

    /// Stops keeping: no further attempt will be made. Data kept so far stays for the present
    /// attempt.
    pub(super) fn stop_keeping(&mut self) {
        self.replay = Replay::GivenUp;
    }

    /// Bytes of data received from the client.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of data given to attempts, summed over all of them.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// When an attempt last had the whole body; `None` before that.
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }

    /// Keeps a frame if it fits. Returns true if this frame exceeds the limit.
    fn keep(&mut self, frame: &Frame<Bytes>) -> bool {
        let Replay::Keeping { bytes } = self.replay else {
            return false;
        };
        let bytes = bytes + frame.data_ref().map_or(0, Bytes::len);
        if bytes > self.limit {
            // From here on only the present attempt has the whole body; the caller reports that to
            // the pool.
            self.replay = Replay::GivenUp;
            self.kept = Vec::new();
            return true;
        }
        self.replay = Replay::Keeping { bytes };
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if data.len() < COALESCE_BELOW_BYTES => self.keep_small(data),
            (Some(data), _) => self.kept.push(Kept::Data(data.clone())),
            (None, Some(trailers)) => self.kept.push(Kept::Trailers(trailers.clone())),
            (None, None) => {}
        }
        false
    }

    /// Keeps a small piece with those before it. An attempt has read them, or begins with the
    /// first byte.
    fn keep_small(&mut self, data: &Bytes) {
        match self.kept.last_mut() {
            Some(Kept::Small(kept)) if kept.len() < COALESCE_BELOW_BYTES => {
                kept.extend_from_slice(data);
            }
            _ => self.kept.push(Kept::Small(BytesMut::from(&data[..]))),
        }
    }
}

/// One attempt's read of a [`ReplayBody`]: first what was kept, then what still arrives.
pub(super) struct Upload {
    driver: Rc<Driver>,
    stream: StreamToken,
    body: Rc<RefCell<ReplayBody>>,
    replayed: usize,
    done: bool,
    /// True if the pool has the report that the backend takes no more for now.
    is_blocked: bool,
    progress: Progress,
}

impl Upload {
    /// Starts at the first byte. Takes the body from any earlier attempt.
    pub(super) fn new(
        driver: Rc<Driver>,
        stream: StreamToken,
        body: Rc<RefCell<ReplayBody>>,
    ) -> Self {
        body.borrow_mut().reader = Some(stream);
        let progress = Progress::start(&driver);
        Self { driver, stream, body, replayed: 0, done: false, is_blocked: false, progress }
    }

    /// Polls for the next frame, kept or new. A body that breaks off cancels its request at once,
    /// and then it is never ready again: no attempt may take what was kept for the whole body.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let mut body = self.body.borrow_mut();
        if body.reader != Some(self.stream) {
            // Another attempt reads the body now; this one is about to be dropped.
            return Poll::Pending;
        }
        if let Some(kept) = body.kept.get(self.replayed) {
            self.replayed += 1;
            let frame = kept.frame();
            body.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
            return Poll::Ready(Some(frame));
        }
        if body.is_broken {
            return Poll::Pending;
        }
        let frame = match ready!(body.incoming.poll_frame(context)) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::filter_trailers(trailers, &body.named);
                }
                frame
            }
            None => return Poll::Ready(None),
            Some(Err(Broken)) => {
                body.is_broken = true;
                drop(body);
                self.client_failed();
                return Poll::Pending;
            }
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        body.received += length;
        body.sent += length;
        let exceeded = body.keep(&frame);
        self.replayed = body.kept.len();
        let request = body.request;
        drop(body);
        let stream = self.stream;
        if let Some(request) = request.filter(|_| exceeded) {
            let _ = self.driver.tell(Input::ReplayBufferExceeded { request, stream });
        }
        self.progress.note(&self.driver, stream, length);
        Poll::Ready(Some(frame))
    }

    /// True if the whole body was read.
    pub(super) fn is_at_end(&self) -> bool {
        let body = self.body.borrow();
        self.replayed >= body.kept.len() && body.incoming.is_end_stream()
    }

    /// Cancels the request: the client's body is incomplete, so the client counts as gone.
    fn client_failed(&self) {
        let request = self.body.borrow().request;
        if let Some(request) = request {
            let _ = self.driver.tell(Input::RequestCancelled { request });
        }
    }

    /// Reports that the backend takes no more of the body for now, or goes on; only if that has
    /// changed.
    pub(super) fn note_blocked(&mut self, is_blocked: bool) {
        if std::mem::replace(&mut self.is_blocked, is_blocked) == is_blocked {
            return;
        }
        // What the client has sent counts for it before the backend is waited for.
        let stream = self.stream;
        self.progress.report(&self.driver, stream);
        if is_blocked {
            let _ = self.driver.tell(Input::UploadBlocked { stream });
        }
    }

    /// Reports that the whole request was handed to the connection. Reports only once.
    pub(super) fn tell_sent(&mut self) {
        if !std::mem::replace(&mut self.done, true) {
            self.body.borrow_mut().sent_at = Some(self.driver.now());
            let _ = self.driver.tell(Input::RequestSent { stream: self.stream });
        }
    }
}
