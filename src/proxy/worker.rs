//! A worker: one thread with its own runtime, listeners, connections and pools.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::access_log::AccessLog;
use super::clusters::Clusters;
use super::config::ProxyConfig;
use super::control::{Command, Peers};
use super::downstream::admission::Admission;
use super::downstream::buffered::process::ProcessBuffered;
use super::downstream::buffered::worker::WorkerBuffered;
use super::drain::Drain;
use super::limits::SHUTDOWN_GRACE;
use super::reload::sockets::Socket;
use super::tls::Certificates;
use super::worker_state::WorkerState;
use super::{memory, seams, worker_commands};

/// The arguments of a worker.
pub struct Worker {
    /// A new socket for each listener of the configuration, in the order of the configuration.
    pub listeners: Vec<Socket>,
    /// The initial configuration, already checked.
    pub config: Arc<ProxyConfig>,
    /// The contents of the files that the configuration names.
    pub certificates: Arc<Certificates>,
    /// The seed of the worker's pools.
    pub seed: u64,
    /// The access log.
    pub access_log: AccessLog,
    /// The client connections of all workers.
    pub admission: Arc<Admission>,
    /// The bytes of responses that wait for the clients of all workers.
    pub buffered: Arc<ProcessBuffered>,
    /// The worker's number, and the command channels of the others.
    pub peers: Peers,
    /// Receives commands.
    pub commands: mpsc::UnboundedReceiver<Command>,
}

/// Runs until the proxy is to stop and all accepted requests have finished.
///
/// # Panics
/// If the configuration was not checked.
pub async fn serve(worker: Worker) {
    let (config, certificates) = (&worker.config, &worker.certificates);
    let (access_log, peers) = (worker.access_log, worker.peers);
    let number = peers.worker();
    let clusters = Clusters::start(config, certificates, worker.seed, access_log, peers)
        .expect("the configuration was checked");
    let buffered = WorkerBuffered::new(worker.buffered, number, clusters.telemetry().clock());
    let worker_state =
        WorkerState::new(Rc::clone(&clusters), worker.admission, Rc::clone(&buffered));
    if let Err(error) = worker_state.listen(config, certificates, worker.listeners) {
        tracing::error!(target: "baton", error);
    }
    let stop = Rc::new(Notify::new());
    let drain = Drain::default();
    let (state, stopping, draining) = (Rc::clone(&worker_state), Rc::clone(&stop), drain.clone());
    let control = worker_commands::serve(worker.commands, state, stopping, draining);
    seams::spawn(control);
    seams::spawn(memory::run());
    seams::spawn(buffered.run());
    drain.ordered().await;
    let deadline = worker_state.shut_down() + SHUTDOWN_GRACE;
    tokio::select! {
        biased;
        () = stop.notified() => {}
        _ = seams::timeout(deadline, worker_state.no_connections()) => {}
    }
    // The remaining tasks are dropped after this function, and log their requests then.
    clusters.telemetry().stop();
}
