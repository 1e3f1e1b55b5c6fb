use std::io::ErrorKind;

use super::*;

#[test]
fn each_side_can_close_and_the_other_still_writes() {
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        proxy.write_all(b"last").await.expect("it is open");
        proxy.shutdown().await.expect("it is open");
        assert_eq!(read_all(&mut backend).await.expect("a clean end"), b"last");
        let error = proxy.write(b"more").await.expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        backend.write_all(&text(50_000)).await.expect("this side is open");
        drop(backend);
        assert_eq!(read_all(&mut proxy).await.expect("a clean end"), text(50_000));
        drop(proxy);
        expect_nothing_left(&network).await;
    });
}

#[test]
fn closing_with_unread_bytes_resets_and_the_other_side_loses_what_it_had_not_read() {
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        backend.write_all(b"response").await.expect("it is open");
        proxy.write_all(b"unread").await.expect("it is open");
        exact::sleep(micros(100)).await;
        // The response is in the receive buffer of the proxy by now.
        drop(backend);
        exact::sleep(micros(100)).await;
        let error = read_all(&mut proxy).await.expect_err("it is lost");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = proxy.write(b"x").await.expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        drop(proxy);
        expect_nothing_left(&network).await;
    });
}

#[test]
fn bytes_that_arrive_after_a_close_are_answered_by_a_reset() {
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        backend.write_all(b"response").await.expect("it is open");
        drop(backend);
        exact::sleep(micros(5)).await;
        proxy.write_all(b"late").await.expect("it does not know yet");
        exact::sleep(micros(100)).await;
        // Bytes and end have arrived before the reset: they can be read, as on Linux.
        assert_eq!(read_all(&mut proxy).await.expect("the end"), b"response");
        let error = proxy.write(b"x").await.expect_err("it is reset");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        drop(proxy);
        expect_nothing_left(&network).await;
    });
}

#[test]
fn a_reset_wakes_a_blocked_writer_and_is_reported_once() {
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, backend) = connected(&network).await;
        let closing = spawn(async move {
            exact::sleep(micros(5_000)).await;
            drop(backend);
        });
        let error = proxy.write_all(&text(1_000_000)).await.expect_err("it is reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        // Linux reports an error once; afterwards reading ends and writing fails.
        assert_eq!(read_all(&mut proxy).await.expect("the end"), b"");
        assert_eq!(proxy.write(b"x").await.expect_err("closed").kind(), ErrorKind::BrokenPipe);
        closing.await.expect("it has ended");
    });
}

#[test]
fn what_was_written_before_a_drop_arrives_though_no_process_has_the_connection() {
    play(plan(1, (10, 3_000)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        proxy.write_all(&text(200_000)).await.expect("the buffers take it");
        drop(proxy);
        assert_eq!(read_all(&mut backend).await.expect("a clean end"), text(200_000));
        drop(backend);
        expect_nothing_left(&network).await;
    });
}

#[test]
fn a_close_of_both_sides_at_once_leaves_nothing() {
    for seed in 0..20 {
        play(plan(seed, (0, 500)), |network, _| async move {
            let (mut proxy, mut backend) = connected(&network).await;
            proxy.write_all(b"crossing").await.expect("it is open");
            backend.write_all(b"crossing").await.expect("it is open");
            drop((proxy, backend));
            expect_nothing_left(&network).await;
        });
    }
}
