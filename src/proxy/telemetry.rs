//! What the requests of one worker leave behind: lines in the access log, counts, ids of traces. One
//! per worker, for everyone on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::HeaderMap;

use super::access_log::{AccessLog, AccessRecord, Arrival, EndedBy};
use super::error_response::Unreadable;
use super::metrics::WorkerMetrics;
use super::seams::Clock;
use super::trace_context::{TraceId, TraceIds};
use crate::pool::{Instant, Outcome};

/// One worker's.
pub struct Telemetry {
    access_log: AccessLog,
    metrics: RefCell<WorkerMetrics>,
    trace_ids: RefCell<TraceIds>,
    clock: Clock,
    stopping: Cell<bool>,
}

impl Telemetry {
    /// With counts of zero. The clock is that of the worker's drivers.
    #[must_use]
    pub fn new(access_log: AccessLog, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            access_log,
            metrics: RefCell::default(),
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
        self.access_log.write(record, now);
        now
    }

    /// Logs and counts a request that Baton answered itself before any cluster had seen it.
    pub fn refused(&self, record: &AccessRecord) {
        self.log(record);
        self.metrics.borrow_mut().request_refused(record);
    }

    /// Logs and counts a request whose head could not be read. One without a status was broken off by
    /// its client.
    pub fn unreadable(&self, arrival: &Arrival, unreadable: Unreadable) {
        let Unreadable { status, reason } = unreadable;
        if status == 0 && arrival.open_requests() > 0 {
            // The client left while it was being answered, and that request has its own line.
            return;
        }
        let mut record = AccessRecord::unreadable(arrival, self.now());
        record.status = status;
        record.reason = reason;
        if status == 0 {
            record.outcome = Some(Outcome::Cancelled);
            record.ended_by = EndedBy::Client;
        }
        self.refused(&record);
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
        self.metrics.borrow().clone()
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
