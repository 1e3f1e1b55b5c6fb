//! Tests honest clients with unusual behaviour: none is treated as an attacker.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::support::client::{head, read_chunk, send_all};
use crate::support::raw::kind;
use crate::support::raw_client::{RawClient, block, frame};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, unique_id, within};
use crate::system::run;

/// Checks that nothing was refused or closed.
fn nothing_refused(baton: &Baton) {
    for message in ["request refused", "client connection closed", "connections refused"] {
        assert_eq!(baton.lines(message), Vec::<serde_json::Value>::new(), "{message}");
    }
    let closed = baton.lines("connection closed");
    assert!(closed.is_empty(), "no backend connection either: {closed:?}");
}

/// Echoes each chunk at once.
async fn echo_pieces(mut exchange: Exchange) {
    let Some(mut stream) = exchange.start(200) else { return };
    while let Ok(Some(piece)) = exchange.read_chunk().await {
        if !exchange.send(&mut stream, piece, false).await {
            return;
        }
    }
    exchange.send(&mut stream, Bytes::new(), true).await;
}

/// A gRPC call with many small messages in both directions (linkerd2#15665 closed such calls).
#[test]
fn a_stream_of_many_small_messages() {
    run(async {
        let backend = Backend::start(Behaviour::default(), echo_pieces).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let head = head(Method::POST, "/service/Chat", "grpc");
        let (response, mut upload) = client.begin(head, false).await.expect("the connection lives");
        let message = Bytes::from_static(b"\0\0\0\0\x01x");
        send_all(&mut upload, message.clone(), false).await.expect("room");
        let mut download = within("the head", response).await.expect("a response").into_body();
        let count = 20_000;
        let uploading = async {
            for number in 1..count {
                send_all(&mut upload, message.clone(), number == count - 1).await.expect("room");
                if number % 50 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let downloading = async {
            let mut received = 0;
            while let Some(piece) = read_chunk(&mut download).await.expect("no reset") {
                received += piece.len();
            }
            received
        };
        let ((), received) = tokio::join!(uploading, downloading);
        assert_eq!(received, count * message.len());
        nothing_refused(&baton);
    });
}

/// The same without pauses, in frames of one byte, faster than they are read.
#[test]
fn a_burst_of_tiny_frames() {
    run(async {
        let backend = Backend::echo().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut client = RawClient::connect(baton.address).await;
        client.write(&frame(kind::HEADERS, 0x4, 1, &block("POST", &[]))).await;
        let tiny = frame(kind::DATA, 0, 1, b"x");
        for _ in 0..30 {
            assert!(client.write(&tiny.repeat(100)).await, "the connection lives");
        }
        client.write(&frame(kind::DATA, 0x1, 1, b"y")).await;
        let mut received = 0;
        loop {
            let frame = client.next().await.expect("the connection lives");
            if frame.kind == kind::DATA {
                received += frame.payload.len();
            }
            if frame.ends_stream() {
                break;
            }
        }
        assert_eq!(received, 3_001);
        nothing_refused(&baton);
    });
}

/// Many streams at once whose tiny frames interleave.
#[test]
fn a_burst_of_tiny_frames_on_many_streams() {
    run(async {
        let backend = Backend::echo().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut client = RawClient::connect(baton.address).await;
        let streams = || (1..101).step_by(2);
        let mut bytes = Vec::new();
        for stream in streams() {
            bytes.extend(frame(kind::HEADERS, 0x4, stream, &block("POST", &[])));
        }
        for _ in 0..100 {
            streams().for_each(|stream| bytes.extend(frame(kind::DATA, 0, stream, b"x")));
        }
        streams().for_each(|stream| bytes.extend(frame(kind::DATA, 0x1, stream, b"y")));
        assert!(client.write(&bytes).await, "the connection lives");
        let (mut received, mut ended) = (0, 0);
        while ended < 50 {
            let frame = client.next().await.expect("the connection lives");
            assert_ne!(frame.kind, kind::RST_STREAM, "{frame:?}");
            ended += usize::from(frame.ends_stream());
            received += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
        }
        assert_eq!(received, 50 * 101);
        nothing_refused(&baton);
    });
}

/// Sends PINGs and window updates during a download, as gRPC does.
#[test]
fn a_client_that_pings_and_downloads() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |mut exchange| async move {
            let Some(mut stream) = exchange.start(200) else { return };
            exchange.send(&mut stream, vec![b'x'; 8 << 20].into(), true).await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let (response, _stream) = client
            .begin(head(Method::GET, "/", "download"), true)
            .await
            .expect("the connection lives");
        let mut body = within("the head", response).await.expect("a response").into_body();
        let mut received = 0;
        while let Some(piece) = read_chunk(&mut body).await.expect("no reset") {
            received += piece.len();
            client.ping().await;
        }
        assert_eq!(received, 8 << 20);
        for _ in 0..10 {
            client.ping().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        nothing_refused(&baton);
    });
}

/// Uploads that are answered before they are complete, one after the other.
#[test]
fn uploads_that_are_answered_early() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |mut exchange| async move {
            let Some(mut stream) = exchange.start(413) else { return };
            exchange.send(&mut stream, Bytes::from_static(b"no"), true).await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..50 {
            let body = vec![b'x'; 300 * 1024];
            let answer = client.send(head(Method::POST, "/", &unique_id()), body).await;
            assert_eq!(answer.expect("it is answered").status, 413);
        }
        nothing_refused(&baton);
    });
}
