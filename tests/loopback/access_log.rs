//! Tests the access log: one line for every request, whatever its outcome, and no injected lines.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use serde_json::Value;

use crate::support::baton::message;
use crate::support::certificate::{certificate, scratch_file};
use crate::support::client::head;
use crate::support::http1::{Http1Backend, Reached};
use crate::support::raw::{flag, kind};
use crate::support::raw_client::{RawClient, block, frame};
use crate::support::scripts::access_log::{raw, serve};
use crate::support::{Backend, Baton, Behaviour, Http1, Http2, eventually, unique_id};

/// A unique path whose requests behave as `kind`.
fn path_of(kind: &str) -> String {
    format!("/{kind}?{}", unique_id())
}

/// Requests cut off by a second signal are logged too.
#[tokio::test(flavor = "local")]
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
    assert_eq!(baton.exit().await, Some(1));
    for line in baton.wait_for_requests(5).await {
        assert_eq!(
            (&line["ended_by"], &line["reason"]),
            (&"proxy".into(), &"shutting_down".into())
        );
    }
}

/// A head over HTTP/2 of which the rest never comes has a line, however the connection ends.
#[tokio::test(flavor = "local")]
async fn half_a_head_over_http2_has_a_line() {
    let backend = Backend::healthy().await;
    let soon = ["--client-head-timeout", "300ms"];
    for (closes, reason) in [(true, "incomplete_head"), (false, "head_timeout")] {
        let flags = if closes { &[][..] } else { &soon };
        let baton = Baton::start(&[backend.url()], flags).await;
        let mut client = RawClient::connect(baton.address).await;
        client.next_of(kind::SETTINGS).await;
        client.write(&frame(kind::HEADERS, flag::END_STREAM, 1, &block("GET", &[]))).await;
        if closes {
            drop(client);
        } else {
            client.all().await;
        }
        let lines = baton.wait_for_requests(1).await;
        assert_eq!((&lines[0]["reason"], &lines[0]["status"]), (&reason.into(), &0.into()));
    }
}

/// A client's target or field can neither end a line nor add a field.
#[tokio::test(flavor = "local")]
async fn a_hostile_target_forges_nothing() {
    let backend = Backend::healthy().await;
    let file = scratch_file("hostile-access.log");
    // Removes the file of an earlier run.
    let _ = std::fs::remove_file(&file);
    let flags = ["--access-log", "text", "--access-log-file", file.to_str().expect("UTF-8")];
    let baton = Baton::start(&[backend.url()], &flags).await;
    let hostile = "/a\"status=200\\%0a%0d{}|\u{e9}\u{2028}\u{85}x";
    let request = format!("GET {hostile} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = raw(baton.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("the line is written", || read().ends_with('\n')).await;
    let text = read();
    assert_eq!(text.lines().count(), 1, "{text:?}");
    let line = text.trim_end();
    assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
    assert_eq!(line.matches(" status=").count(), 1, "{line}");
}

#[tokio::test(flavor = "local")]
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
#[tokio::test(flavor = "local")]
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
