//! Once a second each pool of a worker recounts itself. A pool that does not add up is wrong in a way
//! that nobody has thought of; it says so with all that can be said, and starts anew, rather than stay
//! "full" or stuck until somebody restarts the process.
//!
//! A recount only reads, between two facts. What it takes is the metric `baton_pool_audit_seconds`, and
//! `benches/recount.rs` measures it.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use super::driver::Driver;
use super::seams;
use crate::pool::{BackendId, Mismatch, Pool, SlotState};

/// From the end of a recount to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// A recount that takes longer than usual comes less often: it has at most so small a share of a
/// worker's time, as one part in so many.
const SHARE: u32 = 100;
/// The first recounts of pools that start together are this far apart, so that they do not all come at
/// once.
const STAGGER: Duration = Duration::from_millis(37);
/// Connections of a pool that does not add up that are listed in the log.
const LISTED_MAX: usize = 64;

/// Audits a pool until its driver is retired and has finished what it had. `number` tells it from the
/// other pools of the worker.
pub async fn run(driver: Rc<Driver>, number: u64) {
    let parts = (INTERVAL.as_millis() / STAGGER.as_millis()) as u64;
    seams::sleep(STAGGER * (number % parts) as u32).await;
    let mut pause = INTERVAL;
    while !driver.is_finished() {
        seams::sleep(pause).await;
        pause = INTERVAL.max(driver.audit() * SHARE);
    }
}

/// Says what is known of a pool that does not add up, in a line of bounded length.
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
        requests_sent = stats.requests.saturating_sub(stats.waiting),
        requests_retrying = stats.retrying,
        slots = ?stats.slots,
        counters = ?stats.counters,
        next_timer = ?pool.poll_timeout(),
        panicking = pool.is_panicking(),
        connections,
        "the pool does not add up: everything in it is given up, and it starts anew"
    );
}

/// Every slot that is not empty: name, state, streams and limit.
fn connections(pool: &Pool) -> String {
    let mut text = String::new();
    let mut count = 0;
    for place in 0..=u16::MAX {
        let backend = BackendId(place);
        if pool.slot(backend, 0).is_none() {
            break;
        }
        let slots = (0..).map_while(|slot| Some((slot, pool.slot(backend, slot)?)));
        for (slot, view) in slots.filter(|(_, view)| view.state != SlotState::Empty) {
            count += 1;
            if count <= LISTED_MAX {
                let (state, streams, limit) = (view.state, view.streams, view.limit);
                let generation = view.generation;
                // A String takes everything.
                let _ =
                    write!(text, "b{place}/s{slot}/g{generation} {state:?} {streams}/{limit}; ");
            }
        }
    }
    if count > LISTED_MAX {
        let _ = write!(text, "and {} more", count - LISTED_MAX);
    }
    text
}
