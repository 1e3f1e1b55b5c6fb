//! Serves one client over HTTP/1.1 (RFC 9112): reads requests with the codec of
//! [`wire::http1`](crate::wire::http1), has a [`Service`] answer them, and writes the responses.
//! It has no deadlines: its caller has.

mod incoming;
mod response;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response, Version, request};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use self::incoming::{Incoming, incoming};
use self::response::{Answered, CONTINUE, CutShort, Sending};
use super::http1_io::{self, Reader};
use super::limits::{HTTP1_READ_BYTES, HTTP1_UNSENT_BYTES};
use super::seams::Clock;
use super::{headers, heads};
use crate::pool::Instant;
use crate::wire::http1::{Decoder, Event, Framing, HeadLimits, Outgoing, Role, Violation};

pub use incoming::{Broken, Http1RequestBody};

/// Answers the requests of a connection.
pub trait Service {
    /// The body of a response.
    type Body: Body<Data = Bytes> + Unpin;
    /// A response to come. If it is dropped before that, the client is gone.
    type Answer: Future<Output = Response<Self::Body>> + Unpin;

    /// Answers a request. It has a body if its head announces one, perhaps an empty one.
    fn answer(&self, request: Request<Option<Http1RequestBody>>) -> Self::Answer;

    /// The client of a request with this head was gone before its request was answered.
    fn unserved(&self, head: request::Parts);

    /// Returns the response to a head that breaks a rule. The connection closes after it.
    fn refuse(&self, violation: Violation) -> Response<Self::Body>;

    /// A response begins whose end only the close of the connection marks. Unless the connection
    /// ends with [`Ended::Closing`], its close must not look like an orderly one.
    fn until_close(&self);

    /// The body of the present request breaks a rule: it is incomplete for who reads it, and the
    /// connection closes after the response.
    fn body_refused(&self, violation: Violation);
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every response was written, and the connection is to close.
    Closing,
    /// A response ended before it was complete. The connection must not close as if it were.
    CutShort,
    /// The client left within a head, or sent no request.
    Left {
        /// True if a head had begun.
        within_head: bool,
    },
    /// The client left within a request or its response, or the connection failed.
    Lost,
}

/// Facts about a connection that its deadlines depend on.
#[derive(Debug, Default)]
pub struct Facts {
    /// The number of heads begun so far.
    pub heads_begun: Cell<u64>,
    /// When the open head began; `None` if no head is open.
    pub head_open_since: Cell<Option<Instant>>,
    /// True if every request was answered, every response is written, and no byte of a next request
    /// was read: the connection has no state that matters.
    pub is_quiet: Cell<bool>,
}

/// The present request.
enum Exchange<S: Service> {
    None,
    /// Its head was read.
    Begun,
    /// Its response is awaited.
    Answering(Answered, S::Answer),
    /// Its response is written.
    Sending(Sending<S::Body>),
}

/// A client's connection.
pub struct Server<Io, S: Service> {
    io: Io,
    service: S,
    clock: Clock,
    facts: Rc<Facts>,
    decoder: Decoder,
    outgoing: Outgoing,
    reader: Reader,
    exchange: Exchange<S>,
    /// The body of the present request, until it is whole.
    incoming: Option<Incoming>,
    is_draining: bool,
    /// Set once no further request is read: the connection ends so when everything is written.
    ends_with: Option<Ended>,
}

impl<Io: AsyncRead + AsyncWrite + Unpin, S: Service> Server<Io, S> {
    /// Serves a connection from its first byte on, or from the next one after those of
    /// [`Server::receive`].
    pub fn new(io: Io, limits: HeadLimits, clock: Clock, service: S) -> Self {
        Self {
            io,
            service,
            clock,
            facts: Rc::default(),
            decoder: Decoder::new(Role::Server, limits),
            outgoing: Outgoing::default(),
            reader: Reader::default(),
            exchange: Exchange::None,
            incoming: None,
            is_draining: false,
            ends_with: None,
        }
    }

    /// Takes bytes that were received before.
    pub fn receive(&mut self, first_bytes: &[u8]) {
        let buffer = self.decoder.buffer();
        // The first read has room behind them.
        buffer.reserve(HTTP1_READ_BYTES);
        buffer.extend_from_slice(first_bytes);
    }

    /// The facts about the connection, which change while it is served.
    pub fn facts(&self) -> Rc<Facts> {
        Rc::clone(&self.facts)
    }

    /// Closes the connection after the present request, or the one whose head is being read.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// True if the client may still be sending a request.
    pub fn is_within_request(&self) -> bool {
        !self.decoder.is_between_messages()
    }

    /// True if a request is being answered.
    fn is_answering(&self) -> bool {
        !matches!(self.exchange, Exchange::None)
    }

    /// True if a request is being answered, or bytes wait to be written.
    pub fn is_busy(&self) -> bool {
        self.is_answering() || !self.outgoing.is_empty()
    }

    /// Bytes that wait to be written.
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// Bytes written in total.
    pub fn written(&self) -> u64 {
        self.outgoing.written()
    }

    /// The body of the response that waits until the client has taken what was written before.
    pub fn waiting_body(&self) -> Option<&S::Body> {
        match &self.exchange {
            Exchange::Sending(sending) if self.outgoing.len() >= HTTP1_UNSENT_BYTES => {
                Some(sending.body())
            }
            _ => None,
        }
    }

    /// Returns the byte stream.
    pub fn into_io(self) -> Io {
        self.io
    }

    /// The byte stream.
    pub fn io(&mut self) -> &mut Io {
        &mut self.io
    }

    /// Serves until the connection ends. Must not be polled after that.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        let is_flushed = loop {
            if let Err(ended) = self.poll_exchange(context) {
                return Poll::Ready(ended);
            }
            let flushed = self.poll_flush(context);
            if let Poll::Ready(Err(ended)) = flushed {
                return Poll::Ready(ended);
            }
            if let Some(ended) = self.end() {
                return flushed.map(|_| ended);
            }
            match self.poll_input(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(ended)) => return Poll::Ready(ended),
                // The client is still there.
                Poll::Pending if self.start() => {}
                Poll::Pending => break flushed.is_ready(),
            }
        };
        // A stream of TLS can hold bytes that `outgoing` no longer has.
        let is_quiet = !self.is_answering() && is_flushed && self.decoder.is_between_messages();
        self.facts.is_quiet.set(is_quiet);
        if self.is_draining && is_quiet { Poll::Ready(Ended::Closing) } else { Poll::Pending }
    }

    /// The end of the connection, once the last response and the upload beside it are over.
    fn end(&self) -> Option<Ended> {
        let is_uploading = self.incoming.as_ref().is_some_and(|body| !body.is_abandoned());
        self.ends_with.filter(|_| !self.is_answering() && !is_uploading)
    }

    /// Writes what waits.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let written = http1_io::poll_write(&mut self.outgoing, &mut self.io, context);
        written.map_err(|_| Ended::Lost)
    }

    /// Goes on with the present request until it must wait.
    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            match &mut self.exchange {
                Exchange::None | Exchange::Begun => return Ok(()),
                Exchange::Answering(answered, answer) => {
                    let Poll::Ready(response) = Pin::new(answer).poll(context) else {
                        let is_awaited = self.incoming.as_ref().is_some_and(Incoming::is_awaited);
                        if answered.expects_continue && is_awaited {
                            answered.expects_continue = false;
                            self.outgoing.small().extend_from_slice(CONTINUE);
                        }
                        return Ok(());
                    };
                    let answered = *answered;
                    self.respond(answered, response);
                }
                Exchange::Sending(sending) => {
                    if self.outgoing.len() >= HTTP1_UNSENT_BYTES {
                        match self.poll_flush(context) {
                            Poll::Ready(flushed) => flushed?,
                            Poll::Pending => return Ok(()),
                        }
                        continue;
                    }
                    match sending.poll(&mut self.outgoing, context) {
                        Poll::Pending => return Ok(()),
                        Poll::Ready(Ok(true)) => self.finish(),
                        Poll::Ready(Ok(false)) => {}
                        // Responses before this one may still wait to be written.
                        Poll::Ready(Err(CutShort)) => {
                            self.exchange = Exchange::None;
                            self.ends_with = Some(Ended::CutShort);
                        }
                    }
                }
            }
        }
    }

    /// Writes the head of the response to the present request; its body is next.
    fn respond(&mut self, answered: Answered, response: Response<S::Body>) {
        let is_last = self.is_draining
            || !answered.keeps_alive
            || self.incoming.is_some()
            || self.ends_with.is_some();
        let sending = response::begin(&mut self.outgoing, answered, response, is_last);
        if sending.is_until_close() {
            self.service.until_close();
        }
        if is_last || sending.is_until_close() {
            self.ends_with = Some(Ended::Closing);
        }
        self.exchange = Exchange::Sending(sending);
    }

    /// The present request was answered.
    fn finish(&mut self) {
        self.exchange = Exchange::None;
        // The rest of its body is still read by an upload that goes on.
        if self.incoming.is_some() {
            self.ends_with.get_or_insert(Ended::Closing);
        }
        self.reader.message_ends(&mut self.decoder);
        self.outgoing.shrink(HTTP1_READ_BYTES);
    }

    /// Reads until there is something to do or nothing to read.
    fn poll_input(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            if self.end().is_some() {
                return Poll::Ready(Ok(()));
            }
            if self.incoming.is_some() {
                self.receive_body();
                match &self.incoming {
                    None => continue,
                    Some(incoming) if !incoming.has_room(context) => return Poll::Pending,
                    Some(_) => {}
                }
            } else if !self.is_answering() {
                match self.decoder.next_event() {
                    Ok(Some(event)) => {
                        assert_eq!(event, Event::Head, "a request begins with a head");
                        self.head_begins();
                        self.facts.head_open_since.set(None);
                        self.exchange = Exchange::Begun;
                        continue;
                    }
                    Ok(None) if self.decoder.is_between_messages() => {}
                    Ok(None) => self.head_begins(),
                    Err(violation) => {
                        self.head_begins();
                        self.refuse(violation);
                        return Poll::Ready(Ok(()));
                    }
                }
            } else if matches!(self.exchange, Exchange::Begun) {
                if self.decoder.buffer().len() >= HTTP1_READ_BYTES {
                    return Poll::Pending;
                }
            } else if !self.decoder.buffer().is_empty() {
                // The next request waits, and with it what the client does after it.
                return Poll::Pending;
            }
            ready!(self.poll_read(context))?;
        }
    }

    /// Reads what the client has sent.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        match ready!(self.reader.poll_read(&mut self.decoder, &mut self.io, context)) {
            Ok(1..) => Poll::Ready(Ok(())),
            Ok(0) | Err(_) => Poll::Ready(Err(self.client_left())),
        }
    }

    /// The client has ended its side, which is taken for leaving.
    fn client_left(&mut self) -> Ended {
        match std::mem::replace(&mut self.exchange, Exchange::None) {
            Exchange::None if self.incoming.is_some() => Ended::Lost,
            Exchange::None => Ended::Left { within_head: !self.decoder.is_between_messages() },
            Exchange::Begun => {
                self.leave_unserved();
                Ended::Lost
            }
            Exchange::Answering(..) | Exchange::Sending(_) => Ended::Lost,
        }
    }

    /// Reports the request whose head was read last, and those that wait behind it.
    fn leave_unserved(&mut self) {
        loop {
            if let Some(head) = heads::request(self.decoder.head()) {
                self.service.unserved(head);
            }
            loop {
                match self.decoder.next_event() {
                    Ok(Some(Event::Head)) => break,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                }
            }
        }
    }

    /// Notes that a head has begun, once for each.
    fn head_begins(&self) {
        if self.facts.head_open_since.get().is_none() {
            self.facts.head_open_since.set(Some(self.clock.now()));
            self.facts.heads_begun.set(self.facts.heads_begun.get() + 1);
        }
        self.facts.is_quiet.set(false);
    }

    /// Has the request answered whose head was just read. Returns false if there is none.
    fn start(&mut self) -> bool {
        let is_due = matches!(self.exchange, Exchange::Begun);
        if is_due {
            self.begin();
        }
        is_due
    }

    /// Has the request answered whose head was just read.
    fn begin(&mut self) {
        let head = self.decoder.head();
        let framing = head.framing();
        let Some(parts) = heads::request(head) else {
            return self.refuse(Violation::StartLine);
        };
        let body = if framing == Framing::Nothing {
            let is_over = self.decoder.take_end();
            assert!(is_over, "without content the head is all");
            None
        } else {
            let (incoming, body) = incoming();
            self.incoming = Some(incoming);
            // Often the whole body is there already.
            self.receive_body();
            Some(body)
        };
        let answered = Answered {
            is_http10: parts.version == Version::HTTP_10,
            keeps_alive: !headers::closes_connection(&parts.headers, parts.version),
            expects_continue: self.incoming.is_some() && headers::expects_continue(&parts),
            is_head: parts.method == Method::HEAD,
        };
        let answer = self.service.answer(Request::from_parts(parts, body));
        self.exchange = Exchange::Answering(answered, answer);
    }

    /// Answers a head that breaks a rule.
    fn refuse(&mut self, violation: Violation) {
        self.facts.head_open_since.set(None);
        let response = self.service.refuse(violation);
        let refused = Answered {
            is_http10: false,
            keeps_alive: false,
            expects_continue: false,
            is_head: false,
        };
        self.respond(refused, response);
    }

    /// Hands over what is there of the present request's body.
    fn receive_body(&mut self) {
        while let Some(incoming) = &self.incoming {
            match self.decoder.next_event() {
                Ok(Some(Event::Data(data))) => incoming.data(data),
                Ok(Some(Event::Trailers)) => incoming.trailers(heads::map(self.decoder.head())),
                Ok(Some(Event::End)) => {
                    incoming.end();
                    self.incoming = None;
                }
                Ok(Some(event)) => unreachable!("a request has one head: {event:?}"),
                Ok(None) => return,
                Err(violation) => {
                    self.service.body_refused(violation);
                    self.incoming = None;
                    // The response may have been cut short.
                    self.ends_with.get_or_insert(Ended::Closing);
                }
            }
        }
    }
}
