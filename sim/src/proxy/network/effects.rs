//! The effects of directives on connections and hosts.

use std::net::SocketAddr;

use super::connection::Phase;
use super::hosts::Reach;
use super::key::{Host, Key, Side};
use super::lane::{NEVER, Pieces};
use super::state::{Event, Id, State};
use crate::draw::Domain;
use crate::plan::{Act, Health, Stage, WireEffect};

/// The largest number of full buffers that one body takes.
const ROUNDS_MAX: u32 = 100;

/// The time after a duration of the plan; never if there is none.
fn until(now: u64, for_us: Option<u64>) -> u64 {
    for_us.map_or(NEVER, |for_us| now.saturating_add(for_us.saturating_mul(1_000)))
}

impl State {
    /// Applies an effect to what an end writes.
    pub(crate) fn apply(&mut self, id: Id, side: Side, effect: WireEffect) {
        let now = self.now();
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        match effect {
            WireEffect::Pieces(size) => lane.cut(Pieces::Size(u64::from(size.max(1)))),
            WireEffect::PiecesAtFrames => lane.cut(Pieces::AtFrames),
            WireEffect::Delay { by_us } => lane.effects.delay = by_us.saturating_mul(1_000),
            WireEffect::Stall { for_us } => {
                lane.effects.stalled_until = lane.effects.stalled_until.max(until(now, for_us));
                self.hold(id, side);
            }
            WireEffect::Room(bytes) => {
                lane.effects.room = Some(u64::from(bytes.max(1)));
                // With so little room the writer must know how much was read.
                self.acknowledge(id, side);
            }
            WireEffect::End => self.end_lane(id, side),
            WireEffect::Reset => self.sever(id, None),
            WireEffect::ErrorAfter(bytes) => {
                lane.effects.error_at = Some(lane.written + u64::from(bytes));
                // Who waits for room may be past it already.
                let waker = lane.writer.take();
                self.wake(waker);
            }
            WireEffect::Vanish => lane.effects.vanishes = true,
            WireEffect::Asleep { for_us } => self.sleep_lane(id, side, until(now, for_us)),
            WireEffect::NoCloseNotify => lane.effects.hides_alert = true,
        }
        for side in Side::BOTH {
            self.watch(id, side);
        }
        self.settle(id);
    }

    /// Everything in flight is held: nothing arrives before the stall is over.
    fn hold(&mut self, id: Id, side: Side) {
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        let (delivery, stalled_until) = (lane.delivery.take(), lane.effects.stalled_until);
        // Acknowledgements of the other direction travel with it.
        let others = connection.lane(side.other());
        for acknowledgement in &mut others.acknowledgements {
            acknowledgement.arrives = acknowledgement.arrives.max(stalled_until);
        }
        others.acknowledgements.retain(|acknowledgement| acknowledgement.arrives != NEVER);
        let acknowledging = others.acknowledging.take();
        self.cancel(delivery);
        self.cancel(acknowledging);
        self.plan_delivery(id, side);
        self.await_acknowledgement(id, side.other());
    }

    fn sleep_lane(&mut self, id: Id, side: Side, until: u64) {
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(side);
        lane.effects.asleep_until = lane.effects.asleep_until.max(until);
        let (before, until) = (lane.awaking.take(), lane.effects.asleep_until);
        self.cancel(before);
        if until == NEVER {
            return;
        }
        let place = self.schedule(until, Event::Awake(id, side));
        if let Some(connection) = self.connection(id) {
            connection.lane(side).awaking = Some(place);
        }
    }

    /// The reader of what an end writes reads again.
    pub(crate) fn awake(&mut self, id: Id, side: Side) {
        let Some(connection) = self.connection(id) else { return };
        connection.lane(side).awaking = None;
        let waker = connection.lane(side).reader.take();
        self.wake(waker);
    }

    /// Carries out an act on a connection. Returns false if it is not the network's.
    pub(crate) fn act(&mut self, key: Key, act: Act) -> bool {
        let id = self.by_key.get(&key).copied();
        let now = self.now();
        let towards_backend = key.writer_towards_backend();
        match act {
            Act::Wire { direction, effect } => {
                if let Some(id) = id {
                    self.apply(id, key.writer(direction), effect);
                }
            }
            Act::BlackHole { to_backend, from_backend } => {
                let sides =
                    [(to_backend, towards_backend), (from_backend, towards_backend.other())];
                for (_, side) in sides.into_iter().filter(|(vanishes, _)| *vanishes) {
                    if let Some(id) = id {
                        self.apply(id, side, WireEffect::Vanish);
                    }
                }
            }
            Act::Break => {
                if let Some(id) = id {
                    self.sever(id, None);
                }
            }
            Act::StopReading { for_us } => {
                if let Some(id) = id {
                    self.apply(id, towards_backend, WireEffect::Asleep { for_us });
                    if let Some(room) = self.narrow_room(key) {
                        self.apply(id, towards_backend, WireEffect::Room(room));
                    }
                }
            }
            Act::FailDial { stage: Stage::Tcp } => self.change_dial(id, |dial| dial.fails = true),
            Act::StallDial { stage: Stage::Tcp, for_us } => {
                self.change_dial(id, |dial| dial.stalled_until = until(now, for_us));
            }
            _ => return false,
        }
        true
    }

    /// The room at a backend that stops reading, if there is little: then what the proxy writes
    /// waits in the proxy.
    fn narrow_room(&self, key: Key) -> Option<u32> {
        let draw = |ordinal, least, most| {
            let draws = self.hub.draws;
            draws.between(Domain::NarrowReceivers, key.entity(), ordinal, least, most)
        };
        if draw(0, 0, 1) == 0 {
            return None;
        }
        let most = self.hub.plan.requests.iter().map(|request| request.wire.body_bytes).max();
        Some((draw(1, 1, 100) as u32).max(most.unwrap_or(0) / ROUNDS_MAX))
    }

    fn change_dial(&mut self, id: Option<Id>, change: impl FnOnce(&mut super::connection::Dial)) {
        let Some(connection) = id.and_then(|id| self.connection(id)) else { return };
        if connection.phase == Phase::Dialling {
            change(&mut connection.dial);
        }
    }

    /// All connections of a host, each with the host's end.
    fn ends_of(&self, host: Host) -> Vec<(Id, Side)> {
        let mut ends = Vec::new();
        for (id, connection) in self.connections.iter().enumerate() {
            let Some(connection) = connection else { continue };
            for side in Side::BOTH {
                if connection.ends[side as usize].host == host {
                    ends.push((id, side));
                }
            }
        }
        ends
    }

    /// Every connection of a host breaks at once.
    pub(crate) fn break_all(&mut self, host: Host) {
        for (id, side) in self.ends_of(host) {
            // A connection of a host with itself breaks once.
            if side == Side::Dialler || self.hosts_of(id)[0] != host {
                self.sever(id, None);
            }
        }
    }

    fn hosts_of(&mut self, id: Id) -> [Host; 2] {
        match self.connection(id) {
            Some(connection) => connection.ends.each_ref().map(|end| end.host),
            None => [Host::Proxy; 2],
        }
    }

    /// Nothing that was sent on the connections of a host arrives any more.
    fn lose_connections(&mut self, host: Host) {
        for (id, side) in self.ends_of(host) {
            let Some(connection) = self.connection(id) else { continue };
            let incoming = connection.lane(side.other());
            incoming.flying.clear();
            let delivery = incoming.delivery.take();
            self.cancel(delivery);
            for side in Side::BOTH {
                self.apply(id, side, WireEffect::Vanish);
            }
        }
    }

    /// A host vanishes: nothing answers from now on.
    #[cfg(test)]
    pub(crate) fn vanish(&mut self, host: Host) {
        self.hosts.change(host, |state| state.vanished = true);
        self.lose_connections(host);
    }

    /// Nothing arrives any more on the present connections to an address, in either direction.
    pub(crate) fn lose_paths(&mut self, address: SocketAddr) {
        for id in 0..self.connections.len() {
            let leads_there = self.connection(id).is_some_and(|connection| {
                connection.ends[Side::Acceptor as usize].address == address
            });
            for side in Side::BOTH.into_iter().filter(|_| leads_there) {
                self.apply(id, side, WireEffect::Vanish);
            }
        }
    }

    /// A host cannot be reached for a while. Its connections are dead paths.
    pub(crate) fn cut_off_host(&mut self, host: Host, reach: Reach, for_us: Option<u64>) {
        let until = until(self.now(), for_us);
        self.hosts.change(host, |state| (state.reach, state.reach_until) = (reach, until));
        self.lose_connections(host);
    }

    /// The processes of a host do not run for a while.
    #[cfg(test)]
    pub(crate) fn put_to_sleep(&mut self, host: Host, for_us: Option<u64>) {
        let until = until(self.now(), for_us);
        self.hosts.change(host, |state| state.asleep_until = until);
        if until != NEVER {
            self.schedule(until, Event::HostAwake(host));
        }
    }

    /// The processes of a host run again.
    #[cfg(test)]
    pub(crate) fn host_awake(&mut self, host: Host) {
        for (id, side) in self.ends_of(host) {
            self.wake_end(id, side);
            let Some(connection) = self.connection(id) else { continue };
            let waker = connection.dial.waker.take();
            self.wake(waker);
        }
        for listener in self.listeners.all.iter_mut().flatten() {
            if self.hosts.owner(listener.address.ip()) == host {
                self.woken.extend(listener.waker.take());
            }
        }
    }

    /// Faults stop: from now on backends can be reached as the plan says.
    pub(crate) fn heal(&mut self) {
        let hub = std::rc::Rc::clone(&self.hub);
        for (backend, of) in hub.plan.backends.iter().enumerate() {
            self.hosts.list(backend as u16, of.wire.name);
        }
        for (backend, health) in hub.plan.heal.backends.iter().enumerate() {
            let host = Host::Backend(backend as u16);
            match health {
                Health::Well => self.hosts.change(host, |state| {
                    (state.reach_until, state.vanished) = (0, false);
                }),
                Health::Refuses => self.cut_off_host(host, Reach::Refuses, None),
                Health::Hangs => self.cut_off_host(host, Reach::Silent, None),
            }
        }
    }
}
