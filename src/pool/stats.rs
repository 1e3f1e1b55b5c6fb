//! Statistics and views for the admin API, metrics and tests.

use super::connection::SlotState;
use super::token::{ConnectionToken, RequestId, StreamToken};

/// Connection slots by [`SlotState`], and the streams on them, counted by walking the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotStats {
    /// Free slots.
    pub empty: u32,
    /// Dials in progress.
    pub connecting: u32,
    /// Ready connections below their limit.
    pub available: u32,
    /// Ready connections at or above their limit.
    pub in_use: u32,
    /// Suspect connections: silent, with an unanswered PING.
    pub suspect: u32,
    /// Connections that get no new streams.
    pub draining: u32,
    /// Slots whose generations are used up.
    pub retired: u32,
    /// Streams reserved, open, or reset but not yet on the wire.
    pub streams: u32,
}

/// Public view of one connection slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// Token of the slot's connection or dial; of the last one if the slot is empty.
    pub connection: ConnectionToken,
    /// State of the slot.
    pub state: SlotState,
    /// Streams reserved, open, or reset but not yet on the wire.
    pub streams: u32,
    /// Streams the connection may carry. For a dial: the streams it is expected to provide, 0 once
    /// it is slow.
    pub limit: u32,
}

/// A stream that carries a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// Its token.
    pub stream: StreamToken,
    /// As in [`StreamOpened`](super::Input::StreamOpened); 0 before that fact.
    pub stream_id: u32,
    /// The request it carries.
    pub request: RequestId,
    /// True if the head of the response went to the client.
    pub response_began: bool,
}

/// Event counters since the pool was built. The driver counts what is counted by backend, such as
/// dials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Facts about things that no longer existed.
    pub stale: u64,
    /// Facts that could not be true in the state at the time.
    pub refused: u64,
    /// PINGs ordered.
    pub pings: u64,
    /// Backends ejected.
    pub ejections: u64,
    /// Ejection overflow: ejections that were skipped because enough backends were ejected.
    pub ejection_overflow: u64,
}

/// A snapshot of a whole pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections and streams.
    pub slots: SlotStats,
    /// Requests waiting or in flight.
    pub requests: u32,
    /// Requests waiting for a stream; part of `requests`.
    pub waiting: u32,
    /// Requests that wait for a place in the retry budget; part of `requests`.
    pub deferred: u32,
    /// Requests that are on a second or later attempt and have no response yet, or wait for a
    /// stream for one; part of `requests`.
    pub retrying: u32,
    /// Events since the pool was built.
    pub counters: Counters,
}
