//! Sums of the clusters and backends over all workers.

use std::collections::BTreeMap;

use super::Answer;
use crate::pool::{BackendState, Counters, SlotState, Stats};
use crate::proxy::control::{BackendSnapshot, ClusterSnapshot};
use crate::proxy::metrics::{
    BackendMetrics, ClusterMetrics, Merge as _, WorkerMetrics, merge_fields,
};

/// States of connections, as labels, in the order of [`BackendSum::connections`].
pub(super) const STATES: [&str; 5] = ["connecting", "available", "in_use", "suspect", "draining"];

/// States of backends, as labels, in the order of [`BackendSum::states`].
pub(super) const BACKEND_STATES: [&str; 6] =
    ["up", "ejected", "on_trial", "down", "draining", "leaving"];

/// Everything, all workers together. By name: after a reload the workers' tables may differ.
#[derive(Default)]
pub(super) struct Sums<'a> {
    pub(super) workers: WorkerMetrics,
    pub(super) clusters: BTreeMap<&'a str, ClusterSum<'a>>,
}

#[derive(Default)]
pub(super) struct ClusterSum<'a> {
    /// The cluster's own metrics; those of its backends are in `backends`.
    pub(super) metrics: ClusterMetrics,
    pub(super) stats: Stats,
    /// Workers whose pool ignores health.
    pub(super) panicking: u64,
    pub(super) backends: BTreeMap<&'a str, BackendSum>,
}

#[derive(Default)]
pub(super) struct BackendSum {
    pub(super) metrics: BackendMetrics,
    pub(super) connections: [u64; STATES.len()],
    pub(super) streams: u64,
    pub(super) available_streams: u64,
    /// Workers for which the backend is healthy.
    pub(super) healthy: u64,
    /// Workers that have it in each state.
    pub(super) states: [u64; BACKEND_STATES.len()],
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
        self.stats.merge(&cluster.stats);
        self.panicking += u64::from(cluster.panicking);
        for backend in &cluster.backends {
            self.backends.entry(&backend.name).or_default().add(backend);
        }
    }
}

// Slots are counted by backend.
merge_fields! {
    Stats { requests, waiting, retrying, counters } except { slots };
    Counters {
        stale, refused, dials, retries, pings, ejections, spared, probes, probes_failed, rebuilds
    };
}

impl BackendSum {
    fn add(&mut self, backend: &BackendSnapshot) {
        self.metrics.merge(&backend.metrics);
        self.available_streams += backend.available_streams;
        self.healthy += u64::from(backend.healthy);
        self.states[match backend.state {
            BackendState::Up => 0,
            BackendState::Ejected => 1,
            BackendState::OnTrial => 2,
            BackendState::Down => 3,
            BackendState::Draining => 4,
            BackendState::Leaving => 5,
        }] += 1;
        for (_, slot) in &backend.slots {
            self.streams += u64::from(slot.streams);
            let state = match slot.state {
                // A snapshot has no empty slots.
                SlotState::Empty => continue,
                SlotState::Connecting => 0,
                SlotState::Available => 1,
                SlotState::InUse => 2,
                SlotState::Suspect => 3,
                SlotState::Draining => 4,
            };
            self.connections[state] += 1;
        }
    }
}
