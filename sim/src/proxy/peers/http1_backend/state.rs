//! The state of one connection of an HTTP/1.1 backend, and the orders that change it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::yield_now;

use crate::plan::{Act, BackendPlan, Framing, Moment, When};
use crate::proxy::hub::{Hub, Order, Target};
use crate::proxy::peers::timing::{Changes, Gate, after};

/// The answer to health checks until a time, or none.
#[derive(Debug, Default)]
pub(super) struct HealthChecks(Cell<(u64, Option<bool>)>);

impl HealthChecks {
    /// Health checks get this until a time in nanoseconds.
    pub(super) fn set(&self, until: u64, passed: Option<bool>) {
        self.0.set((until, passed));
    }

    /// The answer to a health check at this time.
    pub(super) fn at(&self, now: u64) -> Option<bool> {
        let (until, passed) = self.0.get();
        if now < until { passed } else { Some(true) }
    }
}

/// How an order breaks a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// With a reset, which may overtake what was written.
    Reset,
    /// With the end of the stream, behind what was written.
    End,
}

impl Break {
    /// A break that cuts an answer in this framing visibly short. Content until the close would be
    /// complete where the stream ends.
    fn within(framing: Framing) -> Self {
        match framing {
            Framing::Length | Framing::Chunked => Self::End,
            Framing::Close => Self::Reset,
        }
    }
}

/// The state of one connection.
pub(super) struct State {
    pub(super) hub: Rc<Hub>,
    pub(super) backend: u16,
    /// The connection's number at its backend, from 1.
    pub(super) number: u32,
    pub(super) plan: BackendPlan,
    pub(super) gate: Rc<Gate>,
    pub(super) changes: Changes,
    orders: RefCell<UnboundedReceiver<Order>>,
    breaks: Cell<bool>,
    /// True if the connection closes as soon as it is idle.
    closing: Cell<bool>,
    stream: RefCell<Stream>,
}

/// The state of a request on a connection.
struct Stream {
    /// Its number, from 1.
    number: u32,
    orders: UnboundedReceiver<Order>,
    /// The framing of its answer, once its head was read.
    framing: Option<Framing>,
    /// True once half of the body was read.
    half_read: bool,
    /// True once the whole request was read.
    body_ended: bool,
    /// True once the whole answer was written.
    answered: bool,
    /// The status that an order set.
    status: Option<u16>,
    /// True if the answer does not continue until faults stop.
    never_finishes: bool,
    /// The body is not read before this time.
    starved_until: u64,
}

impl Stream {
    fn new(number: u32, orders: UnboundedReceiver<Order>) -> Self {
        Self {
            number,
            orders,
            framing: None,
            half_read: false,
            body_ended: false,
            answered: false,
            status: None,
            never_finishes: false,
            starved_until: 0,
        }
    }
}

impl State {
    /// The state of a connection that was just accepted.
    pub(super) fn new(hub: &Rc<Hub>, backend: u16, number: u32, plan: BackendPlan) -> Rc<Self> {
        let first = hub.mailbox(Target::Stream(backend, number, 1));
        Rc::new(Self {
            hub: Rc::clone(hub),
            backend,
            number,
            plan,
            gate: Gate::new(hub),
            changes: Changes::default(),
            orders: RefCell::new(hub.mailbox(Target::Backend(backend, number))),
            breaks: Cell::new(false),
            closing: Cell::new(false),
            stream: RefCell::new(Stream::new(1, first)),
        })
    }

    /// Waits until the connection breaks by an order.
    pub(super) async fn broken(&self) -> Break {
        tokio::select! {
            biased;
            () = self.changes.until(|| self.breaks.get()) => Break::Reset,
            how = poll_fn(|context| self.poll_orders(context)) => how,
        }
    }

    /// Takes orders. Ready if the connection breaks.
    fn poll_orders(&self, context: &mut Context<'_>) -> Poll<Break> {
        loop {
            let mut polled = self.orders.borrow_mut().poll_recv(context);
            if polled.is_pending() {
                polled = self.stream.borrow_mut().orders.poll_recv(context);
            }
            match polled {
                Poll::Ready(Some(order)) => {
                    if let Some(how) = self.breaks_by(order.act) {
                        return Poll::Ready(how);
                    }
                }
                // A later connection with this number has taken over the mailbox.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Carries out an act. Returns how it breaks the connection, if it does.
    fn breaks_by(&self, act: Act) -> Option<Break> {
        let mut stream = self.stream.borrow_mut();
        match act {
            Act::Break | Act::BreakAtPreface => return Some(Break::Reset),
            // HTTP/1.1 has no reset of one request: a backend that fails closes within its answer.
            Act::Reset { .. } if !(stream.answered && stream.body_ended) => {
                return stream.framing.map(Break::within);
            }
            Act::GoAway { .. } => self.close_when_idle(),
            Act::StopReading { for_us } => self.gate.close_for(for_us),
            Act::StarveUpload { for_us } if !stream.body_ended => {
                let until = for_us.map_or(u64::MAX, |time| after(&self.hub, time));
                stream.starved_until = until.max(stream.starved_until);
                if stream.framing.is_some() {
                    self.gate.close_until(until);
                }
            }
            Act::NeverFinish => stream.never_finishes = true,
            Act::Status { status } => stream.status = Some(status),
            _ => {}
        }
        None
    }

    /// Resets the connection.
    pub(super) fn break_now(&self) {
        self.breaks.set(true);
        self.changes.note();
    }

    /// Announces the close in the next head, and closes as soon as the connection is idle.
    pub(super) fn close_when_idle(&self) {
        self.closing.set(true);
        self.changes.note();
    }

    /// True if the connection closes as soon as it is idle.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// The number of the request on its connection.
    pub(super) fn stream(&self) -> u32 {
        self.stream.borrow().number
    }

    /// The request is over; the next one may come.
    pub(super) async fn next_stream(&self) {
        let number = self.stream() + 1;
        let orders = self.hub.mailbox(Target::Stream(self.backend, self.number, number));
        *self.stream.borrow_mut() = Stream::new(number, orders);
        // The orders about it are awaited from now on.
        yield_now().await;
    }

    /// The head of the request was read. Its answer will be framed like this.
    pub(super) fn note_read(&self, framing: Framing) {
        let mut stream = self.stream.borrow_mut();
        stream.framing = Some(framing);
        self.gate.close_until(stream.starved_until);
    }

    /// So many bytes of the body were read, of so many. Returns true when it is half for the first
    /// time.
    pub(super) fn is_half(&self, read: u64, all: u64) -> bool {
        let mut stream = self.stream.borrow_mut();
        let half = read.saturating_mul(2) >= all;
        half && !std::mem::replace(&mut stream.half_read, true)
    }

    /// The whole request was read.
    pub(super) fn note_body_end(&self) {
        self.stream.borrow_mut().body_ended = true;
        self.changes.note();
    }

    /// True once the whole request was read.
    pub(super) fn is_body_read(&self) -> bool {
        self.stream.borrow().body_ended
    }

    /// The whole answer was written.
    pub(super) fn note_answered(&self) {
        self.stream.borrow_mut().answered = true;
    }

    /// True once the whole answer was written.
    pub(super) fn is_answered(&self) -> bool {
        self.stream.borrow().answered
    }

    /// The status of the answer. One that no final response can have becomes 500.
    pub(super) fn status(&self) -> u16 {
        let status = self.stream.borrow().status.unwrap_or(200);
        if (200..600).contains(&status) { status } else { 500 }
    }

    /// Waits while the answer may not continue.
    pub(super) async fn may_continue(&self) {
        let held = self.stream.borrow().never_finishes;
        if held {
            self.hub.healed().await;
        }
    }

    /// The request reaches a moment. Directives without a delay take effect before this returns.
    pub(super) async fn moment(&self, request: u32, moment: Moment) {
        let (backend, connection, stream) = (self.backend, self.number, self.stream());
        let target = Target::Stream(backend, connection, stream);
        self.hub.reached(When::Stream { backend, connection, stream, moment }, target);
        self.hub.reached(When::Request { request, moment }, target);
        yield_now().await;
    }
}
