//! Tests messages over HTTP/2, and early responses over both protocols.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::client::{connect, head};
use crate::support::raw::{flag, kind};
use crate::support::raw_client::{RawClient, block, frame, literal};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, unique_id, within};
use crate::system::run;

/// More than Baton accepts in a window without a response that earns them.
const CALLS: usize = 1200;

/// Answers with a message, an empty DATA frame in a packet of its own, and trailers.
async fn answer_like_a_server_of_grpc(mut exchange: Exchange) {
    let Some(mut stream) = exchange.start(200) else { return };
    exchange.send(&mut stream, Bytes::from_static(b"\0\0\0\0\0"), false).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let _ = stream.send_data(Bytes::new(), false);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let _ = stream.send_trailers(trailers);
}

/// jetty/jetty.project#2454, netty/netty#9461.
#[test]
fn an_empty_data_frame_before_each_trailers_is_no_flood() {
    run(async {
        let backend = Backend::start(Behaviour::default(), answer_like_a_server_of_grpc).await;
        let baton = Baton::start(&[backend.url()], &["--max-connections", "1"]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..CALLS {
            let head = head(Method::POST, "/service/Call", &unique_id());
            let answer = client.send(head, b"\0\0\0\0\0".to_vec()).await.expect("an answer");
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
        }
        assert_eq!(baton.lines("connected").len(), 1, "the connection is kept");
    });
}

/// RFC 9110, 10.1.1: the client waits for 100 (Continue) before it sends the body.
#[test]
fn a_client_that_expects_it_may_continue() {
    run(async {
        let backend = Backend::echo().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut client = RawClient::connect(baton.address).await;
        let expecting = block("POST", &[("expect", "100-continue"), ("x-id", "1")]);
        client.write(&frame(kind::HEADERS, flag::END_HEADERS, 1, &expecting)).await;
        let interim = client.next_of(kind::HEADERS).await;
        assert!(!interim.ends_stream());
        client.write(&frame(kind::DATA, flag::END_STREAM, 1, b"hello")).await;
        assert!(!client.next_of(kind::HEADERS).await.ends_stream());
        assert_eq!(client.next_of(kind::DATA).await.payload, b"hello");
        // A body that comes at once is not waited for.
        client.write(&frame(kind::HEADERS, flag::END_HEADERS, 3, &expecting)).await;
        client.write(&frame(kind::DATA, flag::END_STREAM, 3, b"again")).await;
        loop {
            let frame = client.next_of(kind::DATA).await;
            if frame.stream == 3 {
                break assert_eq!(frame.payload, b"again");
            }
        }
    });
}

/// RFC 9113, 8.2.1 and 8.3.1. `h2` accepts them.
#[test]
fn malformed_heads_that_h2_accepts_are_refused() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = RawClient::connect(baton.address);
        let mut client = client.await;
        // `:scheme: http` is in the static table.
        let mut without_path = literal(":method", "GET");
        without_path.push(0x86);
        without_path.extend(literal("host", "front.test"));
        let padded = block("GET", &[("x-padded", " a")]);
        // `h2` takes it for 0.
        let without_length = block("GET", &[("content-length", "")]);
        let flags = flag::END_HEADERS | flag::END_STREAM;
        for (stream, block) in [(1, without_path), (3, padded), (5, without_length)] {
            client.write(&frame(kind::HEADERS, flags, stream, &block)).await;
        }
        let lines = baton.wait_for_requests(3).await;
        assert!(lines.iter().all(|line| line["status"] == 400), "{lines:?}");
        assert!(client.get(7).await.is_some(), "the connection goes on");
        backend.seen(|seen| assert_eq!(seen.heads.len(), 1, "only the last one"));
    });
}

/// RFC 9110, 9.3.2, also for the responses that Baton makes itself.
#[test]
fn a_response_to_head_has_no_content() {
    run(async {
        let baton = Baton::start(&[Backend::healthy().await.url()], &[]).await;
        let mut client = RawClient::connect(baton.address).await;
        let refused = block("HEAD", &[("host", "elsewhere.test")]);
        let flags = flag::END_HEADERS | flag::END_STREAM;
        client.write(&frame(kind::HEADERS, flags, 1, &refused)).await;
        assert!(client.next_of(kind::HEADERS).await.ends_stream());
        assert_eq!(baton.wait_for_requests(1).await[0]["status"], 400);
    });
}

#[test]
fn a_response_with_white_space_around_a_value_is_malformed() {
    run(async {
        let handler = |mut exchange: Exchange| async move {
            let padded = HeaderValue::from_bytes(b" a").expect("http accepts it");
            let head = Response::builder().header("x-padded", padded).body(()).expect("a head");
            if let Some(mut stream) = exchange.start_with(head) {
                exchange.send(&mut stream, Bytes::new(), true).await;
            }
        };
        let backend = Backend::start(Behaviour::default(), handler).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let answer = Http2::connect(baton.address).await.get("/").await.expect("an answer");
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        let line = &baton.wait_for_requests(1).await[0];
        assert_eq!(line["attempt_list"][0]["failure"], "malformed", "{line}");
    });
}

/// Some servers and clients fill frames of 1 KiB. `h2` accepts only 5 CONTINUATION frames.
#[test]
fn a_head_in_many_small_frames_is_a_head() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut client = RawClient::connect(baton.address).await;
        let value = "v".repeat(1000);
        let names: Vec<String> = (0..12).map(|number| format!("x-{number}")).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*value)).collect();
        let block = block("GET", &fields);
        let pieces: Vec<&[u8]> = block.chunks(1024).collect();
        assert!(pieces.len() > 10);
        let mut frames = frame(kind::HEADERS, flag::END_STREAM, 1, pieces[0]);
        for (place, piece) in pieces.iter().enumerate().skip(1) {
            let flags = if place + 1 == pieces.len() { flag::END_HEADERS } else { 0 };
            frames.extend(frame(kind::CONTINUATION, flags, 1, piece));
        }
        client.write(&frames).await;
        assert!(client.next_of(kind::HEADERS).await.payload.len() > 1, "a response");
        backend.seen(|seen| assert_eq!(seen.heads[0].headers()["x-11"], value));
        assert!(client.get(3).await.is_some(), "the connection goes on");
    });
}

/// Sends a head and then 1 MiB without reading meanwhile. Returns the response.
async fn uploaded(baton: &Baton, path: &str) -> String {
    let mut tcp = connect(baton.address).await;
    let body = vec![b'x'; 1 << 20];
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    within("sending", tcp.write_all(head.as_bytes())).await.expect("Baton reads");
    within("sending", tcp.write_all(&body)).await.expect("Baton reads on");
    let mut response = Vec::new();
    within("the response", tcp.read_to_end(&mut response)).await.expect("no reset");
    String::from_utf8(response).expect("text")
}

/// RFC 9112, 9.6: the client sends all before it reads, and sees the response although that came
/// early.
#[test]
fn an_early_response_reaches_a_client_that_still_sends() {
    run(async {
        // It does not read the body.
        let handler = |mut exchange: Exchange| async move {
            let Some(mut stream) = exchange.start(413) else { return };
            exchange.send(&mut stream, Bytes::from_static(b"too large"), true).await;
        };
        let backend = Backend::start(Behaviour::default(), handler).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        for _ in 0..10 {
            let response = uploaded(&baton, "/").await;
            assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
            assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
            assert!(response.contains("too large"), "{response}");
        }
        // Baton's own responses, too.
        let response = uploaded(&baton, "http://user@a/").await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
        assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    });
}
