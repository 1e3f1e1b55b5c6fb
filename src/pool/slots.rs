//! The token layer: connection slots, their streams, and the check of every token.
//!
//! Each backend has a [table](Table) of twice `connections_per_backend` slots: as many draining and
//! busy connections can be there beside their successors. The index of a slot names its backend and
//! its place in that table.

use alloc::vec::Vec;

use super::connection::{
    Connection, ConnectionState, DrainCause, Event, Illegal, Lifecycle, SlotState,
};
use super::input::Protocol;
use super::settings::Limits;
use super::stats::{SlotStats, SlotView};
use super::token::{BackendId, ConnectionToken, StreamToken, backend_id};
#[cfg(any(test, feature = "simulation"))]
use super::transitions::Transitions;
pub(crate) use table::StreamEntry;
use table::{Sorted, Table};

/// The token names something that no longer exists, or never did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale;

/// Returns the index of a slot, which names its backend and its place among the backend's slots.
#[inline]
pub(super) fn slot_index(backend: usize, slot: usize) -> usize {
    backend << u16::BITS | slot
}

/// Returns the backend and the place that a slot index names.
#[inline]
pub(super) fn split_index(index: usize) -> (usize, usize) {
    (index >> u16::BITS, index & usize::from(u16::MAX))
}

#[derive(Clone, Debug)]
pub(crate) struct Slots {
    /// Slots of each backend.
    per_backend: usize,
    connections_max: u32,
    streams_per_connection: usize,
    tables: Vec<Table>,
    /// Streams that all dials in progress are expected to provide.
    expected: u64,
    #[cfg(any(test, feature = "simulation"))]
    generation_max: u32,
    #[cfg(any(test, feature = "simulation"))]
    transitions: Transitions,
}

impl Slots {
    pub(crate) fn new(backends: usize, limits: &Limits) -> Self {
        let per_backend = 2 * limits.connections_per_backend;
        let streams_per_connection = limits.streams_per_connection;
        Self {
            per_backend,
            connections_max: limits.connections_per_backend.try_into().expect("at most 4096"),
            streams_per_connection,
            tables: (0..backends)
                .map(|_| Table::new(per_backend, streams_per_connection))
                .collect(),
            expected: 0,
            #[cfg(any(test, feature = "simulation"))]
            generation_max: u32::MAX,
            #[cfg(any(test, feature = "simulation"))]
            transitions: Transitions::default(),
        }
    }

    /// Takes the memory for the slots of a backend, unless an earlier one at this place took it.
    pub(crate) fn reserve(&mut self, backend: BackendId) {
        self.table_mut(backend).reserve();
    }

    fn table(&self, backend: BackendId) -> &Table {
        &self.tables[usize::from(backend.0)]
    }

    fn table_mut(&mut self, backend: BackendId) -> &mut Table {
        &mut self.tables[usize::from(backend.0)]
    }

    /// Starts a dial in a free slot. Returns `None` if the limit of connections is reached.
    pub(crate) fn dial(&mut self, backend: BackendId, expected: u32) -> Option<ConnectionToken> {
        if !self.can_dial(backend) {
            return None;
        }
        let slot = self.table_mut(backend).first_empty()?;
        let index = slot_index(usize::from(backend.0), slot);
        self.change(index, Event::Dialled { expected }).expect("the slot is empty");
        Some(self.token(index))
    }

    /// True if the backend may have one more connection and has a slot for it.
    pub(crate) fn can_dial(&self, backend: BackendId) -> bool {
        self.table(backend).has_empty() && self.has_place(backend)
    }

    /// True if the backend may have one more connection that gets requests.
    pub(crate) fn has_place(&self, backend: BackendId) -> bool {
        self.table(backend).active() < self.connections_max
    }

    /// Marks a dial as established and sets the limit of the connection.
    pub(crate) fn establish(
        &mut self,
        token: ConnectionToken,
        protocol: Protocol,
        max_streams: Option<u32>,
    ) -> Result<(), Illegal> {
        let index = self.find(token).map_err(|Stale| Illegal)?;
        let cap = self.streams_per_connection as u32;
        let connection = self.connection_mut(index);
        if connection.exact_state() != ConnectionState::Connecting {
            return Err(Illegal);
        }
        connection.protocol = protocol;
        connection.set_limit(max_streams, cap);
        self.change(index, Event::Established)
    }

    /// Reserves a stream on the backend's first connection with capacity. First fit keeps the load
    /// on few connections, so that the others can become idle after a burst.
    pub(crate) fn acquire(&mut self, backend: BackendId, request: u32) -> Option<StreamToken> {
        let table = self.table_mut(backend);
        let slot = table.first_available()?;
        let ordinal = table.connections[slot].opened;
        let stream = table.take_stream(slot, ordinal, request);
        let index = slot_index(usize::from(backend.0), slot);
        self.change(index, Event::Reserved).expect("an available connection takes a stream");
        Some(StreamToken { connection: self.token(index), stream, ordinal })
    }

    /// Adds an established connection and reserves its first stream.
    #[cfg(test)]
    pub(crate) fn add_and_acquire(
        &mut self,
        backend: BackendId,
        max_streams: u32,
        request: u32,
    ) -> Option<StreamToken> {
        let token = self.dial(backend, max_streams)?;
        self.establish(token, Protocol::Http2, Some(max_streams)).expect("dialled just now");
        self.acquire(backend, request)
    }

    /// Returns the entry that a stream token names.
    #[inline]
    pub(crate) fn get(&self, token: StreamToken) -> Result<StreamEntry, Stale> {
        let place = self.place(token)?;
        Ok(self.table(token.connection.backend).streams[place])
    }

    /// Returns the entry that a stream token names, to set the stream identifier.
    pub(crate) fn get_mut(&mut self, token: StreamToken) -> Result<&mut StreamEntry, Stale> {
        let place = self.place(token)?;
        Ok(&mut self.table_mut(token.connection.backend).streams[place])
    }

    /// Marks the stream as reset by order. It counts as load until the reset is on the wire.
    pub(crate) fn set_resetting(&mut self, token: StreamToken) -> Result<(), Stale> {
        *self.get_mut(token)? = StreamEntry::Resetting { ordinal: token.ordinal };
        Ok(())
    }

    /// Releases a stream. With `keep` false its connection gets no further streams.
    pub(crate) fn release(&mut self, token: StreamToken, keep: bool) -> Result<(), Stale> {
        self.place(token)?;
        let index = Self::index(token.connection);
        let slot = usize::from(token.connection.slot);
        self.table_mut(token.connection.backend).free_stream(slot, token.stream);
        self.change(index, Event::Released).expect("a live stream is part of the load");
        if !keep && self.connection(index).lifecycle().may_take_streams() {
            let drained = self.change(index, Event::Drain(DrainCause::Unfit));
            drained.expect("a connection that may take streams can drain");
        }
        Ok(())
    }

    /// Applies an event to a connection and updates the sets.
    pub(crate) fn apply(&mut self, token: ConnectionToken, event: Event) -> Result<(), Illegal> {
        let index = self.find(token).map_err(|Stale| Illegal)?;
        self.change(index, event)
    }

    /// Changes the limit of a connection to the peer's new limit, at most the operator's cap.
    pub(crate) fn set_limit(&mut self, token: ConnectionToken, max_streams: u32) {
        let index = self.find(token).expect("the caller looked it up");
        let cap = self.streams_per_connection as u32;
        self.adjust(index, |connection| connection.set_limit(Some(max_streams), cap));
    }

    /// Marks a dial as slow: no request counts on it any more.
    pub(crate) fn expect_nothing(&mut self, token: ConnectionToken) {
        let index = self.find(token).expect("the caller looked it up");
        self.adjust(index, Connection::expect_nothing);
    }

    /// Marks all dials of a backend as slow: no request counts on them any more.
    pub(crate) fn expect_nothing_of(&mut self, backend: BackendId) {
        for index in self.range(backend) {
            self.adjust(index, Connection::expect_nothing);
        }
    }

    /// Empties every slot at once. All tokens are stale from here on.
    pub(crate) fn close_all(&mut self) {
        for backend in 0..self.tables.len() {
            for index in self.range(backend_id(backend)) {
                if self.connection(index).exact_state() != ConnectionState::Empty {
                    self.adjust(index, Connection::vacate);
                    self.tables[backend].clear_row(split_index(index).1);
                }
            }
        }
        assert_eq!(self.expected, 0);
    }

    /// Makes the transition of an event. It is compiled for each event: two of them are part of
    /// every request.
    #[inline(always)]
    fn change(&mut self, index: usize, event: Event) -> Result<(), Illegal> {
        #[cfg(any(test, feature = "simulation"))]
        let before = self.connection(index).exact_state();
        self.adjust(index, |connection| connection.apply(event))?;
        #[cfg(any(test, feature = "simulation"))]
        self.transitions.note(before, event);
        Ok(())
    }

    /// Changes a connection and updates the sets.
    #[inline(always)]
    fn adjust<T>(&mut self, index: usize, change: impl FnOnce(&mut Connection) -> T) -> T {
        let connection = self.connection_mut(index);
        let before = Sorted::of(connection);
        let result = change(connection);
        let after = Sorted::of(connection);
        if before != after {
            self.sort(index, before, after);
        }
        result
    }

    fn sort(&mut self, index: usize, before: Sorted, after: Sorted) {
        let used_up = self.connection(index).generation >= self.generation_max();
        self.expected = self.expected + u64::from(after.expected) - u64::from(before.expected);
        let (backend, slot) = split_index(index);
        self.tables[backend].sort(slot, before, after, used_up);
    }

    /// Returns the slot index that a token names, or `Stale` if its generation is over.
    #[inline]
    pub(crate) fn find(&self, token: ConnectionToken) -> Result<usize, Stale> {
        let table = self.tables.get(usize::from(token.backend.0)).ok_or(Stale)?;
        let connection = table.connections.get(usize::from(token.slot)).ok_or(Stale)?;
        let live = connection.exact_state() != ConnectionState::Empty;
        let current = connection.generation == token.generation;
        if live && current { Ok(Self::index(token)) } else { Err(Stale) }
    }

    /// Returns the slot index of a token that is known to be current.
    #[inline]
    pub(crate) fn index(token: ConnectionToken) -> usize {
        slot_index(usize::from(token.backend.0), usize::from(token.slot))
    }

    /// Returns the place of a stream in the table of its backend. An empty slot has no live stream.
    #[inline]
    fn place(&self, token: StreamToken) -> Result<usize, Stale> {
        let ConnectionToken { backend, slot, generation } = token.connection;
        let table = self.tables.get(usize::from(backend.0)).ok_or(Stale)?;
        let connection = table.connections.get(usize::from(slot)).ok_or(Stale)?;
        let known = usize::from(token.stream) < self.streams_per_connection;
        if connection.generation != generation || !known {
            return Err(Stale);
        }
        let place = table.place(usize::from(slot), token.stream);
        match table.streams[place] {
            StreamEntry::Open { ordinal, .. } | StreamEntry::Resetting { ordinal }
                if ordinal == token.ordinal =>
            {
                Ok(place)
            }
            StreamEntry::Free { .. } | StreamEntry::Open { .. } | StreamEntry::Resetting { .. } => {
                Err(Stale)
            }
        }
    }

    /// Returns the first live stream of a connection at or after entry `start`: its token and
    /// entry.
    pub(crate) fn next_stream(
        &self,
        token: ConnectionToken,
        start: usize,
    ) -> Option<(StreamToken, StreamEntry)> {
        self.find(token).ok()?;
        let row = self.table(token.backend).row(usize::from(token.slot));
        let entries = &row[start..];
        entries.iter().zip(start..).find_map(|(stream, entry)| match *stream {
            StreamEntry::Free { .. } => None,
            StreamEntry::Open { ordinal, .. } | StreamEntry::Resetting { ordinal } => {
                let stream_token = StreamToken { connection: token, stream: entry as u16, ordinal };
                Some((stream_token, *stream))
            }
        })
    }

    /// True if the connection carries a request. Streams that are being reset do not count.
    pub(crate) fn carries_request(&self, token: ConnectionToken) -> bool {
        let mut start = 0;
        while let Some((stream, entry)) = self.next_stream(token, start) {
            if matches!(entry, StreamEntry::Open { .. }) {
                return true;
            }
            start = usize::from(stream.stream) + 1;
        }
        false
    }

    /// Returns the present token of a slot.
    pub(crate) fn token(&self, index: usize) -> ConnectionToken {
        let (backend, slot) = split_index(index);
        let generation = self.connection(index).generation;
        ConnectionToken { backend: backend_id(backend), slot: slot as u16, generation }
    }

    /// Returns the connection of a slot that was dialled.
    #[inline]
    pub(crate) fn connection(&self, index: usize) -> &Connection {
        let (backend, slot) = split_index(index);
        &self.tables[backend].connections[slot]
    }

    /// Returns a connection, to change fields that do not affect its state.
    #[inline]
    pub(crate) fn connection_mut(&mut self, index: usize) -> &mut Connection {
        let (backend, slot) = split_index(index);
        &mut self.tables[backend].connections[slot]
    }

    /// Number of slots of each backend.
    pub(crate) fn per_backend(&self) -> usize {
        self.per_backend
    }

    pub(crate) fn has_capacity(&self, backend: BackendId) -> bool {
        self.table(backend).has_capacity()
    }

    pub(crate) fn is_connecting(&self, backend: BackendId) -> bool {
        self.table(backend).is_connecting()
    }

    /// True if the backend has a dial that no request counts on: a slow one, or one made by
    /// fail-open.
    pub(crate) fn has_slow_dial(&self, backend: BackendId) -> bool {
        self.table(backend).has_slow_dial()
    }

    pub(crate) fn expected_streams(&self) -> u64 {
        self.expected
    }

    /// Number of connections and dials of a backend.
    pub(crate) fn count(&self, backend: BackendId) -> u32 {
        self.table(backend).live()
    }

    /// Number of ready connections of a backend that carry no stream.
    pub(crate) fn count_idle(&self, backend: BackendId) -> u32 {
        let connections = self.table(backend).connections.iter();
        connections.filter(|connection| connection.is_idle()).count() as u32
    }

    /// Number of streams that could be opened on a backend's connections now.
    pub(crate) fn total_available_streams(&self, backend: BackendId) -> u64 {
        let connections = self.table(backend).connections.iter();
        connections.map(|connection| u64::from(connection.capacity())).sum()
    }

    /// Returns the public view of a slot.
    pub(crate) fn view(&self, backend: BackendId, slot: u16) -> SlotView {
        let never_dialled = Connection::new();
        let dialled = self.table(backend).connections.get(usize::from(slot));
        let connection = dialled.unwrap_or(&never_dialled);
        SlotView {
            connection: ConnectionToken { backend, slot, generation: connection.generation },
            state: connection.state(),
            streams: connection.load(),
            limit: match connection.lifecycle() {
                Lifecycle::Connecting { expected } => expected,
                _ => connection.limit,
            },
        }
    }

    /// Counts slots by state, by walking the tables.
    pub(crate) fn stats(&self) -> SlotStats {
        let mut stats = SlotStats::default();
        for connection in self.tables.iter().flat_map(|table| &table.connections) {
            match connection.state() {
                SlotState::Empty => {}
                SlotState::Connecting => stats.connecting += 1,
                SlotState::Available => stats.available += 1,
                SlotState::InUse => stats.in_use += 1,
                SlotState::Suspect => stats.suspect += 1,
                SlotState::Draining => stats.draining += 1,
            }
            stats.streams += connection.load();
        }
        stats.retired = self.tables.iter().map(|table| table.retired).sum();
        let live: u32 = self.tables.iter().map(Table::live).sum();
        stats.empty = (self.tables.len() * self.per_backend) as u32 - live - stats.retired;
        stats
    }

    /// Returns the indices of those slots of a backend that were dialled.
    pub(crate) fn range(&self, backend: BackendId) -> core::ops::Range<usize> {
        let start = slot_index(usize::from(backend.0), 0);
        start..start + self.table(backend).connections.len()
    }

    /// Returns the indices of all slots that were dialled.
    pub(crate) fn dialled(&self) -> impl Iterator<Item = usize> {
        (0..self.tables.len()).flat_map(|backend| self.range(backend_id(backend)))
    }
}

mod index_set;
mod recount;
mod simulation;
mod table;
#[cfg(test)]
mod tests;
