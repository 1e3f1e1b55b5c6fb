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
        // The keepalives until second 100 were answered; nine from second 110 on are not.
        assert_eq!(hub.now() / SECOND, 110 + 45);
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
        let stall = WireEffect::Stall { for_us: Some(40_000_000) };
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

/// The answers of the proxy's system after each of these seconds, when bytes were written on a
/// connection with an effect in this direction.
fn unanswered<const N: usize>(
    effect: (Direction, WireEffect),
    bytes: usize,
    seconds: [u64; N],
) -> [Option<u32>; N] {
    let mut plan = plan(1, (10, 10));
    plan.pool.config.timeouts.suspect = Duration::from_secs(5);
    play(plan, |network, _| async move {
        let (mut proxy, _backend) = connected(&network).await;
        network.apply(KEY, effect.0, effect.1);
        proxy.write_all(&text(bytes)).await.expect("its system takes it");
        let ask = proxy.unanswered();
        let mut said = [None; N];
        let mut passed = 0;
        for (said, second) in said.iter_mut().zip(seconds) {
            exact::sleep(Duration::from_secs(second - passed)).await;
            (*said, passed) = (ask(), second);
        }
        said
    })
}

#[test]
fn a_system_says_how_often_it_has_repeated_what_a_dead_host_does_not_acknowledge() {
    for direction in [Direction::Out, Direction::In] {
        let dead = (direction, WireEffect::Vanish);
        assert_eq!(unanswered(dead, 1, [0, 1, 5, 19]), [Some(0), Some(2), Some(4), Some(6)]);
    }
    // Nothing was written: keepalives are sent after ten seconds, and every five seconds then.
    let idle = (Direction::In, WireEffect::Vanish);
    assert_eq!(unanswered(idle, 0, [9, 11, 16, 21]), [Some(0), Some(1), Some(2), Some(3)]);
}

#[test]
fn a_host_whose_process_reads_nothing_acknowledges() {
    let asleep = || (Direction::Out, WireEffect::Asleep { for_us: None });
    for bytes in [1, 200_000] {
        assert_eq!(unanswered(asleep(), bytes, [1, 15]), [Some(0), Some(0)], "{bytes} bytes");
    }
    let slow = (Direction::In, WireEffect::Delay { by_us: 3_000_000 });
    assert_eq!(unanswered(slow, 1, [1, 2, 4]), [Some(0); 3]);
}

#[test]
fn a_system_that_cannot_tell_says_so() {
    let mut plan = plan(1, (10, 10));
    plan.network.hides_delivery = true;
    let said = play(plan, |network, _| async move {
        let (proxy, _backend) = connected(&network).await;
        proxy.unanswered()()
    });
    assert_eq!(said, None);
}
