//! The state of a worker at one moment, for the admin interface. Workers share no state, so it is a
//! copy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metrics::{BackendMetrics, ClusterMetrics, WorkerMetrics};
use crate::pool::{BackendState, Counters, SlotState, StateCause};

/// The state of one worker at one moment.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// The worker's counters that belong to no cluster.
    pub metrics: WorkerMetrics,
    /// The worker's clusters.
    pub clusters: Vec<ClusterSnapshot>,
}

/// The state of one worker's pool for one cluster, at one moment. The JSON leaves out the counters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterSnapshot {
    /// The cluster's name.
    #[serde(rename = "cluster")]
    pub name: String,
    /// True if the pool is fail-open: it ignores health because too few backends are healthy.
    pub fail_open: bool,
    /// The pool's requests.
    pub requests: RequestsNow,
    /// The pool's connections and dials.
    pub connections: ConnectionsNow,
    /// The number of streams that are reserved, open, or reset but not yet on the wire.
    pub streams: u32,
    /// The cluster's backends.
    pub backends: Vec<BackendSnapshot>,
    /// The pool's counters.
    #[serde(skip)]
    pub counters: Counters,
    /// The cluster's counters.
    #[serde(skip)]
    pub metrics: ClusterMetrics,
}

/// The requests of a pool, at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RequestsNow {
    /// Requests that wait or are in flight.
    pub live: u32,
    /// Those that wait for a stream.
    pub waiting: u32,
    /// Those waiting for a place in the retry budget. Earlier versions do not say it.
    #[serde(default)]
    pub deferred: u32,
    /// Those on a further attempt, or waiting for a connection for one.
    pub retrying: u32,
}

/// The connections of a pool by [`SlotState`], at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ConnectionsNow {
    /// Dials.
    pub connecting: u32,
    /// Connections below their limit of streams.
    pub available: u32,
    /// Connections at or above their limit of streams.
    pub in_use: u32,
    /// Silent connections with an unanswered PING.
    pub suspect: u32,
    /// Connections that get no new streams.
    pub draining: u32,
    /// Slots whose generations are used up.
    pub retired_slots: u32,
}

/// The state of one backend in one worker's pool, at one moment. The JSON leaves out the counters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendSnapshot {
    /// The backend's URL.
    #[serde(rename = "backend")]
    pub name: String,
    /// The backend's counters.
    #[serde(skip)]
    pub metrics: BackendMetrics,
    /// True if the backend is in service and healthy.
    pub healthy: bool,
    /// True if requests may go to the backend.
    pub usable: bool,
    /// The backend's state.
    pub state: BackendState,
    /// Time since the state last changed, in milliseconds.
    pub state_ms: u64,
    /// The cause of the last change of state.
    pub cause: StateCause,
    /// The last health check that failed.
    pub last_health_check_failure: Option<LastHealthCheckFailure>,
    /// The backend's weight.
    pub weight: u16,
    /// Time until the backend may be dialled again, in milliseconds; `None` without backoff.
    pub backoff_ms: Option<u64>,
    /// The number of streams that could be opened now.
    pub available_streams: u64,
    /// The backend's connections and dials.
    pub connections: Vec<ConnectionSnapshot>,
}

/// A health check that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastHealthCheckFailure {
    /// The reason.
    pub reason: String,
    /// The time since, in milliseconds.
    pub ago_ms: u64,
}

/// A connection or dial, at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectionSnapshot {
    /// The connection's name, as in the log.
    pub connection: String,
    /// The connection's slot among those of the backend.
    pub slot: u16,
    /// The generation of the slot.
    pub generation: u32,
    /// The state of the connection or dial.
    pub state: SlotState,
    /// The number of streams that are reserved, open, or reset but not yet on the wire.
    pub streams: u32,
    /// The limit of streams; for a dial, the expected limit.
    pub limit: u32,
}

/// Converts to whole milliseconds, for replies.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
