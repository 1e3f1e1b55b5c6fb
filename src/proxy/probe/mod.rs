//! Active health checks: carries out the probes that the pool orders, and tells the pool, the other
//! workers and people what came of them. How often, how long and how many in a row is the pool's.
//!
//! One worker orders the probes of the whole process
//! ([`ClusterConfig::pool_config`](super::config::ClusterConfig::pool_config)); the others are told
//! what it finds by a command, as [`ProbeFound`].
//!
//! Each probe has a connection of its own, never one of the pool's, made anew and closed when it is
//! over. A connection that is kept would go on answering where no new one is accepted any more, and
//! would have to be told from one that the backend closed in between. What it costs is a handshake per
//! interval, with the TLS session resumed. Nothing is held between two probes, and a probe holds at most
//! the buffers of one connection with one stream, for as long as the pool waits for it.

mod connection;
mod grpc;
mod http;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::backends::{Backend, BackendIdentity};
use super::config::{ProbeKind, ProbeSettings};
use super::control::{Command, Peers};
use super::driver::Driver;
use super::seams;
use crate::pool::{BackendToken, Input, Instant};

/// A check is given up so long before the pool stops waiting for its report, so that there is one.
const REPORT_MARGIN: Duration = Duration::from_millis(10);
/// Characters of a reason. Backends have a say in some of them.
const REASON_MAX: usize = 256;
/// What is said of a probe whose report did not come.
const NO_REPORT: &str = "no answer in time";

/// What a probe that one worker ordered found, for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeFound {
    /// The cluster, by its name.
    pub cluster: String,
    /// The backend: tokens are each pool's own.
    pub backend: BackendIdentity,
    /// Why it failed; `None` if it passed.
    pub failure: Option<Arc<str>>,
}

/// Why a probe failed, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeFailure {
    /// For people.
    pub reason: Arc<str>,
    /// By the worker's clock.
    pub at: Instant,
}

/// What one driver knows of probes.
pub struct Probes {
    peers: Rc<Peers>,
    settings: RefCell<Rc<ProbeSettings>>,
    /// Of the probe whose report the pool is being told.
    reported: RefCell<Option<Arc<str>>>,
    /// Checks whose report is to come.
    running: RefCell<BTreeMap<BackendToken, Rc<Check>>>,
    /// The last failure of each backend.
    failures: RefCell<BTreeMap<BackendToken, ProbeFailure>>,
}

impl Probes {
    /// Nothing is known yet.
    pub fn new(settings: &ProbeSettings, peers: Rc<Peers>) -> Self {
        Self {
            peers,
            settings: RefCell::new(Rc::new(settings.clone())),
            reported: RefCell::default(),
            running: RefCell::default(),
            failures: RefCell::default(),
        }
    }

    /// The worker that this is on.
    pub fn worker(&self) -> usize {
        self.peers.worker()
    }

    /// Probes from now on are like this.
    pub fn reconfigure(&self, settings: &ProbeSettings) {
        self.settings.replace(Rc::new(settings.clone()));
    }

    /// The pool has judged a probe that it ordered: the other workers are told.
    pub fn judged(&self, cluster: &str, backend: &Backend, passed: bool, now: Instant) {
        let reported = self.reported.take();
        let running = self.running.borrow_mut().remove(&backend.token);
        // On a worker that is held up, the pool's patience may end before the check does.
        let late = || running.map_or_else(|| NO_REPORT.into(), |check| check.late().into());
        let failure = (!passed).then(|| reported.unwrap_or_else(late));
        self.note(backend.token, failure.as_ref(), now);
        let found =
            ProbeFound { cluster: cluster.to_owned(), backend: backend.identity(), failure };
        self.peers.tell(|| Command::ProbeFound(found.clone()));
    }

    /// A check was reported, and the pool may have wanted to know no more.
    fn reported_on(&self, check: &Rc<Check>) {
        self.reported.take();
        let mut running = self.running.borrow_mut();
        if running.get(&check.backend.token).is_some_and(|known| Rc::ptr_eq(known, check)) {
            running.remove(&check.backend.token);
        }
    }

    /// Remembers why a probe failed, if it did.
    pub fn note(&self, backend: BackendToken, failure: Option<&Arc<str>>, now: Instant) {
        if let Some(reason) = failure {
            let failure = ProbeFailure { reason: Arc::clone(reason), at: now };
            self.failures.borrow_mut().insert(backend, failure);
        }
    }

    /// The last failure of a backend, even if later probes passed.
    pub fn failure(&self, backend: BackendToken) -> Option<ProbeFailure> {
        self.failures.borrow().get(&backend).cloned()
    }

    /// The backend is gone.
    pub fn forget(&self, backend: BackendToken) {
        self.failures.borrow_mut().remove(&backend);
        self.running.borrow_mut().remove(&backend);
    }
}

/// Carries out a probe of a backend, for which the pool allows this time.
pub fn start(driver: Rc<Driver>, backend: Rc<Backend>, number: u32, time: Duration) {
    let probes = driver.probes();
    let settings = Rc::clone(&probes.settings.borrow());
    let token = backend.token;
    let check = Rc::new(Check { backend, settings, time, step: Cell::new("connecting") });
    probes.running.borrow_mut().insert(token, Rc::clone(&check));
    seams::spawn("probe", async move { report(&driver, &check, number).await });
}

async fn report(driver: &Rc<Driver>, check: &Rc<Check>, number: u32) {
    let time = check.time;
    let begun = driver.now();
    let margin = REPORT_MARGIN.min(time / 20);
    let finished = seams::timeout(time - margin, check.run()).await;
    let Answered { verdict, rest } = finished.unwrap_or_else(|_| Answered::failed(check.late()));
    let backend = check.backend.token;
    if let Err(reason) = &verdict {
        let reason = bounded(reason);
        let (cluster, name) = (&**driver.cluster(), &*check.backend.name);
        tracing::debug!(target: "baton", cluster, backend = name, number, reason, "probe failed");
        driver.probes().reported.replace(Some(reason.into()));
    }
    let passed = verdict.is_ok();
    let _ = driver.tell(Input::ProbeFinished { backend, number, passed });
    driver.probes().reported_on(check);
    let left = time.saturating_sub(driver.now().since(begun));
    // Nobody depends on how the connection ends, only that it does.
    let _ = seams::timeout(left, rest).await;
}

fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Why a probe failed, in words; nothing to say of one that passed.
type Verdict = Result<(), String>;
type Rest = Pin<Box<dyn Future<Output = ()>>>;

/// What a check came to, and what is left to do to end its connection in order.
struct Answered {
    verdict: Verdict,
    rest: Rest,
}

impl Answered {
    fn failed(reason: String) -> Self {
        Self { verdict: Err(reason), rest: Box::pin(async {}) }
    }
}

/// Why there is no answer to judge.
enum Unanswered {
    /// The backend failed.
    Failed(String),
    /// The backend closes this connection in order, which says nothing against it (RFC 9113, 6.8).
    GoingAway,
}

/// One check of one backend.
struct Check {
    backend: Rc<Backend>,
    settings: Rc<ProbeSettings>,
    /// How long it may take.
    time: Duration,
    /// What it is waiting for.
    step: Cell<&'static str>,
}

impl Check {
    /// A backend that goes away gets a second chance, on another connection.
    async fn run(&self) -> Answered {
        let mut attempt = self.attempt().await;
        if matches!(attempt, Err(Unanswered::GoingAway)) {
            attempt = self.attempt().await;
        }
        match attempt {
            Ok(answered) => answered,
            Err(Unanswered::Failed(reason)) => Answered::failed(reason),
            Err(Unanswered::GoingAway) => {
                Answered::failed("GOAWAY on two connections in a row".to_owned())
            }
        }
    }

    async fn attempt(&self) -> Result<Answered, Unanswered> {
        let (mut io, http2) = connection::connect(&self.backend, &self.step).await?;
        match self.settings.kind {
            ProbeKind::Off => Err(Unanswered::Failed("there is no check".to_owned())),
            ProbeKind::Tcp => {
                let rest = async move { connection::close(&mut io).await };
                Ok(Answered { verdict: Ok(()), rest: Box::pin(rest) })
            }
            ProbeKind::Http if http2 => http::over_http2(self, io).await,
            ProbeKind::Http => http::over_http1(self, io).await,
            ProbeKind::Grpc if http2 => grpc::check(self, io).await,
            ProbeKind::Grpc => Err(Unanswered::Failed(
                "gRPC needs HTTP/2, and the backend chose HTTP/1.1".to_owned(),
            )),
        }
    }

    /// What is said of it when its time is over.
    fn late(&self) -> String {
        format!("no answer within {:?}: {}", self.time, self.step.get())
    }

    /// Who is asked, unless configured otherwise: host and port of the backend.
    fn authority(&self) -> String {
        self.settings.host.clone().unwrap_or_else(|| self.backend.url.authority())
    }
}
