//! Commands to a worker. A command goes into the worker's channel; the reply comes through a
//! one-shot channel. Workers share no state, so a reply is a copy.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::config::ProxyConfig;
use super::health_check::found::HealthCheckFound;
use super::operator::{Found, Order, Query};
use super::reload::sockets::Socket;
use super::seams::{self, Clock};
use super::snapshot::WorkerSnapshot;
use super::tls::Certificates;
use crate::config::difference::Difference;
use crate::pool::Instant;

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
