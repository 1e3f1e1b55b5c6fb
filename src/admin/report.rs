//! The JSON replies to orders about a backend: written by the admin interface, read by `baton
//! drain`, `baton undrain` and `baton weight`.

use serde::{Deserialize, Serialize};

use crate::pool::BackendState;
use crate::proxy::operator::{Named, WorkerReport};

/// The reply to `/drain`, `/undrain` and `/weight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The cluster of the backend.
    pub cluster: String,
    /// The backend's URL.
    pub backend: String,
    /// The backend's state, as in `/pools`; `mixed` if workers differ.
    pub state: String,
    /// The backend's weight; the least if workers differ.
    pub weight: u16,
    /// True if the order changed anything.
    pub changed: bool,
    /// Time until the remaining requests are cut, in milliseconds; `null` unless an operator drains
    /// the backend.
    pub deadline_ms: Option<u64>,
    /// The number of connections and dials.
    pub connections: usize,
    /// The number of requests on them.
    pub streams: usize,
    /// The number of requests that the deadline of the current drain cut.
    pub cut: u64,
    /// Effects that an operator may not expect.
    pub warnings: Vec<String>,
    /// The report of each worker, by number.
    pub workers: Vec<WorkerReport>,
}

/// The reply to an order that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason.
    pub error: String,
    /// All backends, the most similar to the requested one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Named>,
}

impl Report {
    /// True if every worker answered and none has a connection to the backend.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.connections == 0 && self.silent().next().is_none()
    }

    /// True if no worker that answered gives the backend new requests.
    #[must_use]
    pub fn is_out(&self) -> bool {
        let mut states = self.workers.iter().filter_map(|worker| worker.state);
        states.all(|state| matches!(state, BackendState::Draining | BackendState::Removed))
    }

    /// The workers that did not answer.
    pub fn silent(&self) -> impl Iterator<Item = usize> + '_ {
        self.workers.iter().filter(|worker| !worker.answered).map(|worker| worker.worker)
    }
}
