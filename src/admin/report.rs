//! What the admin interface answers to orders about a backend, as JSON: written by the proxy, read by
//! `baton drain` and its like.

use serde::{Deserialize, Serialize};

use crate::proxy::operator::{CutStream, HeldConnection, Named};

/// The answer to `/drain`, `/undrain` and `/weight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The cluster of the backend.
    pub cluster: String,
    /// Its URL.
    pub backend: String,
    /// Its state, as in `/pools`; `mixed` if workers disagree.
    pub state: String,
    /// Its weight; the least if workers disagree.
    pub weight: u16,
    /// Whether the order changed anything.
    pub changed: bool,
    /// How long until what is left is cut, in milliseconds; `null` unless an operator drains it.
    pub deadline_ms: Option<u64>,
    /// How many connections and dials there are.
    pub connections: usize,
    /// How many requests they carry.
    pub streams: usize,
    /// How many requests the deadline of the present drain cut.
    pub cut: u64,
    /// What an operator may not expect.
    pub warnings: Vec<String>,
    /// What each worker says, by number.
    pub workers: Vec<WorkerReport>,
}

/// What one worker says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its number.
    pub worker: usize,
    /// Whether it answered within a second. If not, it carries the order out as soon as it can, and
    /// nothing else is known of it.
    pub answered: bool,
    /// The state of the backend there; `null` too if it is gone from there already.
    pub state: Option<String>,
    /// For how long, in milliseconds.
    pub state_ms: Option<u64>,
    /// Why.
    pub cause: Option<String>,
    /// The connections that it has there.
    pub connections: Vec<HeldConnection>,
    /// What the deadline cut, as far as it is kept.
    pub cut: Vec<CutStream>,
}

/// An answer that says why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub error: String,
    /// The backends that there are, the one that was most likely meant first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Named>,
}

impl Report {
    /// Whether every worker says that nothing holds the backend.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.connections == 0 && self.silent().next().is_none()
    }

    /// Whether no worker gives it new requests, as far as they answered.
    #[must_use]
    pub fn is_out(&self) -> bool {
        let states = self.workers.iter().filter_map(|worker| worker.state.as_deref());
        states.into_iter().all(|state| state == "draining" || state == "leaving")
    }

    /// The workers that did not answer.
    pub fn silent(&self) -> impl Iterator<Item = usize> + '_ {
        self.workers.iter().filter(|worker| !worker.answered).map(|worker| worker.worker)
    }
}
