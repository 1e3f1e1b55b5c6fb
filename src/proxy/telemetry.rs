//! What the requests of one worker leave behind: lines in the access log, counts, ids of traces. One
//! per worker, for everyone on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::HeaderMap;

use super::access_log::{AccessLog, AccessRecord, Arrival, EndedBy};
use super::client_limits::ClientStats;
use super::metrics::{EndFrames, WorkerMetrics};
use super::seams::Clock;
use super::trace_context::{TraceId, TraceIds};
use crate::pool::{Instant, Outcome};

/// One worker's.
pub struct Telemetry {
    access_log: AccessLog,
    worker: usize,
    metrics: RefCell<WorkerMetrics>,
    client_stats: Rc<ClientStats>,
    trace_ids: RefCell<TraceIds>,
    clock: Clock,
    stopping: Cell<bool>,
}

impl Telemetry {
    /// With counts of zero. The clock is that of the worker's drivers.
    #[must_use]
    pub fn new(access_log: AccessLog, worker: usize, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            access_log,
            worker,
            metrics: RefCell::default(),
            client_stats: Rc::default(),
            trace_ids: RefCell::new(TraceIds::new(false)),
            clock,
            stopping: Cell::new(false),
        })
    }

    /// The time by which records of requests go.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Passes on the trace of a request, or begins one.
    pub fn adopt_trace(&self, headers: &mut HeaderMap) -> TraceId {
        self.trace_ids.borrow_mut().adopt(headers)
    }

    /// Writes the line of a request that has ended, and returns its end.
    pub fn log(&self, record: &AccessRecord) -> Instant {
        let now = self.now();
        self.access_log.write(record, self.worker, now);
        now
    }

    /// Logs and counts a request that Baton answered itself before any cluster had seen it.
    pub fn refused(&self, record: &AccessRecord) {
        self.log(record);
        self.metrics.borrow_mut().request_refused(record);
    }

    /// Logs and counts a request whose head could not be read or was refused before anybody had seen
    /// it; the status is 0 if it was not answered.
    pub fn unseen(&self, arrival: &Rc<Arrival>, status: u16, reason: &'static str) {
        let mut record = AccessRecord::unreadable(arrival, self.now());
        record.status = status;
        record.reason = reason;
        self.refused(&record);
    }

    /// Logs and counts a request whose client left in the middle of its head. If it left while it was
    /// being answered, that request has its own line.
    pub fn incomplete(&self, arrival: &Rc<Arrival>) {
        if arrival.open_requests() > 0 {
            return;
        }
        let mut record = AccessRecord::unreadable(arrival, self.now());
        record.outcome = Some(Outcome::Cancelled);
        record.ended_by = EndedBy::Client;
        record.reason = "incomplete_head";
        self.refused(&record);
    }

    /// How often clients ran into limits.
    #[must_use]
    pub fn client_stats(&self) -> &Rc<ClientStats> {
        &self.client_stats
    }

    /// Counts frames on connections of clients.
    pub fn client_frames(&self, frames: &EndFrames) {
        self.metrics.borrow_mut().client_frames.merge(frames);
    }

    /// The clock that all of this goes by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Counts a client's connection for as long as what is returned lives.
    #[must_use]
    pub fn client_connected(self: &Rc<Self>) -> ClientConnected {
        let mut metrics = self.metrics.borrow_mut();
        metrics.clients_accepted += 1;
        metrics.clients_open += 1;
        ClientConnected(Rc::clone(self))
    }

    /// What was counted so far.
    #[must_use]
    pub fn metrics(&self) -> WorkerMetrics {
        let mut metrics = self.metrics.borrow().clone();
        for (limit, hits) in self.client_stats.all() {
            metrics.client_limits.add_many(limit.name(), hits);
        }
        metrics
    }

    /// From here on, what ends is ended by the end of the worker.
    pub fn stop(&self) {
        self.stopping.set(true);
    }

    /// Whether the worker is about to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}

/// A client's connection that is open.
pub struct ClientConnected(Rc<Telemetry>);

impl Drop for ClientConnected {
    fn drop(&mut self) {
        self.0.metrics.borrow_mut().clients_open -= 1;
    }
}
