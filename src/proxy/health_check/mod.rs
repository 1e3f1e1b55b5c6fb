//! Active health checks: carries out the checks that the pool orders, and reports their results to
//! the pool, the other workers and the log. The pool decides on interval, timeout and the number of
//! results that change a backend's state.
//!
//! One worker orders the health checks of the whole process
//! ([`ClusterConfig::pool_config`](super::config::ClusterConfig::pool_config)); the others receive
//! its results by a command, as [`HealthCheckFound`].
//!
//! Each check opens its own connection, never one of the pool's, and closes it afterwards. A
//! connection kept for the next check could still pass while the backend accepts no new ones, and
//! if the backend closed it between two checks, that would look like a failure. The cost is one
//! handshake per interval, with the TLS session resumed. No state is held between two checks, and a
//! check holds at most the buffers of one connection with one stream, for as long as the pool waits
//! for it.

mod check;
mod connection;
pub mod found;
mod grpc;
mod http;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use self::check::{Answered, Check, Unanswered};
use self::found::HealthCheckFound;
use super::backends::BackendEntry;
use super::config::{HealthCheckKind, HealthCheckSettings};
use super::control::{Command, Peers};
use super::limits::{
    HEALTH_CHECK_MARGIN_MAX, HEALTH_CHECK_MARGIN_SHARE, HEALTH_CHECK_REASON_CHARS_MAX,
};
use super::pool_handle::PoolHandle;
use super::{dial, seams};
use crate::pool::{BackendToken, ConnectFailure, Input, Instant};

/// The reason of a failed check whose report did not arrive.
const NO_REPORT: &str = "no answer in time";
/// A failed health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheckFailure {
    /// The reason, for people.
    pub reason: Arc<str>,
    /// The time of the failure, by the worker's clock.
    pub at: Instant,
}

/// One driver's state of health checks.
pub struct HealthChecker {
    peers: Rc<Peers>,
    settings: RefCell<Rc<HealthCheckSettings>>,
    /// The reason of the failed check whose report the pool is handling; `None` if that check
    /// passed.
    reported: RefCell<Option<Arc<str>>>,
    /// Checks that have not reported yet.
    running: RefCell<BTreeMap<BackendToken, Rc<Check>>>,
    /// The last failure of each backend.
    failures: RefCell<BTreeMap<BackendToken, HealthCheckFailure>>,
}

impl HealthChecker {
    /// Creates the state without results.
    pub fn new(settings: &HealthCheckSettings, peers: Rc<Peers>) -> Self {
        Self {
            peers,
            settings: RefCell::new(Rc::new(settings.clone())),
            reported: RefCell::default(),
            running: RefCell::default(),
            failures: RefCell::default(),
        }
    }

    /// The number of this worker.
    pub fn worker(&self) -> usize {
        self.peers.worker()
    }

    /// Sets the settings of future checks.
    pub fn reconfigure(&self, settings: &HealthCheckSettings) {
        self.settings.replace(Rc::new(settings.clone()));
    }

    /// Records the result of a check that this worker's pool ordered, and reports it to the other
    /// workers.
    pub fn judged(&self, cluster: &str, backend: &BackendEntry, passed: bool, now: Instant) {
        let reported = self.reported.take();
        let running = self.running.borrow_mut().remove(&backend.token);
        // If the worker is delayed, the pool's deadline may pass before the check's.
        let late = || running.map_or_else(|| NO_REPORT.into(), |check| check.late().into());
        let failure = (!passed).then(|| reported.unwrap_or_else(late));
        self.note(backend.token, failure.as_ref(), now);
        let found =
            HealthCheckFound { cluster: cluster.to_owned(), backend: backend.identity(), failure };
        self.peers.tell(|| Command::HealthCheckFound(found.clone()));
    }

    /// Ends a check that was reported, even if the pool ignored the report.
    fn reported_on(&self, check: &Rc<Check>) {
        self.reported.take();
        let mut running = self.running.borrow_mut();
        if running.get(&check.backend.token).is_some_and(|known| Rc::ptr_eq(known, check)) {
            running.remove(&check.backend.token);
        }
    }

    /// Records the failure of a check, if it failed.
    pub fn note(&self, backend: BackendToken, failure: Option<&Arc<str>>, now: Instant) {
        if let Some(reason) = failure {
            let failure = HealthCheckFailure { reason: Arc::clone(reason), at: now };
            self.failures.borrow_mut().insert(backend, failure);
        }
    }

    /// Returns the last failure of a backend, even if later checks passed.
    pub fn failure(&self, backend: BackendToken) -> Option<HealthCheckFailure> {
        self.failures.borrow().get(&backend).cloned()
    }

    /// Removes the records of a backend that no longer exists.
    pub fn forget(&self, backend: BackendToken) {
        self.failures.borrow_mut().remove(&backend);
        self.running.borrow_mut().remove(&backend);
    }
}

/// Starts a health check of a backend; `time` is how long the pool waits for it.
pub fn start(
    checker: Rc<HealthChecker>,
    pool: PoolHandle,
    backend: Rc<BackendEntry>,
    number: u32,
    time: Duration,
) {
    let settings = Rc::clone(&checker.settings.borrow());
    let token = backend.token;
    let check = Rc::new(Check { backend, settings, time, step: Cell::new("connecting") });
    checker.running.borrow_mut().insert(token, Rc::clone(&check));
    seams::spawn(async move { report(&checker, &pool, &check, number).await });
}

async fn report(checker: &HealthChecker, pool: &PoolHandle, check: &Rc<Check>, number: u32) {
    let time = check.time;
    let begun = pool.now();
    let margin = HEALTH_CHECK_MARGIN_MAX.min(time / HEALTH_CHECK_MARGIN_SHARE);
    let finished = seams::timeout(time - margin, run(check)).await;
    let Answered { verdict, rest } = finished.unwrap_or_else(|_| Answered::failed(check.late()));
    let backend = check.backend.token;
    if let Err(reason) = &verdict {
        let reason = bounded(reason);
        let (cluster, name) = (&*pool.cluster, &*check.backend.name);
        tracing::debug!(target: "baton", cluster, backend = name, number, reason, "health check failed");
        checker.reported.replace(Some(reason.into()));
    }
    let passed = verdict.is_ok();
    let _ = pool.tell(Input::HealthCheckFinished { backend, number, passed });
    checker.reported_on(check);
    let left = time.saturating_sub(pool.now().since(begun));
    // It does not matter if the connection closes gracefully or the time runs out.
    let _ = seams::timeout(left, rest).await;
}

fn bounded(reason: &str) -> String {
    reason
        .chars()
        .take(HEALTH_CHECK_REASON_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Runs the check. After a graceful GOAWAY it is tried once more, on another connection.
async fn run(check: &Check) -> Answered {
    let mut result = attempt(check).await;
    if matches!(result, Err(Unanswered::GoingAway)) {
        result = attempt(check).await;
    }
    match result {
        Ok(answered) => answered,
        Err(Unanswered::Failed(reason)) => Answered::failed(reason),
        Err(Unanswered::GoingAway) => {
            Answered::failed("GOAWAY on two connections in a row".to_owned())
        }
    }
}

async fn attempt(check: &Check) -> Result<Answered, Unanswered> {
    check.step.set("connecting");
    let connected = dial::connect(&check.backend, || check.step.set("TLS handshake")).await;
    let (mut io, http2) = connected.map_err(|(failure, error)| {
        let step = if failure == ConnectFailure::Tls { "TLS" } else { "cannot connect" };
        Unanswered::Failed(format!("{step}: {error}"))
    })?;
    match check.settings.kind {
        HealthCheckKind::Off => Err(Unanswered::Failed("health checks are off".to_owned())),
        HealthCheckKind::Tcp => {
            let rest = async move {
                // It fails only if the connection is gone already.
                let _ = io.shutdown().await;
            };
            Ok(Answered { verdict: Ok(()), rest: Box::pin(rest) })
        }
        HealthCheckKind::Http if http2 => http::over_http2(check, io).await,
        HealthCheckKind::Http => http::over_http1(check, io).await,
        HealthCheckKind::Grpc if http2 => grpc::check(check, io).await,
        HealthCheckKind::Grpc => {
            Err(Unanswered::Failed("gRPC needs HTTP/2, and the backend chose HTTP/1.1".to_owned()))
        }
    }
}
