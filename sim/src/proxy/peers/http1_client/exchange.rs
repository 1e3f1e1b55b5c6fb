//! One request of an HTTP/1.1 client and its response.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::draw::{Domain, Draws};
use crate::plan::{Moment, RequestPlan, When};
use crate::proxy::content::{Body, Seen};
use crate::proxy::hub::{Hub, Order, Target};
use crate::proxy::ledger::{self, End, Received};
use crate::proxy::peers::http1_message::{Fields, Head};
use crate::proxy::peers::timing::Changes;

/// The longest pause within an upload, in milliseconds.
const PAUSE_MS_MAX: u64 = 3_000;

/// A request that waits for its turn on a connection.
pub(super) struct Job {
    pub(super) request: RequestPlan,
    /// True if the client closes its sending side after it.
    pub(super) last: bool,
    /// Resolves when the request is over.
    pub(super) fate: oneshot::Sender<Fate>,
}

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has ended, and its end is in the ledger.
    Ended,
    /// No byte of it was sent: its connection ended while it waited for its turn.
    Unsent,
    /// The connection for it could not be opened, or was closed before its first request.
    NoConnection,
}

/// A request that is being sent or was sent.
pub(super) struct Exchange {
    hub: Rc<Hub>,
    pub(super) request: RequestPlan,
    pub(super) last: bool,
    pub(super) method: &'static str,
    /// True if it is the first on its connection.
    first: bool,
    /// True if it is sent over HTTP/1.0.
    pub(super) http10: bool,
    pub(super) orders: RefCell<UnboundedReceiver<Order>>,
    fate: Cell<Option<oneshot::Sender<Fate>>>,
    /// True once the first byte was sent.
    arrived: Cell<bool>,
    /// True once all of it was sent.
    pub(super) sent: Cell<bool>,
    /// True once the client will not send the rest.
    stopped: Cell<bool>,
    /// True once the request is over for the client.
    over: Cell<bool>,
    /// True once the client has paused before the rest.
    paused: Cell<bool>,
    /// True once `100 Continue` has arrived.
    continued: Cell<bool>,
    changes: Changes,
    received: RefCell<Received>,
}

impl Exchange {
    /// Begins to send a request.
    pub(super) fn begin(hub: &Rc<Hub>, job: Job, first: bool, http10: bool) -> Rc<Self> {
        let Job { request, last, fate } = job;
        hub.ledger.begin(request.id, hub.now());
        let received = Received {
            status: None,
            execution: None,
            informational: 0,
            body: Seen::NOTHING,
            trailer: None,
            proxy_status: None,
            date: None,
            end: End::Broken,
            at: 0,
        };
        Rc::new(Self {
            hub: Rc::clone(hub),
            request,
            last,
            method: method(hub.draws, &request),
            first,
            http10,
            orders: RefCell::new(hub.mailbox(Target::Request(request.id))),
            fate: Cell::new(Some(fate)),
            arrived: Cell::new(false),
            sent: Cell::new(false),
            stopped: Cell::new(false),
            over: Cell::new(false),
            paused: Cell::new(false),
            continued: Cell::new(false),
            changes: Changes::default(),
            received: RefCell::new(received),
        })
    }

    /// True if the request has a body.
    pub(super) fn has_body(&self) -> bool {
        self.request.body_us.is_some()
    }

    /// The head of the request.
    pub(super) fn head(&self) -> String {
        let (method, wire) = (self.method, &self.request.wire);
        let version = if self.http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        let mut head = format!("{method} {} {version}\r\n", ledger::path(self.request.id));
        head += "host: simulated.test\r\n";
        if !self.http10 {
            head += "connection: te\r\nte: trailers\r\n";
        }
        if self.has_body() {
            if wire.chunked {
                head += "transfer-encoding: chunked\r\n";
            } else {
                head += &format!("content-length: {}\r\n", wire.body_bytes);
            }
            if self.trailer().is_some() {
                head += &format!("trailer: {}\r\n", ledger::TRAILER);
            }
            if wire.expects {
                head += "expect: 100-continue\r\n";
            }
        } else if !self.request.idempotent {
            // RFC 9110, 8.6: the method could have content.
            head += "content-length: 0\r\n";
        }
        head + "\r\n"
    }

    /// The value of the trailer field at the end of the request.
    pub(super) fn trailer(&self) -> Option<String> {
        let wire = &self.request.wire;
        (wire.chunked && wire.trailers).then(|| ledger::trailer(Body::Request(self.request.id)))
    }

    /// The request reaches a moment at the client.
    pub(super) fn reached(&self, moment: Moment) {
        let request = self.request.id;
        if moment == Moment::Sent {
            self.hub.ledger.note_sent(request, self.hub.now());
        }
        self.hub.reached(When::Request { request, moment }, Target::Request(request));
    }

    /// Bytes of the request were sent.
    pub(super) fn note_arrival(&self) {
        if !self.arrived.replace(true) {
            self.reached(Moment::Arrived);
        }
    }

    /// Waits until the client will not send the rest.
    pub(super) async fn stopped(&self) {
        self.changes.until(|| self.stopped.get()).await;
    }

    /// Waits until the expectation of the request is met or refused.
    pub(super) async fn informed(&self) {
        self.changes.until(|| self.continued.get() || self.is_answered()).await;
    }

    /// True once the head of the final response has arrived.
    pub(super) fn is_answered(&self) -> bool {
        self.received.borrow().status.is_some()
    }

    /// True once `100 Continue` has arrived.
    pub(super) fn is_continued(&self) -> bool {
        self.continued.get()
    }

    /// True if the client sends the rest of the request although it has the whole response. If
    /// not, it closes the connection (RFC 9112, 9.5).
    pub(super) fn goes_on(&self) -> bool {
        let request = u64::from(self.request.id);
        self.hub.draws.between(Domain::Http1Upload, request, 0, 0, 1) == 0
    }

    /// The time for which the client sends nothing now. Half of those that send the rest of a
    /// request whose response is complete pause once before it.
    pub(super) fn pause(&self) -> Duration {
        let draw = |ordinal, most| {
            self.hub.draws.between(Domain::Http1Upload, self.request.id.into(), ordinal, 0, most)
        };
        if !self.over.get() || self.paused.replace(true) || draw(1, 1) == 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(draw(2, PAUSE_MS_MAX))
    }

    /// Notes an informational head.
    pub(super) fn note_informational(&self, status: u16) -> Result<(), String> {
        if status == 101 {
            return Err("101 without an upgrade".to_owned());
        }
        let expects = self.has_body() && self.request.wire.expects;
        if status == 100 && expects && !self.continued.replace(true) {
            self.hub.ledger.note_continued(self.request.id, self.hub.now());
            self.changes.note();
        } else {
            self.received.borrow_mut().informational += 1;
        }
        Ok(())
    }

    /// Notes the head of the final response. If `closes`, the client stops sending.
    pub(super) fn note_head(&self, head: &Head, closes: bool) -> Result<(), String> {
        let mut received = self.received.borrow_mut();
        received.status = Some(head.status()?);
        received.proxy_status = head.fields.get("proxy-status").map(str::to_owned);
        received.date = head.fields.get("date").map(str::to_owned);
        if let Some(execution) = head.fields.once(ledger::EXECUTION)? {
            let wrong = |_| format!("{}: {execution:?}", ledger::EXECUTION);
            received.execution = Some(execution.parse().map_err(wrong)?);
        }
        self.stopped.set(closes);
        self.changes.note();
        Ok(())
    }

    /// Notes bytes of the response's body.
    pub(super) fn note_data(&self, bytes: &[u8]) {
        let mut received = self.received.borrow_mut();
        match received.execution {
            Some(execution) => received.body.read(Body::Response(execution), bytes),
            None => received.body.length += bytes.len() as u64,
        }
    }

    /// Notes the trailers of the response.
    pub(super) fn note_trailers(&self, fields: &Fields) -> Result<(), String> {
        let trailer = fields.once(ledger::TRAILER)?.map(str::to_owned);
        self.received.borrow_mut().trailer = trailer;
        Ok(())
    }

    /// The request is over for the client.
    pub(super) fn end(&self, end: End) {
        let Some(fate) = self.fate.take() else { return };
        self.over.set(true);
        let received = Received { end, at: self.hub.now(), ..self.received.borrow().clone() };
        self.hub.ledger.end(self.request.id, received);
        // The caller may be gone at the end of the run.
        let _ = fate.send(Fate::Ended);
    }

    /// How the request ends if the connection is lost. `partial` is true if bytes of a head have
    /// arrived.
    pub(super) fn end_of_lost(&self, partial: bool) -> End {
        let received = self.received.borrow();
        let begun = received.status.is_some() || received.informational > 0;
        if begun || partial || self.is_continued() || (self.first && self.sent.get()) {
            End::Broken
        } else {
            End::Unprocessed
        }
    }
}

/// The method of a request.
fn method(draws: Draws, request: &RequestPlan) -> &'static str {
    let drawn = draws.between(Domain::Http1Method, u64::from(request.id), 0, 0, 7);
    match (request.idempotent, request.body_us.is_some(), drawn) {
        (true, true, _) => "PUT",
        _ if request.is_head(draws) => "HEAD",
        (true, false, 1) => "DELETE",
        (true, false, _) => "GET",
        (false, true, 0 | 1) => "PATCH",
        (false, _, _) => "POST",
    }
}
