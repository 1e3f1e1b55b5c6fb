//! How bytes get from one end to the other: writing, sending, arrival, acknowledgement, reading.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::key::{Host, Side};
use super::lane::{Acknowledgement, Load, NEVER, Pieces, Segment, register};
use super::state::{Event, Id, State, show};
use super::tap::{Content, Point};
use crate::draw::Domain;

impl State {
    pub(crate) fn poll_write(
        &mut self,
        id: Id,
        side: Side,
        context: &Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let now = self.now();
        let Some(connection) = self.connections[id].as_deref_mut() else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        let end = &mut connection.ends[side as usize];
        let lane = &mut connection.lanes[side as usize];
        if self.hosts.state(end.host).asleep_until > now {
            register(&mut lane.writer, context);
            return Poll::Pending;
        }
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if end.gone || lane.ended {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        lane.take_acknowledgements(now);
        let mut room = lane.room();
        if let Some(error_at) = lane.effects.error_at {
            room = room.min(error_at - lane.written);
            if lane.written == error_at {
                self.fail_writing(id, side);
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
        }
        if room == 0 {
            register(&mut lane.writer, context);
            self.await_acknowledgement(id, side);
            return Poll::Pending;
        }
        let sequence = lane.written;
        let count = lane.take(slices, room, now).len();
        let lane = &connection.lanes[side as usize];
        let written = Content::Bytes(lane.bytes(sequence, lane.written));
        show(&mut self.tap, connection, now, side, Point::Written, sequence, written);
        self.send_what_was_written(id, side);
        Poll::Ready(Ok(count))
    }

    fn send_what_was_written(&mut self, id: Id, side: Side) {
        self.pump(id, side);
        let now = self.now();
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        let hides = lane.effects.hides_alert && lane.records.is_some() && lane.unsent() > 0;
        if lane.effects.error_at == Some(lane.written) {
            self.fail_writing_soon(id, side);
        } else if connection.is_impaired(now) {
            self.watch(id, side);
        }
        if hides {
            // If these bytes are not the last ones, they are sent once all tasks have run.
            self.schedule(now, Event::Reveal(id, side));
        }
    }

    /// Sends what an end has written, as far as the window allows.
    pub(crate) fn pump(&mut self, id: Id, side: Side) {
        let now = self.now();
        let (draws, wire) = (self.hub.draws, self.hub.plan.network.wire);
        let Some(connection) = self.connections[id].as_deref_mut() else { return };
        let entity = connection.entity(side);
        let lane = &mut connection.lanes[side as usize];
        if connection.ends[side as usize].gone || lane.effects.severed {
            return;
        }
        while let Some((mut to, load)) = lane.next_segment() {
            if load == Load::Bytes {
                let mut cutter = std::mem::replace(&mut lane.cutter, super::cutter::Cutter::new());
                let from = lane.sent;
                if lane.effects.pieces == Pieces::AtFrames {
                    to = from + cutter.next_cut(lane.bytes(from, to), draws, entity) as u64;
                } else {
                    let mut at = from;
                    while at < to {
                        at += cutter.next_cut(lane.bytes(at, to), draws, entity) as u64;
                    }
                }
                lane.cutter = cutter;
            }
            let ordinal = lane.segments;
            lane.segments += 1;
            let drawn = self.hub.delay(Domain::Segments, entity, ordinal, wire);
            lane.launch(to, load, now.saturating_add(drawn).saturating_add(lane.effects.delay));
        }
        self.plan_delivery(id, side);
        self.await_acknowledgement(id, side);
    }

    /// Schedules the arrival of the next segment.
    pub(crate) fn plan_delivery(&mut self, id: Id, side: Side) {
        let Some(connection) = self.connections[id].as_deref_mut() else { return };
        let lane = &mut connection.lanes[side as usize];
        if lane.delivery.is_none()
            && let Some(at) = lane.next_arrival()
        {
            let place = self.schedule(at, Event::Deliver(id, side));
            self.connections[id].as_deref_mut().expect("it is there").lane(side).delivery =
                Some(place);
        }
    }

    /// Segments of an end arrive at the other one.
    pub(crate) fn deliver(&mut self, id: Id, side: Side) {
        let now = self.now();
        let mut news = false;
        let Some(connection) = self.connection(id) else { return };
        connection.lane(side).delivery = None;
        while let Some(connection) = self.connection(id) {
            let reader = side.other();
            let lane = connection.lane(side);
            if lane.effects.stalled_until > now {
                break;
            }
            let Some(segment) = lane.flying.pop_front_if(|first| first.arrives <= now) else {
                break;
            };
            connection.end(reader).last_arrival = now;
            connection.end(reader).keepalives = 0;
            match segment.load {
                Load::Reset => self.reset_arrives(id, reader),
                Load::Bytes => news |= self.bytes_arrive(id, side, segment),
                Load::End => news |= self.end_arrives(id, side),
            }
        }
        if news {
            self.acknowledge(id, side);
        }
        self.plan_delivery(id, side);
        self.settle(id);
    }

    /// Returns true if they are acknowledged.
    fn bytes_arrive(&mut self, id: Id, side: Side, segment: Segment) -> bool {
        let now = self.now();
        let Some(connection) = self.connections[id].as_deref_mut() else { return false };
        let sequence = connection.lane(side).delivered;
        connection.lane(side).delivered = segment.end;
        let lane = &connection.lanes[side as usize];
        let bytes = Content::Bytes(lane.bytes(sequence, segment.end));
        show(&mut self.tap, connection, now, side, Point::Delivered, sequence, bytes);
        let lane = &mut connection.lanes[side as usize];
        let end = &connection.ends[side.other() as usize];
        if end.attached && !end.gone {
            let asleep = lane.effects.asleep_until > now;
            let waker = if asleep { None } else { lane.reader.take() };
            self.wake(waker);
            return true;
        }
        // There is no process that could read them, and the writer must learn it.
        lane.consume(segment.end - sequence);
        self.send_reset(id, side.other());
        false
    }

    fn end_arrives(&mut self, id: Id, side: Side) -> bool {
        let now = self.now();
        let Some(connection) = self.connections[id].as_deref_mut() else { return false };
        let sequence = connection.lane(side).delivered;
        let end = Content::End;
        show(&mut self.tap, connection, now, side, Point::Delivered, sequence, end);
        if connection.end(side.other()).gone {
            self.send_reset(id, side.other());
            return false;
        }
        let lane = connection.lane(side);
        lane.end_delivered = true;
        let asleep = lane.effects.asleep_until > now;
        let waker = if asleep { None } else { lane.reader.take() };
        self.wake(waker);
        true
    }

    /// The reader's system says what it has received of an end's bytes and what was read of them.
    pub(crate) fn acknowledge(&mut self, id: Id, side: Side) {
        let now = self.now();
        let (draws, wire) = (self.hub.draws, self.hub.plan.network.wire);
        let Some(connection) = self.connections[id].as_deref_mut() else { return };
        let entity = connection.entity(side);
        // It travels with the bytes of the other direction, and shares their fate.
        let back = connection.lanes[side.other() as usize].effects;
        let lane = &mut connection.lanes[side as usize];
        if back.vanishes || back.severed || back.stalled_until == NEVER {
            return;
        }
        let drawn = draws.between(
            Domain::Acknowledgements,
            entity,
            lane.acknowledgements_sent,
            wire.least_us,
            wire.most_us,
        );
        lane.acknowledgements_sent += 1;
        let arrives = now.saturating_add(drawn.saturating_mul(1_000)).saturating_add(back.delay);
        let earliest = lane.acknowledgements.back().map_or(0, |last| last.arrives);
        lane.acknowledgements.push_back(Acknowledgement {
            arrives: arrives.max(back.stalled_until).max(earliest),
            received: lane.delivered + u64::from(lane.end_delivered),
            read: lane.read,
        });
        lane.advertised = lane.read;
        self.await_acknowledgement(id, side);
    }

    /// Schedules the arrival of the next acknowledgement, if something depends on it.
    pub(crate) fn await_acknowledgement(&mut self, id: Id, side: Side) {
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        if lane.acknowledging.is_some() || !lane.needs_acknowledgement() {
            return;
        }
        let Some(first) = lane.acknowledgements.front() else { return };
        let at = first.arrives;
        let place = self.schedule(at, Event::Acknowledge(id, side));
        if let Some(connection) = self.connection(id) {
            connection.lane(side).acknowledging = Some(place);
        }
    }

    /// Acknowledgements arrive.
    pub(crate) fn acknowledged(&mut self, id: Id, side: Side) {
        let now = self.now();
        let Some(connection) = self.connection(id) else { return };
        connection.end(side).last_arrival = now;
        connection.end(side).keepalives = 0;
        let lane = connection.lane(side);
        lane.acknowledging = None;
        lane.take_acknowledgements(now);
        self.pump(id, side);
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        let waker = if lane.room() > 0 { lane.writer.take() } else { None };
        self.wake(waker);
        self.settle(id);
    }

    pub(crate) fn poll_read(
        &mut self,
        id: Id,
        side: Side,
        context: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = self.now();
        let Some(connection) = self.connections[id].as_deref_mut() else {
            return Poll::Ready(Ok(()));
        };
        let end = &mut connection.ends[side as usize];
        let lane = &mut connection.lanes[side.other() as usize];
        let asleep = self.hosts.state(end.host).asleep_until.max(lane.effects.asleep_until);
        if asleep > now {
            register(&mut lane.reader, context);
            return Poll::Pending;
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let count = lane.unread().min(buffer.remaining() as u64);
        if count > 0 {
            let sequence = lane.read;
            buffer.put_slice(lane.bytes(sequence, sequence + count));
            let gone = end.gone;
            if end.host == Host::Proxy && lane.records.is_none() {
                let lane = &connection.lanes[side.other() as usize];
                let read = Content::Bytes(lane.bytes(sequence, sequence + count));
                show(&mut self.tap, connection, now, side.other(), Point::Read, sequence, read);
            }
            let lane = &mut connection.lanes[side.other() as usize];
            lane.consume(count);
            if lane.has_news() && !gone {
                self.acknowledge(id, side.other());
            }
            return Poll::Ready(Ok(()));
        }
        if lane.end_delivered {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if end.gone {
            return Poll::Ready(Ok(()));
        }
        register(&mut lane.reader, context);
        Poll::Pending
    }
}
