use std::io::IoSlice;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::lane::{UNSENT_BYTES_MAX, WINDOW_BYTES};
use super::*;

#[test]
fn bytes_arrive_in_order_whatever_the_delays() {
    for seed in 0..20 {
        play(plan(seed, (0, 3_000)), |network, _| async move {
            let (mut proxy, mut backend) = connected(&network).await;
            let all = text(300_000);
            let sent = all.clone();
            let writer = spawn(async move {
                for piece in sent.chunks(777) {
                    proxy.write_all(piece).await.expect("it is open");
                }
            });
            assert_eq!(read_all(&mut backend).await.expect("a clean end"), all);
            writer.await.expect("it has ended");
        });
    }
}

#[test]
fn a_writer_stops_when_both_buffers_are_full_and_continues_when_the_reader_reads() {
    play(plan(1, (10, 10)), |network, hub| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        let full = UNSENT_BYTES_MAX + WINDOW_BYTES;
        let all = text(full as usize + 1);
        let mut written = 0;
        while let Ok(count) =
            tokio::time::timeout(Duration::from_secs(1), proxy.write(&all[written..])).await
        {
            written += count.expect("it is open");
        }
        assert_eq!(written as u64, full);
        let at = hub.now();
        let mut read = vec![0; full as usize];
        let ((), ()) = tokio::join!(
            async { proxy.write_all(&all[written..]).await.expect("it is open") },
            async { backend.read_exact(&mut read).await.map(drop).expect("it arrives") },
        );
        assert_eq!(read, all[..full as usize]);
        assert!(hub.now() - at < SECOND, "each waits only for the other");
    });
}

#[test]
fn slices_are_written_in_one_call() {
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        assert!(proxy.is_write_vectored());
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        let count = proxy.write_vectored(&slices).await.expect("it is open");
        assert_eq!(count, 5);
        drop(proxy);
        assert_eq!(read_all(&mut backend).await.expect("a clean end"), b"abcde");
    });
}

#[test]
fn a_poll_that_ends_pending_changes_nothing() {
    let hash = |polls: u32| {
        play(plan(3, (10, 900)), |network, _| async move {
            let (mut proxy, mut backend) = connected(&network).await;
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                let mut bytes = [0; 10];
                let mut buffer = ReadBuf::new(&mut bytes);
                let polled = std::pin::Pin::new(&mut backend).poll_read(&mut context, &mut buffer);
                assert!(matches!(polled, Poll::Pending));
            }
            for piece in text(2_000).chunks(100) {
                proxy.write_all(piece).await.expect("it is open");
                exact::sleep(micros(50)).await;
            }
            drop(proxy);
            read_all(&mut backend).await.expect("a clean end");
            network.hash()
        })
    };
    assert_eq!(hash(0), hash(17));
}

#[test]
fn the_reader_is_woken_by_the_waker_of_its_last_poll() {
    play(plan(1, (10, 10)), |network, _| async move {
        let (mut proxy, mut backend) = connected(&network).await;
        let mut first = Context::from_waker(Waker::noop());
        let mut bytes = [0; 10];
        let mut buffer = ReadBuf::new(&mut bytes);
        assert!(std::pin::Pin::new(&mut backend).poll_read(&mut first, &mut buffer).is_pending());
        let reading = spawn(async move {
            assert_eq!(backend.read_u8().await.expect("it arrives"), b'x');
        });
        proxy.write_all(b"x").await.expect("it is open");
        reading.await.expect("it was woken");
        let _ = AsyncWrite::poll_flush(std::pin::Pin::new(&mut proxy), &mut first);
    });
}
