//! Starts the workers, waits for signals, stops the workers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::config::ProxyConfig;
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
    let upstream_tls =
        UpstreamTls::new(config.authorities.as_deref(), config.insecure).map_err(StartError)?;
    let downstream_tls =
        config.downstream_tls.as_ref().map(tls::server_config).transpose().map_err(StartError)?;
    let listeners = bind(&config.listen, config.workers)?;
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
                draining: draining.clone(),
                done: done.clone(),
            };
            let thread = thread::Builder::new().name(format!("worker {number}"));
            thread.spawn(move || worker::run(worker)).expect("the system has threads")
        })
        .collect();
    drop(done);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("runtime: {error}")))?;
    runtime.block_on(supervise(&drain, &mut all_done))?;
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
) -> Result<Vec<Vec<std::net::TcpListener>>, StartError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| StartError(format!("runtime: {error}")))?;
    let _context = runtime.enter();
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
    }
    Ok(listeners)
}

/// Waits for the first signal, then for the workers; a second signal ends the process at once.
async fn supervise(
    drain: &watch::Sender<bool>,
    all_done: &mut mpsc::Receiver<()>,
) -> Result<(), StartError> {
    let listen = |kind| signal(kind).map_err(|error| StartError(format!("signals: {error}")));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    either(&mut terminate, &mut interrupt).await;
    tracing::info!(target: "baton", "draining");
    drain.send_replace(true);
    tokio::select! {
        biased;
        () = either(&mut terminate, &mut interrupt) => {
            tracing::warn!(target: "baton", "second signal: stopped without draining");
            std::process::exit(1);
        }
        _ = all_done.recv() => Ok(()),
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        biased;
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
