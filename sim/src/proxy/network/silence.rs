//! How a system notices that the other end does not answer: by its own unacknowledged bytes, and by
//! TCP keepalive on the proxy's sockets.

use baton::proxy::limits::{TCP_KEEPALIVE_INTERVAL, TCP_KEEPALIVE_TIME};

use super::connection::{Connection, Phase};
use super::key::{Host, Side};
use super::state::{Event, Id, State};

/// Unanswered keepalive segments that end a connection (Linux).
const KEEPALIVES_MAX: u32 = 9;
const KEEPALIVE_TIME: u64 = TCP_KEEPALIVE_TIME.as_nanos() as u64;
const KEEPALIVE_INTERVAL: u64 = TCP_KEEPALIVE_INTERVAL.as_nanos() as u64;

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
    let end = connection.end(side);
    if end.host != Host::Proxy || !end.attached {
        return None;
    }
    if end.keepalives == 0 {
        // Earlier keepalives were answered.
        let answered = now.saturating_sub(end.last_arrival) / KEEPALIVE_TIME;
        end.last_arrival += answered * KEEPALIVE_TIME;
    }
    let keepalives = u64::from(end.keepalives);
    Some(end.last_arrival + KEEPALIVE_TIME + keepalives * KEEPALIVE_INTERVAL)
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
            let end = connection.end(side);
            let due =
                end.last_arrival + KEEPALIVE_TIME + u64::from(end.keepalives) * KEEPALIVE_INTERVAL;
            if due > now {
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
}
