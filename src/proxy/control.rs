//! How the rest of the process speaks to a worker: a command into its channel, an answer out of
//! another. Workers share nothing, so whoever asks gets a copy.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};

use super::backends::{Backend, Backends};
use super::config::ProxyConfig;
use super::metrics::{BackendMetrics, ClusterMetrics, WorkerMetrics};
use super::operator::{self, Found, Order, Query};
use super::probe::{ProbeFound, Probes};
use super::reload::sockets::Socket;
use super::seams::{self, Clock};
use super::site::Site;
use super::tls::Certificates;
use crate::pool::{BackendState, Instant, Pool, SlotState, SlotView, StateCause, Stats};

/// What a worker can be asked.
pub enum Command {
    /// How it is.
    Snapshot(oneshot::Sender<WorkerSnapshot>),
    /// Another worker has probed a backend.
    ProbeFound(ProbeFound),
    /// Go on with another configuration.
    Reload(Reload),
    /// An operator's order about a backend.
    Backend(Query, Order, oneshot::Sender<Found>),
    /// End at once, though requests are in flight: they are logged.
    Stop,
}

/// Another configuration, which was checked.
pub struct Reload {
    /// The configuration.
    pub config: Arc<ProxyConfig>,
    /// What its files hold.
    pub certificates: Arc<Certificates>,
    /// The sockets of its listeners, in its order.
    pub listeners: Vec<Socket>,
    /// Told once the worker goes by it, or why it does not, in one line.
    pub confirm: oneshot::Sender<Result<(), String>>,
}

/// Where to send commands. Unbounded: whoever asks waits for the answer before the next question, and
/// probes are few.
pub type Commands = UnboundedSender<Command>;

/// Which worker this is, and the way to the others.
#[derive(Debug, Default)]
pub struct Peers {
    worker: usize,
    others: Vec<Commands>,
}

impl Peers {
    /// Those of one of these workers.
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
            // One that has ended needs no telling.
            let _ = other.send(command());
        }
    }
}

/// How many requests are in flight in all workers together, as far as they answer in time.
pub async fn requests_in_flight(workers: &[Commands], time: Duration) -> u64 {
    let asked: Vec<_> = workers
        .iter()
        .filter_map(|worker| {
            let (sender, answer) = oneshot::channel();
            worker.send(Command::Snapshot(sender)).ok().map(|()| answer)
        })
        .collect();
    let (clock, mut requests) = (Clock::start(), 0);
    for answer in asked {
        let left = time.saturating_sub(clock.now().since(Instant::ZERO));
        if let Ok(Ok(snapshot)) = seams::timeout(left, answer).await {
            let clusters = snapshot.clusters.iter();
            requests += clusters.map(|cluster| u64::from(cluster.stats.requests)).sum::<u64>();
        }
    }
    requests
}

/// One worker at one moment.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// What it counted apart from its clusters.
    pub metrics: WorkerMetrics,
    /// Its clusters.
    pub clusters: Vec<ClusterSnapshot>,
}

/// One worker's pool for one cluster, at one moment.
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    /// The cluster's name.
    pub name: Arc<str>,
    /// The pool's counts.
    pub stats: Stats,
    /// Whether health is ignored because so few backends are healthy.
    pub panicking: bool,
    /// What was counted.
    pub metrics: ClusterMetrics,
    /// Its backends.
    pub backends: Vec<BackendSnapshot>,
}

/// One backend of one worker's pool, at one moment.
#[derive(Clone, Debug)]
pub struct BackendSnapshot {
    /// Its URL.
    pub name: Arc<str>,
    /// Its place in the pool, as in the names of connections.
    pub place: u16,
    /// What was counted of it.
    pub metrics: BackendMetrics,
    /// Whether nothing speaks against it.
    pub healthy: bool,
    /// Whether requests may go there.
    pub usable: bool,
    /// Its state.
    pub state: BackendState,
    /// For how long it has been in it, in milliseconds.
    pub state_ms: u64,
    /// Why.
    pub cause: StateCause,
    /// Why the last probe failed that did, and for how long that is past, in milliseconds.
    pub probe_failure: Option<(Arc<str>, u64)>,
    /// Its weight.
    pub weight: u16,
    /// For how long no connection to it is dialled, in milliseconds.
    pub backoff_ms: Option<u64>,
    /// Streams that could be opened now.
    pub available_streams: u64,
    /// Its connection slots that are not empty, by number.
    pub slots: Vec<(u16, SlotView)>,
}

impl ClusterSnapshot {
    /// Reads a pool and what was counted beside it.
    pub fn of(
        name: &str,
        pool: &Pool,
        backends: &Backends,
        metrics: &ClusterMetrics,
        probes: &Probes,
        now: Instant,
    ) -> Self {
        let backends = backends.iter().filter_map(|it| backend(it, pool, metrics, probes, now));
        Self {
            name: name.into(),
            stats: pool.stats(),
            panicking: pool.is_panicking(),
            metrics: metrics.clone(),
            backends: backends.collect(),
        }
    }
}

fn backend(
    backend: &Backend,
    pool: &Pool,
    metrics: &ClusterMetrics,
    probes: &Probes,
    now: Instant,
) -> Option<BackendSnapshot> {
    let id = backend.token.backend;
    let view = pool.backend(id)?;
    let slots = (0..).map_while(|slot| Some((slot, pool.slot(id, slot)?)));
    let backoff = pool.backoff_until(id).map(|until| until.since(now));
    let failure = probes.failure(backend.token);
    Some(BackendSnapshot {
        name: (&*backend.name).into(),
        place: id.0,
        metrics: metrics.of_backend(id),
        healthy: pool.is_healthy(id),
        usable: pool.may_be_used(id),
        state: view.state,
        state_ms: milliseconds(now.since(view.since)),
        cause: view.cause,
        probe_failure: failure.map(|failure| (failure.reason, milliseconds(now.since(failure.at)))),
        weight: view.weight,
        backoff_ms: backoff.map(milliseconds),
        available_streams: pool.available_streams(id),
        slots: slots.filter(|(_, slot)| slot.state != SlotState::Empty).collect(),
    })
}

/// A time as answers tell it.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Answers commands for as long as anybody can send one.
pub async fn serve(mut commands: UnboundedReceiver<Command>, site: Rc<Site>, stop: Rc<Notify>) {
    let clusters = site.clusters();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Snapshot(answer) => {
                let snapshot = WorkerSnapshot {
                    metrics: clusters.telemetry().metrics(),
                    clusters: clusters.drivers().iter().map(|driver| driver.snapshot()).collect(),
                };
                // Whoever asked may have given up.
                let _ = answer.send(snapshot);
            }
            Command::ProbeFound(found) => clusters.probe_found(&found),
            Command::Reload(Reload { config, certificates, listeners, confirm }) => {
                let confirmed = site.reconfigure(&config, &certificates, listeners);
                // Whoever asked may have given up.
                let _ = confirm.send(confirmed);
            }
            Command::Backend(query, order, answer) => {
                let _ = answer.send(operator::carry_out(clusters, &query, order));
            }
            Command::Stop => stop.notify_one(),
        }
    }
}
