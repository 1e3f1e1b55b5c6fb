//! Tests HTTP/2 requests whose parts could change meaning in HTTP/1.1.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;

use crate::support::client::{connect, head};
use crate::support::http1::{Http1Backend, Reached};
use crate::support::raw::kind;
use crate::support::raw_client::{RawClient, block, frame, literal};
use crate::support::{Backend, Baton, Http2};
use crate::system::run;

/// An HTTP/1.1 backend, with the hosts and targets of the requests it received.
async fn started() -> (Http1Backend, Arc<Mutex<Vec<String>>>, Baton) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let backend = Http1Backend::start(Reached::Cleartext, move |request: Request<Incoming>| {
        let host = request.headers()["host"].to_str().expect("ASCII").to_owned();
        noted.lock().expect("the lock is not poisoned").push(format!("{host} {}", request.uri()));
        async move {
            // A truncated body is answered with `cut`.
            let body = request.into_body().collect().await.map(|body| body.to_bytes());
            Response::new(Full::new(body.unwrap_or_else(|_| Bytes::from_static(b"cut"))))
        }
    })
    .await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    (backend, seen, baton)
}

/// The header block of a request with these pseudo-header fields and this host.
fn request(authority: &str, path: &str, host: Option<&str>) -> Vec<u8> {
    let mut block = literal(":method", "GET");
    block.push(0x86);
    block.extend(literal(":path", path));
    if !authority.is_empty() {
        block.extend(literal(":authority", authority));
    }
    block.extend(host.map(|host| literal("host", host)).unwrap_or_default());
    block
}

/// Sends a header block. Returns the kind and payload of the frame that answers it.
async fn sent(baton: &Baton, block: &[u8]) -> (u8, Vec<u8>) {
    let mut client = RawClient::connect(baton.address).await;
    client.write(&frame(kind::HEADERS, 0x5, 1, block)).await;
    loop {
        let Some(frame) = client.next().await else { return (kind::GOAWAY, Vec::new()) };
        if frame.stream == 1 || frame.kind == kind::GOAWAY {
            return (frame.kind, frame.payload);
        }
    }
}

#[test]
fn names_and_values_cannot_split_a_message() {
    run(async {
        let (_backend, seen, baton) = started().await;
        let get = |name: &str, value: &str| block("GET", &[(name, value)]);
        for wrong in [
            get("x", "a\r\nsmuggled: 1"),
            get("x", "a\n\nGET /smuggled HTTP/1.1"),
            get("x", "a\0b"),
            get("x\r\nsmuggled", "1"),
            get("x: 1\r\nsmuggled", "1"),
            get("x:y", "1"),
            get("x\0", "1"),
            get("x y", "1"),
            get("X-Upper", "1"),
            get("", "1"),
            get("connection", "close"),
            get("keep-alive", "timeout=1"),
            get("proxy-connection", "close"),
            get("transfer-encoding", "chunked"),
            get("upgrade", "websocket"),
            get("te", "gzip"),
            get(":late", "1"),
            get(":path", "/twice"),
            get("content-length", "5"),
            get("content-length", "x"),
            request("front.test", "/a b", None),
            request("front.test", "/a\r\nx: y", None),
            request("front.test", "", None),
            request("front test", "/", None),
            request("front.test\r\nx: y", "/", None),
            literal(":method", "GET"),
        ] {
            let shown = String::from_utf8_lossy(&wrong).into_owned();
            let (answered, _) = sent(&baton, &wrong).await;
            assert!([kind::RST_STREAM, kind::GOAWAY].contains(&answered), "{shown:?}: {answered}");
        }
        assert_eq!(*seen.lock().expect("the lock is not poisoned"), Vec::<String>::new());
        let client = Http2::connect(baton.address).await;
        assert_eq!(client.get("/").await.expect("it is answered").status, 200);
    });
}

#[test]
fn there_is_exactly_one_authority_and_one_path() {
    run(async {
        let (_backend, seen, baton) = started().await;
        for (wrong, why) in [
            (request("front.test", "/", Some("other.test")), ":authority and Host disagree"),
            (request("front.test", "/", Some("front.test:81")), ":authority and Host disagree"),
            (request("user@front.test", "/", None), "user information in the authority"),
            (request("", "/", Some("user:word@front.test")), "user information in the authority"),
            (request("front.test", "http://other.test/", None), "the target is not a path"),
            (request("front.test", "smuggled", None), "the target is not a path"),
            (request("front.test", "*", None), "the target is not a path"),
            (request("", "/", None), "no authority"),
        ] {
            let (answered, payload) = sent(&baton, &wrong).await;
            // `:status: 400` from the static table, or h2 rejected it first.
            let refused = answered == kind::RST_STREAM || payload[0] == 0x8c;
            assert!(refused, "{why}: {answered} {payload:?}");
        }
        assert_eq!(*seen.lock().expect("the lock is not poisoned"), Vec::<String>::new());
        for right in [
            request("front.test", "/", Some("FRONT.test")),
            request("front.test", "/", None),
            request("", "/", Some("front.test")),
        ] {
            let (answered, payload) = sent(&baton, &right).await;
            assert_eq!((answered, payload[0]), (kind::HEADERS, 0x88), "200");
        }
        assert_eq!(*seen.lock().expect("the lock is not poisoned"), ["front.test /"; 3]);
        // In HTTP/1.1, only CONNECT may have an authority as its target.
        let mut tcp = connect(baton.address).await;
        let alone = b"GET other.test:80 HTTP/1.1\r\nhost: front.test\r\nconnection: close\r\n\r\n";
        tcp.write_all(alone).await.expect("Baton reads");
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut tcp, &mut answer).await.expect("no reset");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

/// A body that differs from its Content-Length never makes a complete message, in either direction.
#[test]
fn content_that_differs_from_the_announced_length() {
    run(async {
        let (_backend, seen, baton) = started().await;
        for content in [&b"abcdefg"[..], b"abc"] {
            let mut client = RawClient::connect(baton.address).await;
            let head = block("POST", &[("content-length", "5")]);
            client.write(&frame(kind::HEADERS, 0x4, 1, &head)).await;
            client.write(&frame(kind::DATA, 0x1, 1, content)).await;
            let reset = client.next_of(kind::RST_STREAM).await;
            assert_eq!(
                (reset.stream, &reset.payload[..]),
                (1, &[0, 0, 0, 1][..]),
                "PROTOCOL_ERROR"
            );
        }
        let targets = seen.lock().expect("the lock is not poisoned").len();
        assert!(targets <= 2, "no body became a second request: {targets}");
        let backend =
            Backend::start(crate::support::Behaviour::default(), |mut exchange| async move {
                let head = Response::builder().header("content-length", "50").body(());
                let Some(mut stream) = exchange.start_with(head.expect("a valid head")) else {
                    return;
                };
                exchange.send(&mut stream, Bytes::from_static(b"short"), true).await;
            })
            .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let answer = client.send(head(Method::POST, "/", "short"), "short").await;
        assert!(answer.is_err(), "the response is cut short: {answer:?}");
    });
}
