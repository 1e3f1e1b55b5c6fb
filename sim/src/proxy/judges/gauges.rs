//! Gauges against what the network and the pools had when they were read.

use super::case::Case;
use super::exposition::Samples;
use super::metrics::STOPS;
use crate::checker::{Invariant, Verdict, require};
use crate::plan::Act;
use crate::proxy::scrapes::Scrape;

const WORKERS: &str = "baton_worker_up";
const CLIENTS: &str = "baton_client_connections";
const CONNECTIONS: &str = "baton_connections";
/// Bytes that wait for clients, and the most that can wait for one.
const BUFFERED: &str = "baton_client_buffered_bytes";
const BUFFERED_BYTES_MAX: u64 = 32 << 20;
const LIVE: &str = "baton_requests_live";

/// States of connections to backends in which there may be no socket: the dial has not ended, or
/// the backend has closed and its responses are still on their way to clients.
const WITHOUT_SOCKET: [&str; 2] = ["connecting", "draining"];

/// Judges each reading of the metrics.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let stops = case.log.iter().find(|line| line.message() == STOPS);
    let stops_at = stops.map_or(u64::MAX, |line| line.at);
    for scrape in &case.records.scrapes {
        // A worker that has ended has no gauges.
        if scrape.answered_at < stops_at {
            compare(case, scrape)?;
        }
    }
    Ok(())
}

fn compare(case: &Case<'_>, scrape: &Scrape) -> Verdict {
    let samples =
        Samples::read_only(&scrape.text, &[WORKERS, CLIENTS, BUFFERED, CONNECTIONS, LIVE])?;
    let [least, most] = scrape.held;
    let within = |name: &str, value: f64, least: u64, most: u64| {
        let fits = least as f64 <= value && value <= most as f64;
        require(fits, Invariant::Metrics, || {
            let at = scrape.asked_at as f64 / 1e6;
            format!("{name} at {at:.3} ms: {value}, expected {least} to {most}")
        })
    };
    // A worker that answers late is left out.
    let workers = f64::from(case.plan.wire.workers.max(1));
    let complete = samples.sum(WORKERS, &[]) == workers;
    let at_least = |count: u64| if complete { count } else { 0 };
    within(CLIENTS, samples.sum(CLIENTS, &[]), at_least(least.clients), most.clients)?;
    let buffered_at_most = most.clients * BUFFERED_BYTES_MAX;
    within(BUFFERED, samples.sum(BUFFERED, &[]), 0, buffered_at_most)?;
    let without = WITHOUT_SOCKET.map(|state| samples.sum(CONNECTIONS, &[("state", state)]));
    let connected = samples.sum(CONNECTIONS, &[]) - without.iter().sum::<f64>();
    // The connections of health checks are not the pool's.
    within("connections of baton_connections", connected, 0, most.backends)?;
    // A pool that was replaced has no gauges any more, but goes on with its requests.
    let replaced = case.was_injected(scrape.answered_at, |act| matches!(act, Act::Replace));
    let [least, most] = scrape.live;
    let least = if replaced { 0 } else { at_least(least) };
    within(LIVE, samples.sum(LIVE, &[]), least, most)
}
