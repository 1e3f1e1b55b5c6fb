//! How a system notices that the other end does not answer: by its own unacknowledged bytes, and by
//! TCP keepalive on the proxy's sockets.

use std::time::Duration;

use baton::proxy::limits::{
    BACKEND_KEEPALIVE_INTERVAL, BACKEND_KEEPALIVE_TIME, CLIENT_KEEPALIVE_INTERVAL,
    CLIENT_KEEPALIVE_TIME,
};

use super::connection::{Connection, End, Phase};
use super::key::{Host, Key, Side};
use super::state::{Event, Id, State};
use crate::retransmission::repetitions;

/// Unanswered keepalive segments that end a connection (Linux).
const KEEPALIVES_MAX: u32 = 9;

/// The silence before the first keepalive segment, and the time between two unanswered ones.
fn keepalive_times(key: Key) -> (u64, u64) {
    let (time, interval) = match key {
        Key::Backend(..) => (BACKEND_KEEPALIVE_TIME, BACKEND_KEEPALIVE_INTERVAL),
        Key::Client(..) | Key::Other(_) => (CLIENT_KEEPALIVE_TIME, CLIENT_KEEPALIVE_INTERVAL),
    };
    let nanoseconds = |time: Duration| time.as_nanos() as u64;
    (nanoseconds(time), nanoseconds(interval))
}

/// When an end looks next whether the other one has answered its keepalive segments.
fn next_keepalive(key: Key, end: &End) -> u64 {
    let (time, interval) = keepalive_times(key);
    end.last_arrival + time + u64::from(end.keepalives) * interval
}

/// When an end looks next whether the other one is silent. On a path that lets everything through
/// it never does: each segment is acknowledged, and each keepalive answered.
fn next_look(connection: &mut Connection, side: Side, now: u64, dead_path: u64) -> Option<u64> {
    if connection.phase == Phase::Dialling || connection.end(side).gone {
        return None;
    }
    let other_gone = connection.end(side.other()).gone;
    let lane = connection.lane(side);
    if lane.effects.severed {
        return None;
    }
    lane.take_acknowledgements(now);
    let waiting_since = lane.waiting_since.filter(|_| lane.is_outstanding());
    if !connection.is_impaired(now) && !other_gone {
        return None;
    }
    if let Some(since) = waiting_since {
        return Some(since.saturating_add(dead_path).max(now));
    }
    let key = connection.key;
    let end = connection.end(side);
    if end.host != Host::Proxy || !end.attached {
        return None;
    }
    if end.keepalives == 0 {
        // Earlier keepalives were answered.
        let (time, _) = keepalive_times(key);
        let answered = now.saturating_sub(end.last_arrival) / time;
        end.last_arrival += answered * time;
    }
    Some(next_keepalive(key, end))
}

impl State {
    fn dead_path(&self) -> u64 {
        self.hub.plan.network.dead_path_us.saturating_mul(1_000)
    }

    /// An end watches the time from now on, if it has to.
    pub(crate) fn watch(&mut self, id: Id, side: Side) {
        let (now, dead_path) = (self.now(), self.dead_path());
        let Some(connection) = self.connection(id) else { return };
        let before = connection.end(side).watch.take();
        let next = next_look(connection, side, now, dead_path);
        self.cancel(before);
        let Some(next) = next else { return };
        let place = self.schedule(next, Event::Watch(id, side));
        if let Some(connection) = self.connection(id) {
            connection.end(side).watch = Some(place);
        }
    }

    /// An end looks whether the other one is silent.
    pub(crate) fn look(&mut self, id: Id, side: Side) {
        let (now, dead_path) = (self.now(), self.dead_path());
        let Some(connection) = self.connection(id) else { return };
        connection.end(side).watch = None;
        let lane = connection.lane(side);
        lane.take_acknowledgements(now);
        let waiting_since = lane.waiting_since.filter(|_| lane.is_outstanding());
        if let Some(since) = waiting_since {
            if since.saturating_add(dead_path) <= now {
                self.give_up(id, side);
                return;
            }
        } else if connection.end(side).host == Host::Proxy {
            let is_passable = connection.is_passable(now);
            let other_gone = connection.end(side.other()).gone;
            let key = connection.key;
            let end = connection.end(side);
            if next_keepalive(key, end) > now {
                // Something has arrived meanwhile.
            } else if is_passable && other_gone {
                self.reset_arrives(id, side);
                return;
            } else if is_passable {
                (end.last_arrival, end.keepalives) = (now, 0);
            } else if end.keepalives == KEEPALIVES_MAX {
                self.give_up(id, side);
                return;
            } else {
                end.keepalives += 1;
            }
        }
        self.watch(id, side);
    }
    /// Returns how many segments in a row the other host has left without an acknowledgement;
    /// `None` if the system cannot tell.
    pub(crate) fn unanswered(&mut self, id: Id, side: Side) -> Option<u32> {
        let (key, now) = (self.connection(id)?.key, self.now());
        let unanswered = self.count_unanswered(id, side);
        self.deliveries.push((key, now, unanswered));
        unanswered
    }

    fn count_unanswered(&mut self, id: Id, side: Side) -> Option<u32> {
        let network = &self.hub.plan.network;
        if network.hides_delivery {
            return None;
        }
        let usual = 2 * network.wire.most_us.saturating_mul(1_000);
        let patience = self.hub.plan.pool.config.timeouts.suspect.as_nanos() as u64;
        let now = self.now();
        let connection = self.connection(id)?;
        let slow: u64 = connection.lanes.iter().map(|lane| lane.effects.delay).sum();
        let is_passable = connection.is_passable(now);
        let lane = connection.lane(side);
        lane.take_acknowledgements(now);
        let Some(since) = lane.waiting_since.filter(|_| lane.is_outstanding()) else {
            return Some(connection.end(side).keepalives);
        };
        // A host whose process reads nothing still answers when its buffer is full.
        if lane.acknowledged == lane.sent && is_passable {
            return Some(0);
        }
        // TCP knows how long an acknowledgement usually takes.
        let late = (now - since).saturating_sub(usual.saturating_add(slow));
        Some(repetitions(late, patience))
    }
}
