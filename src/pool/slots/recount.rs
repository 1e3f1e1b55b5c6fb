//! Recount of the token layer from its table entries.

use super::super::connection::{Connection, SlotState};
use super::super::limits;
use super::super::mismatch::{Mismatch, expect, same};
use super::table::Sorted;
use super::{Slots, StreamEntry, split_index};

impl Slots {
    /// Checks sets, counts, loads and expected streams against the table entries.
    ///
    /// # Errors
    /// The first check that failed.
    pub(crate) fn recount(&self) -> Result<(), Mismatch> {
        let is_retired = |connection: &Connection| {
            connection.state() == SlotState::Empty && connection.generation >= self.generation_max()
        };
        let mut expected_streams = 0;
        for (backend, table) in self.tables.iter().enumerate() {
            table.recount(is_retired)?;
            let within = table.active() <= self.connections_max;
            expect(within, "connections of a backend", backend)?;
            for (slot, connection) in table.connections.iter().enumerate() {
                expected_streams += u64::from(Sorted::of(connection).expected);
                if connection.state() == SlotState::Empty {
                    same(connection.load(), 0, "load of an empty slot", slot)?;
                    continue;
                }
                let row = table.row(slot).iter();
                let live = row.filter(|entry| !matches!(entry, StreamEntry::Free { .. }));
                same(live.count() as u32, connection.load(), "load of a slot", slot)?;
                let opened = connection.opened <= limits::STREAM_ORDINAL_MAX;
                expect(opened, "streams opened in a slot", slot)?;
            }
        }
        same(self.expected, expected_streams, "streams that dials are expected to bring", 0)
    }

    /// Number of requests on a connection. Streams that are being reset do not count.
    pub(crate) fn requests_on(&self, index: usize) -> u32 {
        let (backend, slot) = split_index(index);
        let table = &self.tables[backend];
        if table.connections[slot].load() == 0 {
            return 0;
        }
        let row = table.row(slot).iter();
        row.filter(|entry| matches!(entry, StreamEntry::Open { .. })).count() as u32
    }
}
