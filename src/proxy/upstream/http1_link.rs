//! An HTTP/1.1 connection to a backend, as its task and the attempt on it share it.
//!
//! While a request uses the connection, the request's tasks read and write it themselves: nothing
//! is handed from task to task. The connection's own task reads it only between two requests, and
//! otherwise waits for orders and for the end of the attempt.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, response};
use http_body::Frame;

use crate::pool::StreamFailure;
use crate::proxy::dial::BoxedIo;
use crate::proxy::headers;
use crate::proxy::heads;
use crate::proxy::http1_io::{self, Reader};
use crate::proxy::limits::{
    HTTP1_READ_BYTES, HTTP1_UNSENT_BYTES, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX,
};
use crate::wire::http1::{
    BodyEncoder, BodyError, BodyFraming, Decoder, Event, Expected, Framing, HeadLimits, Outgoing,
    Role, Violation,
};

/// The reason of a connection that its backend closes.
const CLOSED: &str = "closed by the backend";

/// How far a connection has come, and the attempt on it.
enum Phase {
    /// No attempt uses the connection.
    Free,
    /// An attempt uses it, and the socket has taken no byte of that.
    Announced,
    /// The socket has taken a byte of the attempt.
    Sent,
    /// The head of its response was read.
    Responding,
    /// The connection has ended, as the attempt on it has found, or a read between two. The
    /// connection's task has not reported it: until then the attempt does not fail, so that the
    /// pool does not take the connection for one that is free.
    Ended { reason: String, failure: StreamFailure },
    /// The connection's task has reported the end. The attempt on it fails.
    Over { failure: StreamFailure },
}

/// A connection. Shared by the tasks of one worker.
pub(super) struct Link {
    /// `None` once the connection has ended.
    io: Option<BoxedIo>,
    decoder: Decoder,
    outgoing: Outgoing,
    reader: Reader,
    /// The number of the last attempt that has begun, from 1; 0 before the first one.
    attempt: u64,
    phase: Phase,
    /// How long the backend keeps the connection open while it is idle, as it announced last.
    keep_alive: Option<Duration>,
    /// The connection's task.
    owner: Option<Waker>,
    /// The task that reads, and the one that writes.
    users: [Option<Waker>; 2],
}

/// Indexes of [`Link::users`].
const READER: usize = 0;
const WRITER: usize = 1;

pub(super) type SharedLink = Rc<RefCell<Link>>;

impl Link {
    pub(super) fn new(io: BoxedIo) -> SharedLink {
        let limits = HeadLimits { bytes: RESPONSE_HEAD_BYTES_MAX, fields: RESPONSE_FIELDS_MAX };
        Rc::new(RefCell::new(Self {
            io: Some(io),
            decoder: Decoder::new(Role::Client, limits),
            outgoing: Outgoing::default(),
            reader: Reader::default(),
            attempt: 0,
            phase: Phase::Free,
            keep_alive: None,
            owner: None,
            users: [None, None],
        }))
    }

    /// Polls for the end of the connection: as the attempt on it has found it, or between two
    /// attempts by reading. `Pending` also if the connection has become free for an attempt.
    pub(super) fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<&str> {
        match &mut self.owner {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        if self.is_free() {
            // The decoder takes everything for unsolicited here.
            let polled = self.poll_event(context);
            assert!(polled.is_pending(), "no response is expected: {polled:?}");
        }
        self.ended().map_or(Poll::Pending, Poll::Ready)
    }

    /// The connection's task has reported the end, or has ended the connection by order of the
    /// pool: the attempt on it fails.
    pub(super) fn fail_attempt(&mut self) {
        let failure = match self.phase {
            Phase::Ended { failure, .. } | Phase::Over { failure } => failure,
            Phase::Free | Phase::Announced | Phase::Sent | Phase::Responding => {
                StreamFailure::ConnectionLost
            }
        };
        self.io = None;
        self.phase = Phase::Over { failure };
        self.wake_users();
    }

    /// The reason for which the connection has ended, until that is reported.
    pub(super) fn ended(&self) -> Option<&str> {
        match &self.phase {
            Phase::Ended { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// True if a request can be sent.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Free)
    }

    /// Begins an attempt with this request head, which [`Link::poll_flush`] writes. Returns its
    /// number.
    ///
    /// # Panics
    /// If the connection is not free.
    pub(super) fn begin(&mut self, expected: Expected, write: impl FnOnce(&mut Outgoing)) -> u64 {
        assert!(self.is_free(), "one attempt at a time");
        self.phase = Phase::Announced;
        self.attempt += 1;
        self.decoder.expect(expected);
        write(&mut self.outgoing);
        self.attempt
    }

    /// Takes the stream of an idle connection, to be closed; `None` if it is not idle.
    pub(super) fn take_idle(&mut self) -> Option<BoxedIo> {
        let is_idle = self.outgoing.is_empty() && self.decoder.is_between_messages();
        if is_idle { self.io.take() } else { None }
    }

    /// The connection is of no further use.
    fn end(&mut self, failure: StreamFailure, reason: String) {
        if self.io.take().is_some() {
            let failure = match (&self.phase, failure) {
                (Phase::Announced, StreamFailure::ConnectionLost) => StreamFailure::NotSent,
                _ => failure,
            };
            self.phase = Phase::Ended { reason, failure };
            self.wake_owner();
        }
    }

    fn wake_users(&mut self) {
        self.users.iter_mut().filter_map(Option::take).for_each(Waker::wake);
    }

    fn wake_owner(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.wake();
        }
    }

    fn note_user(&mut self, user: usize, context: &Context<'_>) {
        match &mut self.users[user] {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    /// Writes what waits. Ready once nothing does.
    ///
    /// # Errors
    /// If it cannot be written. The response may still be readable.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.note_user(WRITER, context);
        let Some(io) = &mut self.io else { return Poll::Ready(Err(CLOSED.to_owned())) };
        let waiting = self.outgoing.len();
        let written = http1_io::poll_write(&mut self.outgoing, io, context);
        if self.outgoing.len() < waiting && matches!(self.phase, Phase::Announced) {
            self.phase = Phase::Sent;
        }
        written.map_err(|error| error.to_string())
    }

    /// Writes the head of a request without a body, as far as the socket takes it. Without the
    /// whole head there is no response.
    fn flush_head(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(Err(reason)) = self.poll_flush(context) {
            self.end(StreamFailure::ConnectionLost, reason);
        }
    }

    /// Reads the next event.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, StreamFailure>> {
        self.note_user(READER, context);
        loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Ok(None) => {}
                Err(violation) => self.end(StreamFailure::Malformed, violation.to_string()),
            }
            if let Phase::Over { failure } = self.phase {
                return Poll::Ready(Err(failure));
            }
            let Some(io) = &mut self.io else { return Poll::Pending };
            match ready!(self.reader.poll_read(&mut self.decoder, io, context)) {
                Ok(0) => {
                    // If the content ends here, its end is the next event.
                    let _ = self.decoder.end_of_input();
                    self.end(StreamFailure::ConnectionLost, CLOSED.to_owned());
                }
                // It cannot be the response to a request of which nothing was sent.
                Ok(_) if matches!(self.phase, Phase::Announced) => {
                    // It must not be read as one either.
                    self.decoder.buffer().clear();
                    self.end(StreamFailure::ConnectionLost, Violation::Unsolicited.to_string());
                }
                Ok(_) => {}
                Err(error) => self.end(StreamFailure::ConnectionLost, error.to_string()),
            }
        }
    }

    /// The attempt has read the head of its response.
    fn responds(&mut self) {
        match self.phase {
            Phase::Sent => self.phase = Phase::Responding,
            // The head was read before the end.
            Phase::Ended { .. } | Phase::Over { .. } => {}
            Phase::Free | Phase::Announced | Phase::Responding => {
                unreachable!("a request that was sent has one response")
            }
        }
    }

    /// Finishes the attempt if its response was read to the end. Returns true then.
    fn finish_if_complete(&mut self) -> bool {
        if !self.decoder.take_end() {
            return false;
        }
        // A connection that has ended meanwhile stays so, perhaps by the end of this response.
        if matches!(self.phase, Phase::Responding) {
            self.phase = Phase::Free;
        }
        self.reader.message_ends(&mut self.decoder);
        self.outgoing.shrink(HTTP1_READ_BYTES);
        self.users = [None, None];
        self.wake_owner();
        true
    }
}

/// A request on a connection.
pub struct Http1Attempt {
    link: SharedLink,
    number: u64,
    /// How the request body is framed; `None` if there is none.
    framing: Option<BodyFraming>,
    /// An event that arrived before the request's task first polled for it.
    early: Option<Result<Event, StreamFailure>>,
}

impl Http1Attempt {
    pub(super) fn new(link: SharedLink, number: u64, framing: Option<BodyFraming>) -> Self {
        Self { link, number, framing, early: None }
    }

    /// Writes the head of a request without a body, and registers the waker for the response.
    /// Returns false if something is there already.
    pub fn will_wake(&mut self, waker: &Waker) -> bool {
        assert!(self.framing.is_none(), "the task that sends a body writes the head as well");
        let context = &mut Context::from_waker(waker);
        let mut link = self.link.borrow_mut();
        link.flush_head(context);
        match link.poll_event(context) {
            Poll::Pending => true,
            Poll::Ready(early) => {
                self.early = Some(early);
                false
            }
        }
    }

    /// Polls for the head of the final response. Must not be called again once it is ready.
    pub fn poll_response(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(response::Parts, Http1Body), StreamFailure>> {
        let mut link = self.link.borrow_mut();
        assert_eq!(link.attempt, self.number, "the next attempt waits for this response");
        if self.framing.is_none() {
            link.flush_head(context);
        }
        loop {
            let event = match self.early.take() {
                Some(early) => early,
                None => ready!(link.poll_event(context)),
            };
            match event? {
                Event::Interim => {}
                Event::Head => break,
                event => unreachable!("a response begins with a head: {event:?}"),
            }
        }
        let head = link.decoder.head();
        let parts = heads::response(head);
        // RFC 9112, 6.3 (8) and 9.3.
        let closes = head.framing() == Framing::UntilClose
            || headers::closes_connection(&parts.headers, parts.version);
        // Only chunks have trailers behind them.
        let named = match head.framing() {
            Framing::Chunked => headers::connection_options(&parts.headers),
            Framing::Nothing | Framing::Length(_) | Framing::UntilClose => Vec::new(),
        };
        let news = headers::keep_alive(&parts.headers).filter(|it| Some(*it) != link.keep_alive);
        link.keep_alive = news.or(link.keep_alive);
        link.responds();
        let is_complete = link.finish_if_complete();
        drop(link);
        let body = Http1Body {
            link: Rc::clone(&self.link),
            number: self.number,
            named,
            keep_alive: news,
            closes,
            is_complete,
        };
        Poll::Ready(Ok((parts, body)))
    }

    /// Takes the part that sends the request body; `None` if there is no body.
    pub fn take_sender(&self) -> Option<Http1Sender> {
        let encoder = BodyEncoder::new(self.framing?);
        Some(Http1Sender { link: Rc::clone(&self.link), number: self.number, encoder })
    }
}

/// Sends the body of a request.
pub struct Http1Sender {
    link: SharedLink,
    number: u64,
    encoder: BodyEncoder,
}

impl Http1Sender {
    /// Appends a part of the body. What is appended must be flushed.
    ///
    /// # Errors
    /// If the attempt is over, or the body longer than announced.
    pub fn send(&mut self, data: Bytes) -> Result<(), SendError> {
        let mut link = usable(&self.link, self.number)?;
        self.encoder.data(&mut link.outgoing, data).map_err(|error| mismatch(&mut link, error))
    }

    /// Appends the end of the body, with trailers if the framing has room for them.
    ///
    /// # Errors
    /// If the attempt is over, or the body shorter than announced.
    pub fn end(&mut self, trailers: &HeaderMap) -> Result<(), SendError> {
        let mut link = usable(&self.link, self.number)?;
        self.encoder
            .end(&mut link.outgoing, heads::fields(trailers))
            .map_err(|error| mismatch(&mut link, error))
    }

    /// True if every byte that the head announced was appended: nothing marks the end.
    pub fn is_complete(&self) -> bool {
        self.encoder.is_complete()
    }

    /// True if so much waits that it must be flushed before more is appended.
    pub fn is_full(&self) -> bool {
        self.link.borrow().outgoing.len() >= HTTP1_UNSENT_BYTES
    }

    /// Writes what waits. Ready once nothing does.
    ///
    /// # Errors
    /// If the attempt is over, or nothing can be written any more.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        usable(&self.link, self.number)?.poll_flush(context).map_err(|_| SendError)
    }

    /// The backend takes no more of the body: ends the connection, unless it has responded.
    pub fn give_up(&self) {
        if let Ok(mut link) = usable(&self.link, self.number)
            && matches!(link.phase, Phase::Announced | Phase::Sent)
        {
            let reason = "the backend takes no more of a request".to_owned();
            link.end(StreamFailure::ConnectionLost, reason);
        }
    }
}

/// Nothing more of a request can be sent.
#[derive(Clone, Copy, Debug)]
pub struct SendError;

/// Borrows a connection if the attempt with this number can still write on it.
fn usable(link: &SharedLink, number: u64) -> Result<RefMut<'_, Link>, SendError> {
    let link = link.borrow_mut();
    if link.attempt == number && link.io.is_some() { Ok(link) } else { Err(SendError) }
}

/// The body does not fit its head, so the message must look cut short.
fn mismatch(link: &mut Link, error: BodyError) -> SendError {
    let reason = format!("the request body does not have the announced length: {error:?}");
    link.end(StreamFailure::ConnectionLost, reason);
    SendError
}

/// The body of a response.
pub struct Http1Body {
    link: SharedLink,
    number: u64,
    /// The fields that `Connection` names, if there may be trailers.
    named: Vec<HeaderName>,
    /// True if the connection closes after this response.
    closes: bool,
    /// The announced time, if it is news.
    keep_alive: Option<Duration>,
    is_complete: bool,
}

impl Http1Body {
    /// True if the connection closes after this response.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// The fields that `Connection` of the response names, if there may be trailers: those lose
    /// them, too.
    pub fn connection_options(&self) -> &[HeaderName] {
        &self.named
    }

    /// How long the backend keeps the connection open while it is idle, if this response is the
    /// first to announce it, or announces another time than the one before it.
    pub fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    /// Bytes that were received and not polled for yet.
    pub fn unread(&self) -> usize {
        self.link.borrow_mut().decoder.buffer().len()
    }

    /// True if the response was read to its end.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Polls for the next part of the content, or the trailers; `None` at the end.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFailure>>> {
        if self.is_complete {
            return Poll::Ready(None);
        }
        let mut link = self.link.borrow_mut();
        assert_eq!(link.attempt, self.number, "the next attempt waits for this response");
        let frame = match ready!(link.poll_event(context)) {
            Err(failure) => return Poll::Ready(Some(Err(failure))),
            Ok(Event::Data(data)) => Some(Frame::data(data)),
            Ok(Event::Trailers) => Some(Frame::trailers(heads::map(link.decoder.head()))),
            Ok(Event::End) => None,
            Ok(event) => unreachable!("a response has one head: {event:?}"),
        };
        self.is_complete = link.finish_if_complete();
        Poll::Ready(frame.map(Ok))
    }
}

#[cfg(test)]
mod tests;
