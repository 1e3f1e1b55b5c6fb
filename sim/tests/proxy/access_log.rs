//! Tests the access log: one line for every request, whatever its outcome, and no injected lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::baton::message;
use crate::support::client::{connect, head, read_chunk};
use crate::support::scripts::access_log::{raw, serve};
use crate::support::{Backend, Baton, Behaviour, Http1, Http2, run_load, unique_id, within};
use crate::system::run;

/// The expected outcome, status and ender of each path.
type Expected = BTreeMap<String, (&'static str, u64, &'static str)>;

fn expect(
    expected: &mut Expected,
    path: &str,
    outcome: &'static str,
    status: u64,
    by: &'static str,
) {
    assert!(expected.insert(path.to_owned(), (outcome, status, by)).is_none(), "{path} twice");
}

/// A unique path whose requests behave as `kind`.
fn path_of(kind: &str) -> String {
    format!("/{kind}?{}", unique_id())
}

/// Requests that complete or fail, over all versions of HTTP.
async fn ordinary(baton: &Baton, expected: &mut Expected) {
    let http2 = Arc::new(Http2::connect(baton.address).await);
    let mut paths = Vec::new();
    for (kind, outcome, status, by) in [
        ("ok", "completed", 200, "backend"),
        ("reset", "rejected", 502, "backend"),
        ("cut", "cut_short", 200, "backend"),
    ] {
        for _ in 0..10 {
            let path = path_of(kind);
            expect(expected, &path, outcome, status, by);
            paths.push(path);
        }
    }
    let total = paths.len();
    run_load(total, total, move |number| {
        let (client, path) = (Arc::clone(&http2), paths[number].clone());
        async move {
            let method = if path.starts_with("/reset") { Method::POST } else { Method::GET };
            let (response, mut body) =
                client.begin(head(method, &path, &path), false).await.expect("it is open");
            if !path.starts_with("/cut") {
                body.send_data(Bytes::new(), true).expect("the stream is open");
            }
            let mut response = within("a head", response).await.expect("a head").into_body();
            while let Ok(Some(_)) = read_chunk(&mut response).await {
                if path.starts_with("/cut") {
                    body.send_data(Bytes::new(), true).expect("the stream is open");
                }
            }
        }
    })
    .await;
    let mut http1 = Http1::connect(baton.address).await;
    for (method, body) in [(Method::GET, ""), (Method::HEAD, ""), (Method::PUT, "a body")] {
        let path = path_of("ok");
        expect(expected, &path, "completed", 200, "backend");
        http1.send(head(method, &path, &path), body).await.expect("answered");
    }
    let path = path_of("ok");
    expect(expected, &path, "completed", 200, "backend");
    let old = format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(raw(baton.address, old.as_bytes()).await.contains("fine"));
    let pipelined = [path_of("ok"), path_of("ok")];
    for path in &pipelined {
        expect(expected, path, "completed", 200, "backend");
    }
    let [first, second] = pipelined;
    let both = format!(
        "GET {first} HTTP/1.1\r\nHost: a\r\n\r\n\
         GET {second} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(raw(baton.address, both.as_bytes()).await.matches("fine").count(), 2);
}

/// Requests whose clients cancel.
async fn cancelled(backend: &Backend, baton: &Baton, expected: &mut Expected) {
    let client = Http2::connect(baton.address).await;
    let leaving = Http2::connect(baton.address).await;
    let before = backend.seen(|seen| seen.open());
    let mut held = Vec::new();
    for number in 0..10 {
        let path = path_of("hang");
        expect(expected, &path, "cancelled", 0, "client");
        let whose = if number < 5 { &client } else { &leaving };
        let begun = whose.begin(head(Method::GET, &path, &path), true).await;
        held.push(begun.expect("it is open"));
    }
    let path = path_of("hang");
    expect(expected, &path, "cancelled", 0, "client");
    let mut http1 = connect(baton.address).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    http1.write_all(request.as_bytes()).await.expect("Baton listens");
    backend.wait_until("all are in flight", |seen| seen.open() == before + 11).await;
    for (_, stream) in &mut held[..5] {
        stream.send_reset(Reason::CANCEL);
    }
    leaving.closed.abort();
    drop(http1);
    backend.wait_until("each was reset", |seen| seen.open() == before).await;
}

/// Requests that Baton answers itself, and heads that it cannot parse.
async fn refused(baton: &Baton, expected: &mut Expected) {
    let path = path_of("no-host");
    expect(expected, &path, "rejected", 400, "proxy");
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(raw(baton.address, request.as_bytes()).await.starts_with("HTTP/1.1 400 "));
    expect(expected, "", "rejected", 405, "proxy");
    let connect_request = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n";
    assert!(raw(baton.address, connect_request).await.starts_with("HTTP/1.1 405 "));
    for malformed in [
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET /\u{1}x HTTP/1.1\r\nHost: a\r\n\r\n",
        "\u{1}\u{2}\u{3} / HTTP/1.1\r\n\r\n",
    ] {
        let answer = raw(baton.address, malformed.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{malformed:?}: {answer:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let answer = raw(baton.address, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    let mut half = connect(baton.address).await;
    half.write_all(b"GET /half HTTP/1.1\r\nHo").await.expect("Baton listens");
    half.shutdown().await.expect("the connection is open");
    let mut rest = Vec::new();
    let _ = within("Baton closes", half.read_to_end(&mut rest)).await;
    // A connection without any bytes is no request.
    drop(connect(baton.address).await);
}

#[test]
fn every_request_is_logged_once() {
    run(async {
        let backend = Backend::start(Behaviour::default(), serve).await;
        let flags = ["--response-timeout", "25s", "--drain-timeout", "300ms"];
        let mut baton = Baton::start(&[backend.url()], &flags).await;
        let mut expected = Expected::new();
        ordinary(&baton, &mut expected).await;
        cancelled(&backend, &baton, &mut expected).await;
        refused(&baton, &mut expected).await;
        let client = Http2::connect(baton.address).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            let path = path_of("hang");
            expect(&mut expected, &path, "rejected", 503, "proxy");
            held.push(
                client.begin(head(Method::GET, &path, &path), true).await.expect("it is open"),
            );
        }
        backend.wait_until("three are in flight", |seen| seen.open() == 3).await;
        baton.terminate();
        assert_eq!(baton.exit().await, Some(0));
        baton.wait_for_log("stopped", |line| message(line) == "stopped").await;

        let mut lines = baton.lines("request");
        let unreadable: Vec<_> = lines.extract_if(.., |line| line["path"] == "-").collect();
        let mut seen = BTreeMap::new();
        for line in &lines {
            let path = line["path"].as_str().expect("text");
            let (outcome, status, by) = expected.get(path).unwrap_or_else(|| panic!("{line}"));
            let said = (&line["outcome"], &line["status"], &line["ended_by"]);
            assert_eq!(said, (&(*outcome).into(), &(*status).into(), &(*by).into()), "{line}");
            *seen.entry(path.to_owned()).or_insert(0) += 1;
            check_fields(line);
        }
        for path in expected.keys() {
            assert_eq!(seen.get(path), Some(&1), "{path}");
        }
        let mut reasons: Vec<_> = unreadable
            .iter()
            .map(|line| (line["reason"].as_str(), line["status"].as_u64()))
            .collect();
        reasons.sort_unstable();
        let malformed = (Some("malformed_head"), Some(400));
        let (half, long) = ((Some("incomplete_head"), Some(0)), (Some("head_bytes"), Some(431)));
        assert_eq!(reasons, [long, half, malformed, malformed, malformed]);
    });
}

/// Checks the fields of every line, and their consistency.
fn check_fields(line: &Value) {
    for field in ["timestamp", "method", "scheme", "authority", "protocol", "listener", "trace_id"]
    {
        assert!(line[field].as_str().is_some_and(|value| !value.is_empty()), "{field}: {line}");
    }
    let attempts = line["attempt_list"].as_array().expect("a list");
    assert_eq!(line["attempts"], attempts.len(), "{line}");
    let last = attempts.last();
    assert_eq!(line["connection"], last.map_or("-".into(), |last| last["connection"].clone()));
    if line["outcome"] == "completed" {
        let times = ["wait_ms", "upload_ms", "first_byte_ms", "total_ms"];
        let times = times.map(|time| line[time].as_f64().expect("a number"));
        assert!(times[0] <= times[1] && times[0] <= times[2] && times[2] <= times[3], "{line}");
        assert_eq!(line["response_bytes"], line["backend_response_bytes"], "{line}");
    }
}

/// Checks that each attempt is listed with its backend, stream and evidence.
#[test]
fn every_attempt_is_listed_with_its_evidence() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async move {
            match exchange.times_arrived() {
                1 => exchange.reset(Reason::REFUSED_STREAM),
                2 => exchange.reset(Reason::INTERNAL_ERROR),
                _ => exchange.answer(200, "third").await,
            }
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let answer =
            client.send(head(Method::PUT, "/", "attempts"), "body").await.expect("answered");
        assert_eq!(answer.body, "third");
        let line = baton.wait_for_requests(1).await.remove(0);
        let attempts = line["attempt_list"].as_array().expect("a list");
        let said: Vec<_> = attempts
            .iter()
            .map(|attempt| (attempt["evidence"].as_str(), attempt["failure"].as_str()))
            .collect();
        let expected = [
            (Some("refused"), Some("REFUSED_STREAM")),
            (Some("unknown"), Some("INTERNAL_ERROR")),
            (Some("-"), Some("-")),
        ];
        assert_eq!(said, expected, "{line}");
        assert!(attempts.iter().all(|attempt| attempt["backend"] == backend.url()), "{line}");
        let streams: Vec<_> = attempts.iter().map(|attempt| attempt["stream"].as_u64()).collect();
        assert_eq!(streams, [Some(1), Some(3), Some(5)], "{line}");
        assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&4.into(), &5.into()));
        // A backend may refuse before it has read the body.
        let sent = line["backend_request_bytes"].as_u64();
        assert!((Some(4)..=Some(12)).contains(&sent), "{line}");
    });
}

/// A GOAWAY ends an attempt before its stream is reported.
#[test]
fn an_attempt_above_the_last_id_of_a_goaway_is_unprocessed() {
    run(async {
        use crate::support::raw::{Bodies, RawBackend};
        let backend = RawBackend::start(100, |mut connection| async move {
            let mut bodies = Bodies::default();
            while let Some((stream, body)) = connection.request(&mut bodies).await {
                if connection.number == 0 {
                    connection.go_away(0, 0).await;
                } else {
                    connection.answer(stream, &body).await;
                }
            }
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let answer =
            client.send(head(Method::POST, "/", "goaway"), "body").await.expect("answered");
        assert_eq!(answer.body, "body");
        let line = baton.wait_for_requests(1).await.remove(0);
        assert_eq!(line["attempt_list"][0]["evidence"], "unprocessed", "{line}");
        assert_eq!(line["attempt_list"][1]["evidence"], "-", "{line}");
        assert_eq!((&line["attempts"], &line["evidence"]), (&2.into(), &"unprocessed".into()));
    });
}

#[test]
fn traces_are_forwarded_or_started_and_logged() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let send = async |context: Option<&str>| {
            let mut builder = Request::get("http://front.test/").header("tracestate", "vendor=1");
            if let Some(context) = context {
                builder = builder.header("traceparent", context);
            }
            let request = builder.body(()).expect("a valid head");
            assert_eq!(client.send(request, "").await.expect("answered").status, 200);
        };
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let invalid = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        for context in [Some(valid), Some(invalid), None] {
            send(context).await;
        }
        let lines = baton.wait_for_requests(3).await;
        let heads = backend.seen(|seen| seen.heads.clone());
        for (number, (line, head)) in lines.iter().zip(&heads).enumerate() {
            let parent = head.headers()["traceparent"].to_str().expect("ASCII");
            assert_eq!(line["trace_id"], parent[3..35], "{line}");
            assert_eq!(parent == valid, number == 0, "{parent}");
            assert_eq!(head.headers().contains_key("tracestate"), number == 0, "{head:?}");
            assert_eq!(parent.ends_with("-00"), number > 0, "a new trace is not sampled");
        }
        assert_ne!(lines[1]["trace_id"], lines[2]["trace_id"]);
    });
}
