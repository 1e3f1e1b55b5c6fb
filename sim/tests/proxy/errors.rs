//! Tests the errors that clients get when no backend answers: 502, 503 or 504, with `Proxy-Status`
//! (RFC 9209).

use std::sync::Arc;

use h2::Reason;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{connect, head};
use crate::support::{
    Answer, Backend, Baton, Behaviour, Exchange, Http1, Http2, unique_id, within,
};
use crate::system::run;

/// RFC 9209, 2.3: the error types that Baton may use.
const ERROR_TYPES: [&str; 14] = [
    "destination_unavailable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_timeout",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
];

fn is_error(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    let value = answer.header("proxy-status");
    let rest = value.strip_prefix("baton; error=").unwrap_or_else(|| panic!("{value:?}"));
    let (error, details) = rest.split_once("; details=\"").expect("there are details");
    assert!(ERROR_TYPES.contains(&error), "{error} is not an error type of RFC 9209");
    assert!(details.ends_with('"') && details.len() > 5, "{details}");
    let body = std::str::from_utf8(&answer.body).expect("text");
    assert!(body.ends_with('\n') && body.lines().count() == 1, "one line: {body:?}");
}

async fn hang(exchange: Exchange) {
    exchange.wait_for_reset().await;
}

#[test]
fn no_connection_within_the_queue_deadline_is_a_503() {
    run(async {
        let mut backend = Backend::healthy().await;
        backend.stop().await;
        let baton = Baton::start(&[backend.url()], &["--queue-timeout", "300ms"]).await;
        let over_http2 = Http2::connect(baton.address).await.get("/").await;
        is_error(&over_http2.expect("an answer of Baton's own"), 503);
        let over_http1 = Http1::connect(baton.address).await.get("/").await;
        is_error(&over_http1.expect("an answer of Baton's own"), 503);
        for line in baton.wait_for_requests(2).await {
            assert_eq!((&line["outcome"], &line["backend"]), (&"rejected".into(), &"-".into()));
            assert_eq!((&line["attempts"], &line["status"]), (&0.into(), &503.into()), "{line}");
        }
    });
}

#[test]
fn no_response_head_within_its_deadline_is_a_504() {
    run(async {
        let backend = Backend::start(Behaviour::default(), hang).await;
        let baton = Baton::start(&[backend.url()], &["--response-timeout", "300ms"]).await;
        let client = Http2::connect(baton.address).await;
        is_error(&client.get("/").await.expect("an answer of Baton's own"), 504);
        backend.wait_until("the stream was reset", |seen| seen.resets == [Reason::CANCEL]).await;
        let line = baton.wait_for_requests(1).await.remove(0);
        assert_eq!(
            (&line["outcome"], &line["status"]),
            (&"rejected".into(), &504.into()),
            "{line}"
        );
    });
}

/// A POST reset by the backend with an error may have been executed: 502, no retry.
#[test]
fn a_post_that_is_reset_is_a_502() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |mut exchange| async move {
            if exchange.read().await.is_ok() {
                exchange.execute();
                exchange.reset(Reason::INTERNAL_ERROR);
            }
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let answer = client.send(head(Method::POST, "/", "reset"), "reset").await;
        is_error(&answer.expect("an answer of Baton's own"), 502);
        assert_eq!(backend.seen(|seen| seen.executed["reset"]), 1);
        let line = baton.wait_for_requests(1).await.remove(0);
        assert_eq!(
            (&line["evidence"], &line["attempts"]),
            (&"unknown".into(), &1.into()),
            "{line}"
        );
    });
}

/// A GET is retried, up to three attempts in total.
#[test]
fn a_get_that_is_reset_is_a_502_after_three_attempts() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async move {
            exchange.reset(Reason::INTERNAL_ERROR);
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        is_error(&client.get("/").await.expect("an answer of Baton's own"), 502);
        assert_eq!(backend.seen(|seen| seen.heads.len()), 3);
    });
}

#[test]
fn a_full_table_of_requests_is_a_503_at_once() {
    run(async {
        let backend = Backend::start(Behaviour::default(), hang).await;
        let flags = ["--max-requests", "4", "--max-waiting", "4"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let mut held = Vec::new();
        for _ in 0..4 {
            let head = head(Method::GET, "/", &unique_id());
            held.push(client.begin(head, true).await.expect("the connection lives"));
        }
        backend.wait_until("all are in flight", |seen| seen.open() == 4).await;
        is_error(&client.get("/").await.expect("an answer of Baton's own"), 503);
        assert_eq!(backend.seen(|seen| seen.heads.len()), 4, "no backend receives it");
    });
}

#[test]
fn a_full_queue_is_a_503_at_once() {
    run(async {
        let behaviour = Behaviour { max_streams: Some(1), ..Behaviour::default() };
        let backend = Backend::start(behaviour, hang).await;
        let flags = ["--max-connections", "1", "--max-waiting", "2", "--queue-timeout", "1h"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let mut held = Vec::new();
        for count in 0..3 {
            let head = head(Method::GET, "/", &unique_id());
            held.push(client.begin(head, true).await.expect("the connection lives"));
            if count == 0 {
                backend.wait_until("it has the stream", |seen| seen.open() == 1).await;
            }
        }
        // HTTP/2 delivers in order: this request arrives after the other three.
        let answer = within("the refusal", client.get("/")).await;
        is_error(&answer.expect("an answer of Baton's own"), 503);
    });
}

/// The error response of a HEAD request has no body.
#[test]
fn the_error_of_a_head_request_has_no_body() {
    run(async {
        let backend = Backend::start(Behaviour::default(), hang).await;
        let baton = Baton::start(&[backend.url()], &["--response-timeout", "100ms"]).await;
        let mut client = Http1::connect(baton.address).await;
        for _ in 0..2 {
            let answer = client
                .send(head(Method::HEAD, "/", "head"), "")
                .await
                .expect("HTTP/1.1 is in sync");
            assert_eq!((answer.status.as_u16(), answer.body.len()), (504, 0));
            assert!(answer.header("proxy-status").starts_with("baton; error="));
        }
    });
}

/// A refused request whose body has already arrived does not close the connection.
#[test]
fn a_refused_request_with_a_complete_body_keeps_its_connection() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut client = connect(baton.address).await;
        let bodies = [
            "Content-Length: 3\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ];
        for body in bodies {
            let refused = format!("POST * HTTP/1.1\r\nHost: front.test\r\n{body}");
            within("sending", client.write_all(refused.as_bytes())).await.expect("Baton reads");
            let mut answer = Vec::new();
            while !answer.ends_with(b"\n") || !answer.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = within("reading", client.read_buf(&mut answer)).await.expect("no reset");
                assert_ne!(read, 0, "the connection is open");
            }
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert!(!answer.to_lowercase().contains("connection: close"), "{answer}");
        }
        let lines = baton.wait_for_requests(2).await;
        assert_eq!(lines.len(), 2, "one line each");
    });
}
