//! Recounts each pool of a worker once a second. If a count is wrong, the pool has a bug: its state
//! is logged, and the process ends. A pool that continued could stay "full" or stuck, or give wrong
//! orders.
//!
//! A recount only reads, between two facts. Its duration is the metric `baton_pool_audit_seconds`,
//! and `benches/recount.rs` measures it.

use std::fmt::Write as _;
use std::time::Duration;

use super::limits::{
    AUDIT_CONNECTIONS_LISTED_MAX, AUDIT_INTERVAL, AUDIT_STAGGER, AUDIT_TIME_SHARE,
};
use super::seams;
use crate::pool::{BackendId, Mismatch, Pool};

/// Has a pool recounted by `audit`, which returns how long that took, until it returns `None`.
/// `number` sets the delay of the first recount; the pools of a worker have different numbers.
pub async fn run(number: u64, audit: impl Fn() -> Option<Duration>) {
    let parts = (AUDIT_INTERVAL.as_millis() / AUDIT_STAGGER.as_millis()) as u64;
    seams::sleep(AUDIT_STAGGER * (number % parts) as u32).await;
    let mut pause = AUDIT_INTERVAL;
    loop {
        seams::sleep(pause).await;
        let Some(taken) = audit() else { return };
        pause = AUDIT_INTERVAL.max(taken * AUDIT_TIME_SHARE);
    }
}

/// Logs the state of an inconsistent pool, in a line of bounded length.
pub fn log(cluster: &str, worker: usize, pool: &Pool, mismatch: Mismatch) {
    let stats = pool.stats();
    let connections = connections(pool);
    tracing::error!(
        target: "baton",
        cluster,
        worker,
        %mismatch,
        requests = stats.requests,
        requests_waiting = stats.waiting,
        requests_deferred = stats.deferred,
        requests_sent = stats.requests.saturating_sub(stats.waiting + stats.deferred),
        requests_retrying = stats.retrying,
        slots = ?stats.slots,
        counters = ?stats.counters,
        next_timer = ?pool.poll_timeout(),
        fail_open = pool.is_fail_open(),
        connections,
        "pool inconsistent: this is a bug in Baton, and the process ends"
    );
}

/// Lists every connection and dial: name, state, streams and limit.
fn connections(pool: &Pool) -> String {
    let mut text = String::new();
    let places = (0..=u16::MAX).map(BackendId).take(pool.config().limits.backends);
    let mut connections = places.flat_map(|place| pool.connections(place));
    for connection in connections.by_ref().take(AUDIT_CONNECTIONS_LISTED_MAX) {
        let view = pool.slot(connection.backend, connection.slot).expect("it has a token");
        // Writing to a String does not fail.
        let _ = write!(text, "{connection} {} {}/{}; ", view.state, view.streams, view.limit);
    }
    let more = connections.count();
    if more > 0 {
        let _ = write!(text, "and {more} more");
    }
    text
}
