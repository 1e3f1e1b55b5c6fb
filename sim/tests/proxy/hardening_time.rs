//! Tests clients that are too slow, and clients that only seem to be.

use std::time::Duration;

use baton::proxy::client_limits::ClientLimits;
use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::certificate::certificate;
use crate::support::client::{connect, head};
use crate::support::raw::kind;
use crate::support::raw_client::{CALM, PREFACE, RawClient, block, frame, get};
use crate::support::{Backend, Behaviour, Exchange, Http1, Http2, Limited, eventually, within};
use crate::system::{TcpStream, elapsed, run};

const SHORT: Duration = Duration::from_millis(300);

async fn with(change: impl FnOnce(&mut ClientLimits)) -> (Backend, Limited) {
    let backend = Backend::healthy().await;
    let baton = Limited::start(&[backend.url()], &[], change).await;
    (backend, baton)
}

/// Reads everything until Baton closes.
async fn rest(tcp: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    within("the end", tcp.read_to_end(&mut bytes)).await.expect("no reset");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_tls_handshake_that_never_ends() {
    run(async {
        let backend = Backend::healthy().await;
        let (certificate, key) = certificate();
        let flags = ["--tls-cert", certificate, "--tls-key", key];
        let shorten = |limits: &mut ClientLimits| limits.tls_handshake_timeout = SHORT;
        let baton = Limited::start(&[backend.url()], &flags, shorten).await;
        let mut tcp = connect(baton.address).await;
        let client = tcp.local_addr().expect("it is connected");
        tcp.write_all(&[0x16, 0x03, 0x01]).await.expect("Baton reads");
        assert_eq!(rest(&mut tcp).await, "");
        baton.refusal(client, "tls_handshake_timeout").await;
        // A client without TLS is counted, and not logged.
        let mut tcp = connect(baton.address).await;
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: front.test\r\n\r\n").await.expect("Baton reads");
        let mut alert = Vec::new();
        within("the end", tcp.read_to_end(&mut alert)).await.expect("no reset");
        assert_eq!(alert.first(), Some(&0x15), "a TLS alert: {alert:?}");
        baton.hits("tls_handshake").await;
    });
}

#[test]
fn a_connection_without_a_complete_head() {
    run(async {
        let (_backend, baton) = with(|limits| limits.head_timeout = SHORT).await;
        for hello in ["", "P", "PRI * HTTP/2.0\r\n"] {
            let mut tcp = connect(baton.address).await;
            let client = tcp.local_addr().expect("it is connected");
            tcp.write_all(hello.as_bytes()).await.expect("Baton reads");
            assert_eq!(rest(&mut tcp).await, "", "{hello:?}");
            baton.refusal(client, "head_timeout").await;
        }
    });
}

/// A head must be complete in time, even if its bytes keep arriving; this holds for later heads
/// too.
#[test]
fn a_head_that_trickles_in_is_a_408() {
    run(async {
        let (backend, baton) = with(|limits| limits.head_timeout = SHORT).await;
        for before in ["", "GET /whole HTTP/1.1\r\nhost: front.test\r\n\r\n"] {
            let mut tcp = connect(baton.address).await;
            let client = tcp.local_addr().expect("it is connected");
            tcp.write_all(before.as_bytes()).await.expect("Baton reads");
            let (mut reader, mut writer) = tokio::io::split(tcp);
            let trickle = async {
                let head = b"GET /trickled HTTP/1.1\r\nhost: front.test\r\nx: ".iter();
                for byte in head.chain(std::iter::repeat(&b'x')) {
                    if writer.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                std::future::pending::<()>().await;
            };
            let mut answer = Vec::new();
            tokio::select! {
                biased;
                read = within("the end", reader.read_to_end(&mut answer)) => {
                    read.expect("no reset");
                }
                () = trickle => {}
            }
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let last = answer.rfind("HTTP/1.1 ").expect("an answer");
            assert!(answer[last..].starts_with("HTTP/1.1 408 "), "{answer}");
            let line = baton.refusal(client, "head_timeout").await;
            assert_eq!(line["status"], 408);
        }
        let seen = backend.seen(|seen| seen.heads.len());
        assert_eq!(seen, 1, "only the whole one was a request");
    });
}

/// The head timeout does not run while a response is due: a pipelined head may wait.
#[test]
fn a_pipelined_head_waits_for_the_response_before_it() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async {
            tokio::time::sleep(SHORT * 3).await;
            exchange.answer(200, "slow").await;
        })
        .await;
        let shorten = |limits: &mut ClientLimits| {
            limits.head_timeout = SHORT;
            limits.http1_idle_timeout = SHORT;
        };
        let baton = Limited::start(&[backend.url()], &[], shorten).await;
        let mut tcp = connect(baton.address).await;
        let one = "GET /one HTTP/1.1\r\nhost: front.test\r\n\r\nGET /two HTTP/1.1\r\nho";
        tcp.write_all(one.as_bytes()).await.expect("Baton reads");
        let mut answer = Vec::new();
        // Without a content-length the body arrives in chunks.
        while !answer.ends_with(b"slow\r\n0\r\n\r\n") {
            assert_ne!(within("more", tcp.read_buf(&mut answer)).await.expect("no reset"), 0);
        }
        tcp.write_all(b"st: front.test\r\nconnection: close\r\n\r\n").await.expect("Baton reads");
        let answer = rest(&mut tcp).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("slow"), "{answer}");
    });
}

#[test]
fn an_idle_http1_connection_is_closed_without_an_error() {
    run(async {
        let (_backend, baton) = with(|limits| limits.http1_idle_timeout = SHORT).await;
        let mut tcp = connect(baton.address).await;
        let client = tcp.local_addr().expect("it is connected");
        let request = "GET / HTTP/1.1\r\nhost: front.test\r\n\r\n";
        tcp.write_all(request.as_bytes()).await.expect("Baton reads");
        let answer = rest(&mut tcp).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let lines = baton.about(client);
        assert!(lines.iter().all(|line| line["message"] == "request"), "{lines:?}");
        baton.hits("idle_timeout").await;
    });
}

#[test]
fn an_idle_http2_connection_gets_goaway() {
    run(async {
        let (_backend, baton) = with(|limits| limits.http2_idle_timeout = SHORT).await;
        let client = Http2::connect(baton.address).await;
        assert_eq!(client.get("/").await.expect("it is answered").status, 200);
        let ended = within("Baton closes", client.closed).await.expect("it does not panic");
        assert!(ended.is_ok(), "GOAWAY(NO_ERROR), and then the end: {ended:?}");
        // A client that does not acknowledge the GOAWAY is closed too.
        let mut raw = RawClient::connect(baton.address).await;
        let frames = raw.all().await;
        let last = frames.iter().rfind(|frame| frame.kind == kind::GOAWAY).expect("a GOAWAY");
        assert_eq!(last.payload[4..8], [0; 4], "NO_ERROR");
        baton.hits("idle_timeout").await;
    });
}

/// A connection with an open stream is not idle, however long it is silent.
#[test]
fn a_connection_with_a_stream_open_is_not_idle() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async {
            tokio::time::sleep(SHORT * 4).await;
            exchange.answer(200, "slow").await;
        })
        .await;
        let shorten = |limits: &mut ClientLimits| {
            limits.http1_idle_timeout = SHORT;
            limits.http2_idle_timeout = SHORT;
            limits.keepalive_interval = SHORT;
            limits.keepalive_timeout = SHORT;
        };
        let baton = Limited::start(&[backend.url()], &[], shorten).await;
        let http2 = Http2::connect(baton.address).await;
        let mut http1 = Http1::connect(baton.address).await;
        let (one, two) = tokio::join!(http2.get("/"), http1.get("/"));
        assert_eq!(one.expect("it is answered").body, "slow");
        assert_eq!(two.expect("it is answered").body, "slow");
    });
}

#[test]
fn a_preface_without_settings() {
    run(async {
        let (_backend, baton) = with(|limits| limits.head_timeout = SHORT).await;
        let mut client = RawClient::silent(baton.address).await;
        client.write(PREFACE).await;
        let (last, code) = client.goaway_code().await;
        assert_eq!((last, code), (0, 0x4), "SETTINGS_TIMEOUT");
        baton.refusal(client.address, "head_timeout").await;
    });
}

/// The block lacks a CONTINUATION, or the rest of its own bytes.
#[test]
fn a_header_block_that_is_never_finished() {
    run(async {
        let (_backend, baton) = with(|limits| limits.head_timeout = SHORT).await;
        let whole = get(3);
        for wrong in [&frame(kind::HEADERS, 0x1, 3, &block("GET", &[])), &whole[..whole.len() - 1]]
        {
            let mut client = RawClient::connect(baton.address).await;
            client.get(1).await.expect("it is answered");
            client.write(wrong).await;
            assert_eq!(client.goaway_code().await, (3, CALM));
            baton.refusal(client.address, "head_timeout").await;
        }
    });
}

/// A dead client does not hold its streams forever.
#[test]
fn an_http2_client_that_does_not_answer_ping() {
    run(async {
        let backend = Backend::start(Behaviour::default(), Exchange::begin_and_hang).await;
        let shorten = |limits: &mut ClientLimits| {
            limits.keepalive_interval = SHORT;
            limits.keepalive_timeout = SHORT;
        };
        let baton = Limited::start(&[backend.url()], &[], shorten).await;
        let mut dead = RawClient::connect(baton.address).await;
        dead.write(&get(1)).await;
        dead.next_of(kind::PING).await;
        dead.all().await;
        baton.refusal(dead.address, "keepalive_timeout").await;
        backend.wait_until("its stream is reset", |seen| seen.resets.len() == 1).await;
        // A client that answers keeps its stream.
        let alive = Http2::connect(baton.address).await;
        let (response, _stream) =
            alive.begin(head(Method::GET, "/", "alive"), true).await.expect("the connection lives");
        let mut body = within("the head", response).await.expect("a response").into_body();
        assert_eq!(within("data", body.data()).await.expect("data").expect("data"), "begun");
        let until = elapsed() + SHORT * 6;
        while elapsed() < until {
            alive.ping().await;
            tokio::time::sleep(SHORT / 3).await;
        }
        assert_eq!(backend.seen(|seen| seen.resets.len()), 1, "the other stream continues");
    });
}

async fn large(mut exchange: Exchange) {
    let Some(mut stream) = exchange.start(200) else { return };
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..64 {
        if !exchange.send(&mut stream, piece.clone(), false).await {
            return;
        }
    }
    exchange.send(&mut stream, piece, true).await;
}

#[test]
fn a_client_that_does_not_read_its_response() {
    run(async {
        let backend = Backend::start(Behaviour::default(), large).await;
        let shorten = |limits: &mut ClientLimits| limits.write_stall_timeout = SHORT;
        let baton = Limited::start(&[backend.url()], &[], shorten).await;
        let mut tcp = connect(baton.address).await;
        let http1 = tcp.local_addr().expect("it is connected");
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: front.test\r\n\r\n").await.expect("Baton reads");
        baton.refusal(http1, "write_stall").await;
        // The same over HTTP/2: the windows are wide open, and the client does not read.
        let mut tcp = connect(baton.address).await;
        let http2 = tcp.local_addr().expect("it is connected");
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(kind::SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
        bytes.extend(frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]));
        bytes.extend(get(1));
        tcp.write_all(&bytes).await.expect("Baton reads");
        baton.refusal(http2, "write_stall").await;
        eventually("both streams are ended", || backend.seen(|seen| seen.open() == 0)).await;
    });
}

/// A slow reader is not a stalled one.
#[test]
fn a_slow_reader_is_not_disconnected() {
    run(async {
        let backend = Backend::start(Behaviour::default(), large).await;
        let stall = Duration::from_secs(1);
        let shorten = |limits: &mut ClientLimits| limits.write_stall_timeout = stall;
        let baton = Limited::start(&[backend.url()], &[], shorten).await;
        let mut tcp = connect(baton.address).await;
        let client = tcp.local_addr().expect("it is connected");
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: front.test\r\n\r\n").await.expect("Baton reads");
        let mut piece = vec![0; 256 * 1024];
        let until = elapsed() + stall * 3;
        while elapsed() < until {
            within("more", tcp.read_exact(&mut piece)).await.expect("it is not cut");
            tokio::time::sleep(stall / 20).await;
        }
        let lines = baton.about(client);
        assert!(lines.is_empty(), "{lines:?}");
    });
}

/// Baton may hold the end of a response long after the backend is done. A client that reads it
/// slowly is not idle, and the timeout of a pipelined head does not run yet.
#[test]
fn a_response_may_be_read_slowly_to_its_end() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |mut exchange| async move {
            let head = http::Response::builder().header("content-length", 4 << 20).body(());
            let Some(mut stream) = exchange.start_with(head.expect("a valid head")) else { return };
            exchange.send(&mut stream, vec![b'x'; 4 << 20].into(), true).await;
        })
        .await;
        let shorten = |limits: &mut ClientLimits| {
            limits.head_timeout = SHORT;
            limits.http1_idle_timeout = SHORT;
            limits.http2_idle_timeout = SHORT;
        };
        let baton = Limited::start(&[backend.url()], &[], shorten).await;
        let mut tcp = connect(baton.address).await;
        let two = "GET / HTTP/1.1\r\nhost: front.test\r\n\r\nGET / HT";
        tcp.write_all(two.as_bytes()).await.expect("Baton reads");
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
        loop {
            let near_end = bytes.len() > (4 << 20) - (384 << 10) && bytes.len() < 4 << 20;
            tokio::time::sleep(if near_end { SHORT / 2 } else { Duration::ZERO }).await;
            match within("more", tcp.read(&mut piece)).await.expect("it is not cut") {
                0 => break,
                length => bytes.extend_from_slice(&piece[..length]),
            }
        }
        let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        let end = body + (4 << 20);
        assert!(bytes[body..end].iter().all(|byte| *byte == b'x'), "the body is intact");
        assert!(bytes[end..].starts_with(b"HTTP/1.1 408 "), "a 408 for the incomplete head");
        // Over HTTP/2 the client's windows release it bit by bit.
        let client = Http2::connect(baton.address).await;
        let (response, _stream) =
            client.begin(head(Method::GET, "/", "slow"), true).await.expect("the connection lives");
        let mut body = within("the head", response).await.expect("a response").into_body();
        let (mut received, mut kept) = (0, 0);
        while let Some(piece) = within("more", body.data()).await {
            let length = piece.expect("it is not cut").len();
            received += length;
            kept += length;
            if received >= (4 << 20) - (256 << 10) {
                tokio::time::sleep(SHORT / 6).await;
            }
            if kept > 16 * 1024 {
                body.flow_control().release_capacity(kept).expect("it was received");
                kept = 0;
            }
        }
        assert_eq!(received, 4 << 20);
    });
}
