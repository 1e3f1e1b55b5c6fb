//! The table of live requests: `Waiting` → `Sent` → `Responding` → exactly one outcome. A request
//! whose attempt has failed may be `Deferred` before it is `Waiting` again.

use alloc::vec::Vec;

use super::slots::Stale;
use super::time::Instant;
use super::token::{BackendId, BackendToken, RequestId, StreamToken};

/// Upload of a request: done once the whole request was passed to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// The client sends. `blocked` is true while the backend takes no more.
    Open {
        blocked: bool,
    },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestState {
    /// No request is at this index. `next` is the next free index, or `NO_REQUEST`.
    Free { next: u32 },
    /// Waits for a stream of any backend it may use.
    Waiting,
    /// Waits for a place in the retry budget.
    Deferred,
    /// Given to a connection. `since` is when the upload was done, or when the stream was ordered.
    Sent { stream: StreamToken, upload: Upload, since: Instant },
    /// A response byte went to the client.
    Responding { stream: StreamToken, upload: Upload },
}

/// A failure of a backend that the request may have caused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    pub(crate) backend: BackendToken,
    /// True if it counts once another backend answers. A failure whose retry had to wait was judged
    /// at once.
    pub(crate) is_open: bool,
}

const NO_REQUEST: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestEntry {
    generation: u32,
    pub(crate) state: RequestState,
    pub(crate) idempotent: bool,
    pub(crate) has_body: bool,
    pub(crate) replayable: bool,
    pub(crate) attempts: u8,
    /// Arrival number: the lowest is served first.
    pub(crate) arrival: u64,
    /// The backend of the last failed attempt.
    pub(crate) avoid: Option<BackendId>,
    /// The last failure that the request may have caused.
    pub(crate) doubt: Option<Doubt>,
    /// True if an attempt was lost on a stale connection: the next one needs a connection that is
    /// surely alive.
    pub(crate) needs_live: bool,
    /// Response-head deadline; set when the request was first sent whole.
    pub(crate) deadline: Option<Instant>,
}

impl RequestEntry {
    /// An entry that was never used.
    const VACANT: Self = Self {
        generation: 0,
        state: RequestState::Free { next: NO_REQUEST },
        idempotent: false,
        has_body: false,
        replayable: false,
        attempts: 0,
        arrival: 0,
        avoid: None,
        doubt: None,
        needs_live: false,
        deadline: None,
    };

    /// Returns the stream that carries the request now.
    pub(crate) fn stream(&self) -> Option<StreamToken> {
        match self.state {
            RequestState::Free { .. } | RequestState::Waiting | RequestState::Deferred => None,
            RequestState::Sent { stream, .. } | RequestState::Responding { stream, .. } => {
                Some(stream)
            }
        }
    }

    /// Returns when the request was sent whole, or given to a connection; `None` unless it waits
    /// for its response.
    pub(crate) fn sent_at(&self) -> Option<Instant> {
        match self.state {
            RequestState::Sent { since, .. } => Some(since),
            RequestState::Free { .. }
            | RequestState::Waiting
            | RequestState::Deferred
            | RequestState::Responding { .. } => None,
        }
    }

    /// True if a response byte went to the client.
    pub(crate) fn response_began(&self) -> bool {
        match self.state {
            RequestState::Free { .. }
            | RequestState::Waiting
            | RequestState::Deferred
            | RequestState::Sent { .. } => false,
            RequestState::Responding { .. } => true,
        }
    }

    /// True if the request counts against the retry budget: until its response begins, which may
    /// then go on for hours.
    pub(crate) fn is_retrying(&self) -> bool {
        match self.state {
            RequestState::Free { .. }
            | RequestState::Deferred
            | RequestState::Responding { .. } => false,
            RequestState::Waiting => self.attempts >= 1,
            RequestState::Sent { .. } => self.attempts >= 2,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Requests {
    /// Entries that were used at least once. Unused entries have capacity, but use no memory pages.
    entries: Vec<RequestEntry>,
    capacity: u32,
    free: u32,
    live: u32,
    arrivals: u64,
}

impl Requests {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = u32::try_from(capacity).expect("checked by the configuration");
        let entries = Vec::with_capacity(capacity as usize);
        Self { entries, capacity, free: NO_REQUEST, live: 0, arrivals: 0 }
    }

    /// Adds a new request as waiting. Returns `None` if the table is full.
    pub(crate) fn insert(&mut self, idempotent: bool, has_body: bool) -> Option<RequestId> {
        if self.free == NO_REQUEST {
            if self.entries.len() == self.capacity as usize {
                return None;
            }
            self.free = self.entries.len() as u32;
            self.entries.push(RequestEntry::VACANT);
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        let RequestState::Free { next } = entry.state else {
            unreachable!("the head of the free list is free")
        };
        self.free = next;
        self.live += 1;
        self.arrivals += 1;
        *entry = RequestEntry {
            generation: entry.generation + 1,
            state: RequestState::Waiting,
            idempotent,
            has_body,
            replayable: true,
            arrival: self.arrivals,
            ..RequestEntry::VACANT
        };
        Some(RequestId { index, generation: entry.generation })
    }

    /// Frees the index of an ended request. An index whose generations are used up is retired.
    pub(crate) fn remove(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        assert!(!matches!(entry.state, RequestState::Free { .. }), "a request ends once");
        let retired = entry.generation == u32::MAX;
        entry.state = RequestState::Free { next: if retired { NO_REQUEST } else { self.free } };
        if !retired {
            self.free = index;
        }
        self.live -= 1;
    }

    /// Returns the index that an id names, or `Stale`.
    pub(crate) fn find(&self, id: RequestId) -> Result<u32, Stale> {
        let entry = self.entries.get(id.index as usize).ok_or(Stale)?;
        let live = !matches!(entry.state, RequestState::Free { .. });
        if live && entry.generation == id.generation { Ok(id.index) } else { Err(Stale) }
    }

    pub(crate) fn id(&self, index: u32) -> RequestId {
        RequestId { index, generation: self.entries[index as usize].generation }
    }

    pub(crate) fn get(&self, index: u32) -> &RequestEntry {
        let request = &self.entries[index as usize];
        assert!(!matches!(request.state, RequestState::Free { .. }), "the request is live");
        request
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut RequestEntry {
        let request = &mut self.entries[index as usize];
        assert!(!matches!(request.state, RequestState::Free { .. }), "the request is live");
        request
    }

    /// Returns the request at an index, if one is live there.
    pub(crate) fn peek(&self, index: u32) -> Option<&RequestEntry> {
        let request = self.entries.get(index as usize)?;
        (!matches!(request.state, RequestState::Free { .. })).then_some(request)
    }

    /// Returns the index of the first live request at or after `start`.
    pub(crate) fn next_live(&self, start: u32) -> Option<u32> {
        let from = self.entries.get(start as usize..)?;
        let found = from
            .iter()
            .zip(start..)
            .find(|(entry, _)| !matches!(entry.state, RequestState::Free { .. }));
        found.map(|(_, index)| index)
    }

    pub(crate) fn live(&self) -> u32 {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_full_exactly_at_its_capacity() {
        let mut requests = Requests::new(2);
        let first = requests.insert(true, false).expect("not full");
        assert!(requests.insert(true, false).is_some());
        assert_eq!(requests.insert(true, false), None);
        requests.remove(first.index);
        assert_eq!(requests.live(), 1);
        assert!(requests.insert(true, false).is_some());
    }

    #[test]
    fn an_index_that_was_never_used_is_neither_live_nor_known() {
        let mut requests = Requests::new(4);
        let first = requests.insert(true, false).expect("not full");
        assert_eq!(requests.next_live(0), Some(first.index));
        for index in 1..6 {
            assert_eq!(requests.next_live(index), None);
            assert!(requests.peek(index).is_none());
            assert_eq!(requests.find(RequestId { index, generation: 0 }), Err(Stale));
        }
    }

    #[test]
    fn an_id_is_stale_after_its_end_and_out_of_range() {
        let mut requests = Requests::new(1);
        let id = requests.insert(true, false).expect("not full");
        assert_eq!(requests.find(id), Ok(0));
        requests.remove(0);
        assert_eq!(requests.find(id), Err(Stale));
        let next = requests.insert(false, true).expect("not full");
        assert_eq!(next.index, id.index);
        assert_eq!(requests.find(id), Err(Stale));
        assert_eq!(requests.find(next), Ok(0));
        assert_eq!(requests.find(RequestId { index: 9, generation: 1 }), Err(Stale));
    }

    #[test]
    fn a_used_up_generation_retires_the_index() {
        let mut requests = Requests::new(1);
        requests.entries.push(RequestEntry { generation: u32::MAX - 1, ..RequestEntry::VACANT });
        requests.free = 0;
        let id = requests.insert(true, false).expect("one generation is left");
        requests.remove(id.index);
        assert_eq!(requests.insert(true, false), None);
    }
}
