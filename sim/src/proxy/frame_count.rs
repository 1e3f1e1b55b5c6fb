//! Counts of the RST_STREAM and GOAWAY frames on the wire; `frame_log` makes them.

use std::collections::BTreeMap;

use crate::plan::Direction;

/// The frames that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Reset,
    GoAway,
}

/// The end of a connection that is not the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Client,
    Backend,
}

/// Frames that are counted together: those that the proxy has written, or that have arrived for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counted {
    pub(crate) peer: Peer,
    pub(crate) direction: Direction,
    pub(crate) kind: Kind,
    pub(crate) code: u32,
}

/// All counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameCounts(BTreeMap<Counted, u64>);

impl FrameCounts {
    /// Adds frames.
    pub(crate) fn add(&mut self, counted: Counted, number: u64) {
        *self.0.entry(counted).or_default() += number;
    }

    /// The number of frames of this kind.
    pub(crate) fn of(&self, counted: Counted) -> u64 {
        self.0.get(&counted).copied().unwrap_or(0)
    }
}
