use std::io::ErrorKind;

use super::*;
use crate::plan::{Direction, WireEffect};

const KEY: Key = Key::Backend(0, 1);

/// The sizes of the reads at the backend, with their times in microseconds.
async fn reads(hub: &Hub, stream: &mut Stream) -> std::io::Result<Vec<(usize, u64)>> {
    let start = hub.now();
    let mut reads = Vec::new();
    let mut buffer = vec![0; 300_000];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(reads),
            count => reads.push((count, (hub.now() - start) / 1_000)),
        }
    }
}

/// The bytes that the backend reads, with their times, after the proxy has written these and
/// closed.
fn effect(effect: WireEffect, bytes: &'static [u8]) -> std::io::Result<Vec<(usize, u64)>> {
    play(plan(1, (10, 10)), |network, hub| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        network.apply(KEY, Direction::Out, effect);
        let writer = spawn(async move {
            let _ = proxy.write_all(bytes).await;
            let _ = proxy.shutdown().await;
            // It waits for the other side, as a reader of responses does.
            let _ = read_all(&mut proxy).await;
        });
        let reads = reads(&hub, &mut backend).await;
        drop(backend);
        writer.await.expect("it has ended");
        expect_nothing_left(&network).await;
        reads
    })
}

#[test]
fn without_an_effect_bytes_arrive_at_once() {
    assert_eq!(effect(WireEffect::Delay { by_us: 0 }, b"abcdefg").expect("an end"), [(7, 10)]);
}

#[test]
fn pieces_arrive_each_at_its_own_time() {
    let found = effect(WireEffect::Pieces(3), b"abcdefg").expect("an end");
    assert_eq!(found, [(3, 10), (3, 11), (1, 12)]);
    assert_eq!(effect(WireEffect::Pieces(0), b"ab").expect("an end"), [(1, 10), (1, 11)]);
}

#[test]
fn pieces_at_frames_follow_http2() {
    let bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x02\x04\0\0\0\0\0ab\0\0\0\x04\x01\0\0\0\0";
    let found = effect(WireEffect::PiecesAtFrames, bytes).expect("an end");
    let sizes: Vec<usize> = found.iter().map(|(size, _)| *size).collect();
    assert_eq!((sizes.len(), sizes[0]), (5, 24), "{sizes:?}");
    assert_eq!((sizes[1] + sizes[2], sizes[3] + sizes[4]), (11, 9));
}

#[test]
fn a_delay_is_added_and_a_stall_holds_what_is_in_flight() {
    let delayed = effect(WireEffect::Delay { by_us: 700_000 }, b"abc").expect("an end");
    assert_eq!(delayed, [(3, 700_010)]);
    let stalled = effect(WireEffect::Stall { for_us: Some(400_000) }, b"abc").expect("an end");
    assert_eq!(stalled, [(3, 400_000)]);
    play(plan(1, (10, 10)), |network, hub| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        proxy.write_all(b"abc").await.expect("it is open");
        exact::sleep(micros(5)).await;
        network.apply(KEY, Direction::Out, WireEffect::Stall { for_us: Some(1_000) });
        drop(proxy);
        assert_eq!(reads(&hub, &mut backend).await.expect("an end"), [(3, 1_000)]);
    });
}

#[test]
fn a_small_room_lets_as_many_bytes_in_as_were_read() {
    let found = effect(WireEffect::Room(2), b"abcdefg").expect("an end");
    let sizes: Vec<usize> = found.iter().map(|(size, _)| *size).collect();
    assert_eq!(sizes, [2, 2, 2, 1]);
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        // Much was read of which the writer's system does not know.
        proxy.write_all(&text(20_000)).await.expect("it is open");
        backend.read_exact(&mut vec![0; 20_000]).await.expect("it arrives");
        network.apply(KEY, Direction::Out, WireEffect::Room(1));
        let writing = spawn(async move {
            proxy.write_all(b"abc").await.expect("it is open");
        });
        assert_eq!(read_all(&mut backend).await.expect("an end"), b"abc");
        writing.await.expect("it has ended");
    });
}

#[test]
fn an_end_comes_after_what_was_written() {
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        proxy.write_all(b"abc").await.expect("it is open");
        network.apply(KEY, Direction::Out, WireEffect::End);
        assert_eq!(proxy.write(b"d").await.expect_err("closed").kind(), ErrorKind::BrokenPipe);
        assert_eq!(read_all(&mut backend).await.expect("a clean end"), b"abc");
        backend.write_all(b"answer").await.expect("this side is open");
        drop(backend);
        assert_eq!(read_all(&mut proxy).await.expect("a clean end"), b"answer");
    });
}

#[test]
fn a_reset_loses_what_is_in_flight_and_both_ends_see_it() {
    for act in [
        Act::Break,
        Act::Wire { direction: Direction::In, effect: WireEffect::Reset },
        Act::Wire { direction: Direction::Out, effect: WireEffect::Reset },
    ] {
        play(plan(1, (10, 10)), |network, _| async move {
            let (mut proxy, mut backend) = connected(&network).await;
            proxy.write_all(b"abc").await.expect("it is open");
            backend.write_all(b"abc").await.expect("it is open");
            assert!(network.act(KEY, act));
            for stream in [&mut proxy, &mut backend] {
                let error = read_all(stream).await.expect_err("it is reset");
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            }
            drop((proxy, backend));
            expect_nothing_left(&network).await;
        });
    }
}

#[test]
fn writing_fails_after_a_number_of_bytes() {
    for most in [0, 4] {
        play(plan(1, (10, 10)), |network, _| async move {
            let (mut proxy, mut backend) = connected(&network).await;
            proxy.write_all(b"ab").await.expect("it is open");
            network.apply(KEY, Direction::Out, WireEffect::ErrorAfter(most));
            let error = proxy.write_all(b"cdefghi").await.expect_err("it fails");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let mut bytes = [0; 20];
            let mut count = 0;
            let error = loop {
                match backend.read(&mut bytes[count..]).await {
                    Ok(read) => count += read,
                    Err(error) => break error,
                }
            };
            assert_eq!((count, error.kind()), (2 + most as usize, ErrorKind::ConnectionReset));
            drop((proxy, backend));
            expect_nothing_left(&network).await;
        });
    }
}

#[test]
fn bytes_vanish_and_the_writer_notices_when_its_buffer_is_full() {
    let mut plan = plan(1, (10, 10));
    plan.network.dead_path_us = 600_000_000;
    play(plan, |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        network.apply(KEY, Direction::Out, WireEffect::Vanish);
        let all = text(1_000_000);
        let mut written = 0;
        while let Ok(count) =
            tokio::time::timeout(Duration::from_secs(1), proxy.write(&all[written..])).await
        {
            written += count.expect("it is open");
        }
        assert_eq!(written, 256 * 1024);
        let reading = backend.read_u8();
        assert!(tokio::time::timeout(Duration::from_secs(1), reading).await.is_err());
    });
}

#[test]
fn a_reader_that_sleeps_reads_later_and_the_writer_gets_rid_of_its_bytes() {
    let asleep = WireEffect::Asleep { for_us: Some(3_000_000) };
    assert_eq!(effect(asleep, b"abc").expect("an end"), [(3, 3_000_000)]);
    let mut plan = plan(1, (10, 10));
    plan.directives = vec![directive(
        When::Connected { backend: 0, connection: 1 },
        Act::StopReading { for_us: None },
    )];
    play(plan, |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        proxy.write_all(&text(200_000)).await.expect("the buffers take it");
        let reading = backend.read_u8();
        assert!(tokio::time::timeout(Duration::from_secs(999), reading).await.is_err());
        // Its system has acknowledged all that it could: the path is not dead.
        proxy.write_all(b"x").await.expect("it is open");
    });
}

/// The bytes that the backend reads of two TLS records and, if it is closed by them, an alert.
fn without_close_notify(closes: bool, later: bool) -> Vec<u8> {
    let mut plan = plan(1, (10, 10));
    plan.wire.tls = true;
    play(plan, |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        network.apply(KEY, Direction::Out, WireEffect::NoCloseNotify);
        proxy.write_all(&[22, 3, 3, 0, 1, 7]).await.expect("it is open");
        let short = [&[23, 3, 3, 0, 19][..], &[1; 19]].concat();
        proxy.write_all(&short).await.expect("it is open");
        if later {
            exact::sleep(micros(100)).await;
        }
        if closes {
            proxy.shutdown().await.expect("it is open");
        }
        let read = spawn(async move { drop(proxy) });
        let bytes = read_all(&mut backend).await.expect("a clean end");
        read.await.expect("it has ended");
        bytes
    })
}

#[test]
fn tls_ends_without_close_notify_and_loses_nothing_else() {
    assert_eq!(without_close_notify(true, false).len(), 6);
    // A record of the same length that no close follows is sent.
    assert_eq!(without_close_notify(true, true).len(), 6 + 24);
    assert_eq!(without_close_notify(false, false).len(), 6 + 24);
}

#[test]
fn an_order_finds_its_connection_and_others_go_to_the_peers() {
    let mut plan = plan(1, (10, 10));
    let black_hole = Act::BlackHole { to_backend: false, from_backend: true };
    plan.directives = vec![
        directive(at_dial(2), Act::NeverFinish),
        directive(When::Connected { backend: 0, connection: 2 }, black_hole),
    ];
    play(plan, |network, hub| async move {
        let (mut first, mut at_first) = connected(&network).await;
        let mut orders = hub.mailbox(crate::proxy::hub::Target::Backend(0, 2));
        let (mut second, mut at_second) = connected(&network).await;
        assert_eq!(orders.recv().await.map(|order| order.act), Some(Act::NeverFinish));
        for (proxy, backend) in [(&mut first, &mut at_first), (&mut second, &mut at_second)] {
            proxy.write_all(b"x").await.expect("it is open");
            assert_eq!(backend.read_u8().await.expect("it arrives"), b'x');
            backend.write_all(b"y").await.expect("it is open");
        }
        assert_eq!(first.read_u8().await.expect("it arrives"), b'y');
        let reading = tokio::time::timeout(Duration::from_secs(1), second.read_u8());
        assert!(reading.await.is_err(), "it vanishes");
        assert!(orders.try_recv().is_err());
    });
}

#[test]
fn healing_opens_the_way_to_healthy_backends_only() {
    use crate::plan::Health;
    let mut plan = plan(1, (10, 10));
    plan.heal.backends = vec![Health::Well, Health::Refuses];
    play(plan, |network, _| async move {
        let _listeners = [0, 1].map(|backend| network.listen(backend_address(backend)));
        for backend in 0..2 {
            let act = Act::Unreachable { backend, hangs: false, for_us: 1_000_000_000 };
            let target = crate::proxy::hub::Target::Process;
            assert!(network.obey(crate::proxy::hub::Order { act, target }));
            assert!(network.connect(proxy(), backend_address(backend)).await.is_err());
        }
        network.heal();
        network.connect(proxy(), backend_address(0)).await.expect("it is well");
        assert!(network.connect(proxy(), backend_address(1)).await.is_err());
    });
}

#[test]
fn after_some_hundreds_of_pieces_bytes_arrive_as_they_come() {
    let found = effect(WireEffect::Pieces(1), &[b'x'; 1_000]).expect("an end");
    assert!(found[..250].iter().all(|(count, _)| *count == 1));
    assert!(found.len() <= 310, "{} pieces", found.len());
    assert_eq!(found.iter().map(|(count, _)| *count).sum::<usize>(), 1_000);
}
