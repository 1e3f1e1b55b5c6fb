//! Whether dials follow from need: enough of them, no more, and each to a backend that may answer.

use baton::pool::{BackendId, Pool};

use super::books::{Books, ConnectionPhase};
use super::{Invariant, Verdict, require};

impl Books {
    /// As many dials as those who wait need, as far as limits allow; no more.
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
        let passed_over = (0..self.backends.len()).find(|index| passed_over(*index));
        require(passed_over.is_none(), Invariant::Fairness, || {
            let backend = passed_over.unwrap_or(0);
            format!("a backend that lets a dial hang was dialled again, and backend {backend} not")
        })?;
        if u64::from(self.waiting) <= self.expected_streams() {
            return Ok(());
        }
        let idle = |index: &usize| self.has_place_for_dial(*index) && willing(*index);
        let idle = (0..self.backends.len()).find(idle);
        require(idle.is_none(), Invariant::Progress, || {
            let backend = idle.unwrap_or(0);
            format!("{} requests wait, and nobody dials backend {backend}", self.waiting)
        })
    }

    /// Who could be dialled instead of a backend that lets a dial hang.
    pub(super) fn note_repeated_dial(&mut self, backend: usize) {
        if !self.has_slow_dial(backend) {
            return;
        }
        for index in 0..self.backends.len() {
            let able = self.has_place_for_dial(index) && !self.has_slow_dial(index);
            self.passed_over |= u64::from(able) << index;
        }
    }

    /// Limits and health let a backend be dialled; whether its backoff does, the pool knows.
    fn has_place_for_dial(&self, index: usize) -> bool {
        let connections = &self.connections[self.slots_of(index)];
        let active = |phase| matches!(phase, ConnectionPhase::Connecting | ConnectionPhase::Up);
        let active = connections.iter().filter(|connection| active(connection.phase)).count();
        let left = connections.iter().any(|connection| {
            connection.phase == ConnectionPhase::Gone && connection.generation < self.generation_max
        });
        // One that is only tried because too few are healthy gets one dial at a time.
        let dialling = self.dials(index).next().is_some();
        left && active < self.config.limits.connections_per_backend
            && (self.backends[index].is_usable() || !dialling)
    }

    fn has_slow_dial(&self, index: usize) -> bool {
        self.dials(index).any(|expected| expected == 0)
    }

    /// What each dial to a backend is expected to bring.
    fn dials(&self, index: usize) -> impl Iterator<Item = u32> {
        let connections = self.connections[self.slots_of(index)].iter();
        connections
            .filter(|connection| connection.phase == ConnectionPhase::Connecting)
            .map(|connection| connection.expected)
    }
}
