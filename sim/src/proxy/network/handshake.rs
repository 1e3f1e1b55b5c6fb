//! How connections begin: dials, SYNs, their answers, and the queues of listeners.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use super::connection::{Connection, Phase};
use super::hosts::Reach;
use super::key::{Host, Key, Side};
use super::lane::{NEVER, register};
use super::state::{Answer, Event, Id, State};
use super::tap::{Content, Point};
use crate::draw::Domain;
use crate::plan::When;
use crate::proxy::hub::Target;

const SECOND: u64 = 1_000_000_000;
/// SYNs after which the system gives up: it waits 1, 2, 4 … 64 seconds after each (Linux).
const SYNS_MAX: u32 = 7;

impl State {
    /// Starts to dial. Returns the connection.
    pub(crate) fn dial(&mut self, from: IpAddr, to: SocketAddr) -> Id {
        let hosts = [self.hosts.owner(from), self.hosts.owner(to.ip())];
        let key = self.next_key(hosts);
        let local = SocketAddr::new(from, self.listeners.choose_port(from));
        let id = self.connections.len();
        let tls = self.hub.plan.wire.tls;
        let mut connection = Box::new(Connection::new(key, hosts, [local, to], tls));
        connection.dial.started = self.now();
        self.connections.push(Some(connection));
        self.by_key.insert(key, id);
        if let Key::Backend(backend, connection) = key {
            let target = Target::Backend(backend, connection);
            self.moments.push((When::Dialled { backend, connection }, target));
        }
        self.send_syn(id);
        id
    }

    /// The name of the next connection between two hosts.
    fn next_key(&mut self, hosts: [Host; 2]) -> Key {
        let kind = match hosts {
            [_, Host::Backend(backend)] => Key::Backend(backend, 0),
            [Host::Client(client), _] => Key::Client(client, 0),
            _ => Key::Other(0),
        };
        let number = self.dials.entry(kind).or_insert(0);
        *number += 1;
        match kind {
            Key::Backend(backend, _) => Key::Backend(backend, *number),
            Key::Client(client, _) => Key::Client(client, *number),
            Key::Other(_) => Key::Other(*number),
        }
    }

    pub(crate) fn send_syn(&mut self, id: Id) {
        let now = self.now();
        let Some(connection) = self.connection(id) else { return };
        let dial = &mut connection.dial;
        dial.tries += 1;
        self.show(id, Side::Dialler, Point::Written, 0, Content::Syn);
        let leg = self.leg(id, Side::Dialler);
        let Some(connection) = self.connection(id) else { return };
        let effects = connection.lane(Side::Dialler).effects;
        if effects.vanishes || connection.end(Side::Dialler).gone {
            self.syn_lost(id);
        } else {
            self.step(id, now.saturating_add(leg), Event::SynArrives(id));
        }
    }

    /// Half of the time of a handshake, in one direction.
    fn leg(&self, id: Id, writer: Side) -> u64 {
        let Some(connection) = self.connections[id].as_deref() else { return 0 };
        let ordinal = u64::from(connection.dial.tries);
        let span = self.hub.plan.network.dial;
        let drawn = self.delay(Domain::Handshakes, connection.entity(writer), ordinal, span);
        (drawn / 2).saturating_add(connection.lanes[writer as usize].effects.delay)
    }

    fn step(&mut self, id: Id, at: u64, event: Event) {
        if at == NEVER {
            return;
        }
        let place = self.schedule(at, event);
        if let Some(connection) = self.connection(id) {
            connection.dial.step = Some(place);
        }
    }

    /// How long the dial is held back in this direction; `None` if not at all.
    fn held_until(&mut self, id: Id, writer: Side) -> Option<u64> {
        let now = self.now();
        let connection = self.connection(id)?;
        let until = connection.dial.stalled_until;
        let until = until.max(connection.lane(writer).effects.stalled_until);
        (until > now).then_some(until)
    }

    pub(crate) fn syn_arrives(&mut self, id: Id) {
        let now = self.now();
        if let Some(until) = self.held_until(id, Side::Dialler) {
            if until == NEVER {
                self.syn_lost(id);
            } else {
                self.step(id, until, Event::SynArrives(id));
            }
            return;
        }
        let Some(connection) = self.connection(id) else { return };
        let (fails, hosts) =
            (connection.dial.fails, connection.ends.each_ref().map(|end| end.host));
        let to = connection.end(Side::Acceptor).address;
        let reach = self.hosts.reach(to.ip(), now);
        if reach == Reach::Silent || self.hosts.state(hosts[0]).vanished {
            self.syn_lost(id);
            return;
        }
        self.show(id, Side::Dialler, Point::Delivered, 0, Content::Syn);
        let answer = match reach {
            #[cfg(test)]
            Reach::Unreachable => Answer::Unreachable,
            _ if fails || reach == Reach::Refuses => Answer::Refused,
            _ => {
                let hosts = &self.hosts;
                let covers = |ip: IpAddr| hosts.owner(ip) == hosts.owner(to.ip());
                let at = SocketAddr::new(hosts.listens_at(to.ip()), to.port());
                match self.listeners.turn(at, covers) {
                    None => Answer::Refused,
                    Some(listener) if self.listeners.reserve(listener) => {
                        if let Some(connection) = self.connection(id) {
                            connection.dial.listener = Some(listener);
                        }
                        Answer::Accepted
                    }
                    Some(_) => {
                        self.syn_lost(id);
                        return;
                    }
                }
            }
        };
        let content = if answer == Answer::Accepted { Content::Syn } else { Content::Reset };
        self.show(id, Side::Acceptor, Point::Written, 0, content);
        let leg = self.leg(id, Side::Acceptor);
        self.step(id, now.saturating_add(leg), Event::Answer(id, answer));
    }

    /// A SYN, or its answer, was lost: another one follows later.
    fn syn_lost(&mut self, id: Id) {
        self.release_place(id);
        let Some(connection) = self.connection(id) else { return };
        let dial = &mut connection.dial;
        let tries = dial.tries;
        let at = dial.started.saturating_add(((1 << tries) - 1) * SECOND);
        let event =
            if tries == SYNS_MAX { Event::Answer(id, Answer::TimedOut) } else { Event::Syn(id) };
        let at = at.max(self.now());
        self.step(id, at, event);
    }

    /// Gives back the place in a listener's queue.
    fn release_place(&mut self, id: Id) {
        let Some(connection) = self.connection(id) else { return };
        if let Some(listener) = connection.dial.listener.take() {
            self.listeners.release(listener);
        }
    }

    /// The dialler learns how its dial ends.
    pub(crate) fn answered(&mut self, id: Id, answer: Answer) {
        let Some(connection) = self.connection(id) else { return };
        connection.dial.step = None;
        let failure = match answer {
            Answer::TimedOut => Some(ErrorKind::TimedOut),
            _ if connection.lane(Side::Acceptor).effects.vanishes => {
                self.syn_lost(id);
                return;
            }
            _ => None,
        };
        if failure.is_none()
            && let Some(until) = self.held_until(id, Side::Acceptor)
        {
            if until == NEVER {
                self.syn_lost(id);
            } else {
                self.step(id, until, Event::Answer(id, answer));
            }
            return;
        }
        let Some(connection) = self.connection(id) else { return };
        let failure = failure.or(match answer {
            #[cfg(test)]
            Answer::Unreachable => Some(ErrorKind::HostUnreachable),
            Answer::Accepted if !connection.dial.fails => None,
            _ => Some(ErrorKind::ConnectionRefused),
        });
        match failure {
            Some(failure) => self.dial_ends(id, Err(failure)),
            None => self.established(id),
        }
    }

    fn established(&mut self, id: Id) {
        let now = self.now();
        self.show(id, Side::Acceptor, Point::Delivered, 0, Content::Syn);
        let wire = self.hub.plan.network.wire;
        let Some(connection) = self.connection(id) else { return };
        connection.phase = Phase::Established;
        for end in &mut connection.ends {
            end.last_arrival = now;
        }
        let (key, entity) = (connection.key, connection.entity(Side::Dialler));
        // Before the dialler can write: so a directive reaches its first bytes.
        match key {
            Key::Backend(backend, connection) => {
                let target = Target::Backend(backend, connection);
                self.moments.push((When::Connected { backend, connection }, target));
            }
            Key::Client(client, connection) => {
                let target = Target::Client(client, connection);
                self.moments.push((When::Client { client, connection }, target));
            }
            Key::Other(_) => {}
        }
        let drawn = self.delay(Domain::Handshakes, entity, 0, wire);
        let Some(connection) = self.connection(id) else { return };
        let lane = connection.lane(Side::Dialler);
        if lane.effects.vanishes || lane.effects.stalled_until == NEVER {
            // The acceptor never learns of it, and repeats its answer in vain.
            connection.end(Side::Acceptor).attached = false;
            self.release_place(id);
        } else {
            let arrives = now.saturating_add(drawn).saturating_add(lane.effects.delay);
            let arrives = arrives.max(lane.effects.stalled_until);
            lane.busy_until = arrives;
            self.step(id, arrives, Event::Complete(id));
        }
        self.dial_ends(id, Ok(()));
        if self.connection(id).is_some_and(|connection| connection.is_impaired(now)) {
            self.watch(id, Side::Dialler);
        }
    }

    fn dial_ends(&mut self, id: Id, result: Result<(), ErrorKind>) {
        if result.is_err() {
            self.release_place(id);
        }
        let Some(connection) = self.connection(id) else { return };
        connection.dial.result = Some(result);
        let waker = connection.dial.waker.take();
        self.wake(waker);
    }

    /// The handshake is complete: the connection waits to be accepted.
    pub(crate) fn complete(&mut self, id: Id) {
        let Some(connection) = self.connection(id) else { return };
        connection.dial.step = None;
        connection.phase = Phase::Up;
        let index = connection.dial.listener.take();
        let listener = index.and_then(|index| self.listeners.all[index].as_mut());
        let Some(listener) = listener else {
            // Its listener has closed meanwhile.
            if let Some(connection) = self.connection(id) {
                connection.end(Side::Acceptor).attached = false;
            }
            self.send_reset(id, Side::Acceptor);
            return;
        };
        listener.incomplete -= 1;
        listener.queue.push_back(id);
        let waker = listener.waker.take();
        self.wake(waker);
    }

    pub(crate) fn poll_dial(&mut self, id: Id, context: &Context<'_>) -> Poll<io::Result<()>> {
        let now = self.now();
        let Some(connection) = self.connections[id].as_deref_mut() else {
            return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
        };
        let asleep = self.hosts.state(connection.end(Side::Dialler).host).asleep_until > now;
        match connection.dial.result {
            Some(result) if !asleep => Poll::Ready(result.map_err(io::Error::from)),
            _ => {
                register(&mut connection.dial.waker, context);
                Poll::Pending
            }
        }
    }

    /// The dialler does not wait any more, or its dial has failed.
    pub(crate) fn abandon(&mut self, id: Id) {
        let Some(connection) = self.connection(id) else { return };
        if connection.phase != Phase::Dialling {
            self.detach(id, Side::Dialler);
            return;
        }
        self.release_place(id);
        let Some(connection) = self.connections[id].take() else { return };
        self.cancel(connection.dial.step);
        self.by_key.remove(&connection.key);
    }

    pub(crate) fn poll_accept(&mut self, index: usize, context: &Context<'_>) -> Poll<Id> {
        let now = self.now();
        let Some(listener) = &mut self.listeners.all[index] else { return Poll::Pending };
        let host = self.hosts.owner(listener.address.ip());
        if self.hosts.state(host).asleep_until <= now
            && let Some(id) = listener.queue.pop_front()
        {
            if host == Host::Proxy && self.connection(id).is_some_and(|it| it.key.is_of_client()) {
                self.at_proxy.last_accepted = now;
            }
            return Poll::Ready(id);
        }
        register(&mut listener.waker, context);
        Poll::Pending
    }
}
