//! Deadlines of one client's connection. Counts its requests in flight, and records when it became
//! idle, blocked or closing.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::pool::Instant;
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::exchange::response_body::{CutShort, RelayBody, Waiting};
use crate::proxy::limits::PARK_AFTER;
use crate::proxy::seams::{self, Clock, Point};

/// The deadline that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// A head is incomplete.
    Head,
    /// No next request within the idle timeout.
    Idle,
    /// No next request for a short time: the connection may be parked until there is one.
    Parked,
    /// The client does not read, or opens no window although much waits for it.
    WriteStall,
    /// The client has not closed the connection after GOAWAY.
    Closing,
    /// Nothing was received from the client: a PING is due.
    Silent,
    /// The client has not answered a PING.
    Unanswered,
}

/// The state that a connection's deadlines depend on, in times of the worker's clock.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    in_flight: Cell<u32>,
    idle_since: Cell<Instant>,
    write_blocked_since: Cell<Option<Instant>>,
    closing_since: Cell<Option<Instant>>,
    /// When anything was last received over HTTP/2; `None` before that.
    received_at: Cell<Option<Instant>>,
    /// When the PING was sent that is not yet answered.
    pinged_at: Cell<Option<Instant>>,
    /// True while an orderly close of the connection would complete a response.
    is_until_close: Cell<bool>,
}

impl Watch {
    pub(super) fn new(clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            clock,
            in_flight: Cell::new(0),
            idle_since: Cell::new(clock.now()),
            write_blocked_since: Cell::new(None),
            closing_since: Cell::new(None),
            received_at: Cell::new(None),
            pinged_at: Cell::new(None),
            is_until_close: Cell::new(false),
        })
    }

    /// Counts a request as in flight until the result is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }

    /// True if a request is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// Returns when the connection became idle; `None` if a request is in flight or a write is
    /// blocked: a response body is dropped before its last bytes are written.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = !self.is_busy() && self.write_blocked_since.get().is_none();
        idle.then(|| self.idle_since.get())
    }

    /// Starts the deadline for the client to close, once GOAWAY was sent.
    pub(super) fn close_soon(&self) {
        if self.closing_since.get().is_none() {
            self.closing_since.set(Some(self.clock.now()));
        }
    }

    /// Stops the deadline of `close_soon`: a request is still in flight.
    pub(super) fn stay(&self) {
        self.closing_since.set(None);
    }

    /// Records that something was received over HTTP/2: the client is alive.
    pub(super) fn note_received(&self) {
        self.received_at.set(Some(self.clock.now()));
        self.pinged_at.set(None);
    }

    /// Records that a PING was sent to a silent client.
    pub(super) fn note_pinged(&self) {
        self.pinged_at.set(Some(self.clock.now()));
    }

    /// Records that a response has begun (`true`) whose end only the close of the connection marks,
    /// or that all of it was written (`false`).
    pub(super) fn note_until_close(&self, until_close: bool) {
        self.is_until_close.set(until_close);
    }

    /// True if a response would look complete that is not, if the connection closed in order.
    pub(super) fn is_until_close(&self) -> bool {
        self.is_until_close.get()
    }

    /// Records the result of a write or flush: blocked or not.
    pub(super) fn note_write(&self, blocked: bool) {
        if !blocked {
            if self.write_blocked_since.take().is_some() {
                self.idle_since.set(self.clock.now());
            }
        } else if self.write_blocked_since.get().is_none() {
            self.write_blocked_since.set(Some(self.clock.now()));
        }
    }

    /// Waits until a deadline passes, and returns it. The functions return when a wait began, or
    /// `None` if it has not: `head_since` the wait for a head, `idle_since` the wait for the next
    /// request, `parkable_since` the same wait on a connection that could be parked, and
    /// `stalled_since` the wait for a client that takes no content.
    ///
    /// A wait that begins while this function sleeps has its full timeout left, so it is enough to
    /// sleep until the first of the present deadlines, or for the shortest timeout if that is less.
    pub(super) async fn expired(
        &self,
        limits: &ClientLimits,
        idle_timeout: Duration,
        head_since: impl Fn() -> Option<Instant>,
        idle_since: impl Fn() -> Option<Instant>,
        parkable_since: impl Fn() -> Option<Instant>,
        stalled_since: impl Fn() -> Option<Instant>,
    ) -> Expired {
        loop {
            let now = self.clock.now();
            let mut wait = Duration::MAX;
            let closing = self.closing_since.get();
            let silent_since = self.received_at.get().filter(|_| self.pinged_at.get().is_none());
            if let Some(since) = closing {
                let left = limits.lingering_close_timeout.saturating_sub(now.since(since));
                if left.is_zero() {
                    return Expired::Closing;
                }
                wait = left;
            }
            for (what, since, timeout) in [
                (Expired::WriteStall, self.write_blocked_since.get(), limits.write_stall_timeout),
                (Expired::WriteStall, stalled_since(), limits.write_stall_timeout),
                (Expired::Head, head_since(), limits.head_timeout),
                (Expired::Idle, idle_since(), idle_timeout),
                (Expired::Parked, parkable_since(), PARK_AFTER),
                (Expired::Silent, silent_since, limits.keepalive_interval),
                (Expired::Unanswered, self.pinged_at.get(), limits.keepalive_timeout),
            ] {
                if closing.is_some() && what != Expired::WriteStall {
                    continue;
                }
                let passed = since.map_or(Duration::ZERO, |since| now.since(since));
                let left = timeout.saturating_sub(passed);
                if left.is_zero() {
                    return what;
                }
                wait = wait.min(left);
            }
            seams::sleep(if seams::buggify(Point::EarlyTimer) { wait / 2 } else { wait }).await;
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight(Rc<Watch>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let watch = &self.0;
        watch.in_flight.set(watch.in_flight.get() - 1);
        watch.idle_since.set(watch.clock.now());
    }
}

/// A response body. Its request is in flight until the body is dropped.
pub(super) struct Tracked {
    body: RelayBody,
    _in_flight: InFlight,
}

impl Tracked {
    pub(super) fn new(body: RelayBody, in_flight: InFlight) -> Self {
        Self { body, _in_flight: in_flight }
    }

    /// The body, for the time in which it waits for the client and is not polled.
    pub(super) fn waiting(&self) -> Waiting {
        self.body.waiting()
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
