use std::cell::RefCell;

use super::super::{Content, Packet, Point};
use super::*;
use crate::plan::Direction;

/// An exchange with drawn delays; returns the hash.
fn exchange(seed: u64, request: &'static [u8], tls: bool) -> u64 {
    let mut plan = plan(seed, (0, 5_000));
    plan.wire.tls = tls;
    plan.network.ties = Ties::Shuffled;
    play(plan, |network, _| async move {
        let mut tasks = Vec::new();
        let listening = listening(&network);
        for _ in 0..5 {
            let (connected, accepted) =
                tokio::join!(network.connect(proxy(), backend_address(0)), listening.accept());
            let (mut proxy, mut backend) = (connected.expect("it"), accepted.expect("it").0);
            tasks.push(spawn(async move {
                for piece in request.chunks(10) {
                    proxy.write_all(piece).await.expect("it is open");
                    exact::sleep(micros(300)).await;
                }
                proxy.shutdown().await.expect("it is open");
                read_all(&mut proxy).await.expect("a clean end");
            }));
            tasks.push(spawn(async move {
                let bytes = read_all(&mut backend).await.expect("a clean end");
                backend.write_all(&bytes).await.expect("it is open");
            }));
        }
        for task in tasks {
            task.await.expect("it has ended");
        }
        network.hash()
    })
}

#[test]
fn the_hash_is_a_function_of_the_seed_and_the_bytes() {
    let request = &[b'a'; 100];
    assert_eq!(exchange(1, request, false), exchange(1, request, false));
    assert_ne!(exchange(1, request, false), exchange(2, request, false));
    assert_ne!(exchange(1, request, false), exchange(1, &[b'b'; 100], false));
    assert_eq!(exchange(1, request, true), exchange(1, &[b'b'; 100], true));
    assert_ne!(exchange(1, request, true), exchange(1, &[b'a'; 99], true));
}

#[test]
fn an_observer_sees_everything_when_it_is_written_and_when_it_arrives() {
    play(plan(1, (10, 10)), |network, _| async move {
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let log = Rc::clone(&seen);
        network.observe(Box::new(move |packet: &Packet<'_>| {
            let content = match packet.content {
                Content::Syn => "SYN".to_owned(),
                Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Content::End => "FIN".to_owned(),
                Content::Reset => "RST".to_owned(),
            };
            let point = if packet.point == Point::Written { "+" } else { "-" };
            let arrow = if packet.direction == Direction::Out { ">" } else { "<" };
            let micros = packet.at / 1_000;
            let sequence = packet.sequence;
            assert_eq!(packet.key, Key::Backend(0, 1));
            log.borrow_mut().push(format!("{micros} {point}{arrow}{sequence} {content}"));
        }));
        let (mut proxy, mut backend) = connected(&network).await;
        proxy.write_all(b"ab").await.expect("it is open");
        proxy.write_all(b"c").await.expect("it is open");
        assert_eq!(backend.read_u8().await.expect("it arrives"), b'a');
        drop(backend);
        let _ = read_all(&mut proxy).await;
        let expected = [
            "0 +>0 SYN",
            "100 ->0 SYN",
            "100 +<0 SYN",
            "200 -<0 SYN",
            "210 +>0 ab",
            "210 +>2 c",
            "220 ->0 abc",
            "220 +<0 RST",
            "230 -<0 RST",
        ];
        assert_eq!(*seen.borrow(), expected);
    });
}
