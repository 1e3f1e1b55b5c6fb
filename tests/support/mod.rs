//! The test support: a running Baton, scripted backends, and clients.
//!
//! Two test programs have it: `tests/loopback` with the real binary and sockets, and
//! `sim/tests/proxy` with the simulated network. What differs is in the module `system` of each.
//!
//! Tests wait for events, not for fixed times, and every wait has a bound.

#![allow(dead_code, unused_imports, reason = "each of the two programs uses a part")]

pub(crate) mod backend;
pub(crate) mod baton;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod exchange;
pub(crate) mod exposition;
pub(crate) mod http1;
pub(crate) mod load;
pub(crate) mod raw;
pub(crate) mod raw_client;
pub(crate) mod reload;
pub(crate) mod scripts;

use std::future::Future;
use std::time::Duration;

pub(crate) use backend::{Backend, Behaviour};
pub(crate) use baton::Baton;
pub(crate) use client::{Answer, Http1, Http2};
pub(crate) use exchange::Exchange;
pub(crate) use load::{run_load, unique_id};

pub(crate) use crate::system::{Limited, certificate};

/// The bound of every wait: far longer than any event needs, even on a busy machine. Reaching it
/// means that the event will not happen.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// Waits for `future`. Fails the test with `what` if the bound passes.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(BOUND, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: did not happen within {BOUND:?}"),
    }
}

/// Polls a condition that nothing signals (such as the kernel's figures about a process), with a
/// bound.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
