//! Tests backends that only speak HTTP/1.1.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::head;
use crate::support::http1::{Http1Backend, Reached};
use crate::support::{Baton, Http1, Http2, run_load, unique_id};
use crate::system::{TcpListener, run, spawn};

async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let version = format!("{:?}", request.version());
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let head = Response::builder().header("x-version", version);
    head.body(Full::new(body)).expect("a valid head")
}

async fn echoes_over_http1(reached: Reached) {
    let backend = Http1Backend::start(reached, echo).await;
    let baton = Baton::start(&[backend.url()], &["--queue-timeout", "25s"]).await;
    let client = Arc::new(Http2::connect(baton.address).await);
    run_load(300, 40, move |_| {
        let client = Arc::clone(&client);
        async move {
            let id = unique_id();
            let answer = client.send(head(Method::POST, "/", &id), id.clone()).await;
            let answer = answer.expect("it is answered");
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, id.as_bytes()));
            assert_eq!(answer.header("x-version"), "HTTP/1.1");
        }
    })
    .await;
    let connections = backend.connections();
    assert!(connections <= 16, "connections are limited and reused: {connections}");
    let mut client = Http1::connect(baton.address).await;
    for _ in 0..3 {
        let answer = client.send(head(Method::PUT, "/", "http1"), "whole body").await;
        assert_eq!(answer.expect("it is answered").body, "whole body");
    }
    assert_eq!(backend.connections(), connections, "kept alive");
    let lines = baton.wait_for_lines("connected", 1).await;
    assert!(lines.iter().all(|line| line["protocol"] == "HTTP/1.1"), "{lines:?}");
}

#[test]
fn http1_only_tls_backend_serves_concurrent_requests() {
    run(async {
        echoes_over_http1(Reached::TlsWithAlpn).await;
    });
}

#[test]
fn tls_backend_without_alpn_gets_http1() {
    run(async {
        echoes_over_http1(Reached::TlsWithoutAlpn).await;
    });
}

#[test]
fn cleartext_http1_backend_serves_concurrent_requests() {
    run(async {
        echoes_over_http1(Reached::Cleartext).await;
    });
}

/// `Connection: close` on a response: the next request uses a new connection.
#[test]
fn http1_backend_that_closes_each_connection_loses_no_request() {
    run(async {
        let closing = |request| async {
            let mut response = echo(request).await;
            response.headers_mut().insert("connection", "close".parse().expect("valid"));
            response
        };
        let backend = Http1Backend::start(Reached::TlsWithAlpn, closing).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..10 {
            let id = unique_id();
            let answer = client.send(head(Method::POST, "/", &id), id.clone()).await;
            let answer = answer.expect("it is answered");
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, id.as_bytes()));
            assert!(answer.headers.get("connection").is_none(), "never passed to HTTP/2");
        }
        assert_eq!(backend.connections(), 10);
    });
}

/// Split HTTP/2 cookies are joined for HTTP/1.1; hop-by-hop fields are removed.
#[test]
fn http1_backend_sees_http1_fields() {
    run(async {
        let look = |request: Request<Incoming>| async move {
            let fields = request.headers();
            assert_eq!(request.uri(), "/path?query", "the origin form");
            assert_eq!(fields["host"], "front.test");
            assert_eq!(fields.get_all("cookie").iter().count(), 1, "RFC 9113, 8.2.3");
            assert_eq!(fields["cookie"], "a=1; b=2; c=3");
            let mut response = Response::new(Full::new(Bytes::from_static(b"seen")));
            for (name, value) in
                [("connection", "x-internal"), ("x-internal", "1"), ("keep-alive", "timeout=5")]
            {
                response.headers_mut().insert(name, value.parse().expect("valid"));
            }
            response
        };
        let backend = Http1Backend::start(Reached::TlsWithAlpn, look).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut head = head(Method::GET, "/path?query", "cookies");
        for cookie in ["a=1", "b=2", "c=3"] {
            head.headers_mut().append("cookie", cookie.parse().expect("valid"));
        }
        let client = Http2::connect(baton.address).await;
        let answer = client.send(head, "").await.expect("it is answered");
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"seen"[..]));
        for removed in ["connection", "x-internal", "keep-alive"] {
            assert!(answer.headers.get(removed).is_none(), "{removed} is removed");
        }
    });
}

/// A backend that answers every request with these bytes, then closes if `closes`.
async fn scripted(answer: &'static [u8], closes: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    if stream.write_all(answer).await.is_err() || closes {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// RFC 9112, 6.3: a length beside a transfer coding may be a smuggling attempt.
#[test]
fn a_length_beside_a_transfer_coding_is_a_bad_gateway() {
    run(async {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
            a\r\n0123456789\r\n0\r\n\r\n";
        let backend = scripted(answer, true).await;
        let baton = Baton::start(&[backend], &[]).await;
        let mut client = Http1::connect(baton.address).await;
        let answer = client.send(head(Method::GET, "/", "both"), "").await.expect("it is answered");
        assert_eq!(answer.status, 502);
    });
}

#[test]
fn an_unsolicited_protocol_switch_is_a_bad_gateway() {
    run(async {
        let backend =
            scripted(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", true).await;
        let baton = Baton::start(&[backend], &[]).await;
        let client = Http2::connect(baton.address).await;
        let answer =
            client.send(head(Method::POST, "/", "switch"), "").await.expect("it is answered");
        assert_eq!(answer.status.as_u16(), 502);
    });
}

/// A backend that closes after each complete answer is healthy.
#[test]
fn a_backend_that_closes_after_each_whole_answer_stays_in_use() {
    run(async {
        let closing = scripted(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nclosing", true).await;
        let staying = scripted(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nstaying", false).await;
        let baton = Baton::start(&[closing, staying], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        for _ in 0..6 {
            let wave = (0..10).map(|_| {
                let client = Arc::clone(&client);
                spawn(async move {
                    let answer = client.send(head(Method::GET, "/", "wave"), "").await;
                    answer.expect("it is answered").body
                })
            });
            for answer in wave.collect::<Vec<_>>() {
                let body = answer.await.expect("the client does not panic");
                assert!(body == "closing" || body == "staying", "{body:?}");
            }
        }
        let mut closing_served = false;
        for _ in 0..50 {
            let answer = client.send(head(Method::GET, "/", "after"), "").await;
            closing_served |= answer.expect("it is answered").body == "closing";
        }
        assert!(closing_served, "it was not ejected");
    });
}
