//! The network, seen from the processes that use it.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Host, Key, Listening, Network, Stream, client_address};
use crate::faults::Profile;
use crate::plan::{Act, Directive, Plan, Span, Ties, When, WorldName};
use crate::proxy::exact::{self, spawn};
use crate::proxy::hub::Hub;
use crate::proxy::settings::{LISTENER, backend_address};

mod addresses;
mod closing;
mod effects;
mod handshake;
mod silence;
mod storm;
mod taps;
mod transfer;

/// A calm plan with two backends and these delays in microseconds, least and most.
fn plan(seed: u64, wire: (u64, u64)) -> Plan {
    let mut plan = crate::faults::plan(seed, Profile::Calm, WorldName::Proxy);
    plan.directives.clear();
    plan.deviations.clear();
    plan.wire.tls = false;
    plan.network.wire = Span { least_us: wire.0, most_us: wire.1 };
    plan.network.dial = Span { least_us: 200, most_us: 200 };
    plan.network.dead_path_us = 20_000_000;
    plan.network.ties = Ties::Fifo;
    let backend = plan.backends[0];
    plan.backends = vec![backend; 2];
    plan
}

/// Runs a scene on the network of a plan.
fn play<F: Future>(plan: Plan, scene: impl FnOnce(Rc<Network>, Rc<Hub>) -> F) -> F::Output {
    exact::run(async {
        let hub = Hub::start(plan);
        let network = Network::new(&hub);
        scene(network, hub).await
    })
}

fn proxy() -> IpAddr {
    LISTENER.0.into()
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

const SECOND: u64 = 1_000_000_000;

/// A connection from the proxy to backend 0: the proxy's end and the backend's.
async fn connected(network: &Network) -> (Stream, Stream) {
    let listening = listening(network);
    let (connected, accepted) =
        tokio::join!(network.connect(proxy(), backend_address(0)), listening.accept());
    (connected.expect("it listens"), accepted.expect("it listens").0)
}

fn listening(network: &Network) -> Listening {
    network.listen(backend_address(0)).expect("the address is free")
}

/// Reads to the end, and keeps reading past no error.
async fn read_all(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// A directive that takes effect when the nth connection of backend 0 reaches a moment.
fn directive(when: When, act: Act) -> Directive {
    Directive { family: crate::faults::Family::Wire, when, after_us: 0, act }
}

fn at_dial(connection: u32) -> When {
    When::Dialled { backend: 0, connection }
}

/// Nothing is left once all has had time to arrive.
async fn expect_nothing_left(network: &Network) {
    exact::sleep(Duration::from_secs(1)).await;
    assert_eq!(network.left(), Vec::<String>::new());
}

/// A fixed text that shows shifts.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 7 + place / 251) as u8).collect()
}

#[test]
fn a_request_and_its_response_pass_and_nothing_is_left() {
    play(plan(1, (10, 500)), |network, hub| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        assert_eq!(proxy.key(), Key::Backend(0, 1));
        assert_eq!(
            (proxy.peer_addr(), Some(backend.peer_addr())),
            (backend_address(0), proxy.local_addr())
        );
        let at = hub.now();
        proxy.write_all(b"request").await.expect("it is open");
        let mut request = [0; 7];
        backend.read_exact(&mut request).await.expect("it arrives");
        let took = hub.now() - at;
        assert!((10_000..=500_000).contains(&took), "{took}");
        backend.write_all(b"response").await.expect("it is open");
        backend.shutdown().await.expect("it is open");
        assert_eq!(read_all(&mut proxy).await.expect("a clean end"), b"response");
        drop((proxy, backend));
        expect_nothing_left(&network).await;
        assert_eq!(exact::waiting(), 0);
    });
}

#[test]
fn connections_are_numbered_in_the_order_of_dials() {
    play(plan(1, (10, 10)), |network, _| async move {
        let _backend = listening(&network);
        let _proxy = network.listen(SocketAddr::from(LISTENER)).expect("the address is free");
        let dial = |from, to| network.connect(from, to);
        let mut keys = Vec::new();
        let mut open = Vec::new();
        for (from, to) in [
            (proxy(), backend_address(0)),
            (client_address(3), LISTENER.into()),
            (proxy(), backend_address(0)),
            (client_address(3), LISTENER.into()),
            (proxy(), LISTENER.into()),
        ] {
            let stream = dial(from, to).await.expect("it listens");
            keys.push(stream.key());
            open.push(stream);
        }
        let expected = [
            Key::Backend(0, 1),
            Key::Client(3, 1),
            Key::Backend(0, 2),
            Key::Client(3, 2),
            Key::Other(1),
        ];
        assert_eq!(keys, expected);
        exact::sleep(micros(100)).await;
        assert_eq!(network.left().len(), 2 + 5, "{:?}", network.left());
    });
}

#[test]
fn the_processes_of_a_host_sleep_while_its_system_receives() {
    play(plan(1, (10, 10)), |network, hub| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        let at = hub.now();
        network.put_to_sleep(Host::Backend(0), Some(5_000_000));
        proxy.write_all(&text(100_000)).await.expect("its system takes it");
        let mut bytes = vec![0; 100_000];
        backend.read_exact(&mut bytes).await.expect("it arrives");
        assert_eq!(bytes, text(100_000));
        assert_eq!(hub.now() - at, 5 * SECOND);
    });
}
