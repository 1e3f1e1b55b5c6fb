//! Starts the workers, waits for signals, stops the workers.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::access_log::AccessLog;
use super::config::{ListenerConfig, ProxyConfig};
use super::control::{Command, Commands, Peers};
use super::downstream::admission::Admission;
use super::log;
use super::seams;
use super::tls::Certificates;
use super::worker::{self, Worker};
use crate::admin::{self, Process};

/// How long a second signal waits for the workers to let go of what they have.
const STOP_TIME: Duration = Duration::from_secs(1);

/// Why the proxy did not start, each reason in one line.
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
    for cluster in &config.clusters {
        let checked = cluster.pool_config(0).check();
        checked.map_err(|error| StartError(format!("cluster {}: {error}", cluster.name)))?;
    }
    let checked = config.client_limits.check();
    checked.map_err(|(name, expected)| StartError(format!("{name}: {expected}")))?;
    let certificates = Certificates::load(&config);
    let certificates = Arc::new(certificates.map_err(|errors| StartError(errors.join("\n")))?);
    let seed = config.seed.unwrap_or_else(seams::entropy);
    let config = Arc::new(config);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("runtime: {error}")))?;
    let _context = runtime.enter();
    // Before anybody can know that the proxy runs, so that it can be stopped in order from then on.
    let signals = Signals::listen()?;
    let access_log = AccessLog::open(&config.access_log).map_err(StartError)?;
    let admin = config.admin.map(admin::listen).transpose().map_err(StartError)?;
    let listeners = bind(&config.listeners, config.worker_count())?;
    let admission = Arc::new(Admission::default());
    let (drain, draining) = watch::channel(false);
    let (workers, received): (Vec<_>, Vec<_>) =
        listeners.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let (done, mut all_done) = mpsc::channel::<()>(1);
    let threads: Vec<_> = listeners
        .into_iter()
        .zip(received)
        .enumerate()
        .map(|(number, (listeners, commands))| {
            let worker = Worker {
                access_log: access_log.clone(),
                admission: Arc::clone(&admission),
                peers: Peers::of(number, &workers),
                commands,
                listeners,
                config: Arc::clone(&config),
                certificates: Arc::clone(&certificates),
                seed: seed.wrapping_add(number as u64),
                draining: draining.clone(),
                done: done.clone(),
            };
            let thread = thread::Builder::new().name(format!("worker {number}"));
            thread.spawn(move || worker::run(worker)).expect("the system has threads")
        })
        .collect();
    drop(done);
    let tasks = LocalSet::new();
    if let Some(listener) = admin {
        let process =
            Process { workers: workers.clone(), draining, access_log: access_log.clone() };
        tasks
            .block_on(&runtime, async { admin::start(listener, process) })
            .map_err(|error| StartError(format!("cannot serve the admin interface: {error}")))?;
    }
    let supervision = supervise(signals, &drain, &workers, &access_log, &mut all_done);
    if !tasks.block_on(&runtime, supervision) {
        access_log.flush();
        log::flush();
        std::process::exit(1);
    }
    for thread in threads {
        thread.join().expect("a worker that panics ends the process");
    }
    tracing::info!(target: "baton", "stopped");
    access_log.flush();
    log::flush();
    Ok(())
}

/// Listeners for each worker: every one has a socket of its own on every address.
fn bind(
    configured: &[ListenerConfig],
    workers: usize,
) -> Result<Vec<Vec<std::net::TcpListener>>, StartError> {
    let mut listeners: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for ListenerConfig { address: wanted, tls, http2 } in configured {
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
        tracing::info!(target: "baton", %address, tls = tls.is_some(), http2, "listening");
    }
    Ok(listeners)
}

/// Waits for the first signal, then for the workers. False if a second signal ends the process at
/// once: then it waits only until what was in flight is logged.
async fn supervise(
    mut signals: Signals,
    drain: &watch::Sender<bool>,
    workers: &[Commands],
    access_log: &AccessLog,
    all_done: &mut mpsc::Receiver<()>,
) -> bool {
    signals.stop(access_log).await;
    tracing::info!(target: "baton", "draining");
    drain.send_replace(true);
    tokio::select! {
        biased;
        () = signals.stop(access_log) => {
            tracing::warn!(target: "baton", "second signal: stopped without draining");
            for worker in workers {
                // One that is done needs no telling.
                let _ = worker.send(Command::Stop);
            }
            let _ = seams::timeout(STOP_TIME, all_done.recv()).await;
            false
        }
        _ = all_done.recv() => true,
    }
}

/// The signals that mean something to the proxy.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(|error| StartError(format!("signals: {error}")));
        let terminate = listen(SignalKind::terminate())?;
        let interrupt = listen(SignalKind::interrupt())?;
        let hangup = listen(SignalKind::hangup())?;
        Ok(Self { terminate, interrupt, hangup })
    }

    /// Waits until the proxy is asked to stop. Until then SIGHUP means that the log was rotated.
    async fn stop(&mut self, access_log: &AccessLog) {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    access_log.reopen();
                    tracing::info!(target: "baton", "access log reopened");
                }
            }
        }
    }
}
