//! The sum of one worker, and the task that closes its most stalled client connections.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::decide::{self, Candidate};
use super::process::{ProcessBuffered, Report};
use crate::proxy::limits::{BUFFERED_ROUND, BUFFERED_STEP_BYTES};
use crate::proxy::seams::{self, Clock};

/// A client connection for which bytes have waited.
pub(super) trait Connection {
    /// Returns the bytes that wait and how stalled the connection is; `None` if nothing waits, or
    /// if the connection is about to close.
    fn look(&self) -> Option<(u64, u128)>;

    /// Has the connection closed by its task.
    fn close(&self);
}

/// Bytes of responses that wait for the clients of one worker.
pub struct WorkerBuffered {
    process: Arc<ProcessBuffered>,
    worker: usize,
    pub(super) clock: Clock,
    sum: Cell<u64>,
    published: Cell<u64>,
    /// The connections for which bytes have waited at some time.
    connections: RefCell<BTreeMap<u64, Weak<dyn Connection>>>,
    next_number: Cell<u64>,
}

impl WorkerBuffered {
    /// Nothing waits yet on this worker.
    #[must_use]
    pub fn new(process: Arc<ProcessBuffered>, worker: usize, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            process,
            worker,
            clock,
            sum: Cell::new(0),
            published: Cell::new(0),
            connections: RefCell::default(),
            next_number: Cell::new(0),
        })
    }

    /// Applies the bound of a configuration.
    pub fn configure(&self, bound: Option<u64>) {
        self.process.configure(bound);
    }

    /// The most bytes that may wait.
    #[must_use]
    pub fn at_most(&self) -> u64 {
        self.sum.get()
    }

    pub(super) fn add(&self, bytes: u64) {
        self.changed(self.sum.get() + bytes);
    }

    pub(super) fn remove(&self, bytes: u64) {
        self.changed(self.sum.get() - bytes);
    }

    fn changed(&self, sum: u64) {
        self.sum.set(sum);
        if sum.abs_diff(self.published.get()) >= BUFFERED_STEP_BYTES {
            self.publish(sum);
        }
    }

    #[cold]
    fn publish(&self, sum: u64) {
        self.process.publish(self.published.replace(sum), sum);
    }

    /// Lists a connection. Returns its number.
    pub(super) fn list(&self, connection: Weak<dyn Connection>) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.connections.borrow_mut().insert(number, connection);
        number
    }

    pub(super) fn unlist(&self, number: u64) {
        self.connections.borrow_mut().remove(&number);
    }

    /// Closes the most stalled connections whenever the bound of the process is exceeded, until the
    /// worker ends.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.process.exceeded(self.worker).await;
            self.report();
            // In the meantime the other workers report, too.
            seams::sleep(BUFFERED_ROUND).await;
            while self.process.excess() > 0 {
                self.report();
                for candidate in self.process.verdict(self.worker) {
                    self.close(candidate.number);
                }
                seams::sleep(BUFFERED_ROUND).await;
            }
            self.process.report(self.worker, Report::default());
        }
    }

    /// Asks each connection, and reports their sum and as many of the most stalled ones as can be
    /// needed.
    fn report(&self) {
        let connections = self.connections.borrow();
        let mut bytes = 0;
        let mut candidates = Vec::new();
        for (number, connection) in &*connections {
            if let Some(connection) = connection.upgrade()
                && let Some((waiting, stall)) = connection.look()
            {
                bytes += waiting;
                candidates.push(Candidate {
                    worker: self.worker,
                    number: *number,
                    bytes: waiting,
                    stall,
                });
            }
        }
        // The bytes that really wait exceed the bound by no more than this.
        let candidates = decide::to_close(candidates, self.process.excess());
        self.process.report(self.worker, Report { bytes, candidates });
    }

    fn close(&self, number: u64) {
        let connection = self.connections.borrow().get(&number).and_then(Weak::upgrade);
        // It may have ended meanwhile.
        if let Some(connection) = connection {
            connection.close();
        }
    }
}
