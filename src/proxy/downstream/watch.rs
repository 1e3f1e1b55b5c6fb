//! Looks after one client's connection: what is in flight on it, since when nothing moves, and when
//! that has been too long.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::pool::Instant;
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::relay_body::{CutShort, RelayBody};
use crate::proxy::seams::{self, Clock};

/// A client that asks nothing for so long is served without buffers until it does.
const REST_AFTER: Duration = Duration::from_secs(1);

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// To finish a head.
    Head,
    /// To send the next request.
    Idle,
    /// To send the next request soon: what serves it may be put away until then.
    Rest,
    /// To read anything at all.
    WriteStall,
    /// To go, once told.
    Farewell,
}

/// What is known of a connection. Times are of the worker's clock.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    in_flight: Cell<u32>,
    served: Cell<u64>,
    idle_since: Cell<Instant>,
    write_blocked_since: Cell<Option<Instant>>,
    closing_since: Cell<Option<Instant>>,
}

impl Watch {
    pub(super) fn new(clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            clock,
            in_flight: Cell::new(0),
            served: Cell::new(0),
            idle_since: Cell::new(clock.now()),
            write_blocked_since: Cell::new(None),
            closing_since: Cell::new(None),
        })
    }

    /// A request has come; it is in flight until the result is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        self.served.set(self.served.get() + 1);
        InFlight(Rc::clone(self))
    }

    /// Requests that have come, of all time.
    pub(super) fn served(&self) -> u64 {
        self.served.get()
    }

    /// Whether any request is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// Since when no request is in flight and nothing waits to be written, if that is so. A response
    /// is out of our hands before its last bytes are.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = !self.is_busy() && self.write_blocked_since.get().is_none();
        idle.then(|| self.idle_since.get())
    }

    /// The client was told to go.
    pub(super) fn close_soon(&self) {
        if self.closing_since.get().is_none() {
            self.closing_since.set(Some(self.clock.now()));
        }
    }

    /// The client was told to go, but has work to finish.
    pub(super) fn stay(&self) {
        self.closing_since.set(None);
    }

    /// A write or flush could, or could not, make progress.
    pub(super) fn note_write(&self, blocked: bool) {
        if !blocked {
            if self.write_blocked_since.take().is_some() {
                self.idle_since.set(self.clock.now());
            }
        } else if self.write_blocked_since.get().is_none() {
            self.write_blocked_since.set(Some(self.clock.now()));
        }
    }

    /// Waits until something has taken too long. `head_since` says since when a head is awaited;
    /// `idle_since` since when the next request is; `rest_since` the same where what serves it could be
    /// put away.
    ///
    /// Whatever begins to wait while this sleeps has all of its time before it, so that sleeping for
    /// the shortest of all times misses nothing.
    pub(super) async fn expired(
        &self,
        limits: &ClientLimits,
        idle_timeout: Duration,
        head_since: impl Fn() -> Option<Instant>,
        idle_since: impl Fn() -> Option<Instant>,
        rest_since: impl Fn() -> Option<Instant>,
    ) -> Expired {
        loop {
            let now = self.clock.now();
            let mut wait = Duration::MAX;
            let closing = self.closing_since.get();
            if let Some(since) = closing {
                let left = limits.farewell_timeout.saturating_sub(now.since(since));
                if left.is_zero() {
                    return Expired::Farewell;
                }
                wait = left;
            }
            for (what, since, timeout) in [
                (Expired::WriteStall, self.write_blocked_since.get(), limits.write_stall_timeout),
                (Expired::Head, head_since(), limits.head_timeout),
                (Expired::Idle, idle_since(), idle_timeout),
                (Expired::Rest, rest_since(), REST_AFTER),
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
            seams::sleep(wait).await;
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

/// A response body; its request is in flight for as long as it lives.
pub(super) struct Tracked {
    body: RelayBody,
    _in_flight: InFlight,
}

impl Tracked {
    pub(super) fn new(body: RelayBody, in_flight: InFlight) -> Self {
        Self { body, _in_flight: in_flight }
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
