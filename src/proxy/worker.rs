//! One worker: a thread with a runtime, listeners, connections and a pool of its own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::backend_url::BackendUrl;
use super::client_limits::{ClientLimits, ClientStats};
use super::downstream::admission::Admission;
use super::downstream::{self, Downstream, OpenConnections};
use super::driver::Driver;
use super::seams::{self, Clock};
use super::tls::UpstreamTls;
use crate::pool::{self, Input};

/// What clients get, beyond the pool's drain deadline, to read their last bytes.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What a worker is started with.
pub struct Worker {
    /// One per address.
    pub listeners: Vec<std::net::TcpListener>,
    /// What its pool is built from.
    pub pool: pool::Config,
    /// The backends.
    pub backends: Vec<BackendUrl>,
    /// Of its pool.
    pub seed: u64,
    /// TLS towards backends.
    pub upstream_tls: UpstreamTls,
    /// TLS towards clients.
    pub downstream_tls: Option<Arc<rustls::ServerConfig>>,
    /// What clients may do.
    pub client_limits: ClientLimits,
    /// The connections of clients to all workers.
    pub admission: Arc<Admission>,
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
    let deadline = worker.pool.timeouts.drain + LAST_BYTES;
    let driver = Driver::start(worker.pool, worker.seed, &worker.backends, worker.upstream_tls)
        .expect("the configuration was checked");
    let open = Rc::new(OpenConnections::default());
    let downstream = Downstream {
        driver: Rc::clone(&driver),
        tls: worker.downstream_tls,
        draining: worker.draining.clone(),
        open: Rc::clone(&open),
        limits: worker.client_limits,
        stats: Rc::new(ClientStats::default()),
        admission: worker.admission,
        clock: Clock::start(),
    };
    for listener in worker.listeners {
        match seams::adopt(listener) {
            Ok(listener) => {
                seams::spawn("accept", downstream::accept(downstream.clone(), listener));
            }
            Err(error) => tracing::error!(target: "baton", %error, "cannot listen"),
        }
    }
    let mut draining = worker.draining;
    // The sender lives in the thread that waits for this one.
    let _ = draining.wait_for(|draining| *draining).await;
    let _ = driver.tell(Input::ShutdownRequested);
    let _ = seams::timeout(deadline, open.none()).await;
}
