//! How connections end: by FIN, by RST, because a system gives up.

use std::io::ErrorKind;

use super::connection::Phase;
use super::key::{Host, Key, Side};
use super::lane::{Load, PIECE_GAP, Segment};
use super::state::{ClientReset, Event, Id, State};
use super::tap::{Content, Point};
use crate::draw::Domain;

impl State {
    /// An end writes no more. A `close_notify` that was written last is dropped if a directive asks
    /// for it.
    pub(crate) fn shut_down(&mut self, id: Id, side: Side) {
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        if lane.effects.hides_alert && !lane.ended {
            let alert = lane.records.as_ref().and_then(super::records::Records::alert);
            lane.effects.hides_alert = false;
            if let Some(alert) = alert {
                lane.cut_off(alert);
            }
        }
        self.end_lane(id, side);
    }

    /// The bytes that were written are sent, then the end.
    pub(crate) fn end_lane(&mut self, id: Id, side: Side) {
        let now = self.now();
        let Some(connection) = self.connection(id) else { return };
        if connection.lane(side).ended || connection.end(side).gone {
            return;
        }
        let lane = connection.lane(side);
        lane.take_acknowledgements(now);
        lane.ended = true;
        lane.waiting_since.get_or_insert(now);
        let (sequence, waker) = (lane.written, lane.writer.take());
        self.wake(waker);
        self.show(id, side, Point::Written, sequence, Content::End);
        self.pump(id, side);
        if self.connection(id).is_some_and(|connection| connection.is_impaired(now)) {
            self.watch(id, side);
        }
    }

    /// Bytes that may be a `close_notify` were not followed by a close.
    pub(crate) fn reveal(&mut self, id: Id, side: Side) {
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        if !lane.effects.hides_alert {
            return;
        }
        lane.effects.hides_alert = false;
        self.pump(id, side);
        if let Some(connection) = self.connection(id) {
            connection.lane(side).effects.hides_alert = true;
        }
    }

    /// No process has this end any more.
    pub(crate) fn detach(&mut self, id: Id, side: Side) {
        self.close(id, side, false);
    }

    /// A process closes its end. That resets the connection if it asks for it, or if it leaves
    /// bytes unread.
    pub(crate) fn close(&mut self, id: Id, side: Side, resets: bool) {
        let now = self.now();
        let Some(connection) = self.connection(id) else { return };
        let is_of_peer = !matches!(connection.key, Key::Other(_));
        let end = connection.end(side);
        end.attached = false;
        let closed = (is_of_peer && end.host == Host::Proxy).then_some(now);
        end.error = None;
        connection.lane(side).writer = None;
        let incoming = connection.lane(side.other());
        incoming.reader = None;
        if !connection.end(side).gone {
            if resets || connection.lane(side.other()).unread() > 0 {
                self.send_reset(id, side);
            } else {
                if let Some(connection) = self.connection(id) {
                    connection.lane(side).effects.hides_alert = false;
                }
                self.end_lane(id, side);
            }
        }
        self.settle(id);
        self.at_proxy.last_closed = closed.unwrap_or(self.at_proxy.last_closed);
    }

    /// A system resets the connection and forgets it.
    pub(crate) fn send_reset(&mut self, id: Id, side: Side) {
        let now = self.now();
        let wire = self.hub.plan.network.wire;
        let Some(connection) = self.connection(id) else { return };
        let entity = connection.entity(side);
        let (sequence, ordinal) = (connection.lane(side).sent, connection.lane(side).segments);
        let by_proxy = connection.end(side).host == Host::Proxy;
        let reset = match connection.key {
            Key::Client(client, connection) if by_proxy => {
                Some(ClientReset { client, connection, at: now })
            }
            _ => None,
        };
        self.client_resets.extend(reset);
        self.forget(id, side, None);
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        let is_sent = lane.flying.back().is_some_and(|last| last.load == Load::Reset);
        if is_sent || connection.end(side.other()).gone {
            return;
        }
        self.show(id, side, Point::Written, sequence, Content::Reset);
        let drawn = self.delay(Domain::Segments, entity, ordinal, wire);
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        lane.segments += 1;
        if lane.effects.severed {
            return;
        }
        let end = lane.sent;
        lane.launch(end, Load::Reset, now.saturating_add(drawn).saturating_add(lane.effects.delay));
        self.plan_delivery(id, side);
    }

    /// The other end's system, or the network, has reset the connection.
    pub(crate) fn reset_arrives(&mut self, id: Id, side: Side) {
        let Some(connection) = self.connection(id) else { return };
        let incoming = connection.lane(side.other());
        let (sequence, ended) = (incoming.delivered, incoming.end_delivered);
        self.show(id, side.other(), Point::Delivered, sequence, Content::Reset);
        let error = if ended { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset };
        if self.connection(id).is_some_and(|connection| !connection.end(side).gone) {
            self.forget(id, side, Some(error));
        }
        self.settle(id);
    }

    /// A system gives the connection up: nothing has answered for too long.
    pub(crate) fn give_up(&mut self, id: Id, side: Side) {
        self.forget(id, side, Some(ErrorKind::TimedOut));
        self.settle(id);
    }

    /// A system forgets the connection, with everything unsent. A process can still read what was
    /// received before a reset, as on Linux.
    fn forget(&mut self, id: Id, side: Side, error: Option<ErrorKind>) {
        let Some(connection) = self.connection(id) else { return };
        let end = connection.end(side);
        end.gone = true;
        let may_read = error.is_some() && end.attached;
        if may_read {
            end.error = error;
        }
        let watch = end.watch.take();
        let lane = connection.lane(side);
        lane.cut_off(lane.sent);
        let incoming = connection.lane(side.other());
        if !may_read {
            incoming.consume(incoming.unread());
        }
        self.cancel(watch);
        self.wake_end(id, side);
    }

    /// Wakes who waits at an end.
    pub(crate) fn wake_end(&mut self, id: Id, side: Side) {
        let now = self.now();
        let Some(connection) = self.connection(id) else { return };
        let writer = connection.lane(side).writer.take();
        let incoming = connection.lane(side.other());
        let asleep = incoming.effects.asleep_until > now;
        let reader = if asleep { None } else { incoming.reader.take() };
        self.wake(writer);
        self.wake(reader);
    }

    /// The network resets the connection: both ends see it, each at its own time.
    pub(crate) fn sever(&mut self, id: Id, but: Option<Side>) {
        let now = self.now();
        let wire = self.hub.plan.network.wire;
        let Some(connection) = self.connection(id) else { return };
        if connection.phase == Phase::Dialling {
            connection.dial.fails = true;
            return;
        }
        for side in Side::BOTH {
            let Some(connection) = self.connection(id) else { return };
            let entity = connection.entity(side);
            let lane = connection.lane(side);
            lane.effects.severed = true;
            if but == Some(side) {
                continue;
            }
            lane.flying.clear();
            let (ordinal, delivery) = (lane.segments, lane.delivery.take());
            lane.segments += 1;
            self.cancel(delivery);
            let drawn = self.delay(Domain::Segments, entity, ordinal, wire);
            self.schedule(now.saturating_add(drawn), Event::Break(id, side.other()));
        }
    }

    /// Writing fails: the directive's number of bytes was written.
    pub(crate) fn fail_writing(&mut self, id: Id, side: Side) {
        self.fail_writing_soon(id, side);
        if self.connection(id).is_some_and(|connection| !connection.end(side).gone) {
            self.forget(id, side, None);
        }
        self.settle(id);
    }

    /// The last bytes that can be written are on their way, then the network resets the connection.
    pub(crate) fn fail_writing_soon(&mut self, id: Id, side: Side) {
        let now = self.now();
        let wire = self.hub.plan.network.wire;
        let Some(connection) = self.connection(id) else { return };
        if connection.lane(side).effects.severed {
            return;
        }
        let entity = connection.entity(side);
        self.sever(id, Some(side));
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        let ordinal = lane.segments;
        lane.segments += 1;
        let drawn = self.delay(Domain::Segments, entity, ordinal, wire);
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        // It follows what was sent, late enough for a reader that waits for it.
        let arrives = now.saturating_add(drawn).max(lane.busy_until + PIECE_GAP);
        lane.flying.push_back(Segment { end: lane.sent, arrives, load: Load::Reset });
        self.plan_delivery(id, side);
    }

    /// Removes a connection that has ended for both processes and of which nothing can arrive.
    pub(crate) fn settle(&mut self, id: Id) {
        if !self.connections[id].as_deref().is_some_and(super::connection::Connection::is_over) {
            return;
        }
        let Some(mut connection) = self.connections[id].take() else { return };
        for side in Side::BOTH {
            let lane = connection.lane(side);
            let places = [lane.delivery, lane.acknowledging, lane.awaking];
            let watch = connection.end(side).watch;
            for place in places.into_iter().chain([watch, connection.dial.step]) {
                self.cancel(place);
            }
        }
        self.by_key.remove(&connection.key);
    }
}
