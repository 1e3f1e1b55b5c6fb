//! Views of a pool: its counts, which stream of a backend carries which request, and the deadline
//! of a shutdown. The getters walk the tables: use them for the admin API, not for every request.

use super::slots::StreamEntry;
use super::stats::{SlotView, Stats, StreamView};
use super::timer::Timer;
use super::token::{BackendId, ConnectionToken, StreamToken};
use super::{Instant, Pool, SlotState};

impl Pool {
    /// Returns a snapshot. It walks the tables, so do not call it for every request.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            slots: self.slots.stats(),
            requests: self.requests.live(),
            waiting: self.waiting.len() as u32,
            deferred: self.deferred.len() as u32,
            retrying: self.retrying,
            counters: self.counters,
        }
    }

    /// Returns a slot, or `None` if an index is out of bounds.
    #[must_use]
    pub fn slot(&self, backend: BackendId, slot: u16) -> Option<SlotView> {
        let known = usize::from(backend.0) < self.backends.len()
            && usize::from(slot) < self.slots.per_backend();
        known.then(|| self.slots.view(backend, slot))
    }

    /// Returns the state of a slot, or `None` if an index is out of bounds.
    #[must_use]
    pub fn slot_state(&self, backend: BackendId, slot: u16) -> Option<SlotState> {
        self.slot(backend, slot).map(|slot| slot.state)
    }

    /// Returns the number of ready connections of a backend that carry no stream.
    #[must_use]
    pub fn idle_connections(&self, backend: BackendId) -> u32 {
        if usize::from(backend.0) < self.backends.len() {
            self.slots.count_idle(backend)
        } else {
            0
        }
    }

    /// Returns the connections and dials of a backend, by slot; none if there is no such backend.
    pub fn connections(&self, backend: BackendId) -> impl Iterator<Item = ConnectionToken> + '_ {
        let known = usize::from(backend.0) < self.backends.len();
        let slots = if known { self.slots.range(backend) } else { 0..0 };
        let live = slots.filter(|slot| self.slots.connection(*slot).state() != SlotState::Empty);
        live.map(|slot| self.slots.token(slot))
    }

    /// Returns the requests that a connection carries; none if the token is stale. Streams that are
    /// being reset are left out, though they still count as load.
    pub fn streams(&self, connection: ConnectionToken) -> impl Iterator<Item = StreamView> + '_ {
        let mut start = Some(0);
        core::iter::from_fn(move || {
            while let Some((stream, entry)) = self.slots.next_stream(connection, start?) {
                // The last entry of the table has no successor.
                let next = usize::from(stream.stream) + 1;
                start = (next < self.config.limits.streams_per_connection).then_some(next);
                if let StreamEntry::Open { stream_id, request, .. } = entry {
                    let response_began = self.requests.get(request).response_began();
                    let request = self.requests.id(request);
                    return Some(StreamView { stream, stream_id, request, response_began });
                }
            }
            start = None;
            None
        })
    }

    /// Returns the deadline of the shutdown; `None` before a shutdown was requested and after its
    /// end.
    #[must_use]
    pub fn shutdown_deadline(&self) -> Option<Instant> {
        self.timers.armed(Timer::Shutdown)
    }

    /// True if the pool has ordered to open the stream, has no report that it was opened, and has
    /// not given it up since. Ask before the request is sent: what was sent cannot be taken back.
    #[must_use]
    pub fn is_to_be_opened(&self, stream: StreamToken) -> bool {
        matches!(self.slots.get(stream), Ok(StreamEntry::Open { stream_id: 0, .. }))
    }

    /// True if the token still names a connection or a dial.
    #[must_use]
    pub fn is_current(&self, connection: ConnectionToken) -> bool {
        self.slots.find(connection).is_ok()
    }
}
