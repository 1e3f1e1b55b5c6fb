//! Sums of the clusters and backends over all workers.

use std::collections::BTreeMap;

use super::Answer;
use crate::pool::{BackendState, Counters, SlotState};
use crate::proxy::metrics::{
    BackendMetrics, ClusterMetrics, Merge as _, WorkerMetrics, merge_fields,
};
use crate::proxy::snapshot::{BackendSnapshot, ClusterSnapshot, RequestsNow};

/// The sums over all workers, by name: after a reload the workers' tables may differ.
#[derive(Default)]
pub(super) struct Sums<'a> {
    pub(super) workers: WorkerMetrics,
    pub(super) clusters: BTreeMap<&'a str, ClusterSum<'a>>,
}

#[derive(Default)]
pub(super) struct ClusterSum<'a> {
    /// The cluster's own metrics; those of its backends are in `backends`.
    pub(super) metrics: ClusterMetrics,
    pub(super) requests: RequestsNow,
    pub(super) counters: Counters,
    /// Workers whose pool ignores health.
    pub(super) fail_open: u64,
    pub(super) backends: BTreeMap<&'a str, BackendSum>,
}

#[derive(Default)]
pub(super) struct BackendSum {
    pub(super) metrics: BackendMetrics,
    /// Connections by [`SlotState`]; the number for `Empty` is always 0.
    pub(super) connections: [u64; SlotState::ALL.len()],
    pub(super) streams: u64,
    pub(super) available_streams: u64,
    /// Workers for which the backend is healthy.
    pub(super) healthy: u64,
    /// The number of workers that have the backend in each [`BackendState`].
    pub(super) states: [u64; BackendState::ALL.len()],
}

impl<'a> Sums<'a> {
    pub(super) fn of(answers: &'a [Answer]) -> Self {
        let mut sums = Self::default();
        for snapshot in answers.iter().filter_map(|answer| answer.snapshot.as_ref()) {
            sums.workers.merge(&snapshot.metrics);
            for cluster in &snapshot.clusters {
                sums.clusters.entry(&cluster.name).or_default().add(cluster);
            }
        }
        sums
    }
}

impl<'a> ClusterSum<'a> {
    fn add(&mut self, cluster: &'a ClusterSnapshot) {
        self.metrics.merge(&cluster.metrics);
        self.requests.merge(&cluster.requests);
        self.counters.merge(&cluster.counters);
        self.fail_open += u64::from(cluster.fail_open);
        for backend in &cluster.backends {
            self.backends.entry(&backend.name).or_default().add(backend);
        }
    }
}

merge_fields! {
    RequestsNow { live, waiting, deferred, retrying };
    Counters { stale, refused, pings, ejections, ejection_overflow };
}

impl BackendSum {
    fn add(&mut self, backend: &BackendSnapshot) {
        self.metrics.merge(&backend.metrics);
        self.available_streams += backend.available_streams;
        self.healthy += u64::from(backend.healthy);
        self.states[backend.state as usize] += 1;
        for connection in &backend.connections {
            self.streams += u64::from(connection.streams);
            self.connections[connection.state as usize] += 1;
        }
    }
}
