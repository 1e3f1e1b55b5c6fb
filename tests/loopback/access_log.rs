//! Tests the access log: one line for every request, whatever its outcome, and no injected lines.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::baton::message;
use crate::support::certificate::{certificate, scratch_file};
use crate::support::client::{connect, head, read_chunk};
use crate::support::http1::{Http1Backend, Reached};
use crate::support::{
    Backend, Baton, Behaviour, Exchange, Http1, Http2, eventually, run_load, unique_id, within,
};

/// Behaves according to the path.
async fn serve(mut exchange: Exchange) {
    let path = exchange.head.uri().path().to_owned();
    match path.as_str() {
        "/hang" => exchange.wait_for_reset().await,
        "/reset" => exchange.reset(Reason::INTERNAL_ERROR),
        "/cut" => {
            let Some(mut stream) = exchange.start(200) else { return };
            exchange.send(&mut stream, Bytes::from_static(b"begun"), false).await;
            // The client ends its request after receiving this.
            if exchange.read().await.is_err() {
                return;
            }
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        _ if exchange.head.method() == Method::HEAD => exchange.answer(200, "").await,
        _ => exchange.answer(200, "fine").await,
    }
}

/// Sends raw bytes and returns everything received until the other side closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = connect(address).await;
    // Baton may refuse the request before all of it is written.
    let _ = tcp.write_all(bytes).await;
    let mut answer = Vec::new();
    // A reset after the answer is fine.
    let _ = within("the end of the answer", tcp.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

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

/// Requests cut off by a second signal are logged too.
#[tokio::test]
async fn requests_cut_by_a_second_signal_are_logged() {
    let backend = Backend::start(Behaviour::default(), serve).await;
    let mut baton = Baton::start(&[backend.url()], &["--drain-timeout", "1h"]).await;
    let client = Http2::connect(baton.address).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let path = path_of("hang");
        held.push(client.begin(head(Method::GET, &path, &path), true).await.expect("it is open"));
    }
    backend.wait_until("all are in flight", |seen| seen.open() == 5).await;
    baton.terminate();
    baton.wait_for_log("draining", |line| message(line) == "draining").await;
    baton.terminate();
    assert_eq!(baton.exit().await.code(), Some(1));
    for line in baton.wait_for_requests(5).await {
        assert_eq!(
            (&line["ended_by"], &line["reason"]),
            (&"proxy".into(), &"shutting_down".into())
        );
    }
}

#[tokio::test]
async fn sighup_after_rotation_opens_a_new_file() {
    let backend = Backend::healthy().await;
    let (file, rotated) = (scratch_file("access.log"), scratch_file("access.log.1"));
    for left in [&file, &rotated] {
        // Removes the file of an earlier run.
        let _ = std::fs::remove_file(left);
    }
    let flags = ["--access-log-file", file.to_str().expect("UTF-8"), "--workers", "2"];
    let baton = Baton::start(&[backend.url()], &flags).await;
    let client = Http2::connect(baton.address).await;
    let paths = |file: &std::path::Path| -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("whole lines"));
        lines.map(|line: Value| line["path"].as_str().expect("text").to_owned()).collect()
    };
    client.get("/before").await.expect("answered");
    eventually("the line is written", || paths(&file) == ["/before"]).await;
    std::fs::rename(&file, &rotated).expect("the file exists");
    client.get("/between").await.expect("answered");
    eventually("the old file grows", || paths(&rotated) == ["/before", "/between"]).await;
    assert!(!file.exists());
    baton.hang_up();
    eventually("a new file", || file.exists()).await;
    client.get("/after").await.expect("answered");
    eventually("the new file grows", || paths(&file) == ["/after"]).await;
    assert_eq!(paths(&rotated), ["/before", "/between"]);
    assert!(baton.lines("request").is_empty(), "the access log is not on standard error");
}

/// A Baton whose standard error is read only until it listens.
struct Unread {
    child: Child,
    _stderr: BufReader<ChildStderr>,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Unread {
    fn start(backend: &str) -> Self {
        let authority = certificate().certificate_file.to_str().expect("UTF-8");
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command.args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--workers",
            "1",
        ]);
        command.args(["--backend", backend, "--ca", authority]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("cargo built the binary");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut addresses = BTreeMap::new();
        while addresses.len() < 2 {
            let mut line = String::new();
            stderr.read_line(&mut line).expect("the log names the address");
            let line: Value = serde_json::from_str(&line).expect("a JSON line");
            let address: SocketAddr = line["address"].as_str().expect("text").parse().expect("one");
            addresses.insert(message(&line).to_owned(), address);
        }
        let (address, admin) = (addresses["listening"], addresses["admin listening"]);
        Self { child, _stderr: stderr, address, admin }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Standard error is not read: requests are still answered, and dropped lines are counted.
#[tokio::test]
async fn an_unread_log_does_not_block_requests() {
    const REQUESTS: usize = 400;
    // HTTP/1.1 on both sides, where long paths are cheapest.
    let backend = Http1Backend::start(Reached::Cleartext, async |_request| {
        Response::new(Full::new(Bytes::from_static(b"fine")))
    });
    let mut baton = Unread::start(&backend.await.url());
    let mut client = Http1::connect(baton.address).await;
    // The queue holds 8 MiB, a pipe 64 KiB.
    for number in 0..REQUESTS {
        let path = format!("/{number}/{}", "x".repeat(30_000));
        assert_eq!(client.get(&path).await.expect("answered").status, 200);
    }
    let mut admin = Http1::connect(baton.admin).await;
    let metrics = admin.get("/metrics").await.expect("answered");
    let metrics = std::str::from_utf8(&metrics.body).expect("text");
    let metrics = crate::support::exposition::Exposition::parse(metrics);
    assert!(metrics.sum("baton_log_lines_dropped_total", &[("log", "access")]) > 50.0);
    let requests = metrics.sum("baton_requests_total", &[("outcome", "completed")]);
    assert_eq!(requests as usize, REQUESTS, "dropped requests are counted");
    let process = baton.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().expect("kill").success());
    let mut status = None;
    eventually("it ends", || {
        status = baton.child.try_wait().expect("it is our child");
        status.is_some()
    })
    .await;
    assert_eq!(status.expect("just seen").code(), Some(0));
}
