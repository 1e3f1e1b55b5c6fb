//! One worker: a thread with a runtime, listeners, connections and pools of its own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use super::access_log::AccessLog;
use super::clusters::Clusters;
use super::config::ProxyConfig;
use super::control::{self, Command, Peers};
use super::downstream::admission::Admission;
use super::downstream::{self, Downstream, OpenConnections};
use super::seams;
use super::tls::Certificates;

/// What clients get, beyond the longest drain deadline, to read their last bytes.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What a worker is started with.
pub struct Worker {
    /// One per listener of the configuration, in its order.
    pub listeners: Vec<std::net::TcpListener>,
    /// What the proxy is started with. It was checked.
    pub config: Arc<ProxyConfig>,
    /// What the files of the configuration hold.
    pub certificates: Arc<Certificates>,
    /// Of its pools.
    pub seed: u64,
    /// Where the lines of its requests go.
    pub access_log: AccessLog,
    /// The connections of clients to all workers.
    pub admission: Arc<Admission>,
    /// Which worker it is, and the way to the others.
    pub peers: Peers,
    /// What it is asked.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Becomes true once, when the proxy is to stop.
    pub draining: watch::Receiver<bool>,
    /// Dropped when the worker is done.
    pub done: mpsc::Sender<()>,
}

/// Runs until the proxy is to stop and everything accepted was finished.
///
/// # Panics
/// If the operating system gives no event queue, or the configuration was not checked.
pub fn run(worker: Worker) {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has an event queue");
    let done = worker.done.clone();
    LocalSet::new().block_on(&runtime, serve(worker));
    drop(done);
}

async fn serve(worker: Worker) {
    let (config, certificates) = (&worker.config, &worker.certificates);
    let drains = config.clusters.iter().map(|cluster| cluster.pool.timeouts.drain);
    let deadline = drains.max().unwrap_or_default() + LAST_BYTES;
    let (access_log, peers) = (worker.access_log, worker.peers);
    let clusters = Clusters::start(config, certificates, worker.seed, access_log, peers)
        .expect("the configuration was checked");
    let stop = Rc::new(Notify::new());
    let control = control::serve(worker.commands, Rc::clone(&clusters), Rc::clone(&stop));
    seams::spawn("control", control);
    let open = Rc::new(OpenConnections::default());
    let settings = config.listeners.iter().zip(&certificates.listeners);
    for (listener, (settings, tls)) in worker.listeners.into_iter().zip(settings) {
        let downstream = Downstream {
            address: listener.local_addr().unwrap_or(settings.address),
            clusters: Rc::clone(&clusters),
            tls: tls.clone(),
            http2: settings.http2,
            draining: worker.draining.clone(),
            open: Rc::clone(&open),
            limits: config.client_limits,
            admission: Arc::clone(&worker.admission),
        };
        match seams::adopt(listener) {
            Ok(listener) => seams::spawn("accept", downstream::accept(downstream, listener)),
            Err(error) => tracing::error!(target: "baton", %error, "cannot listen"),
        }
    }
    let mut draining = worker.draining;
    // The sender lives in the thread that waits for this one.
    let _ = draining.wait_for(|draining| *draining).await;
    clusters.shut_down();
    tokio::select! {
        biased;
        () = stop.notified() => {}
        _ = seams::timeout(deadline, open.none()) => {}
    }
    // What is still there ends with this function, and is logged as it does.
    clusters.telemetry().stop();
}
