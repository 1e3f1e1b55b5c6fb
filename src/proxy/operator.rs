//! An operator's queries and orders about a backend, and a worker's replies: which connections and
//! requests the backend still has, and which requests the drain deadline cut.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::CUT_REQUESTS_LISTED_MAX;
use crate::pool::{BackendState, SlotState, StateCause};

/// Selects a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The name of the cluster; needed only if several clusters have such a backend.
    pub cluster: Option<String>,
    /// The backend's URL, or its host and port.
    pub backend: String,
}

/// An operator's order about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Report the backend's state only.
    Show,
    /// Open no new streams; let the open ones finish.
    Drain {
        /// The time after which the remaining streams are cut; the cluster's `timeouts.drain` if
        /// `None`. For a backend that is already draining, an earlier deadline applies and a later
        /// one is ignored.
        within: Option<Duration>,
    },
    /// Return the backend to service.
    Undrain,
    /// Set the weight, 1 to [`WEIGHT_MAX`](crate::pool::limits::WEIGHT_MAX).
    Weight(u16),
}

/// A worker's reply to an order.
#[derive(Clone, Debug)]
pub enum Found {
    /// The order was carried out.
    One(Named, WorkerReport),
    /// No backend matches; these exist.
    None(Vec<Named>),
    /// Several backends match; nothing was done.
    Several(Vec<Named>),
}

/// The names that identify a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Named {
    /// The name of the cluster.
    pub cluster: String,
    /// The backend's URL.
    pub backend: String,
}

/// The state of one backend on one worker, at one moment. The JSON leaves out what the reply of the
/// admin interface sums up over the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The number of the worker.
    pub worker: usize,
    /// True if the worker answered in time. A worker that did not carries the order out as soon as
    /// it can; nothing else is known of it.
    pub answered: bool,
    /// The backend's state on this worker; `null` also if the worker has already freed the backend.
    pub state: Option<BackendState>,
    /// Time since the state last changed, in milliseconds.
    pub state_ms: Option<u64>,
    /// The cause of the last change of state.
    pub cause: Option<StateCause>,
    /// The backend's connections and dials.
    pub connections: Vec<HeldConnection>,
    /// The requests that the deadline of the present drain cut, at most
    /// [`CUT_REQUESTS_LISTED_MAX`].
    pub cut: Vec<CutStream>,
    /// The number of all requests that the deadline of the present drain cut.
    #[serde(skip)]
    pub cut_total: u64,
    /// The backend's weight.
    #[serde(skip)]
    pub weight: u16,
    /// True if the cluster's strategy uses weights.
    #[serde(skip)]
    pub weights_count: bool,
    /// The number of other backends of the cluster that requests may go to.
    #[serde(skip)]
    pub others: usize,
    /// True if the order changed anything.
    #[serde(skip)]
    pub changed: bool,
    /// Time until the drain deadline, in milliseconds; `None` if no operator drains the backend.
    #[serde(skip)]
    pub deadline_ms: Option<u64>,
}

/// A connection to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldConnection {
    /// The connection's name, as in the log.
    pub connection: String,
    /// The connection's state, as in `/pools`.
    pub state: SlotState,
    /// The requests on the connection.
    pub streams: Vec<HeldStream>,
    /// Streams that were reset and are not closed yet.
    pub resetting: u32,
}

/// A request on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStream {
    /// The stream identifier (RFC 9113, 5.1.1); a running number over HTTP/1.1; 0 if the request is
    /// not sent yet.
    pub stream: u32,
    /// Time since the stream was opened, in milliseconds.
    pub age_ms: u64,
    /// The request's method.
    pub method: String,
    /// The request's path and query, shortened if it is long.
    pub path: String,
    /// True if the response head went to the client.
    pub response_begun: bool,
}

/// A request that a drain deadline or a shutdown cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutStream {
    /// The connection's name, as in the log.
    pub connection: String,
    /// The request at the time of the cut.
    #[serde(flatten)]
    pub stream: HeldStream,
    /// True if the request is retried, unnoticed by its client.
    pub retried: bool,
}

/// The requests that the deadline of one backend's drain has cut.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    /// The requests that were cut, at most [`CUT_REQUESTS_LISTED_MAX`].
    pub cut: Vec<CutStream>,
    /// The number of all requests that were cut.
    pub cut_total: u64,
}

impl Cuts {
    /// Adds a request that was cut.
    pub fn note(&mut self, cut: CutStream) {
        self.cut_total += 1;
        if self.cut.len() < CUT_REQUESTS_LISTED_MAX {
            self.cut.push(cut);
        }
    }
}
