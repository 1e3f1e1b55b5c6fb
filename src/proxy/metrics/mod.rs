//! The counters of a worker. They are plain numbers owned by one thread: recording takes no lock,
//! no atomic and, after the first time, no allocation. To read them, the process requests a copy
//! from each worker (see [`control`](super::control)) and adds them up.

pub mod counts;
mod histogram;
mod merge;

use std::iter;
use std::time::Duration;

use super::access_log::{AccessRecord, AttemptRecord, Unrouted};
use super::client_limits::ClientLimit;
use crate::pool::{
    BackendToken, CloseReason, ConnectFailure, Evidence, Outcome, OutcomeKind, Rejection,
};

pub use counts::{Codes, Counts, EndFrames, code_name};
pub use histogram::{BOUNDS_SECONDS, Histogram};
pub use merge::Merge;
pub(crate) use merge::merge_fields;

/// The classes of status codes, as labels; the first is for requests without a response.
pub const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// The label of connections that the peer or the network closed.
pub const CLOSED_BY_PEER: &str = "peer";
/// The label of dials that the pool gave up at their deadline.
const DEADLINE: &str = "deadline";
/// The label of dials that the pool gave up for another reason.
const GIVEN_UP: &str = "given_up";
/// The limits for which a request can end before a cluster is chosen.
const REFUSED_BY: [ClientLimit; 7] = [
    ClientLimit::MalformedHead,
    ClientLimit::MalformedFraming,
    ClientLimit::HeadBytes,
    ClientLimit::HeadFields,
    ClientLimit::HeadTimeout,
    ClientLimit::StreamsPerConnection,
    ClientLimit::BufferedBytes,
];

/// The label of a dial that the pool gave up.
#[must_use]
pub fn given_up(reason: CloseReason) -> &'static str {
    if reason == CloseReason::ConnectDeadline { DEADLINE } else { GIVEN_UP }
}

/// Counts requests by class of status code and outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests([[u64; OutcomeKind::ALL.len()]; STATUS_CLASSES.len()]);

impl Requests {
    fn add(&mut self, record: &AccessRecord) {
        let class = usize::from(record.status / 100);
        let class = if class < STATUS_CLASSES.len() { class } else { 0 };
        self.0[class][record.outcome_kind() as usize] += 1;
    }

    /// Returns class, outcome and count of each combination that is not zero.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        STATUS_CLASSES.iter().zip(&self.0).flat_map(|(class, outcomes)| {
            let counted = OutcomeKind::NAMES.iter().zip(outcomes).filter(|(_, count)| **count > 0);
            counted.map(|(outcome, count)| (*class, *outcome, *count))
        })
    }
}

/// The counters of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendMetrics {
    /// Requests whose last attempt was at this backend.
    pub requests: Requests,
    /// Dials started.
    pub dials: u64,
    /// Dials that failed, by phase.
    pub dial_failures: Counts,
    /// Ready connections that closed, by reason.
    pub closes: Counts,
    /// RST_STREAM and GOAWAY frames.
    pub frames: EndFrames,
    /// Health checks that this worker ordered and that have finished.
    pub health_checks: u64,
    /// Those of these health checks that failed.
    pub health_checks_failed: u64,
}

impl Default for BackendMetrics {
    fn default() -> Self {
        // The pool never closes a ready connection for these two reasons.
        let closes = CloseReason::ALL.iter().filter(|reason| {
            !matches!(reason, CloseReason::ConnectDeadline | CloseReason::BackendDrained)
        });
        let closes = closes.map(|reason| reason.name());
        Self {
            requests: Requests::default(),
            dials: 0,
            dial_failures: Counts::of(
                ConnectFailure::NAMES.iter().copied().chain([DEADLINE, GIVEN_UP]),
            ),
            closes: Counts::of(iter::once(CLOSED_BY_PEER).chain(closes)),
            frames: EndFrames::default(),
            health_checks: 0,
            health_checks_failed: 0,
        }
    }
}

impl BackendMetrics {
    /// Counts a health check that has finished.
    pub fn health_check_finished(&mut self, passed: bool) {
        self.health_checks += 1;
        self.health_checks_failed += u64::from(!passed);
    }
}

/// Bytes of content, by side and direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyBytes {
    /// Bytes from clients.
    pub from_clients: u64,
    /// Bytes to clients.
    pub to_clients: u64,
    /// Bytes to backends, retries included.
    pub to_backends: u64,
    /// Bytes from backends.
    pub from_backends: u64,
}

/// The counters of one cluster on one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetrics {
    /// The counters of each backend, by its index in the pool, with the generation of the backend
    /// that has the index now.
    backends: Vec<(u32, BackendMetrics)>,
    /// Requests that never reached a backend.
    pub without_backend: Requests,
    /// Further attempts, by the evidence that allowed the retry.
    pub retries: Counts,
    /// Requests that the pool rejected, by reason.
    pub rejections: Counts,
    /// Bytes of content of requests that have ended.
    pub bytes: BodyBytes,
    /// From a request's arrival to its first stream.
    pub queue_wait: Histogram,
    /// From a request's arrival to the head of its response.
    pub first_byte: Histogram,
    /// From a request's arrival to its end.
    pub total: Histogram,
    /// Duration of TCP connects to backends.
    pub connect: Histogram,
    /// Duration of TLS handshakes with backends.
    pub tls: Histogram,
    /// Duration of recounts of the pool.
    pub audit: Histogram,
}

impl ClusterMetrics {
    /// Creates counters that are all 0.
    #[must_use]
    pub fn new() -> Self {
        // An attempt whose response has started is never retried.
        let safe = Evidence::ALL.iter().filter(|evidence| **evidence != Evidence::Responding);
        Self {
            retries: Counts::of(safe.map(|evidence| evidence.name())),
            rejections: Counts::of(Rejection::NAMES.iter().copied()),
            ..Self::default()
        }
    }

    /// Counts a request that has ended.
    pub fn request_ended(&mut self, record: &AccessRecord, total: Duration) {
        match record.attempts.last() {
            Some(last) => self.count_at(last.backend, |metrics| metrics.requests.add(record)),
            None => self.without_backend.add(record),
        }
        let repeated = |attempt: &&AttemptRecord| attempt.number < record.attempts_ordered;
        for failed in record.attempts.iter().filter(repeated) {
            self.retries.add(failed.failed.map_or("-", |(evidence, _)| evidence.name()));
        }
        if let Some(Outcome::Rejected(rejection)) = record.outcome {
            self.rejections.add(rejection.name());
        }
        self.bytes.from_clients += record.request_bytes;
        self.bytes.to_clients += record.response_bytes;
        self.bytes.to_backends += record.backend_request_bytes;
        self.bytes.from_backends += record.backend_response_bytes;
        if let Some(opened) = record.opened {
            self.queue_wait.observe(opened.since(record.arrived));
        }
        if let Some(first_byte) = record.first_byte {
            self.first_byte.observe(first_byte.since(record.arrived));
        }
        self.total.observe(total);
    }

    /// Returns a copy of the counters of a backend.
    #[must_use]
    pub fn of_backend(&self, token: BackendToken) -> BackendMetrics {
        let known = self.backends.get(usize::from(token.backend.0));
        let known = known.filter(|(generation, _)| *generation == token.generation);
        known.map(|(_, metrics)| metrics.clone()).unwrap_or_default()
    }

    /// Updates the counters of a backend. Does nothing if another backend has its index now: the
    /// counters ended with the backend, though its last requests may end later.
    pub fn count_at(&mut self, token: BackendToken, count: impl FnOnce(&mut BackendMetrics)) {
        let index = usize::from(token.backend.0);
        if index >= self.backends.len() {
            self.backends.resize_with(index + 1, Default::default);
        }
        let (generation, metrics) = &mut self.backends[index];
        if *generation > token.generation {
            return;
        }
        if *generation < token.generation {
            (*generation, *metrics) = (token.generation, BackendMetrics::default());
        }
        count(metrics);
    }
}

/// The counters of one worker that belong to no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerMetrics {
    /// Client connections that are open.
    pub clients_open: u64,
    /// Client connections accepted since the start.
    pub clients_accepted: u64,
    /// The most bytes of responses that may wait for clients.
    pub client_buffered_bytes: u64,
    /// Requests refused before a cluster was chosen.
    pub refused: Requests,
    /// The reasons for these refusals.
    pub refusals: Counts,
    /// Client limits that were exceeded.
    pub client_limits: Counts,
    /// RST_STREAM and GOAWAY frames on HTTP/2 connections of clients.
    pub client_frames: EndFrames,
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        let limits = REFUSED_BY.iter().map(|limit| limit.name());
        Self {
            clients_open: 0,
            clients_accepted: 0,
            client_buffered_bytes: 0,
            refused: Requests::default(),
            refusals: Counts::of(Unrouted::NAMES.iter().copied().chain(limits)),
            client_limits: Counts::default(),
            client_frames: EndFrames::default(),
        }
    }
}

impl WorkerMetrics {
    /// Counts a request that reached no cluster.
    pub fn request_refused(&mut self, record: &AccessRecord) {
        self.refused.add(record);
        self.refusals.add(record.reason);
    }
}

// Backends are added up by name, in `admin::sums`: workers may differ in them.
merge_fields! {
    Requests { 0 };
    BackendMetrics { requests, dials, dial_failures, closes, frames, health_checks, health_checks_failed };
    BodyBytes { from_clients, to_clients, to_backends, from_backends };
    ClusterMetrics {
        without_backend, retries, rejections, bytes, queue_wait, first_byte, total, connect, tls,
        audit
    } except { backends };
    WorkerMetrics {
        clients_open, clients_accepted, client_buffered_bytes, refused, refusals, client_limits,
        client_frames
    };
}
