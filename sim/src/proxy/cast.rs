//! The cast of a run: the backends and the clients of the plan, each at its address.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use baton::proxy::seams::simulated::NetworkStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::exact::{self, sleep};
use super::hub::{Hub, Order, Target};
use super::ledger::{Dial, DialEnd};
use super::network::{Decrypted, Key, Network, Stream, client_address};
use super::peers::http1_backend::{Accepted, Http1Backend};
use super::peers::http1_client::Http1Client;
use super::peers::http2_backend::Http2Backend;
use super::peers::service::Incoming;
use super::peers::tls::{self, Protocol};
use super::peers::{frames_client, http2_client};
use super::settings;
use crate::plan::{Act, ClientPlan, ClientProtocol, Direction, Health, Stage, WireEffect};

/// A backend of the plan: one address, and what speaks each protocol there.
struct Backend {
    index: u16,
    http1: Rc<Http1Backend>,
    http2: Http2Backend,
    /// True while it speaks HTTP/1.1 on new connections.
    speaks_http1: Cell<bool>,
    /// It does not listen before this time, in nanoseconds since the start.
    down_until: Cell<u64>,
    changed: Notify,
}

/// All peers of the proxy.
pub(crate) struct Cast {
    hub: Rc<Hub>,
    network: Rc<Network>,
    backends: Vec<Rc<Backend>>,
}

impl Cast {
    pub(crate) fn new(hub: &Rc<Hub>, network: &Rc<Network>) -> Self {
        let backend = |index: usize| {
            let (index, plan) = (index as u16, &hub.plan.backends[index]);
            Rc::new(Backend {
                index,
                http1: Http1Backend::new(hub, index),
                http2: Http2Backend::new(hub, index),
                speaks_http1: Cell::new(plan.http1),
                down_until: Cell::new(0),
                changed: Notify::new(),
            })
        };
        let backends = (0..hub.plan.backends.len()).map(backend).collect();
        Self { hub: Rc::clone(hub), network: Rc::clone(network), backends }
    }

    /// All backends begin to listen. They end with the returned set.
    pub(crate) fn start_backends(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for backend in &self.backends {
            let (hub, network) = (Rc::clone(&self.hub), Rc::clone(&self.network));
            tasks.spawn_local(Rc::clone(backend).serve(hub, network));
        }
        tasks
    }

    /// All clients send their requests. Ends when all of them have ended.
    pub(crate) fn start_clients(&self) -> impl Future<Output = ()> + use<> {
        let plans = self.hub.plan.wire.clients.clone();
        let plans = if plans.is_empty() { vec![ClientPlan::default()] } else { plans };
        let mut clients = JoinSet::new();
        for (index, plan) in plans.into_iter().enumerate() {
            let (hub, index) = (Rc::clone(&self.hub), index as u8);
            let (network, tls) = (Rc::clone(&self.network), self.hub.plan.wire.tls);
            let of_dials = Rc::clone(&hub);
            let connect = move |_number: u32| {
                let (hub, network) = (Rc::clone(&of_dials), Rc::clone(&network));
                async move { connect(&hub, &network, index, plan.protocol, tls).await }
            };
            match plan.protocol {
                ClientProtocol::Http1 => clients.spawn_local(async move {
                    let client = Http1Client::new(&hub, index, connect);
                    client.run().await;
                    client.close().await;
                }),
                ClientProtocol::Http2 => {
                    clients.spawn_local(http2_client::run(hub, index, connect))
                }
                ClientProtocol::Frames => {
                    clients.spawn_local(frames_client::run(hub, index, connect))
                }
            };
        }
        async move {
            while let Some(ended) = clients.join_next().await {
                // A panic is in the report of the run.
                let _ = ended;
            }
        }
    }

    /// A connection of the client with the last address, which the plan does not use.
    ///
    /// # Errors
    /// If the proxy does not accept.
    pub(crate) async fn connect(&self, protocol: ClientProtocol) -> io::Result<NetworkStream> {
        let tls = self.hub.plan.wire.tls;
        connect(&self.hub, &self.network, u8::MAX, protocol, tls).await
    }

    /// Carries out an order about a whole backend. Returns false if it is not about one.
    pub(crate) fn obey(&self, order: Order) -> bool {
        match order.act {
            Act::Restart { backend, graceful, down_us } => {
                let backend = &self.backends[usize::from(backend)];
                backend.http1.restart(graceful, down_us);
                backend.http2.restart(graceful, down_us);
                backend.is_down_until(self.hub.now() + down_us * 1_000);
            }
            Act::SwitchProtocol { backend, http1 } => {
                // Without TLS the proxy has no way to find out.
                if self.hub.plan.wire.tls {
                    let backend = &self.backends[usize::from(backend)];
                    backend.speaks_http1.set(http1);
                    if http1 {
                        backend.http2.switch_to_http1();
                    } else {
                        backend.http1.break_all();
                    }
                }
            }
            Act::HealthChecks { backend, passed, for_us } => {
                let backend = &self.backends[usize::from(backend)];
                backend.http1.answer_health_checks(passed, for_us);
                backend.http2.override_health_checks(passed, for_us);
            }
            _ => return false,
        }
        true
    }

    /// Faults stop.
    pub(crate) fn heal(&self) {
        for (backend, health) in self.backends.iter().zip(&self.hub.plan.heal.backends) {
            backend.http1.heal();
            backend.http2.heal(*health);
            backend.is_down_until(if *health == Health::Refuses { u64::MAX } else { 0 });
        }
    }
}

impl Backend {
    fn is_down_until(&self, time: u64) {
        self.down_until.set(time);
        self.changed.notify_one();
    }

    /// Accepts connections, except while it is down.
    async fn serve(self: Rc<Self>, hub: Rc<Hub>, network: Rc<Network>) {
        let address = settings::backend_address(self.index);
        loop {
            let left = self.down_until.get().saturating_sub(hub.now());
            if left > 0 {
                tokio::select! {
                    biased;
                    () = self.changed.notified() => {}
                    () = sleep(Duration::from_nanos(left)) => {}
                }
                continue;
            }
            let listening = network.listen(address).expect("the address is the backend's own");
            loop {
                tokio::select! {
                    biased;
                    () = self.changed.notified() => {
                        // A backend that is up goes on listening: dials that wait are accepted.
                        if self.down_until.get() > hub.now() {
                            break;
                        }
                    }
                    accepted = listening.accept() => match accepted {
                        Ok((stream, _)) => self.accept(stream, &hub, &network),
                        Err(_) => break,
                    },
                }
            }
        }
    }

    fn accept(self: &Rc<Self>, stream: Stream, hub: &Rc<Hub>, network: &Rc<Network>) {
        let Key::Backend(_, number) = stream.key() else { return };
        let (key, cutter) = (stream.key(), Rc::clone(network));
        let reset = move || cutter.apply(key, Direction::In, WireEffect::Reset);
        let (backend, hub) = (Rc::clone(self), Rc::clone(hub));
        let http1 = self.speaks_http1.get();
        let target = Target::Backend(self.index, number);
        // The mailbox exists before the handshake of TLS, so that no order is lost.
        let mut orders = hub.mailbox(target);
        exact::spawn(async move {
            let mut kept = Vec::new();
            let io = if hub.plan.wire.tls {
                let protocol = if http1 { Protocol::Http1 } else { Protocol::Http2 };
                let shown = stream.shown();
                let handshake = tls::accept(stream, protocol);
                match obeying(handshake, &hub, &mut orders, &mut kept).await {
                    Some(Ok(stream)) => over_tls(stream, shown),
                    // A failed handshake is in the proxy's log.
                    Some(Err(_)) => return,
                    None => return reset(),
                }
            } else {
                NetworkStream::new(stream)
            };
            if !http1 {
                kept.into_iter().for_each(|order| hub.pass_on(target, order));
                let reset: Option<Box<dyn FnOnce()>> = Some(Box::new(reset));
                return backend.http2.accept(Incoming { io, number, orders, reset });
            }
            let opening: Ready<io::Result<NetworkStream>> = ready(Ok(io));
            let accepted = Accepted { number, opening, reset: Box::new(reset) };
            // It has a mailbox of its own from here on.
            let connection = backend.http1.connection(accepted);
            while let Ok(order) = orders.try_recv() {
                kept.push(order);
            }
            kept.into_iter().for_each(|order| hub.pass_on(target, order));
            connection.await;
        });
    }
}

/// Completes a handshake of TLS that orders can stall. Returns `None` if an order breaks the
/// connection. Orders about what comes after it are `kept`.
async fn obeying<T>(
    handshake: impl Future<Output = T>,
    hub: &Hub,
    orders: &mut UnboundedReceiver<Order>,
    kept: &mut Vec<Order>,
) -> Option<T> {
    let mut handshake = pin!(handshake);
    let mut stalled_until: u64 = 0;
    loop {
        let stall = stalled_until.saturating_sub(hub.now());
        tokio::select! {
            biased;
            Some(order) = orders.recv() => match order.act {
                Act::FailDial { stage: Stage::Tls } | Act::Break => return None,
                Act::StallDial { stage: Stage::Tls, for_us } => {
                    stalled_until = for_us.map_or(u64::MAX, |time| hub.now() + time * 1_000);
                }
                _ => kept.push(order),
            },
            () = hub.healed(), if stall > 0 => stalled_until = 0,
            () = sleep(Duration::from_nanos(stall)), if stall > 0 => {}
            done = &mut handshake, if stall == 0 => return Some(done),
        }
    }
}

/// Connects a client to a listener of the proxy. One that is removed meanwhile refuses; then the
/// client goes to another one, if there is one.
async fn connect(
    hub: &Hub,
    network: &Network,
    client: u8,
    protocol: ClientProtocol,
    tls: bool,
) -> io::Result<NetworkStream> {
    let mut to = front(network, client);
    loop {
        let dialled = connect_to(hub, network, (client, to), protocol, tls).await;
        let refused = dialled.as_ref().is_err_and(|it| it.kind() == ErrorKind::ConnectionRefused);
        let other = front(network, client);
        if !refused || other == to {
            return dialled;
        }
        to = other;
    }
}

/// The address that a client dials: of those on which the proxy listens, each client has its own.
fn front(network: &Network, client: u8) -> SocketAddr {
    let all = settings::LISTENERS.map(SocketAddr::from);
    let open: Vec<_> =
        all.into_iter().filter(|address| network.check_unused(*address).is_err()).collect();
    let own = usize::from(client) % open.len().max(1);
    open.get(own).copied().unwrap_or(all[0])
}

async fn connect_to(
    hub: &Hub,
    network: &Network,
    (client, to): (u8, SocketAddr),
    protocol: ClientProtocol,
    tls: bool,
) -> io::Result<NetworkStream> {
    let begun = hub.now();
    let note = |end| hub.ledger.dialled(Dial { client, to, begun, ended: hub.now(), end });
    let stream = match network.connect(client_address(client), to).await {
        Ok(stream) => stream,
        Err(error) => {
            note(DialEnd::Failed(error.kind()));
            return Err(error);
        }
    };
    if !tls {
        note(DialEnd::Connected);
        return Ok(NetworkStream::new(stream));
    }
    let protocol = match protocol {
        ClientProtocol::Http1 => Protocol::Http1,
        ClientProtocol::Http2 | ClientProtocol::Frames => Protocol::Http2,
    };
    let shown = stream.shown();
    let secured = tls::connect(stream, protocol).await;
    note(secured.as_ref().map_or(DialEnd::NoTls, |stream| DialEnd::Secured(tls::seen(stream))));
    Ok(over_tls(secured?, shown))
}

/// A peer's end of a connection over TLS, whose bytes are shown to observers, if there are any.
fn over_tls<Io: AsyncRead + AsyncWrite + Unpin + 'static>(
    io: Io,
    shown: Option<impl FnOnce(Io) -> Decrypted<Io>>,
) -> NetworkStream {
    match shown {
        Some(shown) => NetworkStream::new(shown(io)),
        None => NetworkStream::new(io),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::faults::Profile;
    use crate::plan::WorldName;

    /// The end of a handshake of 10 ms, in milliseconds, that gets an order after 2 ms, and the
    /// number of orders that are left.
    fn handshake(act: Act, heals_after_ms: u64) -> (Option<u64>, usize) {
        let result = RefCell::new((None, 0));
        exact::run(async {
            let hub = Hub::start(crate::faults::plan(1, Profile::Swarm, WorldName::Proxy));
            let target = Target::Backend(0, 1);
            let (mut orders, mut kept) = (hub.mailbox(target), Vec::new());
            let healed = Rc::clone(&hub);
            exact::spawn(async move {
                sleep(Duration::from_millis(2)).await;
                healed.pass_on(target, Order { act, target });
                sleep(Duration::from_millis(heals_after_ms)).await;
                healed.heal();
            });
            let work = sleep(Duration::from_millis(10));
            let ended = obeying(work, &hub, &mut orders, &mut kept).await;
            *result.borrow_mut() = (ended.map(|()| hub.now() / 1_000_000), kept.len());
        });
        result.into_inner()
    }

    #[test]
    fn orders_fail_and_stall_a_handshake_or_are_kept() {
        let stage = Stage::Tls;
        let stall = |for_us| Act::StallDial { stage, for_us };
        assert_eq!(handshake(Act::FailDial { stage }, 900), (None, 0));
        assert_eq!(handshake(Act::Break, 900), (None, 0));
        assert_eq!(handshake(stall(Some(50_000)), 900), (Some(52), 0));
        assert_eq!(handshake(stall(None), 900), (Some(902), 0));
        assert_eq!(handshake(Act::FailDial { stage: Stage::Settings }, 900), (Some(10), 1));
    }
}
