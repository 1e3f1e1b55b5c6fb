//! Starts the workers, waits for signals, stops the workers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::config::ProxyConfig;
use super::downstream::admission::Admission;
use super::seams;
use super::tls::{self, UpstreamTls};
use super::worker::{self, Worker};

/// Why the proxy did not start, in one line.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Runs the proxy until it is told to stop and has finished what it accepted.
///
/// # Errors
/// If it cannot start: an address in use, a certificate that cannot be read, a configuration out of
/// bounds.
///
/// # Panics
/// If the operating system gives no threads.
pub fn run(config: ProxyConfig) -> Result<(), StartError> {
    config.pool.check().map_err(|error| StartError(error.to_string()))?;
    let checked = config.client_limits.check();
    checked.map_err(|(name, expected)| StartError(format!("{name}: {expected}")))?;
    let upstream_tls =
        UpstreamTls::new(config.authorities.as_deref(), config.insecure).map_err(StartError)?;
    let downstream_tls =
        config.downstream_tls.as_ref().map(tls::server_config).transpose().map_err(StartError)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("runtime: {error}")))?;
    let _context = runtime.enter();
    // Before anybody can know that the proxy runs, so that it can be stopped in order from then on.
    let signals = Signals::listen()?;
    let listeners = bind(&config.listen, config.workers, downstream_tls.is_some())?;
    let admission = Arc::new(Admission::default());
    let (drain, draining) = watch::channel(false);
    let (done, mut all_done) = mpsc::channel::<()>(1);
    let threads: Vec<_> = listeners
        .into_iter()
        .enumerate()
        .map(|(number, listeners)| {
            let worker = Worker {
                listeners,
                pool: config.pool.clone(),
                backends: config.backends.clone(),
                seed: config.seed.wrapping_add(number as u64),
                upstream_tls: upstream_tls.clone(),
                downstream_tls: downstream_tls.as_ref().map(Arc::clone),
                client_limits: config.client_limits,
                admission: Arc::clone(&admission),
                draining: draining.clone(),
                done: done.clone(),
            };
            let thread = thread::Builder::new().name(format!("worker {number}"));
            thread.spawn(move || worker::run(worker)).expect("the system has threads")
        })
        .collect();
    drop(done);
    runtime.block_on(supervise(signals, &drain, &mut all_done));
    for thread in threads {
        thread.join().expect("a worker that panics ends the process");
    }
    tracing::info!(target: "baton", "stopped");
    Ok(())
}

/// Listeners for each worker: every one has a socket of its own on every address.
fn bind(
    addresses: &[SocketAddr],
    workers: usize,
    tls: bool,
) -> Result<Vec<Vec<std::net::TcpListener>>, StartError> {
    let mut listeners: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for wanted in addresses {
        let failed = |error| StartError(format!("cannot listen on {wanted}: {error}"));
        if wanted.port() != 0 {
            seams::check_unused(*wanted).map_err(failed)?;
        }
        let mut address = *wanted;
        for listeners in &mut listeners {
            let listener = seams::listen(address).map_err(failed)?;
            address = listener.local_addr().map_err(failed)?;
            listeners.push(listener);
        }
        tracing::info!(target: "baton", %address, tls, "listening");
    }
    Ok(listeners)
}

/// Waits for the first signal, then for the workers; a second signal ends the process at once.
async fn supervise(
    mut signals: Signals,
    drain: &watch::Sender<bool>,
    all_done: &mut mpsc::Receiver<()>,
) {
    signals.next().await;
    tracing::info!(target: "baton", "draining");
    drain.send_replace(true);
    tokio::select! {
        biased;
        () = signals.next() => {
            tracing::warn!(target: "baton", "second signal: stopped without draining");
            std::process::exit(1);
        }
        _ = all_done.recv() => {}
    }
}

/// The signals that ask the proxy to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(|error| StartError(format!("signals: {error}")));
        let terminate = listen(SignalKind::terminate())?;
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
