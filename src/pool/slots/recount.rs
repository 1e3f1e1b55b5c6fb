//! Recount of the token layer from its table entries.

use super::super::connection::SlotState;
use super::super::limits;
use super::super::mismatch::{Mismatch, expect, same};
use super::{Slots, StreamEntry, expected};

impl Slots {
    /// Checks sets, loads and expected streams against the table entries.
    ///
    /// # Errors
    /// The first check that failed.
    pub(crate) fn recount(&self) -> Result<(), Mismatch> {
        let mut expected_streams = 0;
        for (index, connection) in self.connections.iter().enumerate() {
            expected_streams += expected(connection);
            let bit = 1_u64 << (index % self.per_backend);
            let slots = &self.backends[index / self.per_backend];
            let retired = connection.state() == SlotState::Empty
                && connection.generation >= self.generation_max();
            let memberships = slots.memberships(bit);
            same(memberships, u32::from(!retired), "sets that a slot is in", index)?;
            let sorted = retired || slots.is_in(connection.exact_state(), bit);
            expect(sorted, "set of a slot", index)?;
            if connection.state() == SlotState::Empty {
                same(connection.load(), 0, "load of an empty slot", index)?;
                continue;
            }
            let live =
                self.row(index).iter().filter(|entry| !matches!(entry, StreamEntry::Free { .. }));
            same(live.count() as u32, connection.load(), "load of a slot", index)?;
            let opened = connection.opened <= limits::STREAM_ORDINAL_MAX;
            expect(opened, "streams opened in a slot", index)?;
        }
        same(self.expected, expected_streams, "streams that dials are expected to bring", 0)?;
        for (index, slots) in self.backends.iter().enumerate() {
            let within = slots.active() <= self.connections_max;
            expect(within, "connections of a backend", index)?;
        }
        Ok(())
    }

    /// Number of requests on a connection. Streams that are being reset do not count.
    pub(crate) fn requests_on(&self, slot: usize) -> u32 {
        if self.connections[slot].load() == 0 {
            return 0;
        }
        self.row(slot).iter().filter(|entry| matches!(entry, StreamEntry::Open { .. })).count()
            as u32
    }
}
