//! Starts the workers, handles signals and reloads, and stops the workers.

use std::fmt;
use std::sync::Arc;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::access_log::AccessLog;
use super::config::ProxyConfig;
use super::control::{self, Command, Commands, Peers};
use super::downstream::admission::Admission;
use super::downstream::buffered::process::ProcessBuffered;
use super::drain::Drain;
use super::limits::{BUFFERED_MEMORY_SHARE, FORCED_STOP_TIMEOUT, IN_FLIGHT_COUNT_TIMEOUT};
use super::reload::sockets::{self, Sockets};
use super::reload::source::{Loaded, Source};
use super::reload::{self, Failure, Reloader, Trigger};
use super::seams::{self, Signal, Signals, WorkerThread};
use super::worker::{self, Worker};
use super::{log, system_memory};
use crate::admin::{self, Process};

/// The reasons why the proxy did not start, one per line.
#[derive(Debug)]
pub struct StartError(String);

impl StartError {
    fn lines(reasons: Vec<String>) -> Self {
        Self(reasons.join("\n"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Runs the proxy with a fixed configuration. A reload reads only its certificate files again. See
/// [`run_from`].
///
/// # Errors
/// If the proxy cannot start.
///
/// # Panics
/// If the operating system provides no threads.
pub fn run(config: ProxyConfig) -> Result<(), StartError> {
    let source = Source::fixed(&config);
    run_from(config, source)
}

/// Runs the proxy until it is ordered to stop and has finished the requests it accepted. `config`
/// was read from `source`; a reload reads it again.
///
/// # Errors
/// If the proxy cannot start: an address in use, an unreadable certificate, a configuration out of
/// bounds.
///
/// # Panics
/// If the operating system provides no threads.
pub fn run_from(config: ProxyConfig, source: Source) -> Result<(), StartError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("runtime: {error}")))?;
    let tasks = LocalSet::new();
    let drained = tasks.block_on(&runtime, supervise(config, source))?;
    if drained.is_none() {
        log::flush();
        std::process::exit(1);
    }
    for thread in drained.into_iter().flatten() {
        thread.join();
    }
    tracing::info!(target: "baton", "stopped");
    log::flush();
    Ok(())
}

/// Starts the workers and supervises them on the present runtime until the proxy is ordered to stop
/// and has finished the requests it accepted. Returns the workers' threads, which have only to be
/// joined then; `None` if a second order stops the proxy at once.
///
/// # Errors
/// As [`run_from`].
///
/// # Panics
/// If the operating system provides no threads.
pub async fn supervise(
    config: ProxyConfig,
    source: Source,
) -> Result<Option<Vec<WorkerThread>>, StartError> {
    let loaded = source.begin(config).map_err(StartError::lines)?;
    let config = Arc::clone(&loaded.config);
    // Signals are handled before anything shows that the proxy runs, so that a signal always leads
    // to an orderly stop.
    let signals = Signals::listen().map_err(|error| StartError(format!("signals: {error}")))?;
    let access_log = AccessLog::open(&config.access_log).map_err(StartError)?;
    let admin = config.admin.map(admin::listen).transpose().map_err(StartError)?;
    let mut sockets = Sockets::default();
    let listeners = sockets.change(&config.listeners, config.worker_count());
    let mut listeners = listeners.map_err(StartError::lines)?;
    let drain = Drain::default();
    let (done, all_done) = mpsc::channel::<()>(1);
    let (workers, threads) = start_workers(&loaded, &mut listeners, &access_log, done);
    sockets.adopt(listeners);
    let (reloads, requests) = mpsc::unbounded_channel();
    let reloader = Reloader::new(source, loaded, sockets, workers.clone(), access_log.clone());
    if let Some(listener) = admin {
        let (workers, access_log) = (workers.clone(), access_log.clone());
        let reload_counts = reloader.counts();
        let draining = drain.clone();
        let process = Process { workers, draining, access_log, reloads, reload_counts };
        admin::start(listener, process)
            .map_err(|error| StartError(format!("cannot serve the admin interface: {error}")))?;
    }
    let supervisor =
        Supervisor { signals, requests, reloader, drain, workers, access_log, all_done };
    Ok(supervisor.run().await.then_some(threads))
}

/// Starts all workers, which then accept connections.
fn start_workers(
    loaded: &Loaded,
    listeners: &mut sockets::Change,
    access_log: &AccessLog,
    done: mpsc::Sender<()>,
) -> (Vec<Commands>, Vec<WorkerThread>) {
    let config = &loaded.config;
    let seed = config.seed.unwrap_or_else(seams::entropy);
    let admission = Arc::new(Admission::default());
    let default_bound = system_memory::bytes() / BUFFERED_MEMORY_SHARE;
    let buffered = Arc::new(ProcessBuffered::new(config.worker_count(), default_bound));
    buffered.configure(config.buffered_bytes);
    let (workers, received): (Vec<_>, Vec<_>) =
        (0..config.worker_count()).map(|_| mpsc::unbounded_channel()).unzip();
    let start = |(number, commands)| {
        let worker = Worker {
            access_log: access_log.clone(),
            admission: Arc::clone(&admission),
            buffered: Arc::clone(&buffered),
            peers: Peers::of(number, &workers),
            commands,
            listeners: listeners.of_worker(number),
            config: Arc::clone(config),
            certificates: Arc::clone(&loaded.certificates),
            seed: seed.wrapping_add(number as u64),
        };
        let name = format!("worker {number}");
        seams::start_worker(name, move || worker::serve(worker), done.clone())
    };
    let threads = received.into_iter().enumerate().map(start).collect();
    (workers, threads)
}

/// Supervises a running proxy: signals, reloads and shutdown.
struct Supervisor {
    signals: Signals,
    requests: mpsc::UnboundedReceiver<reload::ReloadRequest>,
    reloader: Reloader,
    drain: Drain,
    workers: Vec<Commands>,
    access_log: AccessLog,
    all_done: mpsc::Receiver<()>,
}

impl Supervisor {
    /// Waits until the proxy is to stop, then until the workers have. Returns false if a second
    /// signal ends the process at once: then it only waits until the requests in flight are logged.
    async fn run(mut self) -> bool {
        self.until_stop_is_requested().await;
        let requests = control::requests_in_flight(&self.workers, IN_FLIGHT_COUNT_TIMEOUT).await;
        self.drain.order();
        self.tell_workers(|| Command::Drain);
        tracing::info!(target: "baton", requests, "draining");
        loop {
            tokio::select! {
                biased;
                signal = self.signals.next() => match signal {
                    Signal::HangUp => self.reopen_log(),
                    Signal::Stop => break,
                },
                Some(request) = self.requests.recv() => {
                    // The requester may have given up.
                    let _ = request.answer.send(Err(Failure::stopping()));
                }
                _ = self.all_done.recv() => return true,
            }
        }
        tracing::warn!(target: "baton", "second signal: stopped without draining");
        self.tell_workers(|| Command::Stop);
        let _ = seams::timeout(FORCED_STOP_TIMEOUT, self.all_done.recv()).await;
        false
    }

    /// Reloads on request, one reload at a time, until a signal to stop.
    async fn until_stop_is_requested(&mut self) {
        loop {
            tokio::select! {
                biased;
                signal = self.signals.next() => match signal {
                    Signal::Stop => return,
                    Signal::HangUp => {
                        self.reopen_log();
                        // The result is in the log.
                        let _ = self.reloader.reload(Trigger::Signal).await;
                    }
                },
                Some(request) = self.requests.recv() => {
                    let outcome = self.reloader.reload(request.trigger).await;
                    // The requester may have given up.
                    let _ = request.answer.send(outcome);
                }
                () = self.reloader.changed() => {
                    let _ = self.reloader.reload(Trigger::Watch).await;
                }
            }
        }
    }

    fn tell_workers(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // A worker that has ended needs no command.
            let _ = worker.send(command());
        }
    }

    fn reopen_log(&self) {
        self.access_log.reopen();
        tracing::info!(target: "baton", "access log reopened");
    }
}
