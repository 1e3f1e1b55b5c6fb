//! The token layer: connection slots, their streams, and the check of every token.
//!
//! All tables have a fixed capacity. A slot gets its row of the stream table when it is first
//! dialled, so that rows that were never needed use no memory pages. The slots of a backend are
//! kept in sets by state, one 64-bit word per set, so that finding a slot takes one instruction.
//! Each backend has twice `connections_per_backend` slots: as many draining and busy connections
//! can be there beside their successors.

use alloc::vec;
use alloc::vec::Vec;

use super::connection::{
    Connection, ConnectionState, DrainCause, Event, Illegal, Lifecycle, SlotState,
};
use super::input::Protocol;
use super::settings::Limits;
use super::stats::SlotStats;
use super::token::{BackendId, ConnectionToken, StreamToken};
#[cfg(any(test, feature = "simulation"))]
use super::transitions::Transitions;
use sets::BackendSlots;

/// The token names something that no longer exists, or never did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale;

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
const NO_ROW: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(crate) struct Slots {
    per_backend: usize,
    connections_max: u32,
    streams_per_connection: usize,
    backends: Vec<BackendSlots>,
    connections: Vec<Connection>,
    /// Rows of `streams_per_connection` entries.
    streams: Vec<StreamEntry>,
    /// Row of each slot, or `NO_ROW`.
    rows: Vec<u32>,
    free_heads: Vec<u16>,
    /// Streams that all dials in progress are expected to provide.
    expected: u64,
    /// Number of slots retired because their generations are used up.
    retired: u32,
    #[cfg(any(test, feature = "simulation"))]
    generation_max: u32,
    #[cfg(any(test, feature = "simulation"))]
    transitions: Transitions,
}

impl Slots {
    pub(crate) fn new(backends: usize, limits: &Limits) -> Self {
        let per_backend = 2 * limits.connections_per_backend;
        assert!(per_backend <= u64::BITS as usize);
        let connections = backends * per_backend;
        let all = u64::MAX >> (u64::BITS as usize - per_backend);
        let streams = connections * limits.streams_per_connection;
        Self {
            per_backend,
            connections_max: limits.connections_per_backend.try_into().expect("at most 32"),
            streams_per_connection: limits.streams_per_connection,
            backends: vec![BackendSlots::new(all); backends],
            connections: vec![Connection::new(); connections],
            streams: Vec::with_capacity(streams),
            rows: vec![NO_ROW; connections],
            free_heads: vec![NO_ENTRY; connections],
            expected: 0,
            retired: 0,
            #[cfg(any(test, feature = "simulation"))]
            generation_max: u32::MAX,
            #[cfg(any(test, feature = "simulation"))]
            transitions: Transitions::default(),
        }
    }

    /// Starts a dial in a free slot. Returns `None` if the limit of connections is reached.
    pub(crate) fn dial(&mut self, backend: BackendId, expected: u32) -> Option<ConnectionToken> {
        if !self.can_dial(backend) {
            return None;
        }
        let slot = self.backends[usize::from(backend.0)].empty.trailing_zeros() as usize;
        let index = usize::from(backend.0) * self.per_backend + slot;
        self.change(index, Event::Dialled { expected }).expect("the slot is empty");
        self.free_heads[index] = 0;
        self.clear_row(index);
        Some(self.token(index))
    }

    /// Frees all streams of a slot. Assigns the slot's row if it has none.
    fn clear_row(&mut self, index: usize) {
        let size = self.streams_per_connection;
        if self.rows[index] == NO_ROW {
            self.rows[index] = (self.streams.len() / size) as u32;
            self.streams.resize(self.streams.len() + size, StreamEntry::Free { next: NO_ENTRY });
        }
        for (entry, stream) in self.row_mut(index).iter_mut().enumerate() {
            let next = if entry + 1 == size { NO_ENTRY } else { entry as u16 + 1 };
            *stream = StreamEntry::Free { next };
        }
    }

    /// Returns the start of a slot's row. The slot must have been dialled.
    fn base(&self, index: usize) -> usize {
        self.rows[index] as usize * self.streams_per_connection
    }

    /// Returns the streams of a slot. The slot must have been dialled.
    fn row(&self, index: usize) -> &[StreamEntry] {
        let base = self.base(index);
        &self.streams[base..base + self.streams_per_connection]
    }

    fn row_mut(&mut self, index: usize) -> &mut [StreamEntry] {
        let base = self.base(index);
        &mut self.streams[base..base + self.streams_per_connection]
    }

    /// True if the backend may have one more connection and has a slot for it.
    pub(crate) fn can_dial(&self, backend: BackendId) -> bool {
        self.backends[usize::from(backend.0)].empty != 0 && self.has_place(backend)
    }

    /// True if the backend may have one more connection that gets requests.
    pub(crate) fn has_place(&self, backend: BackendId) -> bool {
        self.backends[usize::from(backend.0)].active() < self.connections_max
    }

    /// Marks a dial as established and sets the limit of the connection.
    pub(crate) fn establish(
        &mut self,
        token: ConnectionToken,
        protocol: Protocol,
        max_streams: Option<u32>,
    ) -> Result<(), Illegal> {
        let index = self.find(token).map_err(|Stale| Illegal)?;
        let connection = &mut self.connections[index];
        if !matches!(connection.lifecycle(), Lifecycle::Connecting { .. }) {
            return Err(Illegal);
        }
        connection.protocol = protocol;
        connection.set_limit(max_streams, self.streams_per_connection as u32);
        self.change(index, Event::Established)
    }

    /// Reserves a stream on the backend's first connection with capacity. First fit keeps the load
    /// on few connections, so that the others can become idle after a burst.
    pub(crate) fn acquire(&mut self, backend: BackendId, request: u32) -> Option<StreamToken> {
        let available = self.backends[usize::from(backend.0)].available;
        if available == 0 {
            return None;
        }
        let slot = available.trailing_zeros() as usize;
        let index = usize::from(backend.0) * self.per_backend + slot;
        let ordinal = self.connections[index].opened;
        let entry = self.free_heads[index];
        assert_ne!(entry, NO_ENTRY, "a connection below its limit has a free entry");
        let place = self.base(index) + usize::from(entry);
        let StreamEntry::Free { next } = self.streams[place] else {
            unreachable!("the head of the free list is free")
        };
        self.change(index, Event::Reserved).expect("an available connection takes a stream");
        self.free_heads[index] = next;
        self.streams[place] = StreamEntry::Open { ordinal, stream_id: 0, request };
        Some(StreamToken { connection: self.token(index), stream: entry, ordinal })
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
    pub(crate) fn get(&self, token: StreamToken) -> Result<StreamEntry, Stale> {
        Ok(self.streams[self.place(token)?])
    }

    /// Returns the entry that a stream token names, to set the stream identifier.
    pub(crate) fn get_mut(&mut self, token: StreamToken) -> Result<&mut StreamEntry, Stale> {
        let place = self.place(token)?;
        Ok(&mut self.streams[place])
    }

    /// Marks the stream as reset by order. It counts as load until the reset is on the wire.
    pub(crate) fn set_resetting(&mut self, token: StreamToken) -> Result<(), Stale> {
        let place = self.place(token)?;
        self.streams[place] = StreamEntry::Resetting { ordinal: token.ordinal };
        Ok(())
    }

    /// Releases a stream. With `keep` false its connection gets no further streams.
    pub(crate) fn release(&mut self, token: StreamToken, keep: bool) -> Result<(), Stale> {
        let place = self.place(token)?;
        let index = self.index(token.connection);
        self.streams[place] = StreamEntry::Free { next: self.free_heads[index] };
        self.free_heads[index] = token.stream;
        self.change(index, Event::Released).expect("a live stream is part of the load");
        if !keep && self.connections[index].lifecycle().may_take_streams() {
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
        let before = self.connections[index].clone();
        let cap = self.streams_per_connection as u32;
        self.connections[index].set_limit(Some(max_streams), cap);
        self.sort(index, before.exact_state());
    }

    /// Marks a dial as slow: no request counts on it any more.
    pub(crate) fn expect_nothing(&mut self, token: ConnectionToken) {
        let index = self.find(token).expect("the caller looked it up");
        self.expected -= expected(&self.connections[index]);
        self.connections[index].expect_nothing();
    }

    /// Marks all dials of a backend as slow: no request counts on them any more.
    pub(crate) fn expect_nothing_of(&mut self, backend: BackendId) {
        for index in self.range(backend) {
            self.expected -= expected(&self.connections[index]);
            self.connections[index].expect_nothing();
        }
    }

    /// Empties every slot at once. All tokens are stale from here on.
    pub(crate) fn close_all(&mut self) {
        for index in 0..self.connections.len() {
            let before = self.connections[index].exact_state();
            self.expected -= expected(&self.connections[index]);
            if before != ConnectionState::Empty {
                self.connections[index].vacate();
                self.sort(index, before);
            }
        }
        assert_eq!(self.expected, 0);
    }

    fn change(&mut self, index: usize, event: Event) -> Result<(), Illegal> {
        let connection = &mut self.connections[index];
        let before = (connection.exact_state(), expected(connection));
        connection.apply(event)?;
        #[cfg(any(test, feature = "simulation"))]
        self.transitions.note(before.0, event);
        self.expected = self.expected - before.1 + expected(connection);
        self.sort(index, before.0);
        Ok(())
    }

    fn sort(&mut self, index: usize, before: ConnectionState) {
        let after = self.connections[index].exact_state();
        if after == before {
            return;
        }
        let generation_max = self.generation_max();
        let bit = 1_u64 << (index % self.per_backend);
        let slots = &mut self.backends[index / self.per_backend];
        let from = slots.set(before);
        assert!(*from & bit != 0, "a slot is in the set of its state");
        *from &= !bit;
        if after == ConnectionState::Empty && self.connections[index].generation >= generation_max {
            self.retired += 1;
            return;
        }
        *slots.set(after) |= bit;
    }

    /// Returns the slot index that a token names, or `Stale` if its generation is over.
    pub(crate) fn find(&self, token: ConnectionToken) -> Result<usize, Stale> {
        let known = usize::from(token.backend.0) < self.backends.len()
            && usize::from(token.slot) < self.per_backend;
        if !known {
            return Err(Stale);
        }
        let index = self.index(token);
        let connection = &self.connections[index];
        let live = connection.lifecycle() != Lifecycle::Empty;
        if live && connection.generation == token.generation { Ok(index) } else { Err(Stale) }
    }

    /// Returns the slot index of a token that is known to be current.
    pub(crate) fn index(&self, token: ConnectionToken) -> usize {
        usize::from(token.backend.0) * self.per_backend + usize::from(token.slot)
    }

    fn place(&self, token: StreamToken) -> Result<usize, Stale> {
        let index = self.find(token.connection)?;
        if usize::from(token.stream) >= self.streams_per_connection {
            return Err(Stale);
        }
        let place = self.base(index) + usize::from(token.stream);
        match self.streams[place] {
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
        let index = self.find(token).ok()?;
        let entries = &self.row(index)[start..];
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
        ConnectionToken {
            backend: BackendId((index / self.per_backend) as u16),
            slot: (index % self.per_backend) as u16,
            generation: self.connections[index].generation,
        }
    }

    pub(crate) fn connection(&self, index: usize) -> &Connection {
        &self.connections[index]
    }

    /// Returns a connection, to change fields that do not affect its state.
    pub(crate) fn connection_mut(&mut self, index: usize) -> &mut Connection {
        &mut self.connections[index]
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn has_capacity(&self, backend: BackendId) -> bool {
        self.backends[usize::from(backend.0)].available != 0
    }

    pub(crate) fn is_connecting(&self, backend: BackendId) -> bool {
        self.backends[usize::from(backend.0)].connecting != 0
    }

    /// True if the backend has a dial that no request counts on: a slow one, or one made by
    /// fail-open.
    pub(crate) fn has_slow_dial(&self, backend: BackendId) -> bool {
        let slow = |connection: &Connection| {
            connection.state() == SlotState::Connecting && expected(connection) == 0
        };
        self.is_connecting(backend) && self.of(backend).iter().any(slow)
    }

    pub(crate) fn expected_streams(&self) -> u64 {
        self.expected
    }

    /// Number of connections and dials of a backend.
    pub(crate) fn count(&self, backend: BackendId) -> u32 {
        self.backends[usize::from(backend.0)].live()
    }

    /// Number of ready connections of a backend that carry no stream.
    pub(crate) fn count_idle(&self, backend: BackendId) -> u32 {
        let idle = |connection: &&Connection| {
            connection.lifecycle() == Lifecycle::Ready && connection.load() == 0
        };
        self.of(backend).iter().filter(idle).count() as u32
    }

    /// Number of streams that could be opened on a backend's connections now.
    pub(crate) fn total_available_streams(&self, backend: BackendId) -> u64 {
        self.of(backend).iter().map(|connection| u64::from(connection.capacity())).sum()
    }

    fn of(&self, backend: BackendId) -> &[Connection] {
        let start = usize::from(backend.0) * self.per_backend;
        &self.connections[start..start + self.per_backend]
    }

    /// Counts slots by state, by walking the tables.
    pub(crate) fn stats(&self) -> SlotStats {
        let mut stats = SlotStats { retired: self.retired, ..SlotStats::default() };
        for connection in &self.connections {
            match connection.state() {
                SlotState::Empty => stats.empty += 1,
                SlotState::Connecting => stats.connecting += 1,
                SlotState::Available => stats.available += 1,
                SlotState::InUse => stats.in_use += 1,
                SlotState::Suspect => stats.suspect += 1,
                SlotState::Draining => stats.draining += 1,
            }
            stats.streams += connection.load();
        }
        stats.empty -= self.retired;
        stats
    }

    /// Returns the indices of a backend's slots.
    pub(crate) fn range(&self, backend: BackendId) -> core::ops::Range<usize> {
        let start = usize::from(backend.0) * self.per_backend;
        start..start + self.per_backend
    }
}

fn expected(connection: &Connection) -> u64 {
    match connection.lifecycle() {
        Lifecycle::Connecting { expected } => u64::from(expected),
        Lifecycle::Empty
        | Lifecycle::Ready
        | Lifecycle::Suspect
        | Lifecycle::Busy
        | Lifecycle::Draining(_) => 0,
    }
}

mod recount;
mod sets;
mod simulation;
#[cfg(test)]
mod tests;
