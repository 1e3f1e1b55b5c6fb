//! Tests truncated responses, early responses, and uploads.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::support::client::{connect, head, read_chunk, send_all};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http1, Http2, unique_id, within};
use crate::system::run;

/// Sends a head and 10 000 bytes, then resets the stream. Waits until the client has the first
/// bytes, so that the request can no longer be retried.
async fn break_off(mut exchange: Exchange, reached: Arc<Notify>) {
    exchange.execute();
    let mut stream = exchange.start(200).expect("the stream is open");
    assert!(exchange.send(&mut stream, Bytes::from(vec![b'x'; 10_000]), false).await);
    within("the client has it", reached.notified()).await;
    stream.send_reset(Reason::INTERNAL_ERROR);
}

#[test]
fn a_reset_in_the_body_is_a_reset_to_an_http2_client() {
    run(async {
        let reached = Arc::new(Notify::new());
        let reaching = Arc::clone(&reached);
        let handler = move |exchange| break_off(exchange, Arc::clone(&reached));
        let backend = Backend::start(Behaviour::default(), handler).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let head = head(Method::GET, "/cut", "cut");
        let (response, _) = client.begin(head, true).await.expect("the connection lives");
        let response = within("the head", response).await.expect("a response");
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut received = 0;
        while received < 10_000 {
            let chunk = read_chunk(&mut body).await.expect("not cut yet");
            received += chunk.expect("not ended yet").len();
        }
        reaching.notify_one();
        let end = read_chunk(&mut body).await;
        let error = end.expect_err("a response cut short must not look complete");
        assert!(error.is_reset() && error.is_remote(), "the stream alone is reset: {error}");
        expect_cut_short(&baton, &backend).await;
        client.ping().await;
    });
}

async fn expect_cut_short(baton: &Baton, backend: &Backend) {
    let line = baton.wait_for_requests(1).await.remove(0);
    assert_eq!(line["outcome"], "cut_short", "{line}");
    assert_eq!(line["evidence"], "responding", "{line}");
    assert_eq!(line["attempts"], 1, "{line}");
    assert_eq!(line["response_bytes"], 10_000, "{line}");
    assert_eq!(backend.seen(|seen| seen.executed["cut"]), 1, "never repeated");
}

/// Has a response cut short that a client reads over HTTP/1.1 or 1.0. Returns what the client has
/// received, and how its connection ended.
async fn cut_over_http1(version: &str) -> (Vec<u8>, io::Result<usize>) {
    let reached = Arc::new(Notify::new());
    let reaching = Arc::clone(&reached);
    let handler = move |exchange| break_off(exchange, Arc::clone(&reached));
    let backend = Backend::start(Behaviour::default(), handler).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let mut tcp = connect(baton.address).await;
    let request = format!("GET /cut {version}\r\nhost: front.test\r\nx-request-id: cut\r\n\r\n");
    within("sending", tcp.write_all(request.as_bytes())).await.expect("Baton reads");
    let mut received = Vec::new();
    while received.iter().filter(|byte| **byte == b'x').count() < 10_000 {
        let read = within("reading", tcp.read_buf(&mut received)).await.expect("no reset");
        assert_ne!(read, 0, "not ended yet");
    }
    reaching.notify_one();
    let end = within("the end", tcp.read_to_end(&mut received)).await;
    expect_cut_short(&baton, &backend).await;
    (received, end)
}

#[test]
fn a_reset_in_the_body_is_an_unfinished_body_to_an_http1_client() {
    run(async {
        // The last chunk, which would complete the body, must never arrive.
        let (received, _) = cut_over_http1("HTTP/1.1").await;
        let text = String::from_utf8_lossy(&received);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{text}");
        assert!(!text.ends_with("0\r\n\r\n"), "a response cut short must not look complete");
    });
}

/// HTTP/1.0 has no chunks, so only the close of the connection ends this response. An orderly close
/// would complete it.
#[test]
fn a_reset_in_the_body_resets_the_connection_of_an_http10_client() {
    run(async {
        let (_, end) = cut_over_http1("HTTP/1.0").await;
        let error = end.expect_err("a response cut short must not look complete");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

/// A response is cut short as well when the whole connection to the backend is lost.
#[test]
fn a_lost_connection_cuts_the_body_short() {
    run(async {
        let backend = Backend::start(Behaviour::default(), Exchange::begin_and_hang).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let head = head(Method::GET, "/", "cut");
        let (response, _) = client.begin(head, true).await.expect("the connection lives");
        let mut body = within("the head", response).await.expect("a response").into_body();
        assert_eq!(read_chunk(&mut body).await.expect("not cut yet").expect("not ended"), "begun");
        backend.cut_connections().await;
        let error = read_chunk(&mut body).await.expect_err("it must not look complete");
        assert!(error.is_reset(), "{error}");
    });
}

/// The backend answers 413 in the middle of an upload and reads no more of it: the h2 crate then
/// resets the stream with NO_ERROR (RFC 9113, 8.1). The client gets the whole 413.
async fn refuse_upload(mut exchange: Exchange) {
    exchange.read_chunk().await.expect("the upload has begun");
    let mut stream = exchange.start(413).expect("the stream is open");
    exchange.send(&mut stream, Bytes::from_static(b"too large\n"), true).await;
}

#[test]
fn early_413_with_no_error_reaches_an_uploading_http2_client() {
    run(async {
        let backend = Backend::start(Behaviour::default(), refuse_upload).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let head = head(Method::POST, "/upload", &unique_id());
        let (response, mut stream) = client.begin(head, false).await.expect("the connection lives");
        let uploading = async {
            // 8 MiB, more than all windows together, until Baton stops it.
            let _ = send_all(&mut stream, Bytes::from(vec![0; 8 << 20]), true).await;
        };
        let answering = async {
            let response = within("the head", response).await.expect("the 413 comes through");
            crate::support::client::read_answer(response).await
        };
        let ((), answer) = tokio::join!(uploading, answering);
        let answer = answer.expect("NO_ERROR does not spoil the response");
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (413, &b"too large\n"[..]));
        let line = baton.wait_for_requests(1).await.remove(0);
        assert_eq!(
            (&line["outcome"], &line["attempts"]),
            (&"completed".into(), &1.into()),
            "{line}"
        );
    });
}

#[test]
fn early_413_with_no_error_reaches_an_uploading_http1_client() {
    run(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let backend = Backend::start(Behaviour::default(), refuse_upload).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut tcp = crate::support::client::connect(baton.address).await;
        let head = "POST /upload HTTP/1.1\r\nhost: front.test\r\ncontent-length: 8388608\r\n\r\n";
        within("sending", tcp.write_all(head.as_bytes())).await.expect("Baton reads");
        // Only a part: the client withholds the rest until it sees a response.
        within("sending", tcp.write_all(&[0; 4096])).await.expect("Baton reads");
        let mut received = Vec::new();
        while !received.ends_with(b"too large\n") && !received.ends_with(b"0\r\n\r\n") {
            let read = within("reading", tcp.read_buf(&mut received)).await.expect("no reset");
            assert_ne!(read, 0, "not ended yet: {}", String::from_utf8_lossy(&received));
        }
        assert!(received.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&received));
        baton.wait_for_requests(1).await;
    });
}

/// A body larger than the replay buffer arrives unchanged over both protocols.
#[test]
fn large_bodies_pass_both_ways_unchanged() {
    run(async {
        let backend = Backend::echo().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let body: Bytes =
            (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let client = Http2::connect(baton.address).await;
        let answer = client.send(head(Method::PUT, "/", "http2"), body.clone()).await;
        assert!(answer.expect("it is answered").body == body, "HTTP/2: the same bytes");
        let mut client = Http1::connect(baton.address).await;
        let answer = client.send(head(Method::PUT, "/", "http1"), body.clone()).await;
        assert!(answer.expect("it is answered").body == body, "HTTP/1.1: the same bytes");
    });
}
