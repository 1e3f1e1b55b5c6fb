//! The access log, counters and trace ids of one worker's requests, shared by every task of the
//! worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::HeaderMap;

use super::access_log::{AccessLog, AccessRecord, Arrival, Unrouted};
use super::client_limits::ClientStats;
use super::date::Dates;
use super::metrics::{EndFrames, Merge as _, WorkerMetrics};
use super::seams::Clock;
use super::trace_context::{TraceId, TraceIds};
use crate::pool::{EndedBy, Instant, Outcome};

/// The telemetry of one worker.
pub struct Telemetry {
    access_log: AccessLog,
    worker: usize,
    metrics: RefCell<WorkerMetrics>,
    client_stats: Rc<ClientStats>,
    dates: Dates,
    trace_ids: RefCell<TraceIds>,
    clock: Clock,
    stopping: Cell<bool>,
}

impl Telemetry {
    /// Creates the telemetry with counters at 0. `clock` is the clock of the worker's drivers.
    #[must_use]
    pub fn new(access_log: AccessLog, worker: usize, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            access_log,
            worker,
            metrics: RefCell::default(),
            client_stats: Rc::default(),
            dates: Dates::new(clock),
            trace_ids: RefCell::new(TraceIds::new(false)),
            clock,
            stopping: Cell::new(false),
        })
    }

    /// The time of request records.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The dates of responses.
    #[must_use]
    pub fn dates(&self) -> &Dates {
        &self.dates
    }

    /// Keeps the trace of a request, or starts one. Returns its id.
    pub fn adopt_trace(&self, headers: &mut HeaderMap) -> TraceId {
        self.trace_ids.borrow_mut().adopt(headers)
    }

    /// Writes the line of a request that has ended. Returns the time of its end.
    pub fn log(&self, record: &AccessRecord) -> Instant {
        let now = self.now();
        self.access_log.write(record, self.worker, now);
        now
    }

    /// Logs and counts a request that Baton refused before it reached a cluster.
    pub fn refused(&self, record: &AccessRecord) {
        self.log(record);
        self.metrics.borrow_mut().request_refused(record);
    }

    /// Logs and counts a request whose head could not be parsed or was refused before the request
    /// reached the service. `status` is 0 if no response was sent.
    pub fn unseen(&self, arrival: &Rc<Arrival>, status: u16, reason: &'static str) {
        let mut record = AccessRecord::unreadable(arrival, self.now());
        record.status = status;
        record.reason = reason;
        self.refused(&record);
    }

    /// Logs and counts a request whose client closed the connection within its head. If a request
    /// is in flight on the connection, that request has its own line instead.
    pub fn incomplete(&self, arrival: &Rc<Arrival>) {
        if arrival.open_requests() == 0 {
            self.unserved(arrival, Unrouted::IncompleteHead);
        }
    }

    /// Logs and counts a request whose client cancelled it before it was served. `reason` says
    /// when.
    pub fn unserved(&self, arrival: &Rc<Arrival>, reason: Unrouted) {
        let mut record = AccessRecord::unreadable(arrival, self.now());
        record.outcome = Some(Outcome::Cancelled);
        record.ended_by = EndedBy::Client;
        record.reason = reason.name();
        self.refused(&record);
    }

    /// The counters of exceeded client limits.
    #[must_use]
    pub fn client_stats(&self) -> &Rc<ClientStats> {
        &self.client_stats
    }

    /// Counts RST_STREAM and GOAWAY frames on client connections.
    pub fn client_frames(&self, frames: &EndFrames) {
        self.metrics.borrow_mut().client_frames.merge(frames);
    }

    /// The clock of the request records.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Counts a client connection until the result is dropped.
    #[must_use]
    pub fn client_connected(self: &Rc<Self>) -> ClientConnected {
        let mut metrics = self.metrics.borrow_mut();
        metrics.clients_accepted += 1;
        metrics.clients_open += 1;
        ClientConnected(Rc::clone(self))
    }

    /// Returns a copy of the counters.
    #[must_use]
    pub fn metrics(&self) -> WorkerMetrics {
        let mut metrics = self.metrics.borrow().clone();
        for (limit, hits) in self.client_stats.all() {
            metrics.client_limits.add_many(limit.name(), hits);
        }
        metrics
    }

    /// From now on, requests that are dropped count as ended by the shutdown.
    pub fn stop(&self) {
        self.stopping.set(true);
    }

    /// True if the worker is about to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}

/// A client connection that is open.
pub struct ClientConnected(Rc<Telemetry>);

impl Drop for ClientConnected {
    fn drop(&mut self) {
        self.0.metrics.borrow_mut().clients_open -= 1;
    }
}
