//! Tells the pool, now and then, that a body passes.

use std::rc::Rc;
use std::time::Duration;

use super::driver::Driver;
use crate::pool::{Input, Instant, StreamToken};

/// The longest time between two reports of a body that passes.
const INTERVAL_MAX: Duration = Duration::from_secs(1);
/// There are so many reports at least within the time that a body may stand still.
const REPORTS: u32 = 4;

/// What passed since the last report.
pub struct Progress {
    interval: Duration,
    told: Instant,
    bytes: u64,
}

impl Progress {
    /// Nothing yet.
    pub fn start(driver: &Driver) -> Self {
        let stall =
            driver.config(|config| config.timeouts.body_stall.min(config.timeouts.response_stall));
        let interval = INTERVAL_MAX.min(stall / REPORTS);
        Self { interval, told: driver.now(), bytes: 0 }
    }

    /// So many bytes passed. True if it was time for a report.
    pub fn note(&mut self, driver: &Rc<Driver>, stream: StreamToken, bytes: u64) -> bool {
        self.bytes += bytes;
        let now = driver.now();
        if now.since(self.told) < self.interval {
            return false;
        }
        self.told = now;
        let bytes = u32::try_from(std::mem::take(&mut self.bytes)).unwrap_or(u32::MAX);
        // Whether it is still of interest is the pool's to say.
        let _ = driver.tell(Input::BodyProgressed { stream, bytes });
        true
    }
}
