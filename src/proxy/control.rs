//! How the rest of the process speaks to a worker: a command into its channel, an answer out of
//! another. Workers share nothing, so whoever asks gets a copy.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};

use super::clusters::Clusters;
use super::metrics::{ClusterMetrics, WorkerMetrics};
use crate::pool::{BackendId, Instant, Pool, SlotState, SlotView, Stats};

/// What a worker can be asked.
pub enum Command {
    /// How it is.
    Snapshot(oneshot::Sender<WorkerSnapshot>),
    /// End at once, though requests are in flight: they are logged.
    Stop,
}

/// Where to send commands. Unbounded: whoever asks waits for the answer before the next question.
pub type Commands = UnboundedSender<Command>;

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
    /// Whether nothing speaks against it.
    pub healthy: bool,
    /// Whether requests may go there.
    pub usable: bool,
    /// Whether it is tried although it is out, because all are.
    pub fail_open: bool,
    /// For how long no connection to it is dialled, in milliseconds.
    pub backoff_ms: Option<u64>,
    /// Streams that could be opened now.
    pub available_streams: u64,
    /// Its connection slots that are not empty, by number.
    pub slots: Vec<(u16, SlotView)>,
}

impl ClusterSnapshot {
    /// Reads a pool and what was counted beside it. `names` are those of its backends.
    pub fn of<'a>(
        name: &str,
        pool: &Pool,
        names: impl Iterator<Item = &'a str>,
        metrics: &ClusterMetrics,
        now: Instant,
    ) -> Self {
        let backends = (0..).zip(names).map(|(id, name)| backend(name, pool, BackendId(id), now));
        Self {
            name: name.into(),
            stats: pool.stats(),
            metrics: metrics.clone(),
            backends: backends.collect(),
        }
    }
}

fn backend(name: &str, pool: &Pool, id: BackendId, now: Instant) -> BackendSnapshot {
    let slots = (0..).map_while(|slot| Some((slot, pool.slot(id, slot)?)));
    let backoff = pool.backoff_until(id).map(|until| until.since(now).as_millis());
    BackendSnapshot {
        name: name.into(),
        healthy: pool.is_healthy(id),
        usable: pool.may_be_used(id),
        fail_open: pool.fail_open() == Some(id),
        backoff_ms: backoff.map(|wait| u64::try_from(wait).unwrap_or(u64::MAX)),
        available_streams: pool.available_streams(id),
        slots: slots.filter(|(_, slot)| slot.state != SlotState::Empty).collect(),
    }
}

/// Answers commands for as long as anybody can send one.
pub async fn serve(
    mut commands: UnboundedReceiver<Command>,
    clusters: Rc<Clusters>,
    stop: Rc<Notify>,
) {
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
            Command::Stop => stop.notify_one(),
        }
    }
}
