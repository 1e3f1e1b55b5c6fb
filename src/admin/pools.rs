//! Every backend and connection of every worker, as JSON.

use serde::Serialize;

use super::Answer;
use crate::pool::SlotStats;
use crate::proxy::control::{BackendSnapshot, ClusterSnapshot};
use crate::proxy::operator::slot_state;

#[derive(Serialize)]
struct Pools<'a> {
    workers: Vec<Worker<'a>>,
}

#[derive(Serialize)]
struct Worker<'a> {
    worker: usize,
    /// Otherwise this is the last that is known of it.
    answered: bool,
    clusters: Vec<Cluster<'a>>,
}

#[derive(Serialize)]
struct Cluster<'a> {
    cluster: &'a str,
    /// Health is ignored because so few backends are healthy.
    panicking: bool,
    requests: Requests,
    connections: Connections,
    streams: u32,
    backends: Vec<Backend<'a>>,
}

#[derive(Serialize)]
struct Requests {
    live: u32,
    waiting: u32,
    retrying: u32,
}

#[derive(Serialize)]
struct Connections {
    connecting: u32,
    available: u32,
    in_use: u32,
    suspect: u32,
    draining: u32,
    retired_slots: u32,
}

#[derive(Serialize)]
struct Backend<'a> {
    backend: &'a str,
    healthy: bool,
    usable: bool,
    state: String,
    state_ms: u64,
    cause: String,
    last_probe_failure: Option<ProbeFailure<'a>>,
    weight: u16,
    backoff_ms: Option<u64>,
    available_streams: u64,
    connections: Vec<Connection>,
}

#[derive(Serialize)]
struct ProbeFailure<'a> {
    reason: &'a str,
    ago_ms: u64,
}

#[derive(Serialize)]
struct Connection {
    /// As in the log.
    connection: String,
    slot: u16,
    generation: u32,
    state: &'static str,
    streams: u32,
    limit: u32,
}

/// The answer to `GET /pools`.
pub(super) fn encode(answers: &[Answer]) -> String {
    let workers = answers.iter().enumerate().map(|(worker, answer)| Worker {
        worker,
        answered: answer.in_time,
        clusters: answer
            .snapshot
            .iter()
            .flat_map(|snapshot| snapshot.clusters.iter().map(cluster))
            .collect(),
    });
    let pools = Pools { workers: workers.collect() };
    let mut text = serde_json::to_string_pretty(&pools).expect("text and numbers are JSON");
    text.push('\n');
    text
}

fn cluster(snapshot: &ClusterSnapshot) -> Cluster<'_> {
    let stats = &snapshot.stats;
    let SlotStats { empty: _, connecting, available, in_use, suspect, draining, retired, streams } =
        stats.slots;
    Cluster {
        cluster: &snapshot.name,
        panicking: snapshot.panicking,
        requests: Requests {
            live: stats.requests,
            waiting: stats.waiting,
            retrying: stats.retrying,
        },
        connections: Connections {
            connecting,
            available,
            in_use,
            suspect,
            draining,
            retired_slots: retired,
        },
        streams,
        backends: snapshot.backends.iter().map(backend).collect(),
    }
}

fn backend(snapshot: &BackendSnapshot) -> Backend<'_> {
    let id = snapshot.place;
    let connection = |(slot, view): &(u16, crate::pool::SlotView)| Connection {
        connection: format!("b{id}/s{slot}/g{}", view.generation),
        slot: *slot,
        generation: view.generation,
        state: slot_state(view.state),
        streams: view.streams,
        limit: view.limit,
    };
    Backend {
        backend: &snapshot.name,
        healthy: snapshot.healthy,
        usable: snapshot.usable,
        state: snapshot.state.to_string(),
        state_ms: snapshot.state_ms,
        cause: snapshot.cause.to_string(),
        last_probe_failure: snapshot
            .probe_failure
            .as_ref()
            .map(|(reason, ago_ms)| ProbeFailure { reason, ago_ms: *ago_ms }),
        weight: snapshot.weight,
        backoff_ms: snapshot.backoff_ms,
        available_streams: snapshot.available_streams,
        connections: snapshot.slots.iter().map(connection).collect(),
    }
}
