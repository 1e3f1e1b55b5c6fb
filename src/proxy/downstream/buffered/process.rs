//! The sum of all workers, its bound, and the reports of workers to each other while they exceed
//! it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::decide::{Candidate, to_close};

/// The findings of one worker.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Bytes that wait for its clients.
    pub(super) bytes: u64,
    /// Its most stalled connections.
    pub(super) candidates: Vec<Candidate>,
}

/// Bytes of responses that wait for the clients of the process. Shared by all workers; locked only
/// while the bound is exceeded.
#[derive(Debug)]
pub struct ProcessBuffered {
    /// At least the bytes that wait, but for what workers have not published yet.
    sum: AtomicU64,
    bound: AtomicU64,
    /// The bound if the configuration has none.
    default_bound: u64,
    reports: Mutex<Vec<Report>>,
    exceeded: Vec<Notify>,
}

impl ProcessBuffered {
    /// Nothing waits yet. `default_bound` applies if the configuration has no bound.
    #[must_use]
    pub fn new(workers: usize, default_bound: u64) -> Self {
        Self {
            sum: AtomicU64::new(0),
            bound: AtomicU64::new(default_bound),
            default_bound,
            reports: Mutex::new((0..workers).map(|_| Report::default()).collect()),
            exceeded: (0..workers).map(|_| Notify::new()).collect(),
        }
    }

    /// Applies the bound of a configuration.
    pub fn configure(&self, bound: Option<u64>) {
        self.bound.store(bound.unwrap_or(self.default_bound), Ordering::Relaxed);
        self.warn_if_exceeded();
    }

    /// Adds the difference to the last number that a worker has published.
    pub(super) fn publish(&self, before: u64, now: u64) {
        // The sum of all differences is exact although each may be negative.
        self.sum.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        if now > before {
            self.warn_if_exceeded();
        }
    }

    fn warn_if_exceeded(&self) {
        if self.excess() > 0 {
            self.exceeded.iter().for_each(Notify::notify_one);
        }
    }

    /// Waits until the bound is exceeded.
    pub(super) async fn exceeded(&self, worker: usize) {
        self.exceeded[worker].notified().await;
    }

    /// Bytes beyond the bound: at least those that wait.
    pub(super) fn excess(&self) -> u64 {
        let sum = self.sum.load(Ordering::Relaxed);
        sum.saturating_sub(self.bound.load(Ordering::Relaxed))
    }

    /// Reports the findings of a worker to the others.
    pub(super) fn report(&self, worker: usize, report: Report) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)[worker] = report;
    }

    /// Returns those connections of a worker that are to be closed, by the reports of all
    /// workers, and takes them out of its own.
    pub(super) fn verdict(&self, worker: usize) -> Vec<Candidate> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let sum: u64 = reports.iter().map(|report| report.bytes).sum();
        let excess = sum.saturating_sub(self.bound.load(Ordering::Relaxed));
        let candidates = reports.iter().flat_map(|report| report.candidates.iter().cloned());
        let mut closed = to_close(candidates.collect(), excess);
        closed.retain(|candidate| candidate.worker == worker);
        let own = &mut reports[worker];
        own.bytes -= closed.iter().map(|candidate| candidate.bytes).sum::<u64>();
        own.candidates.retain(|candidate| !closed.contains(candidate));
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(worker: usize, connections: &[(u64, u64, u128)]) -> Report {
        let candidates = connections.iter().map(|&(number, bytes, stall)| Candidate {
            worker,
            number,
            bytes,
            stall,
        });
        let bytes = connections.iter().map(|(_, bytes, _)| bytes).sum();
        Report { bytes, candidates: candidates.collect() }
    }

    fn closed(process: &ProcessBuffered, worker: usize) -> Vec<u64> {
        process.verdict(worker).iter().map(|candidate| candidate.number).collect()
    }

    #[test]
    fn a_worker_closes_its_own_connections_in_the_order_of_the_process() {
        let process = ProcessBuffered::new(2, 100);
        process.report(0, report(0, &[(1, 60, 5), (2, 60, 9)]));
        process.report(1, report(1, &[(3, 60, 7), (4, 60, 1)]));
        assert_eq!(closed(&process, 0), [2, 1], "240 wait, so three are too many");
        assert_eq!(closed(&process, 1), [3]);
        assert_eq!(closed(&process, 0), [0; 0], "60 wait");
        assert_eq!(closed(&process, 1), [0; 0]);
    }

    #[test]
    fn nothing_is_closed_for_bytes_that_do_not_wait() {
        let process = ProcessBuffered::new(1, 100);
        process.publish(0, 200);
        assert_eq!(process.excess(), 100);
        process.report(0, report(0, &[(1, 60, 5), (2, 40, 9)]));
        assert_eq!(closed(&process, 0), [0; 0]);
    }

    #[test]
    fn the_sum_follows_all_workers_and_the_bound_the_configuration() {
        let process = ProcessBuffered::new(2, 100);
        process.publish(0, 80);
        process.publish(0, 70);
        assert_eq!(process.excess(), 50);
        process.publish(80, 10);
        assert_eq!(process.excess(), 0);
        process.configure(Some(30));
        assert_eq!(process.excess(), 50);
        process.configure(None);
        assert_eq!(process.excess(), 0);
    }
}
