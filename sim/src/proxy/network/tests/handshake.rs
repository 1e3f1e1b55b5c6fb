use std::io::ErrorKind;

use super::super::Reach;
use super::*;
use crate::plan::Stage;

async fn dial_error(network: &Network) -> ErrorKind {
    network.connect(proxy(), backend_address(0)).await.expect_err("it fails").kind()
}

#[test]
fn dials_fail_as_the_address_says() {
    play(plan(1, (10, 10)), |network, hub| async move {
        assert_eq!(dial_error(&network).await, ErrorKind::ConnectionRefused);
        assert_eq!(hub.now(), 200_000);
        let _listening = listening(&network);
        for (reach, expected, seconds) in [
            (Reach::Refuses, ErrorKind::ConnectionRefused, 0),
            (Reach::Unreachable, ErrorKind::HostUnreachable, 0),
            (Reach::Silent, ErrorKind::TimedOut, 127),
        ] {
            network.set_reach(backend_address(0).ip(), reach);
            let at = hub.now();
            assert_eq!(dial_error(&network).await, expected);
            assert_eq!((hub.now() - at) / SECOND, seconds);
        }
        network.set_reach(backend_address(0).ip(), Reach::Open);
        network.connect(proxy(), backend_address(0)).await.expect("it listens");
    });
}

#[test]
fn a_name_has_several_addresses_some_of_which_are_dead() {
    play(plan(1, (10, 10)), |network, _| async move {
        let _listening = listening(&network);
        let dead: IpAddr = [10, 3, 0, 1].into();
        network.own(dead, Host::Backend(0));
        network.set_reach(dead, Reach::Silent);
        network.name("backend.test", vec![dead, backend_address(0).ip()]);
        let addresses = network.resolve("backend.test", 8080).await.expect("a name");
        assert_eq!(addresses, [SocketAddr::new(dead, 8080), backend_address(0)]);
        assert_eq!(network.resolve("[::1]", 1).await.expect("an address").len(), 1);
        let error = network.resolve("other.test", 1).await.expect_err("no such name");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let first =
            tokio::time::timeout(Duration::from_secs(3), network.connect(proxy(), addresses[0]));
        assert!(first.await.is_err(), "no answer");
        let second = network.connect(proxy(), addresses[1]).await.expect("it listens");
        assert_eq!(second.key(), Key::Backend(0, 2));
        drop(second);
    });
}

#[test]
fn a_dial_that_is_dropped_leaves_nothing() {
    for after in [0, 50, 150, 250] {
        play(plan(1, (10, 10)), |network, _| async move {
            let listening = listening(&network);
            let dial = network.connect(proxy(), backend_address(0));
            tokio::select! {
                biased;
                () = exact::sleep(micros(after)) => {}
                _ = dial => {}
            }
            drop(listening);
            expect_nothing_left(&network).await;
        });
    }
}

#[test]
fn directives_refuse_and_stall_dials() {
    let mut plan = plan(1, (10, 10));
    plan.directives = vec![
        directive(at_dial(1), Act::FailDial { stage: Stage::Tcp }),
        directive(at_dial(2), Act::StallDial { stage: Stage::Tcp, for_us: Some(3_000_000) }),
        directive(at_dial(3), Act::StallDial { stage: Stage::Tcp, for_us: None }),
    ];
    play(plan, |network, hub| async move {
        let _listening = listening(&network);
        assert_eq!(dial_error(&network).await, ErrorKind::ConnectionRefused);
        let at = hub.now();
        network.connect(proxy(), backend_address(0)).await.expect("it is only late");
        assert_eq!(hub.now() - at, 3 * SECOND + 100_000);
        assert_eq!(dial_error(&network).await, ErrorKind::TimedOut);
        network.connect(proxy(), backend_address(0)).await.expect("it is not concerned");
    });
}

#[test]
fn a_full_queue_gets_no_answer_until_there_is_room() {
    play(plan(1, (10, 10)), |network, hub| async move {
        let listening = network.listen_with(backend_address(0), false, 2).expect("it is free");
        let dial = || network.connect(proxy(), backend_address(0));
        let _first = dial().await.expect("there is room");
        let _second = dial().await.expect("there is room");
        let at = hub.now();
        let accepting = async {
            exact::sleep(Duration::from_secs(5)).await;
            listening.accept().await.expect("one waits")
        };
        let (third, _) = tokio::join!(dial(), accepting);
        third.expect("there is room again");
        // SYNs are sent after 0, 1, 3 and 7 seconds.
        assert_eq!((hub.now() - at) / SECOND, 7);
    });
}

#[test]
fn listeners_that_share_an_address_take_turns() {
    play(plan(1, (10, 10)), |network, _| async move {
        let address = backend_address(0);
        let listeners = [(); 3].map(|()| listening(&network));
        assert!(network.check_unused(address).is_err());
        assert_eq!(
            network.listen_with(address, false, 1).err().map(|error| error.kind()),
            Some(ErrorKind::AddrInUse)
        );
        let mut streams = Vec::new();
        for _ in 0..6 {
            streams.push(network.connect(proxy(), address).await.expect("it listens"));
        }
        exact::sleep(micros(100)).await;
        let waiting: Vec<_> = listeners.iter().map(|listener| listener.close().len()).collect();
        assert_eq!(waiting, [2, 2, 2]);
        assert_eq!(dial_error(&network).await, ErrorKind::ConnectionRefused);
        network.check_unused(address).expect("all are closed");
    });
}

#[test]
fn ports_are_chosen_and_wildcards_cover_the_host() {
    play(plan(1, (10, 10)), |network, _| async move {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let (first, second) = (network.listen(any), network.listen(any));
        let port = |listening: &Listening| listening.local_addr().port();
        let (first, second) = (first.expect("a port"), second.expect("a port"));
        assert!(port(&first) != 0 && port(&first) != port(&second));
        let to = SocketAddr::new(proxy(), port(&first));
        network.connect(client_address(0), to).await.expect("it listens");
        let other = SocketAddr::new(backend_address(0).ip(), port(&first));
        assert!(network.connect(client_address(0), other).await.is_err());
    });
}

#[test]
fn connections_that_wait_to_be_accepted_outlive_a_closed_listener_but_not_a_dropped_one() {
    play(plan(1, (10, 10)), |network, _| async move {
        let closed = listening(&network);
        let mut first = network.connect(proxy(), backend_address(0)).await.expect("it listens");
        exact::sleep(micros(100)).await;
        let mut waiting = closed.close();
        assert_eq!((waiting.len(), waiting[0].1), (1, first.local_addr().expect("it is up")));
        waiting[0].0.write_all(b"x").await.expect("it is alive");
        assert_eq!(first.read_u8().await.expect("it is alive"), b'x');
        drop(closed);
        let dropped = listening(&network);
        let mut second = network.connect(proxy(), backend_address(0)).await.expect("it listens");
        exact::sleep(micros(100)).await;
        drop(dropped);
        let error = second.read_u8().await.expect_err("it is reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        drop((first, second, waiting));
        expect_nothing_left(&network).await;
    });
}

#[test]
fn a_handshake_that_outlives_its_listener_is_reset() {
    play(plan(1, (1_000, 1_000)), |network, _| async move {
        let listening = listening(&network);
        let mut stream = network.connect(proxy(), backend_address(0)).await.expect("it listens");
        // The acknowledgement of the answer is still on its way.
        assert!(listening.close().is_empty());
        let error = stream.read_u8().await.expect_err("it is reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}
