//! Commands to a worker. A command goes into the worker's channel; the reply comes through a
//! one-shot channel. Workers share no state, so a reply is a copy.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};

use super::config::ProxyConfig;
use super::drain::Drain;
use super::health_check::HealthCheckFound;
use super::metrics::{BackendMetrics, ClusterMetrics, WorkerMetrics};
use super::operator::{self, Found, Order, Query};
use super::reload::sockets::Socket;
use super::seams::{self, Clock};
use super::tls::Certificates;
use super::worker_state::WorkerState;
use crate::config::difference::Difference;
use crate::pool::{BackendState, Counters, Instant, SlotState, StateCause};

/// A command to a worker.
pub enum Command {
    /// Send a snapshot of the worker's state.
    Snapshot(oneshot::Sender<WorkerSnapshot>),
    /// Apply the result of another worker's health check.
    HealthCheckFound(HealthCheckFound),
    /// Apply another configuration.
    Reload(Reload),
    /// Carry out an operator's order about a backend.
    Backend(Query, Order, oneshot::Sender<Found>),
    /// Accept nothing more, and end once the requests in flight have.
    Drain,
    /// Stop at once, even with requests in flight; they are logged.
    Stop,
}

/// Another configuration, already checked.
pub struct Reload {
    /// The configuration.
    pub config: Arc<ProxyConfig>,
    /// The contents of the files that the configuration names.
    pub certificates: Arc<Certificates>,
    /// How the configuration differs from the one before.
    pub difference: Arc<Difference>,
    /// The sockets of its listeners, in the order of the configuration.
    pub listeners: Vec<Socket>,
    /// Receives the result: applied, or an error of one line.
    pub confirm: oneshot::Sender<Result<(), String>>,
}

/// Sends commands to a worker. Unbounded: a sender waits for the reply before its next command, and
/// health checks are few.
pub type Commands = UnboundedSender<Command>;

/// The number of this worker, and the command channels of the others.
#[derive(Debug, Default)]
pub struct Peers {
    worker: usize,
    others: Vec<Commands>,
}

impl Peers {
    /// Creates the peers of worker number `worker` among all `workers`.
    #[must_use]
    pub fn of(worker: usize, workers: &[Commands]) -> Self {
        let others = workers.iter().enumerate().filter(|(number, _)| *number != worker);
        Self { worker, others: others.map(|(_, commands)| commands.clone()).collect() }
    }

    /// The number of this worker.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Sends a command to every other worker.
    pub fn tell(&self, command: impl Fn() -> Command) {
        for other in &self.others {
            // A worker that has ended needs no command.
            let _ = other.send(command());
        }
    }
}

/// Asks every worker at once, with one deadline for all. `None` stands for a worker that did not
/// answer within `time`.
pub async fn ask<T>(
    workers: &[Commands],
    time: Duration,
    question: impl Fn(oneshot::Sender<T>) -> Command,
) -> Vec<Option<T>> {
    let ask = |worker: &Commands| {
        let (sender, answer) = oneshot::channel();
        worker.send(question(sender)).ok().map(|()| answer)
    };
    let asked: Vec<_> = workers.iter().map(ask).collect();
    let (clock, mut answers) = (Clock::start(), Vec::new());
    for answer in asked {
        let left = time.saturating_sub(clock.now().since(Instant::ZERO));
        answers.push(match answer {
            Some(answer) => seams::timeout(left, answer).await.ok().and_then(Result::ok),
            None => None,
        });
    }
    answers
}

/// Returns the number of requests in flight on all workers, counting those that reply within
/// `time`.
pub async fn requests_in_flight(workers: &[Commands], time: Duration) -> u64 {
    let answers = ask(workers, time, Command::Snapshot).await;
    let clusters = answers.iter().flatten().flat_map(|snapshot| &snapshot.clusters);
    clusters.map(|cluster| u64::from(cluster.requests.live)).sum()
}

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
    /// Those on a further attempt, or waiting for one.
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

/// Serves commands until every sender is dropped.
pub async fn serve(
    mut commands: UnboundedReceiver<Command>,
    worker_state: Rc<WorkerState>,
    stop: Rc<Notify>,
    drain: Drain,
) {
    let clusters = worker_state.clusters();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Snapshot(answer) => {
                let snapshot = WorkerSnapshot {
                    metrics: clusters.telemetry().metrics(),
                    clusters: clusters.drivers().iter().map(|driver| driver.snapshot()).collect(),
                };
                // The requester may have given up.
                let _ = answer.send(snapshot);
            }
            Command::HealthCheckFound(found) => clusters.health_check_found(&found),
            Command::Reload(Reload { config, certificates, difference, listeners, confirm }) => {
                let confirmed =
                    worker_state.reconfigure(&config, &certificates, &difference, listeners);
                // The requester may have given up.
                let _ = confirm.send(confirmed);
            }
            Command::Backend(query, order, answer) => {
                let _ = answer.send(operator::carry_out(clusters, &query, order));
            }
            Command::Drain => drain.order(),
            Command::Stop => stop.notify_one(),
        }
    }
}
