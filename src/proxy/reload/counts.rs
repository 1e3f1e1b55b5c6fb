//! Counters of reloads, for the metrics.

use std::cell::Cell;

/// Counters of reloads, on the main thread.
#[derive(Debug)]
pub struct Counts {
    /// Reloads that changed something.
    pub changed: Cell<u64>,
    /// Reloads that changed nothing.
    pub unchanged: Cell<u64>,
    /// Reloads that were refused, or that a worker did not confirm.
    pub failed: Cell<u64>,
    /// True if the last reload succeeded or there was none yet.
    pub last_went_well: Cell<bool>,
}

impl Default for Counts {
    fn default() -> Self {
        let zero = || Cell::new(0);
        let (changed, unchanged, failed) = (zero(), zero(), zero());
        Self { changed, unchanged, failed, last_went_well: Cell::new(true) }
    }
}

impl Counts {
    /// Counts a reload; `changed` is `None` if it failed.
    pub(super) fn add(&self, changed: Option<bool>) {
        let count = match changed {
            Some(true) => &self.changed,
            Some(false) => &self.unchanged,
            None => &self.failed,
        };
        count.set(count.get() + 1);
        self.last_went_well.set(changed.is_some());
    }
}
