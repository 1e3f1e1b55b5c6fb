//! The state of the network, and what is to happen on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;

use super::connection::Connection;
use super::hosts::Hosts;
#[cfg(test)]
use super::key::Host;
use super::key::{Key, SCRAPER, Side};
use super::listeners::Listeners;
use super::tap::{Content, Packet, Point, Tap};
use crate::draw::Domain;
use crate::memory;
use crate::plan::{Span, When};
use crate::proxy::agenda::{Agenda, Place};
use crate::proxy::exact::Alarm;
use crate::proxy::hub::{Hub, Target};

/// The index of a connection. It is never used again.
pub(crate) type Id = usize;

/// An event at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Segments that an end has sent arrive.
    Deliver(Id, Side),
    /// Acknowledgements of what an end has written arrive.
    Acknowledge(Id, Side),
    /// The reader of what an end has written reads again.
    Awake(Id, Side),
    /// Processes of a host run again.
    #[cfg(test)]
    HostAwake(Host),
    /// An end sees that the network has reset the connection.
    Break(Id, Side),
    /// An end has not closed: bytes that it wrote last are sent.
    Reveal(Id, Side),
    /// An end looks whether the other one has been silent for too long.
    Watch(Id, Side),
    /// A SYN is sent.
    Syn(Id),
    /// A SYN arrives.
    SynArrives(Id),
    /// The answer to a SYN arrives.
    Answer(Id, Answer),
    /// The acknowledgement of that answer arrives.
    Complete(Id),
}

/// The answer to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    Refused,
    #[cfg(test)]
    Unreachable,
    TimedOut,
}

/// The whole network.
pub(crate) struct State {
    pub(crate) hub: Rc<Hub>,
    pub(crate) connections: Vec<Option<Box<Connection>>>,
    pub(crate) by_key: BTreeMap<Key, Id>,
    /// Dials so far, by keys with the number 0.
    pub(crate) dials: BTreeMap<Key, u32>,
    pub(crate) listeners: Listeners,
    pub(crate) hosts: Hosts,
    pub(crate) tap: Tap,
    pub(crate) agenda: Agenda<Event>,
    /// The task that makes things happen, and when it is next woken.
    driver: Option<Waker>,
    alarm: Alarm,
    alarm_at: u64,
    /// The tasks that wake once the state is free.
    pub(crate) woken: Vec<Waker>,
    /// Connections that processes of the proxy's machine have.
    pub(crate) held: Held,
    /// The least and the most of them since they were last counted.
    pub(crate) counted: [Held; 2],
    /// Moments that were reached, to be reported.
    pub(crate) moments: Vec<(When, Target)>,
    pub(crate) at_proxy: AtProxy,
    pub(crate) client_resets: Vec<ClientReset>,
    pub(crate) deliveries: Vec<Delivery>,
}

/// The segments in a row that the other host has left without an acknowledgement on a connection,
/// as the proxy's system has said at a time; `None` if it cannot tell.
pub(crate) type Delivery = (Key, u64, Option<u32>);

/// The proxy's system has reset a connection of a client, because a process has closed it and has
/// not read everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientReset {
    pub(crate) client: u8,
    /// The connection's number at its client, from 1.
    pub(crate) connection: u32,
    /// When, in nanoseconds.
    pub(crate) at: u64,
}

/// Events of connections of clients and backends on the proxy's machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AtProxy {
    /// When they last accepted one, and when they last closed one.
    pub(crate) last_accepted: u64,
    pub(crate) last_closed: u64,
    /// Connections that waited to be accepted and were reset with their listener.
    pub(crate) reset_unaccepted: u64,
}

impl State {
    pub(crate) fn new(hub: &Rc<Hub>) -> Self {
        let network = &hub.plan.network;
        Self {
            hub: Rc::clone(hub),
            connections: Vec::new(),
            by_key: BTreeMap::new(),
            dials: BTreeMap::new(),
            listeners: Listeners::default(),
            hosts: Hosts::new(&hub.plan),
            tap: Tap::new(hub.plan.wire.tls),
            agenda: Agenda::new(network.ties, hub.draws, 0),
            driver: None,
            alarm: Alarm::default(),
            alarm_at: u64::MAX,
            woken: Vec::new(),
            held: Held::default(),
            counted: Default::default(),
            moments: Vec::new(),
            at_proxy: AtProxy::default(),
            client_resets: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.hub.now()
    }

    pub(crate) fn connection(&mut self, id: Id) -> Option<&mut Connection> {
        self.connections.get_mut(id)?.as_deref_mut()
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) -> Place {
        let place = self.agenda.insert(at, event);
        if at < self.alarm_at {
            self.set_alarm();
        }
        place
    }

    /// Takes back what was scheduled, if it has not happened.
    pub(crate) fn cancel(&mut self, place: Option<Place>) {
        if let Some(place) = place {
            self.agenda.remove(place);
        }
    }

    /// The driver is woken when the next event is due.
    pub(crate) fn set_alarm(&mut self) {
        let Some(driver) = &self.driver else { return };
        let first = self.agenda.first();
        let now = self.hub.now();
        self.alarm.set(first.map(|first| first.saturating_sub(now)), driver);
        self.alarm_at = first.unwrap_or(u64::MAX);
    }

    /// This task is woken when an event is due.
    pub(crate) fn drive_with(&mut self, driver: &Waker) {
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            self.driver = Some(driver.clone());
        }
    }

    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.woken.extend(waker);
    }

    /// A delay of the plan, in nanoseconds.
    pub(crate) fn delay(&self, domain: Domain, entity: u64, ordinal: u64, span: Span) -> u64 {
        self.hub.delay(domain, entity, ordinal, span)
    }

    /// A process of the proxy's machine gets a connection, or has it no more.
    pub(crate) fn note_held(&mut self, key: Key, has: bool) {
        let count = self.held.of(key);
        *count = if has { *count + 1 } else { *count - 1 };
        let [least, most] = self.counted;
        self.counted = [least.min(self.held), most.max(self.held)];
    }

    /// Shows a packet of an end to the observers.
    pub(crate) fn show(
        &mut self,
        id: Id,
        writer: Side,
        point: Point,
        sequence: u64,
        content: Content<'_>,
    ) {
        let at = self.hub.now();
        let Some(connection) = self.connections[id].as_deref() else { return };
        show(&mut self.tap, connection, at, writer, point, sequence, content);
    }
}

/// Shows a packet of an end of a connection.
pub(crate) fn show(
    tap: &mut Tap,
    connection: &Connection,
    at: u64,
    writer: Side,
    point: Point,
    sequence: u64,
    content: Content<'_>,
) {
    let address = |side: Side| -> SocketAddr { connection.ends[side as usize].address };
    tap.see(&Packet {
        at,
        point,
        key: connection.key,
        direction: connection.key.direction(writer),
        from: address(writer),
        to: address(writer.other()),
        sequence,
        content,
    });
}

/// Numbers of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) clients: u64,
    pub(crate) backends: u64,
    pub(crate) others: u64,
}

impl Held {
    /// The number of connections of a kind.
    fn of(&mut self, key: Key) -> &mut u64 {
        match key {
            Key::Client(SCRAPER, _) => &mut self.others,
            Key::Client(..) => &mut self.clients,
            Key::Backend(..) => &mut self.backends,
            Key::Other(_) => &mut self.others,
        }
    }

    /// The smaller number of each kind.
    fn min(self, other: Self) -> Self {
        Self {
            clients: self.clients.min(other.clients),
            backends: self.backends.min(other.backends),
            others: self.others.min(other.others),
        }
    }

    /// The larger number of each kind.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            clients: self.clients.max(other.clients),
            backends: self.backends.max(other.backends),
            others: self.others.max(other.others),
        }
    }
}

/// The state, shared by all handles.
#[derive(Clone)]
pub(crate) struct Shared(Rc<RefCell<State>>);

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }

    /// Uses the state, then wakes those who wait for what has happened: a waker may do anything.
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&mut State) -> R) -> R {
        memory::uncharged(|| self.with_uncharged(use_it))
    }

    fn with_uncharged<R>(&self, use_it: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.borrow_mut();
        let result = use_it(&mut state);
        let woken = std::mem::take(&mut state.woken);
        let moments = std::mem::take(&mut state.moments);
        let hub = Rc::clone(&state.hub);
        drop(state);
        for waker in woken {
            waker.wake();
        }
        // A directive that waits for a moment may be the network's own.
        for (when, target) in moments {
            hub.reached(when, target);
        }
        result
    }
}
