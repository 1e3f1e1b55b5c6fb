//! The passing of time. Each `Timeout` handles the one timer that is most overdue, so the work and
//! the orders that follow are bounded. Every timer that fires is disarmed or moved into the future.

use super::connection::{DrainCause, Lifecycle};
use super::outcome::CloseReason;
use super::timer::Timer;
use super::{Handled, Instant, Pool, Protocol, backend_id};

impl Pool {
    pub(super) fn on_timeout(&mut self, now: Instant) -> Handled {
        let Some((at, timer)) = self.timers.next() else {
            return Handled::Done;
        };
        if at > now {
            return Handled::Done;
        }
        match timer {
            Timer::Life(slot) => self.on_life(now, slot as usize),
            Timer::Quiet(slot) => self.on_quiet(now, slot as usize),
            Timer::Request(index) => self.on_request_deadline(now, index),
            Timer::Backoff(backend) => self.on_backoff_over(backend_id(backend as usize)),
            Timer::Health(backend) => self.on_ejection_over(now, backend_id(backend as usize)),
            Timer::HealthCheck(backend) => {
                self.on_health_check_due(now, backend_id(backend as usize));
            }
            Timer::Shutdown => self.on_shutdown_deadline(),
        }
        let next = self.timers.armed(timer);
        assert!(
            next.is_none_or(|next| next > now),
            "a timer that fired is disarmed or lies in the future"
        );
        Handled::Done
    }

    /// Handles a connect deadline, maximum age or drain deadline.
    fn on_life(&mut self, now: Instant, slot: usize) {
        let backend = self.slots.token(slot).backend;
        match self.slots.connection(slot).lifecycle() {
            Lifecycle::Empty => unreachable!("an empty slot has no timers"),
            Lifecycle::Connecting { .. } => {
                self.close(now, slot, CloseReason::ConnectDeadline);
                self.dial_failed(now, backend);
            }
            Lifecycle::Ready | Lifecycle::Suspect | Lifecycle::Busy => {
                self.begin_drain(now, slot, DrainCause::MaxAge);
            }
            Lifecycle::Draining(_) if self.drain_deadline(slot) > now => {
                self.arm_drain_deadline(slot);
            }
            Lifecycle::Draining(_) => self.close(now, slot, CloseReason::DrainDeadline),
        }
    }

    /// Handles a slow dial, an idle or silent connection, or a suspect one without a frame in time.
    fn on_quiet(&mut self, now: Instant, slot: usize) {
        let token = self.slots.token(slot);
        let connection = self.slots.connection(slot);
        let quiet_since = connection.quiet_since;
        let timer = Timer::Quiet(slot as u32);
        match connection.lifecycle() {
            Lifecycle::Empty | Lifecycle::Draining(_) => {
                unreachable!("empty and draining slots have no silence timer")
            }
            Lifecycle::Connecting { .. } => {
                self.timers.disarm(timer);
                self.slots.expect_nothing(token);
                self.refresh(token.backend);
            }
            Lifecycle::Ready if connection.load() == 0 => {
                let at = quiet_since.after(self.idle_timeout(slot));
                if at > now {
                    self.timers.arm(timer, at);
                } else {
                    self.close(now, slot, CloseReason::Idle);
                }
            }
            Lifecycle::Ready => {
                assert_eq!(connection.protocol, Protocol::Http2, "HTTP/1.1 has no silence timer");
                let at = self.silent_at(slot, token.backend);
                if at > now {
                    self.timers.arm(timer, at);
                } else {
                    self.suspect(now, slot);
                }
            }
            Lifecycle::Suspect | Lifecycle::Busy => self.on_suspicion_due(now, slot),
        }
    }
}
