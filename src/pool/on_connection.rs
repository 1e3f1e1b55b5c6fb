//! Facts about connections: established, limited, draining, alive, closed.

use super::connection::{DrainCause, Event, Lifecycle};
use super::input::code;
use super::lanes::Lane;
use super::on_stream::ConnectionEnd;
use super::outcome::CloseReason;
use super::pings::SILENCE_DOUBLINGS_MAX;
use super::time::nanoseconds;
use super::timer::Timer;
use super::{
    BackendId, ConnectionToken, Handled, Instant, Output, Pool, PoolPhase, Protocol, StreamFailure,
    backend_id, limits,
};
use core::time::Duration;

impl Pool {
    pub(super) fn on_connected(
        &mut self,
        now: Instant,
        token: ConnectionToken,
        protocol: Protocol,
        max_streams: Option<u32>,
    ) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        if self.slots.establish(token, protocol, max_streams).is_err() {
            return Handled::Refused;
        }
        let age = self.random.jitter(nanoseconds(self.config.timeouts.max_age), 10);
        let ages_at = now.after(Duration::from_nanos(age));
        self.slots.connection_mut(slot).ages_at = ages_at;
        self.timers.arm(Timer::Life(slot as u32), ages_at);
        self.note_limit(slot, token.backend);
        self.settle(now, slot);
        Handled::Done
    }

    pub(super) fn on_connect_failed(&mut self, now: Instant, token: ConnectionToken) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        if self.slots.apply(token, Event::DialEnded).is_err() {
            return Handled::Refused;
        }
        self.forget_slot(slot);
        self.dial_failed(now, token.backend);
        Handled::Done
    }

    pub(super) fn on_max_streams_changed(
        &mut self,
        _now: Instant,
        token: ConnectionToken,
        max_streams: u32,
    ) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        if matches!(self.slots.connection(slot).lifecycle(), Lifecycle::Connecting { .. }) {
            return Handled::Refused;
        }
        self.slots.set_limit(token, max_streams);
        self.note_limit(slot, token.backend);
        self.refresh(token.backend);
        Handled::Done
    }

    /// Uses the limit of a connection as the expected streams of the next dial to its backend.
    fn note_limit(&mut self, slot: usize, backend: BackendId) {
        let limit = self.slots.connection(slot).limit;
        self.backends[usize::from(backend.0)].expected_streams = limit.max(1);
    }

    pub(super) fn on_go_away(
        &mut self,
        now: Instant,
        token: ConnectionToken,
        last_stream_id: u32,
        code: u32,
    ) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        let connection = self.slots.connection_mut(slot);
        connection.idle_before = None;
        // RFC 9113, 6.8: the last id must not rise, so a higher one is ignored.
        connection.last_stream_id = connection.last_stream_id.min(last_stream_id);
        let last = connection.last_stream_id;
        let pinged = connection.pings.were_sent();
        let state = &mut self.backends[usize::from(token.backend.0)];
        if code == code::ENHANCE_YOUR_CALM && pinged {
            state.enhance_your_calm_count =
                (state.enhance_your_calm_count + 1).min(SILENCE_DOUBLINGS_MAX);
        }
        match self.slots.connection(slot).lifecycle() {
            Lifecycle::Empty => unreachable!("a token never names an empty slot"),
            Lifecycle::Connecting { .. } => {
                self.close(now, slot, CloseReason::Drained);
                self.dial_failed(now, token.backend);
                return Handled::Done;
            }
            Lifecycle::Ready | Lifecycle::Suspect | Lifecycle::Busy => {
                if last == 0 {
                    self.note_failed_before_response(now, slot);
                }
                self.slots
                    .apply(token, Event::Drain(DrainCause::GoAway))
                    .expect("a ready or suspect connection can drain");
                self.arm_drain(now, slot);
            }
            // The connection must not take streams again if the drain of its backend is cancelled.
            Lifecycle::Draining(DrainCause::Backend) => {
                let drained = self.slots.apply(token, Event::Drain(DrainCause::GoAway));
                drained.expect(
                    "a connection that drains with its backend can drain for another cause",
                );
                self.arm_drain(now, slot);
            }
            Lifecycle::Draining(_) => {}
        }
        self.fail_streams(now, slot, ConnectionEnd::GoAway, |stream_id| {
            (stream_id > last).then_some(StreamFailure::Unprocessed)
        });
        self.settle(now, slot);
        Handled::Done
    }

    pub(super) fn on_frame(
        &mut self,
        now: Instant,
        token: ConnectionToken,
        carries_message: bool,
    ) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        let pings = &mut self.slots.connection_mut(slot).pings;
        let allows_pings = carries_message && pings.message_arrived();
        self.note_frame(now, slot);
        if allows_pings {
            let connection = self.slots.connection(slot);
            if connection.lifecycle() == Lifecycle::Ready && connection.load() > 0 {
                // The timer was armed for a longer silence than is allowed from now on.
                self.arm_silence(slot, token.backend);
            }
        }
        Handled::Done
    }

    /// Notes that a connection is alive. A suspect connection takes streams again. An idle
    /// connection stays idle: frames that serve no request do not keep it open.
    pub(super) fn note_frame(&mut self, now: Instant, slot: usize) {
        let connection = self.slots.connection_mut(slot);
        connection.idle_before = None;
        connection.silent_before = None;
        if connection.load() > 0 {
            connection.quiet_since = now;
        }
        if connection.is_suspect() {
            self.recover(now, slot);
        }
    }

    pub(super) fn on_pong(&mut self, now: Instant, token: ConnectionToken) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        if !self.slots.connection_mut(slot).pings.answer(now) {
            return Handled::Refused;
        }
        self.note_frame(now, slot);
        Handled::Done
    }

    pub(super) fn on_connection_closed(
        &mut self,
        now: Instant,
        token: ConnectionToken,
        sent_through: u32,
    ) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        let abrupt = match self.slots.connection(slot).lifecycle() {
            Lifecycle::Empty => unreachable!("a token never names an empty slot"),
            Lifecycle::Connecting { .. } => return self.on_connect_failed(now, token),
            Lifecycle::Draining(DrainCause::Lost) => return Handled::Refused,
            // A connection that was draining already did not fail.
            Lifecycle::Draining(_) => false,
            Lifecycle::Ready | Lifecycle::Suspect | Lifecycle::Busy => {
                self.slots.carries_request(token)
            }
        };
        let stale_after = self.slots.connection(slot).stale_after().filter(|_| abrupt);
        self.slots
            .apply(token, Event::Drain(DrainCause::Lost))
            .expect("a live connection that is not lost can be lost");
        self.arm_drain(now, slot);
        self.fail_streams(now, slot, ConnectionEnd::Lost, |stream_id| {
            (stream_id == 0 || stream_id > sent_through).then_some(StreamFailure::NotSent)
        });
        if let Some(idle) = stale_after {
            self.close_idle(now, token.backend, idle / 2);
        } else if abrupt && self.slots.carries_request(token) {
            // A server that answers and then closes is healthy. The owners of the streams may hold
            // complete responses, so they report whether something was cut off.
            self.slots.connection_mut(slot).closed_without_goaway = true;
        } else if abrupt {
            self.note_failed_before_response(now, slot);
        }
        self.settle(now, slot);
        Handled::Done
    }

    /// Closes the connections to a backend that have been idle for at least this long, because
    /// another one was dead after being idle.
    pub(super) fn close_idle(&mut self, now: Instant, backend: BackendId, least: Duration) {
        for slot in self.slots.range(backend) {
            if self.slots.connection(slot).idle_for(now).is_some_and(|idle| idle >= least) {
                self.close(now, slot, CloseReason::Stale);
            }
        }
    }

    /// Handles an announcement of how long the backend keeps the connection open while it is idle.
    pub(super) fn on_keep_alive(&mut self, token: ConnectionToken, timeout: Duration) -> Handled {
        let Ok(slot) = self.slots.find(token) else {
            return Handled::Stale;
        };
        let connection = self.slots.connection_mut(slot);
        if matches!(connection.lifecycle(), Lifecycle::Connecting { .. }) {
            return Handled::Refused;
        }
        connection.keep_alive = timeout.saturating_sub(limits::KEEP_ALIVE_MARGIN).max(timeout / 2);
        let since = connection.quiet_since;
        if connection.is_idle() {
            self.timers.arm(Timer::Quiet(slot as u32), since.after(self.idle_timeout(slot)));
        }
        Handled::Done
    }

    /// Returns how long a connection may be idle.
    pub(super) fn idle_timeout(&self, slot: usize) -> Duration {
        self.config.timeouts.idle.min(self.slots.connection(slot).keep_alive)
    }

    /// Counts a connection that failed before the first response like a failed dial, so that the
    /// next dial backs off. Returns true if the connection failed that way.
    pub(super) fn note_failed_before_response(&mut self, now: Instant, slot: usize) -> bool {
        let connection = self.slots.connection(slot);
        let failed_before_response = connection.opened > 0 && connection.responses == 0;
        if failed_before_response {
            self.dial_failed(now, self.slots.token(slot).backend);
        }
        failed_before_response
    }

    /// Arms the deadline of a connection that drains from now on, or is lost.
    pub(super) fn arm_drain(&mut self, now: Instant, slot: usize) {
        self.slots.connection_mut(slot).drains_since = now;
        self.timers.disarm(Timer::Quiet(slot as u32));
        self.arm_drain_deadline(slot);
    }

    /// Arms the present deadline of a draining connection.
    pub(super) fn arm_drain_deadline(&mut self, slot: usize) {
        let at = self.drain_deadline(slot);
        self.timers.arm(Timer::Life(slot as u32), at);
    }

    /// Returns when a draining connection is closed: after `drain` without a frame, at the latest
    /// after the longest drain, but not after the deadline of its backend. If it drains only
    /// because of its backend, nothing else counts.
    pub(super) fn drain_deadline(&self, slot: usize) -> Instant {
        let connection = self.slots.connection(slot);
        let (timeouts, since) = (&self.config.timeouts, connection.drains_since);
        let backend = self.slots.token(slot).backend;
        let latest = self.backends[usize::from(backend.0)].service.deadline();
        let own = match connection.lifecycle() {
            Lifecycle::Draining(DrainCause::Backend) => {
                return latest.expect("its backend drains or was removed");
            }
            Lifecycle::Draining(DrainCause::Lost) => since.after(timeouts.drain),
            _ => {
                let quiet = since.max(connection.quiet_since).after(timeouts.drain);
                quiet.min(since.after(timeouts.longest_drain()))
            }
        };
        latest.map_or(own, |latest| latest.min(own))
    }

    /// Drains a connection that reached its maximum age or number of requests.
    pub(super) fn begin_drain(&mut self, now: Instant, slot: usize, cause: DrainCause) {
        let token = self.slots.token(slot);
        self.slots.apply(token, Event::Drain(cause)).expect("a ready connection can drain");
        self.arm_drain(now, slot);
        self.settle(now, slot);
    }

    /// Drains a connection that reached its maximum number of requests.
    pub(super) fn drain_when_spent(&mut self, now: Instant, slot: usize) {
        let most = limits::STREAM_ORDINAL_MAX;
        let most = self.config.max_requests_per_connection.map_or(most, |limit| limit.min(most));
        if self.slots.connection(slot).opened >= most {
            self.begin_drain(now, slot, DrainCause::MaxRequests);
        }
    }

    /// Handles a change of the load or lifecycle of a connection: closes it if it is drained, and
    /// starts its idle timeout if it is unused.
    pub(super) fn settle(&mut self, now: Instant, slot: usize) {
        let token = self.slots.token(slot);
        let connection = self.slots.connection(slot);
        if connection.load() == 0 {
            match connection.lifecycle() {
                Lifecycle::Ready => {
                    self.slots.connection_mut(slot).quiet_since = now;
                    let idle = now.after(self.idle_timeout(slot));
                    self.timers.arm_in(Lane::Idle, Timer::Quiet(slot as u32), idle);
                }
                Lifecycle::Draining(DrainCause::Lost) => {
                    self.slots.apply(token, Event::Closed).expect("its load is zero");
                    self.forget_slot(slot);
                }
                Lifecycle::Draining(_) => self.close(now, slot, CloseReason::Drained),
                Lifecycle::Empty
                | Lifecycle::Connecting { .. }
                | Lifecycle::Suspect
                | Lifecycle::Busy => {}
            }
        }
        self.refresh(token.backend);
    }

    /// Closes a connection or gives up a dial at once. Its streams fail.
    pub(super) fn close(&mut self, now: Instant, slot: usize, reason: CloseReason) {
        let token = self.slots.token(slot);
        let lifecycle = self.slots.connection(slot).lifecycle();
        if lifecycle != Lifecycle::Draining(DrainCause::Lost) {
            self.order(Output::Close { connection: token, reason });
        }
        let event = match lifecycle {
            Lifecycle::Connecting { .. } => Event::DialEnded,
            Lifecycle::Ready | Lifecycle::Suspect | Lifecycle::Busy | Lifecycle::Draining(_) => {
                self.fail_streams(now, slot, ConnectionEnd::Ordered(reason), |stream_id| {
                    Some(if stream_id == 0 {
                        StreamFailure::NotSent
                    } else {
                        StreamFailure::ConnectionLost
                    })
                });
                Event::Closed
            }
            Lifecycle::Empty => unreachable!("there is nothing to close"),
        };
        self.slots.apply(token, event).expect("its streams are gone");
        self.forget_slot(slot);
    }

    pub(super) fn forget_slot(&mut self, slot: usize) {
        self.timers.disarm(Timer::Life(slot as u32));
        self.timers.disarm(Timer::Quiet(slot as u32));
        let backend = self.slots.token(slot).backend;
        self.removal_pending |= self.backends[usize::from(backend.0)].service.is_removed();
        self.refresh(backend);
    }

    /// Closes every connection once a shutdown was requested and no request is live.
    pub(super) fn close_when_drained(&mut self) {
        if self.phase == PoolPhase::Running || self.requests.live() > 0 {
            return;
        }
        for index in 0..self.backends.len() {
            for slot in self.slots.range(backend_id(index)) {
                self.close_at_shutdown(slot);
            }
        }
        self.slots.close_all();
        self.removal_pending |= self.removed > 0;
        for index in 0..self.backends.len() {
            self.refresh(backend_id(index));
        }
    }

    fn close_at_shutdown(&mut self, slot: usize) {
        let lifecycle = self.slots.connection(slot).lifecycle();
        if lifecycle != Lifecycle::Empty && lifecycle != Lifecycle::Draining(DrainCause::Lost) {
            let connection = self.slots.token(slot);
            self.order(Output::Close { connection, reason: CloseReason::Shutdown });
        }
        self.timers.disarm(Timer::Life(slot as u32));
        self.timers.disarm(Timer::Quiet(slot as u32));
    }

    /// Arms the timer after which a connection with work outstanding becomes suspect. HTTP/1.1 has
    /// no PING to test the connection with, so only the response-head deadline applies there.
    pub(super) fn arm_silence(&mut self, slot: usize, backend: BackendId) {
        let connection = self.slots.connection(slot);
        match connection.protocol {
            Protocol::Http1 => self.timers.disarm(Timer::Quiet(slot as u32)),
            Protocol::Http2 => {
                self.timers.arm(Timer::Quiet(slot as u32), self.silent_at(slot, backend));
            }
        }
    }

    /// Returns when a connection with requests will have been silent for too long: after the
    /// configured time, or four times the smoothed response time if that is longer, and longer or
    /// later after [PINGs](super::pings). The time of earlier requests under which nothing arrived
    /// counts, too.
    pub(super) fn silent_at(&self, slot: usize, backend: BackendId) -> Instant {
        let state = &self.backends[usize::from(backend.0)];
        let connection = self.slots.connection(slot);
        let measured = Duration::from_nanos(state.response_time).saturating_mul(4);
        let objections = state.enhance_your_calm_count;
        let factor = connection.pings.silence_factor(objections);
        let silence = self.config.timeouts.silence.max(measured).saturating_mul(factor);
        let before = connection.silent_before.unwrap_or_default();
        let at = connection.quiet_since.after(silence.saturating_sub(before));
        connection.pings.spaced(at, objections)
    }
}
