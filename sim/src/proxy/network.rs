//! The network of bytes: TCP connections between hosts of simulated systems, with every fault that
//! a plan can ask for.
//!
//! Whatever happens is in one agenda, and one task makes it happen; see `exact`. Delays are drawn
//! by connection, direction and ordinal, and never on a poll that ends pending.
//!
//! | module | contents |
//! |---|---|
//! | `key` | the names of connections, ends and hosts |
//! | `hosts`, `listeners` | who can be dialled, and who accepts |
//! | `lane`, `connection` | the state of a direction, and of a connection |
//! | `state` | the state of everything |
//! | `handshake`, `transfer`, `closing` | the life of a connection |
//! | `silence` | how a dead path is noticed |
//! | `effects` | what directives do |
//! | `cutter`, `records` | HTTP/2 frames and TLS records in a stream of bytes |
//! | `stream`, `listening` | what processes have |
//! | `decrypted` | what peers write and read over TLS, for observers |
//! | `tap` | what passes, for judges, and a hash of it |

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use baton::proxy::limits::LISTEN_BACKLOG;
use tokio::task::AbortHandle;

use self::key::Side;
use self::state::{Event, Id, Shared, State};
use super::exact;
use super::hub::{Hub, Order};
use crate::draw::Domain;
use crate::plan::{Act, Direction, ProcessAct, WireEffect};

mod closing;
mod connection;
mod cutter;
mod decrypted;
mod effects;
mod handshake;
mod hosts;
mod key;
mod lane;
mod listeners;
mod listening;
mod records;
mod silence;
mod state;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use decrypted::Decrypted;
pub(crate) use hosts::{Reach, client_address};
pub(crate) use key::{Host, Key, SCRAPER};
pub(crate) use listening::Listening;
pub(crate) use state::{AtProxy, ClientReset, Delivery, Held};
pub(crate) use stream::Stream;
pub(crate) use tap::{Content, Observer, Packet, Point};

/// The network of a run.
pub(crate) struct Network {
    hub: Rc<Hub>,
    shared: Shared,
    driver: AbortHandle,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Network {
    /// The network of the hub's plan. Orders about it go to it from now on.
    ///
    /// # Panics
    /// Outside of [`exact::run_with`].
    pub(crate) fn new(hub: &Rc<Hub>) -> Rc<Self> {
        assert!(exact::is_exact(), "the network needs the runtime of `exact::run`");
        exact::order(hub.plan.network.ties, hub.draws);
        let shared = Shared::new(State::new(hub));
        let driven = shared.clone();
        let driver = exact::spawn(poll_fn(move |context| {
            driven.with(|state| {
                state.drive_with(context.waker());
                state.happen();
                state.set_alarm();
            });
            Poll::Pending
        }));
        let driver = driver.abort_handle();
        let network = Rc::new(Self { hub: Rc::clone(hub), shared, driver });
        let weak: Weak<Self> = Rc::downgrade(&network);
        hub.route(move |order| weak.upgrade().is_some_and(|network| network.obey(order)));
        network
    }

    /// Listens on an address that others of the same process may share. Port 0 lets the system
    /// choose.
    ///
    /// # Errors
    /// If the address is in use.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<Listening> {
        self.listen_with(address, true, LISTEN_BACKLOG as usize)
    }

    /// Listens on an address, alone or not, with a bound of connections that wait to be accepted.
    ///
    /// # Errors
    /// If the address is in use.
    pub(crate) fn listen_with(
        &self,
        mut address: SocketAddr,
        shared: bool,
        backlog: usize,
    ) -> io::Result<Listening> {
        let index = self.shared.with(|state| {
            if address.port() == 0 {
                address.set_port(state.listeners.choose_port(address.ip()));
            }
            if !state.listeners.is_free(address, shared) {
                return Err(io::Error::from(ErrorKind::AddrInUse));
            }
            Ok(state.listeners.open(address, shared, backlog))
        })?;
        Ok(Listening::new(&self.shared, index, address))
    }

    /// Checks that nothing listens on an address.
    ///
    /// # Errors
    /// If something does.
    pub(crate) fn check_unused(&self, address: SocketAddr) -> io::Result<()> {
        let is_free = self.shared.with(|state| state.listeners.is_free(address, false));
        if is_free { Ok(()) } else { Err(ErrorKind::AddrInUse.into()) }
    }

    /// Dials an address from the host with another one. Dropping the future ends the dial.
    ///
    /// # Errors
    /// If the address refuses, cannot be reached, or does not answer for 127 seconds.
    pub(crate) async fn connect(&self, from: IpAddr, to: SocketAddr) -> io::Result<Stream> {
        let id = self.shared.with(|state| state.dial(from, to));
        let mut dialling = Dialling { network: &self.shared, id: Some(id) };
        poll_fn(|context| self.shared.with(|state| state.poll_dial(id, context))).await?;
        dialling.id = None;
        Stream::new(&self.shared, id, Side::Dialler)
            .ok_or_else(|| ErrorKind::ConnectionAborted.into())
    }

    /// The addresses of a name, or the address that it is.
    ///
    /// # Errors
    /// If the name is unknown.
    pub(crate) async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let wire = self.hub.plan.network.wire;
        let delay = self.shared.with(|state| {
            state.hosts.resolved += 1;
            state.delay(Domain::Handshakes, u64::MAX, state.hosts.resolved, wire)
        });
        exact::sleep(Duration::from_nanos(delay)).await;
        self.shared.with(|state| match state.hosts.addresses(name) {
            Some(addresses) => {
                Ok(addresses.iter().map(|address| SocketAddr::new(*address, port)).collect())
            }
            None => Err(io::Error::new(ErrorKind::NotFound, "the name is unknown")),
        })
    }

    /// Gives a name addresses, in the order in which they are tried.
    #[cfg(test)]
    pub(crate) fn name(&self, name: &str, addresses: Vec<IpAddr>) {
        self.shared.with(|state| state.hosts.name(name, addresses));
    }

    /// Gives a host a further address.
    #[cfg(test)]
    pub(crate) fn own(&self, address: IpAddr, host: Host) {
        self.shared.with(|state| state.hosts.own(address, host));
    }

    /// From now on an address answers dials in this way.
    #[cfg(test)]
    pub(crate) fn set_reach(&self, address: IpAddr, reach: Reach) {
        self.shared.with(|state| state.hosts.set_reach(address, reach));
    }

    /// A host vanishes: nothing answers from now on.
    #[cfg(test)]
    pub(crate) fn vanish(&self, host: Host) {
        self.shared.with(|state| state.vanish(host));
    }

    /// Nothing arrives any more on the present connections to an address, in either direction.
    pub(crate) fn lose_paths(&self, address: SocketAddr) {
        self.shared.with(|state| state.lose_paths(address));
    }

    /// The processes of a host do not run for a while, or ever again; its system answers.
    #[cfg(test)]
    pub(crate) fn put_to_sleep(&self, host: Host, for_us: Option<u64>) {
        self.shared.with(|state| state.put_to_sleep(host, for_us));
    }

    /// Applies an effect to a direction of a connection, if there is such a connection.
    pub(crate) fn apply(&self, key: Key, direction: Direction, effect: WireEffect) {
        self.act(key, Act::Wire { direction, effect });
    }

    /// Carries out an act on a connection. Returns false if it is not the network's.
    pub(crate) fn act(&self, key: Key, act: Act) -> bool {
        self.shared.with(|state| state.act(key, act))
    }

    /// Carries out an order. Returns false if it is not the network's.
    pub(crate) fn obey(&self, order: Order) -> bool {
        match (order.act, Key::of(order.target)) {
            (Act::DisconnectAll, _) => {
                for backend in 0..self.hub.plan.backends.len() as u16 {
                    self.shared.with(|state| state.break_all(Host::Backend(backend)));
                }
                true
            }
            (Act::Unreachable { backend, hangs, for_us }, _) => {
                let reach = if hangs { Reach::Silent } else { Reach::Refuses };
                let host = Host::Backend(backend);
                self.shared.with(|state| state.cut_off_host(host, reach, Some(for_us)));
                true
            }
            (Act::Process { act: ProcessAct::Name { backend, addresses } }, _) => {
                self.shared.with(|state| state.hosts.list(backend, addresses));
                true
            }
            (act, Some(key)) => self.act(key, act),
            (_, None) => false,
        }
    }

    /// Faults stop: from now on backends can be reached as the plan says.
    pub(crate) fn heal(&self) {
        self.shared.with(State::heal);
    }

    /// Shows each packet to an observer.
    pub(crate) fn observe(&self, observer: Observer) {
        self.shared.with(|state| state.tap.observe(observer));
    }

    /// True if there is such a connection, or a dial of it.
    pub(crate) fn is_known(&self, key: Key) -> bool {
        self.shared.with(|state| state.by_key.contains_key(&key))
    }

    /// A hash of all that was delivered, with its times. With TLS only lengths count.
    pub(crate) fn hash(&self) -> u64 {
        self.shared.with(|state| state.tap.hash())
    }

    /// The numbers of connections that processes of the proxy's machine have.
    pub(crate) fn held(&self) -> Held {
        self.shared.with(|state| state.held)
    }

    /// Counts the connections that processes of the proxy's machine have from now on.
    pub(crate) fn count_held(&self) {
        self.shared.with(|state| state.counted = [state.held; 2]);
    }

    /// The least and the most of them since then.
    pub(crate) fn counted_held(&self) -> [Held; 2] {
        self.shared.with(|state| state.counted)
    }

    /// The listeners and connections that the processes of a host have open.
    pub(crate) fn open_at(&self, host: Host) -> Vec<String> {
        self.shared.with(|state| state.open_at(host))
    }

    /// The connections that the proxy has open: to clients, and to backends.
    pub(crate) fn open_at_proxy(&self) -> (usize, usize) {
        self.shared.with(|state| {
            let count = |is: fn(&Key) -> bool| state.open_at_proxy().filter(is).count();
            let clients = count(|key| matches!(key, Key::Client(..)));
            (clients, count(|key| matches!(key, Key::Backend(..))))
        })
    }

    /// Events of the connections of the proxy.
    pub(crate) fn at_proxy(&self) -> AtProxy {
        self.shared.with(|state| state.at_proxy)
    }

    /// The connections of clients that the proxy's system has reset.
    pub(crate) fn client_resets(&self) -> Vec<ClientReset> {
        self.shared.with(|state| state.client_resets.clone())
    }

    /// The answers of the proxy's system about the delivery of what was sent.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.shared.with(|state| state.deliveries.clone())
    }

    /// Everything that there is: listeners, connections and their bytes, events.
    #[cfg(test)]
    pub(crate) fn left(&self) -> Vec<String> {
        self.shared.with(|state| state.left())
    }
}

/// A dial whose caller waits.
struct Dialling<'a> {
    network: &'a Shared,
    id: Option<Id>,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.network.with(|state| state.abandon(id));
        }
    }
}

impl State {
    /// Makes everything happen that is due.
    fn happen(&mut self) {
        let now = self.now();
        while let Some(event) = self.agenda.pop_due(now) {
            match event {
                Event::Deliver(id, side) => self.deliver(id, side),
                Event::Acknowledge(id, side) => self.acknowledged(id, side),
                Event::Awake(id, side) => self.awake(id, side),
                #[cfg(test)]
                Event::HostAwake(host) => self.host_awake(host),
                Event::Break(id, side) => self.reset_arrives(id, side),
                Event::Reveal(id, side) => self.reveal(id, side),
                Event::Watch(id, side) => self.look(id, side),
                Event::Syn(id) => self.send_syn(id),
                Event::SynArrives(id) => self.syn_arrives(id),
                Event::Answer(id, answer) => self.answered(id, answer),
                Event::Complete(id) => self.complete(id),
            }
        }
    }

    /// The listeners and connections that the processes of a host have open.
    fn open_at(&self, host: Host) -> Vec<String> {
        let listeners = self.listeners.all.iter().flatten();
        let listeners = listeners.filter(|it| self.hosts.owner(it.address.ip()) == host);
        let listeners = listeners.map(|listener| format!("a listener on {}", listener.address));
        let connections = self.connections.iter().flatten().filter(|connection| {
            let own = |end: &connection::End| self.hosts.owner(end.address.ip()) == host;
            connection.ends.iter().any(|end| end.attached && own(end))
        });
        let connections = connections.map(|connection| format!("connection {:?}", connection.key));
        listeners.chain(connections).collect()
    }

    fn open_at_proxy(&self) -> impl Iterator<Item = Key> {
        let connections = self.connections.iter().flatten().filter(|connection| {
            let mut ends = connection.ends.iter();
            ends.any(|end| end.attached && self.hosts.owner(end.address.ip()) == Host::Proxy)
        });
        connections.map(|connection| connection.key)
    }

    #[cfg(test)]
    fn left(&self) -> Vec<String> {
        let listeners = self.listeners.all.iter().flatten().map(|listener| {
            let waiting = listener.queue.len();
            format!("a listener on {}, with {waiting} connections waiting", listener.address)
        });
        let connections = self.connections.iter().flatten().map(|connection| {
            let [dialler, acceptor] = connection.ends.each_ref().map(|end| match end {
                end if end.attached => "open",
                end if end.gone => "gone",
                _ => "closed",
            });
            let [there, back] = connection.lanes.each_ref().map(lane::Lane::queued);
            format!(
                "connection {:?}, {:?}: {dialler} at the dialler with {there} bytes queued, \
                 {acceptor} at the acceptor with {back} bytes queued",
                connection.key, connection.phase
            )
        });
        let mut left: Vec<String> = listeners.chain(connections).collect();
        let events = self.agenda.len();
        if events > 0 {
            left.push(format!("{events} events to come"));
        }
        left
    }
}
