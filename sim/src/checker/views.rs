//! Compares the views that an administrator sees with the model: the connections of a backend,
//! their streams, and what could be opened. One backend in some steps, in turn.

use baton::pool::{BackendId, Pool, RequestId, StreamToken, StreamView};

use super::model::{ConnectionPhase, Model, ModelStream, RequestPhase};
use super::{Invariant, Verdict, require};

/// Steps from one comparison to the next.
const EVERY: u64 = 8;

impl Model {
    pub(super) fn compare_views(&self, pool: &Pool) -> Verdict {
        let count = self.backends.len();
        if !self.step.is_multiple_of(EVERY) {
            return Ok(());
        }
        let index = (self.step / EVERY) as usize % (count + 1);
        let backend = BackendId(index as u16);
        if index == count {
            return require(knows_nothing(pool, backend), Invariant::DerivedCounts, || {
                format!("the pool has views of {backend:?}, which is beyond its table")
            });
        }
        let slots = || self.slots_of(index);
        let exists = |slot: &usize| self.connections[*slot].phase != ConnectionPhase::Gone;
        let own: Vec<_> = slots().filter(exists).map(|slot| self.token(slot)).collect();
        let seen: Vec<_> = pool.connections(backend).collect();
        require(seen == own, Invariant::DerivedCounts, || {
            format!("{backend:?} has the connections {seen:?}, expected {own:?}")
        })?;
        let idle = slots().filter(|slot| self.idle_for(*slot, self.step_at).is_some()).count();
        let room = slots().filter(|slot| self.slot_has_room(*slot));
        let room = room.map(|slot| &self.connections[slot]).map(|it| it.limit - it.load);
        let own = (idle as u32, room.map(u64::from).sum::<u64>());
        let seen = (pool.idle_connections(backend), pool.available_streams(backend));
        require(seen == own, Invariant::DerivedCounts, || {
            format!(
                "{backend:?} has {seen:?} idle connections and streams to open, expected {own:?}"
            )
        })?;
        for slot in slots().filter(exists) {
            let connection = self.token(slot);
            let seen: Vec<_> = pool.streams(connection).collect();
            let own = self.streams_on(slot);
            require(seen == own, Invariant::DerivedCounts, || {
                format!("{connection:?} carries {seen:?}, expected {own:?}")
            })?;
        }
        Ok(())
    }

    /// The requests that a connection carries.
    fn streams_on(&self, slot: usize) -> Vec<StreamView> {
        let connection = self.token(slot);
        let entries = self.streams[self.streams_of(slot)].iter().enumerate();
        let view = |(entry, stream): (usize, &ModelStream)| match *stream {
            ModelStream::Open { ordinal, stream_id, request } => {
                let state = &self.requests[request as usize];
                Some(StreamView {
                    stream: StreamToken { connection, stream: entry as u16, ordinal },
                    stream_id,
                    request: RequestId { index: request, generation: state.generation },
                    response_began: matches!(state.phase, RequestPhase::Responding(_)),
                })
            }
            ModelStream::Resetting { .. } | ModelStream::Free => None,
        };
        entries.filter_map(view).collect()
    }
}

/// True if the pool has no view of a backend.
fn knows_nothing(pool: &Pool, backend: BackendId) -> bool {
    let counts = (pool.idle_connections(backend), pool.available_streams(backend));
    counts == (0, 0)
        && pool.connections(backend).next().is_none()
        && !pool.may_be_used(backend)
        && !pool.is_healthy(backend)
        && pool.backoff_until(backend).is_none()
}
