//! Tests SIGTERM: accepted requests are finished, then the process exits.

use std::sync::Arc;

use http::Method;
use tokio::net::TcpStream;

use crate::support::baton::message;
use crate::support::client::head;
use crate::support::{Backend, Baton, Exchange, Http1, Http2, run_load, unique_id, within};
use crate::system::spawn;

/// Waits until all listeners are closed: then every worker drains. The log line comes earlier.
async fn all_listeners_close(baton: &Baton) {
    let refused = async {
        // Connections that are still accepted send no request.
        while let Ok(accepted) = TcpStream::connect(baton.address).await {
            drop(accepted);
            tokio::task::yield_now().await;
        }
    };
    within("new connections are refused", refused).await;
}

#[tokio::test(flavor = "local")]
async fn sigterm_under_load_answers_everything_accepted_and_exits_0() {
    const EACH: usize = 24;
    let (backend, gate) = Backend::gated(Exchange::echo).await;
    let mut baton = Baton::start(&[backend.url()], &["--workers", "2"]).await;
    let http2 = Arc::new(Http2::connect(baton.address).await);
    let sending = Arc::clone(&http2);
    let http2_load = spawn(run_load(EACH, EACH, move |_| {
        let client = Arc::clone(&sending);
        async move {
            let id = unique_id();
            let answer = client.send(head(Method::POST, "/", &id), id.clone()).await;
            let answer = answer.expect("what was accepted is answered");
            assert_eq!((answer.status.as_u16(), answer.body), (200, id.into()));
        }
    }));
    let address = baton.address;
    let http1_load = spawn(run_load(EACH, EACH, move |_| async move {
        let id = unique_id();
        let mut client = Http1::connect(address).await;
        let answer = client.send(head(Method::POST, "/", &id), id.clone()).await;
        let answer = answer.expect("what was accepted is answered");
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, id.as_bytes()));
        assert_eq!(answer.header("connection"), "close", "HTTP/1.1 clients get a close");
    }));
    backend.wait_until("all are in flight", |seen| seen.open() == 2 * EACH).await;

    baton.terminate();
    baton.wait_for_log("draining", |line| message(line) == "draining").await;
    all_listeners_close(&baton).await;
    gate.send_replace(true);
    within("all HTTP/2 requests are answered", http2_load).await.expect("none failed");
    within("all HTTP/1.1 requests are answered", http1_load).await.expect("none failed");
    assert_eq!(baton.exit().await, Some(0));
    let lines = baton.wait_for_requests(2 * EACH).await;
    assert!(lines.iter().all(|line| line["outcome"] == "completed"), "{lines:?}");
    baton.wait_for_log("stopped", |line| message(line) == "stopped").await;
    let http2 = Arc::into_inner(http2).expect("the load has ended");
    let closed = within("the client's connection ends", http2.closed).await;
    closed.expect("no panic").expect("it ends with GOAWAY(NO_ERROR)");
}

#[tokio::test(flavor = "local")]
async fn a_second_signal_exits_at_once() {
    let (backend, _gate) = Backend::gated(Exchange::echo).await;
    let mut baton = Baton::start(&[backend.url()], &["--drain-timeout", "1h"]).await;
    let client = Http2::connect(baton.address).await;
    let held = spawn(async move { client.get("/held").await.is_err() });
    backend.wait_until("one is in flight", |seen| seen.open() == 1).await;
    baton.terminate();
    baton.wait_for_log("draining", |line| message(line) == "draining").await;
    baton.terminate();
    assert_eq!(baton.exit().await, Some(1));
    assert!(
        within("the client gets an error", held).await.expect("no panic"),
        "the request is cut"
    );
}
