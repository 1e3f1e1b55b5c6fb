//! Every backend and connection of every worker, as JSON: written by the admin interface, read by
//! `baton status`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::pool::SlotStats;
use crate::proxy::control::{BackendSnapshot, ClusterSnapshot};

#[derive(Serialize, Deserialize)]
pub(crate) struct Pools<'a> {
    pub(crate) workers: Vec<Worker<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Worker<'a> {
    pub(crate) worker: usize,
    /// False if the worker did not answer in time; its clusters are then the last known ones.
    pub(crate) answered: bool,
    pub(crate) clusters: Vec<Cluster<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Cluster<'a> {
    pub(crate) cluster: Cow<'a, str>,
    /// True if health is ignored because too few backends are healthy.
    fail_open: bool,
    requests: Requests,
    connections: Connections,
    streams: u32,
    pub(crate) backends: Cow<'a, [BackendSnapshot]>,
}

#[derive(Serialize, Deserialize)]
struct Requests {
    live: u32,
    waiting: u32,
    retrying: u32,
}

#[derive(Serialize, Deserialize)]
struct Connections {
    connecting: u32,
    available: u32,
    in_use: u32,
    suspect: u32,
    draining: u32,
    retired_slots: u32,
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
        cluster: (&*snapshot.name).into(),
        fail_open: snapshot.fail_open,
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
        backends: (&*snapshot.backends).into(),
    }
}
