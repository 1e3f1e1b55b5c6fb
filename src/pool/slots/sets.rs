//! The slots of one backend by state, one bit per slot.

use super::super::connection::ConnectionState;

/// Sets of slots. Each slot is in one of them, unless it is retired.
#[derive(Clone, Debug, Default)]
pub(super) struct BackendSlots {
    pub(super) empty: u64,
    pub(super) connecting: u64,
    /// Ready and below the limit: `Available`.
    pub(super) available: u64,
    /// Ready at the limit, or suspect.
    pub(super) occupied: u64,
    /// Suspect with a host that acknowledges.
    busy: u64,
    draining: u64,
}

impl BackendSlots {
    /// The set of all slots, which are empty.
    pub(super) fn new(all: u64) -> Self {
        Self { empty: all, ..Self::default() }
    }

    /// Number of dials and connections that count for the limit of connections. Those that get no
    /// new requests do not keep others from being dialled.
    pub(super) fn active(&self) -> u32 {
        (self.connecting | self.available | self.occupied).count_ones()
    }

    /// Number of dials and connections.
    pub(super) fn live(&self) -> u32 {
        self.active() + (self.busy | self.draining).count_ones()
    }

    pub(super) fn set(&mut self, state: ConnectionState) -> &mut u64 {
        match state {
            ConnectionState::Empty => &mut self.empty,
            ConnectionState::Connecting => &mut self.connecting,
            ConnectionState::Available => &mut self.available,
            ConnectionState::InUse | ConnectionState::Suspect => &mut self.occupied,
            ConnectionState::Busy => &mut self.busy,
            ConnectionState::Draining
            | ConnectionState::DrainingBackend
            | ConnectionState::Lost => &mut self.draining,
        }
    }

    /// True if a slot is in the set of this state.
    pub(super) fn is_in(&self, state: ConnectionState, bit: u64) -> bool {
        *self.clone().set(state) & bit != 0
    }

    /// The number of sets that a slot is in.
    pub(super) fn memberships(&self, bit: u64) -> u32 {
        [self.empty, self.connecting, self.available, self.occupied, self.busy, self.draining]
            .iter()
            .map(|set| u32::from(set & bit != 0))
            .sum()
    }
}
