//! One connection of an HTTP/1.1 client: it sends requests in order and reads their responses, at
//! the same time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::exchange::{Exchange, Fate, Job};
use crate::plan::{Act, ClientPlan, Moment};
use crate::proxy::content::Body;
use crate::proxy::hub::Hub;
use crate::proxy::ledger::{End, TRAILER};
use crate::proxy::peers::http1_message::{
    Content, Failure, Head, Part, Reader, last_chunk, write_piece,
};
use crate::proxy::peers::sending::pause_before_trailers;
use crate::proxy::peers::timing::{Changes, Gate, Pieces, sleep_until};

/// The longest wait for `100 Continue` (RFC 9110, 10.1.1).
const EXPECTATION_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait for a close to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests on a connection of a client that pipelines.
const PIPELINED_MAX: usize = 4;

/// One connection of a client.
pub(super) struct Connection {
    hub: Rc<Hub>,
    /// The client, and the connection's number there.
    place: (u8, u32),
    plan: ClientPlan,
    jobs: RefCell<VecDeque<Job>>,
    /// Requests that were begun and have no whole response.
    in_flight: RefCell<VecDeque<Rc<Exchange>>>,
    /// True while a request is being sent.
    sending: Cell<bool>,
    /// True if no further request can be sent: the connection is over, or will be.
    full: Cell<bool>,
    over: Cell<bool>,
    /// True if it is closed once it is idle.
    closing: Cell<bool>,
    begun: Cell<bool>,
    changes: Changes,
    gate: Rc<Gate>,
}

/// Why a connection is over.
enum Over {
    /// The client has broken it.
    Cancelled,
    /// The client closes it, after a whole response or without a request.
    Closed,
    /// It ended or broke. `partial` is true within a head.
    Lost { partial: bool },
    /// The proxy broke the rules.
    Fault(String),
}

/// Why a request was not fully sent.
struct Unsent;

impl From<io::Error> for Unsent {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Connection {
    /// A connection that is being opened.
    pub(super) fn new(hub: &Rc<Hub>, place: (u8, u32), plan: ClientPlan) -> Rc<Self> {
        Rc::new(Self {
            hub: Rc::clone(hub),
            place,
            plan,
            jobs: RefCell::default(),
            in_flight: RefCell::default(),
            sending: Cell::new(false),
            full: Cell::new(false),
            over: Cell::new(false),
            closing: Cell::new(false),
            begun: Cell::new(false),
            changes: Changes::default(),
            gate: Gate::new(hub),
        })
    }

    /// True if it is over.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// True if it has nothing to do.
    fn is_idle(&self) -> bool {
        let empty = self.jobs.borrow().is_empty() && self.in_flight.borrow().is_empty();
        empty && !self.sending.get()
    }

    /// True if it takes another request and sends it at once.
    pub(super) fn is_free(&self) -> bool {
        self.is_idle() && !self.full.get()
    }

    /// True if it takes another request.
    pub(super) fn has_room(&self) -> bool {
        let load = self.jobs.borrow().len() + self.in_flight.borrow().len();
        !self.full.get() && self.pipelines() && load < PIPELINED_MAX
    }

    /// True if it may send a request before the response to the last one has ended. A response over
    /// HTTP/1.0 ends the connection.
    fn pipelines(&self) -> bool {
        self.plan.pipelines && !self.plan.http10
    }

    /// Gives it a request to send.
    pub(super) fn push(&self, job: Job) {
        if job.last {
            self.full.set(true);
            self.closing.set(true);
        }
        self.jobs.borrow_mut().push_back(job);
        self.changes.note();
    }

    /// Closes it once it is idle.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.changes.note();
    }

    /// The connection could not be opened.
    pub(super) fn refused(&self) {
        self.give_back(Fate::NoConnection);
    }

    /// The connection is over: answers for the requests that were not begun.
    fn give_back(&self, fate: Fate) {
        self.full.set(true);
        self.over.set(true);
        for job in self.jobs.take() {
            // The caller may be gone at the end of the run.
            let _ = job.fate.send(fate);
        }
    }

    /// Sends and reads until the connection is over.
    pub(super) async fn run(&self, io: impl AsyncRead + AsyncWrite + Unpin) {
        let (read, mut write) = tokio::io::split(io);
        let mut reader = Reader::new(read, &self.gate);
        let over = tokio::select! {
            biased;
            () = self.orders() => Over::Cancelled,
            over = self.receive(&mut reader) => over,
            () = self.send(&mut write) => unreachable!("it sends until the connection is over"),
        };
        // Before the caller learns of an end: it must not be given another request.
        self.full.set(true);
        if matches!(over, Over::Closed) && reader.has_more() {
            self.fault("bytes after the last response");
        }
        for (place, exchange) in self.in_flight.take().into_iter().enumerate() {
            exchange.end(match &over {
                Over::Cancelled => End::Cancelled,
                // RFC 9112, 9.6: it was sent behind the last request that is answered.
                Over::Closed => End::Unprocessed,
                Over::Lost { partial } => exchange.end_of_lost(*partial && place == 0),
                Over::Fault(_) => End::Broken,
            });
        }
        // One that closes before its first request would do so again.
        self.give_back(if self.begun.get() { Fate::Unsent } else { Fate::NoConnection });
        match over {
            Over::Fault(what) => self.fault(&what),
            Over::Closed => {
                // The connection may be broken already.
                let _ = timeout(CLOSE_TIMEOUT, write.shutdown()).await;
            }
            Over::Cancelled | Over::Lost { .. } => {}
        }
    }

    fn fault(&self, what: &str) {
        let (client, number) = self.place;
        self.hub.ledger.fault(format!("client {client}, connection {number}: {what}"));
    }

    /// Takes the orders about the requests in flight. Returns when the client breaks the
    /// connection. A request that begins yields, so that its orders are awaited as well.
    async fn orders(&self) {
        poll_fn(|context| {
            for exchange in self.in_flight.borrow().iter() {
                let mut orders = exchange.orders.borrow_mut();
                while let Poll::Ready(Some(order)) = orders.poll_recv(context) {
                    match order.act {
                        Act::Cancel => return Poll::Ready(()),
                        Act::ClientStopsReading { for_us } => self.gate.close_for(for_us),
                        _ => {}
                    }
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// Reads responses in the order of the requests.
    async fn receive(&self, reader: &mut Reader<impl AsyncRead + Unpin>) -> Over {
        loop {
            let Some(exchange) = self.in_flight.borrow().front().cloned() else {
                if self.closing.get() && self.is_idle() {
                    return Over::Closed;
                }
                if let Some(over) = self.wait_for_request(reader).await {
                    return over;
                }
                continue;
            };
            match self.response(reader, &exchange).await {
                Ok(true) => {}
                Ok(false) => return Over::Closed,
                Err(Failure::Malformed(what)) => {
                    return Over::Fault(format!("request {}: {what}", exchange.request.id));
                }
                Err(Failure::Ended | Failure::Broken) => {
                    return Over::Lost { partial: reader.has_more() };
                }
            }
        }
    }

    /// Waits until a request begins or the connection is to be closed. Meanwhile the proxy must
    /// not send anything, and may close.
    async fn wait_for_request(&self, reader: &mut Reader<impl AsyncRead + Unpin>) -> Option<Over> {
        let changed =
            || !self.in_flight.borrow().is_empty() || (self.closing.get() && self.is_idle());
        let read = tokio::select! {
            biased;
            () = self.changes.until(changed), if !reader.has_more() => return None,
            read = async { if reader.has_more() { Ok(()) } else { reader.more().await } } => read,
        };
        Some(match read {
            Ok(()) => Over::Fault("a response without a request".to_owned()),
            Err(_) => Over::Lost { partial: false },
        })
    }

    /// Reads the response to a request. Returns true if the connection stays open.
    async fn response(
        &self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        exchange: &Exchange,
    ) -> Result<bool, Failure> {
        let (head, mut content) = loop {
            let mut head = reader.head().await?.ok_or(Failure::Ended)?;
            if exchange.http10 {
                head.accept_http10()?;
            }
            let content = head.response_content(exchange.method)?;
            match head.status()? {
                status @ 100..200 => exchange.note_informational(status)?,
                _ => break (head, content),
            }
        };
        let closes = closes(&head, content);
        exchange.note_head(&head, closes)?;
        loop {
            match reader.part(&mut content).await? {
                Part::Data(bytes) => exchange.note_data(&bytes),
                Part::End(fields) => {
                    exchange.note_trailers(&fields)?;
                    break;
                }
            }
        }
        let stays = !closes && (exchange.sent.get() || exchange.goes_on());
        // Before the caller learns of the end: it must not be given another request.
        self.full.set(self.full.get() || !stays);
        exchange.end(End::Complete);
        self.in_flight.borrow_mut().pop_front();
        self.changes.note();
        Ok(stays)
    }

    /// Sends requests, one after the other.
    async fn send(&self, writer: &mut (impl AsyncWrite + Unpin)) {
        loop {
            self.changes.until(|| self.may_begin()).await;
            let job = self.jobs.borrow_mut().pop_front().expect("it may begin");
            self.sending.set(true);
            let (client, number) = self.place;
            self.hub.carries(job.request.id, client, number);
            let http10 = self.plan.sends_http10(job.request.body_us.is_some());
            let first = !self.begun.replace(true);
            let exchange = Exchange::begin(&self.hub, job, first, http10);
            self.in_flight.borrow_mut().push_back(Rc::clone(&exchange));
            self.changes.note();
            // The orders about it are awaited from now on.
            yield_now().await;
            let sent = tokio::select! {
                biased;
                () = exchange.stopped() => Err(Unsent),
                sent = self.send_request(writer, &exchange) => sent,
            };
            let sent = match sent {
                Ok(()) if exchange.last => writer.shutdown().await.map_err(Unsent::from),
                sent => sent,
            };
            if sent.is_err() {
                // The receiver sees what the connection still brings, and its end.
                pending::<()>().await;
            }
            self.sending.set(false);
            self.changes.note();
        }
    }

    /// True if the next request may be sent. RFC 9112, 9.3.2: none is sent behind one that is not
    /// idempotent.
    fn may_begin(&self) -> bool {
        let in_flight = self.in_flight.borrow();
        let free = if self.pipelines() {
            in_flight.iter().all(|exchange| exchange.request.idempotent)
        } else {
            in_flight.is_empty()
        };
        free && !self.jobs.borrow().is_empty()
    }

    async fn send_request(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        exchange: &Exchange,
    ) -> Result<(), Unsent> {
        let head = exchange.head();
        write_piece(writer, head.as_bytes(), false, |_| exchange.note_arrival()).await?;
        exchange.sent.set(!exchange.has_body());
        // Directives without a delay take effect before the body.
        yield_now().await;
        if exchange.sent.get() {
            return Ok(());
        }
        if exchange.request.wire.expects {
            // Without any answer the client sends the body all the same.
            let _ = timeout(EXPECTATION_TIMEOUT, exchange.informed()).await;
            if exchange.is_answered() && !exchange.is_continued() && !exchange.goes_on() {
                return Err(Unsent);
            }
        }
        self.send_body(writer, exchange).await
    }

    async fn pause(&self, exchange: &Exchange) {
        let pause = exchange.pause();
        sleep_until(&self.hub, self.hub.now().saturating_add(pause.as_nanos() as u64)).await;
    }

    async fn send_body(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        exchange: &Exchange,
    ) -> Result<(), Unsent> {
        let (request, start) = (&exchange.request, self.hub.now());
        let (wire, body_us) = (&request.wire, request.body_us.unwrap_or(0));
        let (length, body) = (u64::from(wire.body_bytes), Body::Request(request.id));
        let mut half_sent = false;
        for piece in Pieces::new(length, wire.piece_bytes, body_us) {
            sleep_until(&self.hub, start.saturating_add(piece.due)).await;
            self.pause(exchange).await;
            let bytes = body.piece(piece.from, piece.length);
            write_piece(writer, &bytes, wire.chunked, |_| {}).await?;
            let sent = piece.from + piece.length as u64;
            exchange.sent.set(sent == length && !wire.chunked);
            if !half_sent && sent * 2 >= length {
                half_sent = true;
                exchange.reached(Moment::HalfSent);
                yield_now().await;
            }
        }
        if wire.chunked {
            sleep_until(&self.hub, start.saturating_add(body_us.saturating_mul(1_000))).await;
            self.pause(exchange).await;
            let trailer = exchange.trailer();
            if trailer.is_some() {
                sleep(pause_before_trailers(&self.hub, request.id)).await;
            }
            let end = last_chunk(trailer.as_deref().map(|value| (TRAILER, value)));
            write_piece(writer, end.as_bytes(), false, |_| {}).await?;
        }
        exchange.sent.set(true);
        if !half_sent {
            exchange.reached(Moment::HalfSent);
        }
        exchange.reached(Moment::Sent);
        yield_now().await;
        Ok(())
    }
}

/// True if the connection ends after the response.
fn closes(head: &Head, content: Content) -> bool {
    head.closes() || content == Content::UntilEnd
}
