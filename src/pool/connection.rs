//! One connection: its lifecycle, its load, and its transitions.
//!
//! Lifecycle and load are kept apart; the public [`SlotState`] is a function of the two. The table
//! in `lifecycle` has the events that are legal in each state; every other event is refused and
//! changes nothing.

mod lifecycle;
#[cfg(test)]
mod tests;

use core::hash::{Hash, Hasher};
use core::time::Duration;

use super::input::Protocol;
use super::limits;
use super::pings::Pings;
use super::time::Instant;
use lifecycle::next;
pub(crate) use lifecycle::{ConnectionState, Event, Lifecycle};
pub use lifecycle::{DrainCause, SlotState};
#[cfg(any(test, feature = "simulation"))]
pub(crate) use lifecycle::{LEGAL, row};

/// The event is not legal in the present state. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Illegal;

/// One slot. The generation is kept when the slot is reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    lifecycle: Lifecycle,
    pub(crate) generation: u32,
    load: u32,
    /// Streams the connection may carry: the peer's limit, at most the operator's cap.
    pub(crate) limit: u32,
    pub(crate) protocol: Protocol,
    /// Number of streams opened so far.
    pub(crate) opened: u32,
    /// Number of responses started so far.
    pub(crate) responses: u32,
    /// Last id of the peer's GOAWAY; `u32::MAX` before one came.
    pub(crate) last_stream_id: u32,
    /// When the last frame arrived, or when the load last rose from zero or fell to zero.
    pub(crate) quiet_since: Instant,
    /// How long it carried requests under which nothing arrived, before its load last rose from
    /// zero; `None` once anything has arrived since. A dead connection stays silent, however short
    /// its requests are.
    pub(crate) silent_before: Option<Duration>,
    /// When the connection became idle before it last got its first request, until anything arrives
    /// on it. If it is lost before that, it was stale.
    pub(crate) idle_before: Option<Instant>,
    /// How long the backend keeps the connection open while it is idle, as announced.
    pub(crate) keep_alive: Duration,
    /// When the connection began to drain, or was lost.
    pub(crate) drains_since: Instant,
    /// When the connection reaches its maximum age.
    pub(crate) ages_at: Instant,
    pub(crate) pings: Pings,
    /// True while a delivery check is unanswered.
    pub(crate) delivery_check: bool,
    /// True if the connection was busy when it began to drain with its backend.
    pub(crate) drained_busy: bool,
    /// Malformed responses so far.
    pub(crate) malformed: u32,
    /// True if the connection was closed without GOAWAY while it carried requests. If one of them
    /// turns out to be cut off, that is a failure of the backend.
    pub(crate) closed_without_goaway: bool,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self {
            lifecycle: Lifecycle::Empty,
            generation: 0,
            load: 0,
            limit: 0,
            protocol: Protocol::Http2,
            opened: 0,
            responses: 0,
            last_stream_id: u32::MAX,
            quiet_since: Instant::ZERO,
            silent_before: None,
            idle_before: None,
            keep_alive: Duration::MAX,
            drains_since: Instant::ZERO,
            ages_at: Instant::ZERO,
            pings: Pings::NONE,
            delivery_check: false,
            drained_busy: false,
            malformed: 0,
            closed_without_goaway: false,
        }
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Streams that are reserved, open, or reset but not yet on the wire.
    pub(crate) fn load(&self) -> u32 {
        self.load
    }

    /// Number of streams that could be opened now.
    pub(crate) fn capacity(&self) -> u32 {
        match self.lifecycle {
            Lifecycle::Ready => self.limit.saturating_sub(self.load),
            Lifecycle::Empty
            | Lifecycle::Connecting { .. }
            | Lifecycle::Suspect
            | Lifecycle::Busy
            | Lifecycle::Draining(_) => 0,
        }
    }

    pub(crate) fn state(&self) -> SlotState {
        self.exact_state().into()
    }

    /// Returns the state as the table of transitions distinguishes it.
    pub(crate) fn exact_state(&self) -> ConnectionState {
        self.lifecycle.state(self.load, self.limit)
    }

    /// Sets the limit from the peer's limit and the operator's cap.
    pub(crate) fn set_limit(&mut self, max_streams: Option<u32>, cap: u32) {
        let allowed = match self.protocol {
            Protocol::Http1 => 1,
            Protocol::Http2 => max_streams.unwrap_or(limits::STREAMS_BEFORE_SETTINGS),
        };
        self.limit = allowed.min(cap);
    }

    /// True if the connection gets no new streams until a frame arrives.
    pub(crate) fn is_suspect(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Suspect | Lifecycle::Busy)
    }

    /// True if the connection is ready and carries nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.lifecycle == Lifecycle::Ready && self.load == 0
    }

    /// Returns how long the connection has been idle; `None` if it is not.
    pub(crate) fn idle_for(&self, now: Instant) -> Option<Duration> {
        self.is_idle().then(|| now.since(self.quiet_since))
    }

    /// Returns how long the connection had been idle before the request that it was lost under;
    /// `None` unless it was stale.
    pub(crate) fn stale_after(&self) -> Option<Duration> {
        self.idle_before.map(|since| self.quiet_since.since(since))
    }

    /// Makes the transition that the table has for this event.
    ///
    /// # Errors
    /// [`Illegal`] if the table has no transition. Nothing changes then.
    #[inline]
    pub(crate) fn apply(&mut self, event: Event) -> Result<(), Illegal> {
        let next = next(self.lifecycle, self.load, self.limit, event).ok_or(Illegal)?;
        match event {
            Event::Dialled { .. } => self.begin(),
            Event::Reserved => {
                self.load += 1;
                self.opened += 1;
            }
            Event::Released => self.load -= 1,
            Event::Drain(DrainCause::Backend) => {
                self.drained_busy = self.lifecycle == Lifecycle::Busy;
            }
            Event::Established
            | Event::DialEnded
            | Event::Silent
            | Event::Acknowledged
            | Event::Alive
            | Event::Drain(_)
            | Event::Resumed
            | Event::ResumedBusy
            | Event::Closed => {}
        }
        self.lifecycle = next;
        assert!(self.load == 0 || !matches!(next, Lifecycle::Empty | Lifecycle::Connecting { .. }));
        Ok(())
    }

    /// Hashes everything that affects future behaviour; see [`canonical`](super::canonical).
    pub(super) fn hash_state(&self, now: Instant, hasher: &mut impl Hasher) {
        let ago = |at: Instant| now.0.saturating_sub(at.0);
        let quiet_ago = ago(self.quiet_since);
        match self.lifecycle {
            Lifecycle::Empty => unreachable!("an empty slot has no state"),
            Lifecycle::Connecting { expected } => {
                (1_u8, expected).hash(hasher);
                return;
            }
            Lifecycle::Ready => 2_u8.hash(hasher),
            Lifecycle::Suspect => 3_u8.hash(hasher),
            Lifecycle::Busy => 6_u8.hash(hasher),
            Lifecycle::Draining(DrainCause::Lost) => {
                (4_u8, self.closed_without_goaway, self.responses > 0).hash(hasher);
                self.idle_before.is_some().hash(hasher);
            }
            Lifecycle::Draining(cause) => {
                (5_u8, cause == DrainCause::Backend, quiet_ago).hash(hasher);
                (cause == DrainCause::Backend && self.drained_busy).hash(hasher);
            }
        }
        if matches!(self.lifecycle, Lifecycle::Draining(_)) {
            ago(self.drains_since).hash(hasher);
        }
        self.protocol.hash(hasher);
        self.pings.hash_last(hasher);
        self.delivery_check.hash(hasher);
        if self.lifecycle.may_take_streams() {
            (self.limit, self.malformed).hash(hasher);
            self.pings.hash_next(now, hasher);
            (self.opened > 0, self.responses > 0).hash(hasher);
            (quiet_ago, self.silent_before).hash(hasher);
            (self.idle_before.map(ago), self.keep_alive).hash(hasher);
        }
    }

    fn begin(&mut self) {
        let generation = self.generation + 1;
        *self = Self { generation, ..Self::new() };
    }

    /// Empties the slot in any state, because the pool is shut down.
    pub(crate) fn vacate(&mut self) {
        *self = Self { generation: self.generation, ..Self::new() };
    }

    /// Marks the dial as slow: no request counts on it any more.
    pub(crate) fn expect_nothing(&mut self) {
        if let Lifecycle::Connecting { expected } = &mut self.lifecycle {
            *expected = 0;
        }
    }
}
