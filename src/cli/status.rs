//! `baton status`: a table of the backends of a running Baton.

use std::collections::BTreeMap;
use std::io::Write;

use http::{Method, StatusCode};

use super::admin_client;
use super::operate::{AdminArguments, Ending, write};
use super::table::{cell, duration, table};
use crate::admin::pools::Pools;
use crate::pool::{SlotState, StateCause};

/// The sums of the workers that have a backend in the same state.
#[derive(Default)]
struct Row {
    workers: usize,
    /// The longest time in the state in milliseconds, and its cause.
    since: Option<(u64, StateCause)>,
    connections: u64,
    streams: u64,
}

/// Shows the backends. Runs on a `LocalSet`.
///
/// # Errors
/// Why the command failed, one or more lines.
pub async fn status(arguments: &AdminArguments, out: &mut impl Write) -> Result<Ending, String> {
    let address = &arguments.admin;
    let (status, body) = admin_client::ask(address, Method::GET, "/pools").await?;
    if status != StatusCode::OK {
        return Err(format!("{address} answered {status}; expected a Baton of this version"));
    }
    let pools: Pools<'_> = serde_json::from_slice(&body).map_err(|error| {
        format!("cannot read the answer of {address}; expected a Baton of this version: {error}")
    })?;
    for late in pools.workers.iter().filter(|worker| !worker.answered) {
        let worker = late.worker;
        eprintln!("baton: warning: worker {worker} does not answer; its last numbers are shown");
    }
    write(out, &render(&pools))?;
    Ok(Ending::Good)
}

/// One line for each backend; if workers differ about its state, one for each state.
fn render(pools: &Pools<'_>) -> String {
    let mut rows: BTreeMap<(&str, usize, &str, &str, u16), Row> = BTreeMap::new();
    for worker in &pools.workers {
        for cluster in &*worker.clusters {
            for (place, backend) in cluster.backends.iter().enumerate() {
                let (name, state) = (&*backend.name, backend.state.name());
                let row = rows.entry((&cluster.name, place, name, state, backend.weight));
                let row = row.or_default();
                row.workers += 1;
                row.since = row.since.max(Some((backend.state_ms, backend.cause)));
                for connection in &backend.connections {
                    row.connections += u64::from(connection.state != SlotState::Connecting);
                    row.streams += u64::from(connection.streams);
                }
            }
        }
    }
    let all = pools.workers.len();
    let rows = rows.into_iter().map(|((cluster, _, backend, state, weight), row)| {
        let (since, cause) = row.since.expect("a row begins with a backend");
        [
            cell(cluster),
            cell(backend),
            state.to_owned(),
            duration(since),
            cause.to_string(),
            weight.to_string(),
            row.connections.to_string(),
            row.streams.to_string(),
            format!("{}/{all}", row.workers),
        ]
    });
    let head = [
        "CLUSTER",
        "BACKEND",
        "STATE",
        "SINCE",
        "CAUSE",
        "WEIGHT",
        "CONNECTIONS",
        "STREAMS",
        "WORKERS",
    ];
    table(head, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_a_backend_has_a_line() {
        let connection = |state: &str, streams: u64| {
            serde_json::json!({
                "connection": "b0/s0/g1", "slot": 0, "generation": 1, "state": state,
                "streams": streams, "limit": 100,
            })
        };
        let backend = |state: &str, state_ms: u64, streams: u64| {
            serde_json::json!({
                "backend": "http://a:1", "state": state, "state_ms": state_ms, "cause": "failures",
                "weight": 3, "healthy": true, "usable": true, "available_streams": 0, "further": true,
                "connections": [connection("available", streams), connection("connecting", 0)],
            })
        };
        let worker = |worker: usize, backend: serde_json::Value| {
            let clusters = [serde_json::json!({
                "cluster": "web", "fail_open": false, "streams": 0, "backends": [backend],
                "requests": { "live": 0, "waiting": 0, "deferred": 0, "retrying": 0 },
                "connections": {
                    "connecting": 0, "available": 0, "in_use": 0, "suspect": 0, "draining": 0,
                    "retired_slots": 0
                },
            })];
            serde_json::json!({ "worker": worker, "answered": true, "clusters": clusters })
        };
        let pools = serde_json::json!({ "workers": [
            worker(0, backend("up", 61_000, 2)),
            worker(1, backend("ejected", 500, 0)),
            worker(2, backend("up", 7_000, 3)),
        ]});
        let text = render(&serde_json::from_value(pools).expect("as /pools says it"));
        let lines: Vec<Vec<_>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        let ejected = ["web", "http://a:1", "ejected", "500ms", "failures", "3", "1", "0", "1/3"];
        assert_eq!(lines[1], ejected);
        let up = ["web", "http://a:1", "up", "1m", "1s", "failures", "3", "2", "5", "2/3"];
        assert_eq!(lines[2], up);
    }
}
