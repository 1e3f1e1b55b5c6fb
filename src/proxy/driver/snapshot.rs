//! Copies the state of the pool and the metrics, for the admin interface.

use super::Driver;
use crate::pool::{ConnectionToken, Pool, SlotView, Stats};
use crate::proxy::backends::BackendEntry;
use crate::proxy::snapshot::{
    BackendSnapshot, ClusterSnapshot, ConnectionSnapshot, ConnectionsNow, LastHealthCheckFailure,
    RequestsNow, milliseconds,
};

impl Driver {
    /// Returns the present state of the pool and the metrics.
    pub fn snapshot(&self) -> ClusterSnapshot {
        let (pool, backends) = (&self.core.borrow().pool, self.backends.borrow());
        let backends = backends.iter().filter_map(|backend| self.backend_snapshot(pool, backend));
        let Stats { slots, requests: live, waiting, deferred, retrying, counters } = pool.stats();
        ClusterSnapshot {
            name: self.cluster.to_string(),
            fail_open: pool.is_fail_open(),
            requests: RequestsNow { live, waiting, deferred, retrying },
            connections: ConnectionsNow {
                connecting: slots.connecting,
                available: slots.available,
                in_use: slots.in_use,
                suspect: slots.suspect,
                draining: slots.draining,
                retired_slots: slots.retired,
            },
            streams: slots.streams,
            backends: backends.collect(),
            counters,
            metrics: self.metrics.borrow().clone(),
        }
    }

    fn backend_snapshot(&self, pool: &Pool, backend: &BackendEntry) -> Option<BackendSnapshot> {
        let (id, now) = (backend.token.backend, self.now());
        let view = pool.backend(id)?;
        let connection = |token: ConnectionToken| {
            let SlotView { state, streams, limit, .. } = pool.slot(id, token.slot)?;
            let (connection, ConnectionToken { slot, generation, .. }) = (token.to_string(), token);
            Some(ConnectionSnapshot { connection, slot, generation, state, streams, limit })
        };
        let backoff = pool.backoff_until(id).map(|until| until.since(now));
        let failure = self.health_checks.failure(backend.token);
        Some(BackendSnapshot {
            name: backend.name.to_string(),
            metrics: self.metrics.borrow().of_backend(backend.token),
            healthy: pool.is_healthy(id),
            usable: pool.may_be_used(id),
            state: view.state,
            state_ms: milliseconds(now.since(view.since)),
            cause: view.cause,
            last_health_check_failure: failure.map(|failure| LastHealthCheckFailure {
                reason: failure.reason.to_string(),
                ago_ms: milliseconds(now.since(failure.at)),
            }),
            weight: view.weight,
            backoff_ms: backoff.map(milliseconds),
            available_streams: pool.available_streams(id),
            connections: pool.connections(id).filter_map(connection).collect(),
        })
    }
}
