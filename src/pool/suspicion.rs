//! Suspect connections: silent for too long with requests outstanding, and asked with a PING.
//!
//! A connection that stays silent is dead, or its backend is busy: a single-threaded server that
//! computes, or a process that is paused, answers no PING. The difference shows below HTTP. The
//! host of a busy backend still acknowledges what is sent to it; if the host or the path to it is
//! dead, TCP repeats its segments in vain. So before a suspect connection is closed, the pool asks
//! the driver what the operating system knows ([`Output::CheckDelivery`]).
//!
//! | segments in a row that were repeated in vain | the connection |
//! |---|---|
//! | fewer than [`UNANSWERED_MIN`] | is busy: its requests wait for their own deadlines, and the system is asked again |
//! | as many, or the system cannot tell | is dead: it is closed, and its requests may be tried again |
//!
//! A busy connection gets no new requests, and does not count for the limit of connections:
//! requests that come meanwhile find another one. It returns with the first frame, or once it has a
//! place again. Without a request of its own it is closed.

use super::connection::{Event, Lifecycle};
use super::outcome::CloseReason;
use super::timer::Timer;
use super::{ConnectionToken, Handled, Instant, Output, Pool};

/// Repeated segments without an answer by which a host is dead. One may be lost by chance.
const UNANSWERED_MIN: u32 = 2;

impl Pool {
    /// Makes a connection suspect: it gets no new streams until a frame arrives. Orders a PING to
    /// cause one.
    pub(super) fn suspect(&mut self, now: Instant, slot: usize) {
        let token = self.slots.token(slot);
        self.slots.apply(token, Event::Silent).expect("a ready connection can fall silent");
        self.arm_suspicion(now, slot);
        if self.slots.connection_mut(slot).pings.send(now) {
            self.counters.pings += 1;
            self.order(Output::Ping { connection: token });
        }
        self.refresh(token.backend);
    }

    pub(super) fn arm_suspicion(&mut self, now: Instant, slot: usize) {
        self.timers.arm(Timer::Quiet(slot as u32), now.after(self.config.timeouts.suspect));
    }

    /// Handles a suspect connection on which no frame came in time.
    pub(super) fn on_suspicion_due(&mut self, now: Instant, slot: usize) {
        let token = self.slots.token(slot);
        let connection = self.slots.connection_mut(slot);
        if connection.delivery_check {
            return self.close_dead(now, slot);
        }
        connection.delivery_check = true;
        self.arm_suspicion(now, slot);
        self.order(Output::CheckDelivery { connection: token });
    }

    /// Handles the answer to a delivery check. It matters only if the connection is still suspect.
    pub(super) fn on_delivery_checked(
        &mut self,
        now: Instant,
        token: ConnectionToken,
        unanswered: Option<u32>,
    ) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        let connection = self.slots.connection_mut(slot);
        if !core::mem::take(&mut connection.delivery_check) {
            return Handled::Refused;
        }
        if connection.is_suspect() {
            match unanswered {
                Some(segments) if segments < UNANSWERED_MIN => self.note_busy(now, slot),
                Some(_) | None => self.close_dead(now, slot),
            }
        }
        Handled::Done
    }

    /// Handles a suspect connection whose host acknowledges. Without a request it is of no use. One
    /// that has answered its PING waits only for a place.
    fn note_busy(&mut self, now: Instant, slot: usize) {
        let token = self.slots.token(slot);
        if !self.slots.carries_request(token) {
            return self.close(now, slot, CloseReason::Drained);
        }
        let connection = self.slots.connection(slot);
        if connection.lifecycle() == Lifecycle::Suspect {
            self.arm_suspicion(now, slot);
            self.slots.apply(token, Event::Acknowledged).expect("it is suspect");
            self.refresh(token.backend);
        } else if connection.pings.is_idle() {
            self.recover(now, slot);
        } else {
            self.arm_suspicion(now, slot);
        }
    }

    /// Handles a frame on a suspect connection: it takes streams again, unless other connections
    /// have all places. Then its requests go on as before.
    pub(super) fn recover(&mut self, now: Instant, slot: usize) {
        let token = self.slots.token(slot);
        let is_busy = self.slots.connection(slot).lifecycle() == Lifecycle::Busy;
        if is_busy && !self.slots.has_place(token.backend) {
            return self.arm_suspicion(now, slot);
        }
        self.slots.apply(token, Event::Alive).expect("a suspect connection can recover");
        self.settle(now, slot);
        if self.slots.connection(slot).load() > 0 {
            self.arm_silence(slot, token.backend);
        }
    }

    /// Closes a dead connection.
    fn close_dead(&mut self, now: Instant, slot: usize) {
        let token = self.slots.token(slot);
        let blame = self.blame_of_connection(slot);
        let stale_after = self.slots.connection(slot).stale_after();
        let failed_before_response = self.note_failed_before_response(now, slot);
        self.close(now, slot, CloseReason::Silent);
        if let Some(idle) = stale_after {
            self.close_idle(now, token.backend, idle / 2);
        } else if !failed_before_response {
            self.backend_failed(now, token.backend, blame);
        }
    }
}
