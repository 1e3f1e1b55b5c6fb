//! Checks that dials follow need: enough of them, no more, and to backends that may answer.

use baton::pool::{BackendId, Pool};

use super::model::{ConnectionPhase, Model, ModelConnection};
use super::{Invariant, Verdict, fail, require};

impl Model {
    /// Checks that there are as many dials as the waiting requests need and limits allow, and no
    /// more.
    pub(super) fn check_dials(&self, pool: &Pool) -> Verdict {
        require(self.extra_dials <= self.served, Invariant::Limits, || {
            let (extra, served) = (self.extra_dials, self.served);
            format!("{extra} dials beyond need in a step that served {served} requests")
        })?;
        let willing = |index: usize| {
            let backend = BackendId(index as u16);
            pool.may_be_used(backend) && pool.backoff_until(backend).is_none()
        };
        let passed_over = |index: usize| self.passed_over & (1 << index) != 0 && willing(index);
        if let Some(index) = (0..self.backends.len()).find(|index| passed_over(*index)) {
            return fail(
                Invariant::Fairness,
                format!("a backend with a slow dial was dialled again instead of backend {index}"),
            );
        }
        if u64::from(self.waiting) <= self.expected_streams() {
            return Ok(());
        }
        let idle = |index: &usize| self.has_place_for_dial(*index) && willing(*index);
        match (0..self.backends.len()).find(idle) {
            Some(index) => fail(
                Invariant::Progress,
                format!("{} requests wait, and backend {index} is not dialled", self.waiting),
            ),
            None => Ok(()),
        }
    }

    /// Records the backends that could be dialled instead of a backend with a slow dial.
    pub(super) fn note_repeated_dial(&mut self, backend: usize) {
        if !self.has_slow_dial(backend) {
            return;
        }
        for index in 0..self.backends.len() {
            let able = self.has_place_for_dial(index) && !self.has_slow_dial(index);
            self.passed_over |= u64::from(able) << index;
        }
    }

    /// Returns true if limits and health allow a dial; the pool alone knows the backoff.
    pub(super) fn has_place_for_dial(&self, index: usize) -> bool {
        let left = self.connections[self.slots_of(index)].iter().any(|connection| {
            connection.phase == ConnectionPhase::Gone && connection.generation < self.generation_max
        });
        // A backend used only because of fail-open gets one dial at a time.
        let dialling = self.dials(index).next().is_some();
        left && self.has_connection_place(index) && (self.backends[index].is_usable() || !dialling)
    }

    pub(super) fn has_slow_dial(&self, index: usize) -> bool {
        self.dials(index).any(|expected| expected == 0)
    }

    /// Dials and connections of a backend that count for the limit.
    pub(super) fn active(&self, index: usize) -> usize {
        let counts = |connection: &&ModelConnection| match connection.phase {
            ConnectionPhase::Connecting => true,
            ConnectionPhase::Up => !connection.is_busy,
            ConnectionPhase::Gone | ConnectionPhase::Draining | ConnectionPhase::Lost => false,
        };
        self.connections[self.slots_of(index)].iter().filter(counts).count()
    }

    /// True if a backend may have one more connection that gets requests.
    pub(super) fn has_connection_place(&self, index: usize) -> bool {
        self.active(index) < self.config.limits.connections_per_backend
    }

    /// Streams expected from each dial to a backend.
    pub(super) fn dials(&self, index: usize) -> impl Iterator<Item = u32> {
        let connections = self.connections[self.slots_of(index)].iter();
        connections
            .filter(|connection| connection.phase == ConnectionPhase::Connecting)
            .map(|connection| connection.expected)
    }
}
