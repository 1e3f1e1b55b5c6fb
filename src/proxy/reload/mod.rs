//! Applies a changed configuration and changed certificates while the proxy runs: all or nothing.
//!
//! Every check comes first: the file, the files that it names, values that cannot change without a
//! restart, the access log, the addresses to listen on. Only then is the configuration sent to the
//! workers; each applies it between two requests.
//!
//! | module | contents |
//! |---|---|
//! | [`source`] | the source of a configuration, and reading it |
//! | [`sockets`] | which listeners stay, and sockets for new ones |
//! | [`report`] | what a reload changed |
//! | [`watch`] | detects changed files |
//! | [`counts`] | counters of reloads |

pub mod counts;
pub mod report;
pub mod sockets;
pub mod source;
pub mod watch;

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use self::counts::Counts;
use self::report::{Certificates as CertificateReport, Report};
use self::sockets::Sockets;
use self::source::{Loaded, Source};
use self::watch::Watch;
use super::access_log::{AccessLog, OpenedLog};
use super::config::ProxyConfig;
use super::control::{Command, Commands, Reload};
use super::limits::RELOAD_CONFIRM_TIMEOUT;
use super::seams::{self, Clock};
use crate::config::difference::{self, Difference};
use crate::pool::Instant;

pub use self::report::Trigger;

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The configuration, or a file that it names, is invalid.
    Wrong,
    /// A value differs that cannot change while the process runs.
    NeedsRestart,
    /// The system refuses a resource that the configuration needs.
    Unavailable,
    /// The proxy is about to stop.
    Stopping,
    /// Not refused: the configuration was sent to all workers, and one of them has not confirmed.
    Unconfirmed,
}

/// A reload that was refused. Nothing has changed, except for [`Refusal::Unconfirmed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of the refusal.
    pub refusal: Refusal,
    /// All reasons, one line each.
    pub reasons: Vec<String>,
}

impl Failure {
    fn new(refusal: Refusal, reasons: Vec<String>) -> Self {
        Self { refusal, reasons }
    }

    /// The failure of every reload while the proxy is about to stop.
    #[must_use]
    pub fn stopping() -> Self {
        Self::new(Refusal::Stopping, vec!["not reloaded: the proxy is about to stop".to_owned()])
    }
}

/// The result of a reload.
pub type Outcome = Result<Report, Failure>;

/// A request for a reload.
pub struct ReloadRequest {
    /// The source of the request.
    pub trigger: Trigger,
    /// Receives the result.
    pub answer: oneshot::Sender<Outcome>,
}

/// Sends requests to the task that reloads, one at a time.
pub type Requests = UnboundedSender<ReloadRequest>;

/// Requests a reload and waits for its result.
///
/// # Errors
/// Why the reload was refused.
pub async fn request(requests: &Requests, trigger: Trigger) -> Outcome {
    let (answer, outcome) = oneshot::channel();
    // The task that reloads ends only with the process.
    requests.send(ReloadRequest { trigger, answer }).map_err(|_| Failure::stopping())?;
    outcome.await.unwrap_or_else(|_| Err(Failure::stopping()))
}

/// The present configuration, and what a reload needs. Runs one reload at a time.
pub struct Reloader {
    source: Source,
    config: Arc<ProxyConfig>,
    /// The hashes of the certificate files, to detect changes.
    contents: source::Contents,
    sockets: Sockets,
    workers: Vec<Commands>,
    access_log: AccessLog,
    watch: Watch,
    counts: Rc<Counts>,
}

impl Reloader {
    /// Starts with the initial configuration; `sockets` are those of `loaded.config`.
    #[must_use]
    pub fn new(
        source: Source,
        loaded: Loaded,
        sockets: Sockets,
        workers: Vec<Commands>,
        access_log: AccessLog,
    ) -> Self {
        let Loaded { config, contents, stamps, certificates: _ } = loaded;
        let (watch, counts) = (Watch::new(stamps), Rc::default());
        Self { source, config, contents, sockets, workers, access_log, watch, counts }
    }

    /// The counters of reloads.
    #[must_use]
    pub fn counts(&self) -> Rc<Counts> {
        Rc::clone(&self.counts)
    }

    /// Waits until files have changed and then stayed the same for a while. Never returns if
    /// watching is off.
    pub async fn changed(&mut self) {
        if !self.config.watch {
            return std::future::pending().await;
        }
        self.watch.changed().await;
    }

    /// Reads everything again and applies it, or keeps the present configuration. Logs the result.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn reload(&mut self, trigger: Trigger) -> Outcome {
        let clock = Clock::start();
        let outcome = self.attempt(trigger, clock).await;
        self.counts.add(outcome.as_ref().ok().map(|report| report.changed));
        match &outcome {
            Ok(report) => {
                let (changes, took_ms) = (report.changes.join(", "), report.took_ms);
                tracing::info!(target: "baton", %trigger, changes, took_ms, "reloaded");
            }
            Err(failure) => {
                let reasons = failure.reasons.join(" | ");
                let message = match failure.refusal {
                    Refusal::Unconfirmed => "reload not confirmed by every worker",
                    Refusal::Wrong
                    | Refusal::NeedsRestart
                    | Refusal::Unavailable
                    | Refusal::Stopping => "reload refused, nothing changed",
                };
                tracing::error!(target: "baton", %trigger, reasons, "{message}");
            }
        }
        outcome
    }

    async fn attempt(&mut self, trigger: Trigger, clock: Clock) -> Outcome {
        let mut stamps = self.watch.now();
        let loaded = self.source.load(&mut stamps);
        self.watch.was_read(stamps);
        let loaded = loaded.map_err(|reasons| Failure::new(Refusal::Wrong, reasons))?;
        let fixed = difference::needing_restart(&self.config, &loaded.config);
        if !fixed.is_empty() {
            return Err(Failure::new(Refusal::NeedsRestart, fixed));
        }
        let (log, mut sockets) = self.open(&loaded.config)?;
        // Nothing is refused from here on.
        let differs = Arc::new(Difference::between(&self.config, &loaded.config));
        let certificates = CertificateReport::between(&self.contents, &loaded.contents);
        if let Some(log) = log {
            self.access_log.replace(log);
        }
        let confirmed = self.tell_workers(&loaded, &differs, &mut sockets);
        self.sockets.adopt(sockets);
        self.config = loaded.config;
        self.contents = loaded.contents;
        let missing = confirmed.wait().await;
        if !missing.is_empty() {
            return Err(Failure::new(Refusal::Unconfirmed, missing));
        }
        let took = clock.now().since(Instant::ZERO);
        Ok(Report::new(trigger, Arc::unwrap_or_clone(differs), certificates, took))
    }

    /// Opens what the new configuration needs and the present one does not have.
    fn open(&self, config: &ProxyConfig) -> Result<(Option<OpenedLog>, sockets::Change), Failure> {
        let log = if config.access_log == self.config.access_log {
            Ok(None)
        } else {
            AccessLog::prepare(&config.access_log).map(Some)
        };
        let sockets = self.sockets.change(&config.listeners, self.workers.len());
        match (log, sockets) {
            (Ok(log), Ok(sockets)) => Ok((log, sockets)),
            (log, sockets) => {
                let mut reasons: Vec<_> = log.err().into_iter().collect();
                reasons.extend(sockets.err().unwrap_or_default());
                Err(Failure::new(Refusal::Unavailable, reasons))
            }
        }
    }

    fn tell_workers(
        &self,
        loaded: &Loaded,
        differs: &Arc<Difference>,
        sockets: &mut sockets::Change,
    ) -> Confirmations {
        let mut waiting = Vec::new();
        for (number, worker) in self.workers.iter().enumerate() {
            let (confirm, confirmed) = oneshot::channel();
            let reload = Reload {
                config: Arc::clone(&loaded.config),
                certificates: Arc::clone(&loaded.certificates),
                difference: Arc::clone(differs),
                listeners: sockets.of_worker(number),
                confirm,
            };
            // A worker that cannot receive it is reported as missing below.
            let _ = worker.send(Command::Reload(reload));
            waiting.push(confirmed);
        }
        Confirmations(waiting)
    }
}

/// The confirmations that workers will send.
struct Confirmations(Vec<oneshot::Receiver<Result<(), String>>>);

impl Confirmations {
    /// Waits for all workers. Returns one line for each that has not confirmed.
    async fn wait(self) -> Vec<String> {
        let clock = Clock::start();
        let mut missing = Vec::new();
        for (number, confirmed) in self.0.into_iter().enumerate() {
            let left = RELOAD_CONFIRM_TIMEOUT.saturating_sub(clock.now().since(Instant::ZERO));
            match seams::timeout(left, confirmed).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(reason))) => missing.push(format!("worker {number}: {reason}")),
                Ok(Err(_)) => missing.push(format!("worker {number} has ended")),
                Err(_) => missing.push(format!(
                    "worker {number} has not confirmed within {RELOAD_CONFIRM_TIMEOUT:?}; it \
                     applies the new configuration as soon as it can"
                )),
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_do_not_confirm_are_named() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let reported: Vec<_> = (0..3).map(|_| oneshot::channel()).collect();
        let (mut senders, receivers): (Vec<_>, Vec<_>) = reported.into_iter().unzip();
        let refusing = senders.pop().expect("three");
        refusing.send(Err("no socket".to_owned())).expect("it is awaited");
        drop(senders.pop());
        senders.pop().expect("three").send(Ok(())).expect("it is awaited");
        let missing = runtime.expect("a runtime").block_on(Confirmations(receivers).wait());
        assert_eq!(missing, ["worker 1 has ended", "worker 2: no socket"]);
    }
}
