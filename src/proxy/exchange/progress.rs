//! Reports the progress of a body to the pool at intervals.

use std::rc::Rc;
use std::time::Duration;

use crate::pool::{Input, Instant, StreamToken};
use crate::proxy::driver::Driver;
use crate::proxy::limits::{PROGRESS_INTERVAL_MAX, PROGRESS_REPORTS_PER_STALL};

/// The bytes that passed since the last report.
pub(super) struct Progress {
    interval: Duration,
    reported: Instant,
    bytes: u64,
}

impl Progress {
    /// Starts without bytes.
    pub(super) fn start(driver: &Driver) -> Self {
        let stall =
            driver.config(|config| config.timeouts.body_stall.min(config.timeouts.response_stall));
        let interval = PROGRESS_INTERVAL_MAX.min(stall / PROGRESS_REPORTS_PER_STALL);
        Self { interval, reported: driver.now(), bytes: 0 }
    }

    /// Adds bytes that passed, and reports them if a report is due. Returns true if it reported.
    pub(super) fn note(&mut self, driver: &Rc<Driver>, stream: StreamToken, bytes: u64) -> bool {
        self.bytes += bytes;
        let now = driver.now();
        if now.since(self.reported) < self.interval {
            return false;
        }
        self.report(driver, stream);
        true
    }

    /// Reports the bytes that passed since the last report.
    pub(super) fn report(&mut self, driver: &Rc<Driver>, stream: StreamToken) {
        self.reported = driver.now();
        let bytes = u32::try_from(std::mem::take(&mut self.bytes)).unwrap_or(u32::MAX);
        // The pool decides if the report still matters.
        let _ = driver.tell(Input::BodyProgressed { stream, bytes });
    }
}
