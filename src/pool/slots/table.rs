//! The slots of one backend: connections, their streams, and sets of the slots by state.
//!
//! A table has memory for all its slots from the time at which its place in the pool is first taken
//! by a backend. A slot that was never dialled has no entry yet and touches no memory page.

use alloc::vec::Vec;

use super::super::connection::{Connection, ConnectionState, Lifecycle};
use super::super::mismatch::{Mismatch, expect, same};
use super::index_set::IndexSet;

/// One entry of a connection's stream table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEntry {
    /// Carries nothing. `next` is the next free entry of the connection, or `NO_ENTRY`.
    Free { next: u16 },
    /// Carries a request. The stream identifier is 0 until the driver has opened the stream.
    Open { ordinal: u32, stream_id: u32, request: u32 },
    /// Reset by order, but not yet on the wire: the peer still counts it, so it is still load.
    Resetting { ordinal: u32 },
}

const NO_ENTRY: u16 = u16::MAX;

#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The connection of each slot that was dialled at least once.
    pub(super) connections: Vec<Connection>,
    /// The first free stream entry of each of these connections, or `NO_ENTRY`.
    free_heads: Vec<u16>,
    /// Their stream entries, `streams_per_connection` for each.
    pub(super) streams: Vec<StreamEntry>,
    streams_per_connection: usize,
    size: usize,
    /// Slots that were dialled before, and are empty and not retired.
    empty: IndexSet,
    /// Slots that are `Available`.
    available: IndexSet,
    /// Connections that are not empty by [`Class`].
    counts: [u32; Class::COUNT],
    /// Dials that no request counts on.
    slow_dials: u32,
    /// Number of slots retired because their generations are used up.
    pub(super) retired: u32,
}

/// The kind of a slot that is not empty, as the limit of connections counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Connecting,
    /// Ready or suspect.
    Up,
    /// Gets no new requests.
    Leaving,
}

impl Class {
    const COUNT: usize = Self::Leaving as usize + 1;

    fn of(state: ConnectionState) -> Option<Self> {
        Some(match state {
            ConnectionState::Empty => return None,
            ConnectionState::Connecting => Self::Connecting,
            ConnectionState::Available | ConnectionState::InUse | ConnectionState::Suspect => {
                Self::Up
            }
            ConnectionState::Busy
            | ConnectionState::Draining
            | ConnectionState::DrainingBackend
            | ConnectionState::Lost => Self::Leaving,
        })
    }
}

/// The state of a slot, as far as the table counts and sorts by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sorted {
    pub(super) state: ConnectionState,
    /// Streams that a dial is expected to provide.
    pub(super) expected: u32,
}

impl Sorted {
    #[inline]
    pub(super) fn of(connection: &Connection) -> Self {
        let expected = match connection.lifecycle() {
            Lifecycle::Connecting { expected } => expected,
            Lifecycle::Empty
            | Lifecycle::Ready
            | Lifecycle::Suspect
            | Lifecycle::Busy
            | Lifecycle::Draining(_) => 0,
        };
        Self { state: connection.exact_state(), expected }
    }

    fn is_slow_dial(self) -> bool {
        self.state == ConnectionState::Connecting && self.expected == 0
    }
}

impl Table {
    /// Returns a table of `size` slots without memory for them.
    pub(super) fn new(size: usize, streams_per_connection: usize) -> Self {
        Self {
            connections: Vec::new(),
            free_heads: Vec::new(),
            streams: Vec::new(),
            streams_per_connection,
            size,
            empty: IndexSet::new(size),
            available: IndexSet::new(size),
            counts: [0; Class::COUNT],
            slow_dials: 0,
            retired: 0,
        }
    }

    /// Takes the memory for all slots, unless the table has it.
    pub(super) fn reserve(&mut self) {
        self.connections.reserve_exact(self.size - self.connections.len());
        self.free_heads.reserve_exact(self.size - self.free_heads.len());
        let streams = self.size * self.streams_per_connection;
        self.streams.reserve_exact(streams - self.streams.len());
    }

    /// Number of dials and connections that count for the limit of connections. Those that get no
    /// new requests do not keep others from being dialled.
    pub(super) fn active(&self) -> u32 {
        self.counts[Class::Connecting as usize] + self.counts[Class::Up as usize]
    }

    /// Number of dials and connections.
    pub(super) fn live(&self) -> u32 {
        self.counts.iter().sum()
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.counts[Class::Connecting as usize] > 0
    }

    pub(super) fn has_slow_dial(&self) -> bool {
        self.slow_dials > 0
    }

    pub(super) fn has_capacity(&self) -> bool {
        !self.available.is_empty()
    }

    /// Returns the first slot with capacity.
    pub(super) fn first_available(&self) -> Option<usize> {
        self.available.first()
    }

    pub(super) fn has_empty(&self) -> bool {
        !self.empty.is_empty() || self.connections.len() < self.size
    }

    /// Returns the first empty slot, with all its streams free.
    pub(super) fn first_empty(&mut self) -> Option<usize> {
        if let Some(slot) = self.empty.first() {
            self.clear_row(slot);
            return Some(slot);
        }
        let slot = self.connections.len();
        if slot == self.size {
            return None;
        }
        self.connections.push(Connection::new());
        self.free_heads.push(NO_ENTRY);
        let entries = self.streams.len() + self.streams_per_connection;
        self.streams.resize(entries, StreamEntry::Free { next: NO_ENTRY });
        self.empty.insert(slot);
        self.clear_row(slot);
        Some(slot)
    }

    /// Frees all streams of a slot.
    pub(super) fn clear_row(&mut self, slot: usize) {
        let size = self.streams_per_connection;
        let row = &mut self.streams[slot * size..][..size];
        for (entry, stream) in row.iter_mut().enumerate() {
            let next = if entry + 1 == size { NO_ENTRY } else { entry as u16 + 1 };
            *stream = StreamEntry::Free { next };
        }
        self.free_heads[slot] = 0;
    }

    /// Returns the place of a slot's stream among those of the table.
    #[inline]
    pub(super) fn place(&self, slot: usize, entry: u16) -> usize {
        slot * self.streams_per_connection + usize::from(entry)
    }

    /// Returns the streams of a slot.
    pub(super) fn row(&self, slot: usize) -> &[StreamEntry] {
        &self.streams[slot * self.streams_per_connection..][..self.streams_per_connection]
    }

    /// Puts a request on the first free stream of a slot. Returns the index of the stream's entry.
    #[inline]
    pub(super) fn take_stream(&mut self, slot: usize, ordinal: u32, request: u32) -> u16 {
        let entry = self.free_heads[slot];
        assert_ne!(entry, NO_ENTRY, "a connection below its limit has a free entry");
        let place = self.place(slot, entry);
        let stream = &mut self.streams[place];
        let StreamEntry::Free { next } = *stream else {
            unreachable!("the head of the free list is free")
        };
        *stream = StreamEntry::Open { ordinal, stream_id: 0, request };
        self.free_heads[slot] = next;
        entry
    }

    /// Frees a stream.
    #[inline]
    pub(super) fn free_stream(&mut self, slot: usize, entry: u16) {
        let next = core::mem::replace(&mut self.free_heads[slot], entry);
        let place = self.place(slot, entry);
        self.streams[place] = StreamEntry::Free { next };
    }

    /// Updates sets and counts after a change of a slot. An empty slot whose generations are used
    /// up is retired: it is in no set.
    pub(super) fn sort(&mut self, slot: usize, before: Sorted, after: Sorted, used_up: bool) {
        self.slow_dials += u32::from(after.is_slow_dial());
        self.slow_dials -= u32::from(before.is_slow_dial());
        let (from, to) = (before.state, after.state);
        if from == to {
            return;
        }
        if let Some(set) = self.set(from) {
            set.remove(slot);
        }
        if to == ConnectionState::Empty && used_up {
            self.retired += 1;
        } else if let Some(set) = self.set(to) {
            set.insert(slot);
        }
        if let Some(class) = Class::of(to) {
            self.counts[class as usize] += 1;
        }
        if let Some(class) = Class::of(from) {
            self.counts[class as usize] -= 1;
        }
    }

    /// Returns the set of the slots in a state, if there is one.
    fn set(&mut self, state: ConnectionState) -> Option<&mut IndexSet> {
        match state {
            ConnectionState::Empty => Some(&mut self.empty),
            ConnectionState::Available => Some(&mut self.available),
            ConnectionState::Connecting
            | ConnectionState::InUse
            | ConnectionState::Suspect
            | ConnectionState::Busy
            | ConnectionState::Draining
            | ConnectionState::DrainingBackend
            | ConnectionState::Lost => None,
        }
    }

    /// Checks sets and counts against the connections.
    ///
    /// # Errors
    /// The first check that failed.
    pub(super) fn recount(&self, is_retired: impl Fn(&Connection) -> bool) -> Result<(), Mismatch> {
        let mut counts = [0; Class::COUNT];
        let (mut slow_dials, mut empty, mut available, mut retired) = (0, 0, 0, 0);
        for (slot, connection) in self.connections.iter().enumerate() {
            let sorted = Sorted::of(connection);
            slow_dials += u32::from(sorted.is_slow_dial());
            if let Some(class) = Class::of(sorted.state) {
                counts[class as usize] += 1;
            }
            let is_retired = is_retired(connection);
            let is_empty = sorted.state == ConnectionState::Empty && !is_retired;
            let is_available = sorted.state == ConnectionState::Available;
            same(self.empty.contains(slot), is_empty, "set of empty slots", slot)?;
            same(self.available.contains(slot), is_available, "set of available slots", slot)?;
            retired += u32::from(is_retired);
            empty += u32::from(is_empty);
            available += u32::from(is_available);
        }
        same(self.empty.count(), empty, "number of empty slots", 0)?;
        same(self.available.count(), available, "number of available slots", 0)?;
        same(self.slow_dials, slow_dials, "number of slow dials", 0)?;
        same(self.retired, retired, "retired slots", 0)?;
        expect(self.counts == counts, "number of connections by state", 0)
    }
}
