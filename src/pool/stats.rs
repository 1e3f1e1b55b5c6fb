//! Counts for people, metrics and tests.

use super::connection::SlotState;

/// Connection slots by [`SlotState`], and the streams on them. Counted from the
/// tables each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotStats {
    /// Free slots.
    pub empty: u32,
    /// Dials under way.
    pub connecting: u32,
    /// Ready connections below their limit.
    pub available: u32,
    /// Ready connections at their limit.
    pub in_use: u32,
    /// Silent connections with a PING out.
    pub suspect: u32,
    /// Connections that take no new streams.
    pub draining: u32,
    /// Slots whose generation is spent.
    pub retired: u32,
    /// Streams reserved, open, or reset but not yet on the wire.
    pub streams: u32,
}

/// One connection slot as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// What it is for.
    pub state: SlotState,
    /// Which incarnation.
    pub generation: u32,
    /// Streams reserved, open, or reset but not yet on the wire.
    pub streams: u32,
    /// Streams it may carry; of a dial, those it is expected to bring, none once it is slow.
    pub limit: u32,
}

/// Events since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Facts about something that no longer existed.
    pub stale: u64,
    /// Facts that could not be true in the state they met.
    pub refused: u64,
    /// Dials ordered.
    pub dials: u64,
    /// Attempts beyond the first, by the evidence of the one before, in the order of
    /// [`Evidence`](super::Evidence).
    pub retries: [u64; 5],
    /// PINGs ordered.
    pub pings: u64,
    /// Backends ejected.
    pub ejections: u64,
    /// Backends that would have been ejected if not enough had been.
    pub spared: u64,
    /// Probes ordered.
    pub probes: u64,
    /// Probes that failed, also of another pool.
    pub probes_failed: u64,
    /// Times that the pool found itself inconsistent and started anew. Each is a bug.
    pub rebuilds: u64,
}

impl Counters {
    /// Attempts beyond the first.
    #[must_use]
    pub fn all_retries(&self) -> u64 {
        self.retries.iter().sum()
    }
}

/// A snapshot of a whole pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections and streams.
    pub slots: SlotStats,
    /// Requests waiting or in flight.
    pub requests: u32,
    /// Of these, waiting for a connection.
    pub waiting: u32,
    /// Of these, on a second or later attempt or waiting for one.
    pub retrying: u32,
    /// Events since the pool was built.
    pub counters: Counters,
}
