//! Detects changes that the clock causes without an order and that only the pool's own view shows.

use std::time::Duration;

use baton::pool::{Input, Instant, Output, Pool, SlotState, TimerReason};

use super::facts::lost_evidence;
use super::model::{ConnectionPhase, Model};
use super::time::Time as _;
use super::{Invariant, Verdict, require};

impl Model {
    /// Detects the two changes without an order, both by the clock: a connection reaches its max
    /// age and drains, which its state shows; a lost connection reaches its drain deadline, after
    /// which its slot is empty or used again.
    pub(super) fn see_silent_endings(
        &mut self,
        now: Instant,
        input: Input,
        orders: &[Output],
        pool: &Pool,
    ) -> Verdict {
        if input == Input::Timeout && self.has_fired(TimerReason::ConnectionQuiet) {
            return self.see_slow_dials(now, pool);
        }
        if input != Input::Timeout || !self.has_fired(TimerReason::ConnectionLife) {
            return Ok(());
        }
        for slot in 0..self.connections.len() {
            let token = self.token(slot);
            let state = pool.slot_state(token.backend, token.slot);
            let spent = orders.iter().any(|order| {
                matches!(order, Output::OpenStream { stream, .. } if stream.connection == token)
            });
            if self.connections[slot].phase == ConnectionPhase::Up
                && state == Some(SlotState::Draining)
                && !spent
            {
                require(self.is_aged(slot, now), Invariant::GoAway, || {
                    format!("{token:?} drains without a reason")
                })?;
                self.set_phase(now, slot, ConnectionPhase::Draining);
            }
            if self.connections[slot].phase != ConnectionPhase::Lost {
                continue;
            }
            let dialled = orders.iter().any(|order| {
                matches!(order, Output::Connect { connection }
                    if connection.backend == token.backend && connection.slot == token.slot)
            });
            let empty = state == Some(SlotState::Empty);
            if !(dialled || empty) {
                continue;
            }
            let deadline = self.lost_deadline(slot, self.config.timeouts.drain);
            require(now >= deadline, Invariant::Timers, || {
                format!("{token:?} was freed before its drain deadline {deadline:?}")
            })?;
            self.kill(now, slot, |stream_id| Some(lost_evidence(stream_id)));
            self.set_phase(now, slot, ConnectionPhase::Gone);
        }
        Ok(())
    }

    /// The deadline at which a lost connection is freed, with this drain timeout.
    pub(super) fn lost_deadline(&self, slot: usize, drain: Duration) -> Instant {
        let connection = &self.connections[slot];
        let own = connection.since.plus(drain);
        connection.ends_at.map_or(own, |at| at.min(own))
    }

    /// No streams are expected any more from a dial that exceeds the silence timeout.
    fn see_slow_dials(&mut self, now: Instant, pool: &Pool) -> Verdict {
        for slot in 0..self.connections.len() {
            let token = self.token(slot);
            let connection = &mut self.connections[slot];
            if connection.phase != ConnectionPhase::Connecting || connection.expected == 0 {
                continue;
            }
            let view = pool.slot(token.backend, token.slot);
            let slow = view.is_some_and(|view| {
                view.connection == token && view.state == SlotState::Connecting && view.limit == 0
            });
            let due = connection.slow_at;
            // The backend's ejection in this step also clears the expectation.
            let healthy = pool.is_healthy(token.backend);
            if slow && (now >= due || healthy) {
                connection.expected = 0;
                require(now >= due, Invariant::Timers, || {
                    format!("{token:?} was marked slow before {due:?}")
                })?;
            }
        }
        Ok(())
    }
}
