use std::io::ErrorKind;

use super::*;
use crate::plan::{Direction, WireEffect};

const KEY: Key = Key::Backend(0, 1);

#[test]
fn a_system_gives_up_bytes_that_are_not_acknowledged() {
    // The bytes do not arrive; or they do and their acknowledgement does not.
    for direction in [Direction::Out, Direction::In] {
        play(plan(1, (10, 10)), |network, hub| async move {
            let (mut proxy, mut backend) = connected(&network).await;
            network.apply(KEY, direction, WireEffect::Vanish);
            exact::sleep(Duration::from_secs(3)).await;
            let at = hub.now();
            proxy.write_all(b"request").await.expect("its system takes it");
            let error = proxy.read_u8().await.expect_err("it is given up");
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!((hub.now() - at) / SECOND, 20);
            if direction == Direction::In {
                let mut request = [0; 7];
                backend.read_exact(&mut request).await.expect("it has arrived");
                assert_eq!(&request, b"request");
            }
        });
    }
}

#[test]
fn keepalive_gives_up_an_idle_connection_of_the_proxy_and_only_of_the_proxy() {
    play(plan(1, (10, 10)), |network, hub| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        exact::sleep(Duration::from_secs(100)).await;
        network.vanish(Host::Backend(0));
        let error = proxy.read_u8().await.expect_err("it is given up");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // The keepalives of seconds 30, 60 and 90 were answered; nine from second 120 on are not.
        assert_eq!(hub.now() / SECOND, 120 + 90);
        let reading = backend.read_u8();
        assert!(tokio::time::timeout(Duration::from_secs(9_999), reading).await.is_err());
        drop((proxy, backend));
        expect_nothing_left(&network).await;
    });
}

#[test]
fn an_idle_connection_on_a_path_that_recovers_stays_and_nothing_watches_it() {
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        let stall = WireEffect::Stall { for_us: Some(60_000_000) };
        network.apply(KEY, Direction::In, stall);
        exact::sleep(Duration::from_secs(500)).await;
        backend.write_all(b"x").await.expect("it is open");
        assert_eq!(proxy.read_u8().await.expect("it is open"), b'x');
        exact::sleep(Duration::from_secs(1)).await;
        assert!(network.left().iter().all(|left| !left.contains("events")), "{:?}", network.left());
    });
}

#[test]
fn a_vanished_host_does_not_answer_dials() {
    play(plan(1, (10, 10)), |network, hub| async move {
        let _listening = listening(&network);
        network.vanish(Host::Backend(0));
        let error = network.connect(proxy(), backend_address(0)).await.expect_err("no answer");
        assert_eq!((error.kind(), hub.now() / SECOND), (ErrorKind::TimedOut, 127));
    });
}

#[test]
fn a_stall_longer_than_the_dead_path_ends_the_connection_and_a_shorter_one_does_not() {
    for (seconds, dies) in [(19, false), (21, true)] {
        play(plan(1, (10, 10)), |network, hub| async move {
            let (mut proxy, mut backend) = connected(&network).await;
            let stall = WireEffect::Stall { for_us: Some(seconds * 1_000_000) };
            network.apply(KEY, Direction::Out, stall);
            proxy.write_all(b"x").await.expect("its system takes it");
            let reading = async {
                let byte = backend.read_u8().await;
                (byte.expect("it arrives in the end"), hub.now() / SECOND)
            };
            assert_eq!(reading.await, (b'x', seconds));
            backend.write_all(b"y").await.expect("it does not know");
            match proxy.read_u8().await {
                Ok(byte) => assert!(!dies && byte == b'y'),
                Err(error) => assert!(dies && error.kind() == ErrorKind::TimedOut),
            }
            if dies {
                // Its system does not know the connection any more, and says so.
                let error = backend.read_u8().await.expect_err("it is reset");
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            }
        });
    }
}
