//! Tests SIGTERM: accepted requests are finished, then the process exits.

use std::sync::Arc;

use http::Method;

use crate::support::baton::message;
use crate::support::client::{connect, head};
use crate::support::{Backend, Baton, Exchange, Http1, Http2, within};
use crate::system::{TcpStream, run, spawn};

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

/// No connection is accepted after the drain has started.
#[test]
fn sigterm_stops_accepting_connections() {
    run(async {
        let (backend, gate) = Backend::gated(Exchange::echo).await;
        let mut baton = Baton::start(&[backend.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let sending = Arc::clone(&client);
        let held = spawn(async move { sending.get("/held").await });
        backend.wait_until("one is in flight", |seen| seen.open() == 1).await;
        baton.terminate();
        baton.wait_for_log("draining", |line| message(line) == "draining").await;
        all_listeners_close(&baton).await;
        gate.send_replace(true);
        let answer = within("the held request is answered", held).await.expect("no panic");
        assert_eq!(answer.expect("what was accepted is answered").status, 200);
        assert_eq!(baton.exit().await, Some(0));
    });
}

/// Idle clients do not delay the exit.
#[test]
fn sigterm_with_idle_clients_exits_0() {
    run(async {
        let backend = Backend::healthy().await;
        let mut baton = Baton::start(&[backend.url()], &["--workers", "2"]).await;
        let silent = connect(baton.address).await;
        let http2 = Http2::connect(baton.address).await;
        assert_eq!(http2.get("/").await.expect("it is answered").status, 200);
        let mut http1 = Http1::connect(baton.address).await;
        assert_eq!(http1.get("/").await.expect("it is answered").status, 200);
        baton.terminate();
        assert_eq!(baton.exit().await, Some(0));
        within("the HTTP/2 connection ends", http2.closed)
            .await
            .expect("no panic")
            .expect("in order");
        drop(silent);
    });
}

#[test]
fn sigterm_before_any_request_exits_0() {
    run(async {
        let backend = Backend::healthy().await;
        let mut baton = Baton::start(&[backend.url()], &[]).await;
        baton.terminate();
        assert_eq!(baton.exit().await, Some(0));
    });
}

/// A request that never ends is cut by the drain deadline.
#[test]
fn sigterm_ends_by_the_drain_deadline() {
    run(async {
        let (backend, _gate) = Backend::gated(Exchange::echo).await;
        let mut baton = Baton::start(&[backend.url()], &["--drain-timeout", "300ms"]).await;
        let client = Http2::connect(baton.address).await;
        let held = spawn(async move { client.get("/held").await });
        backend.wait_until("one is in flight", |seen| seen.open() == 1).await;
        baton.terminate();
        assert!(baton.exit().await.is_some(), "it exits by itself");
        let answer = within("the client gets an answer or an error", held).await.expect("no panic");
        if let Ok(answer) = answer {
            assert_eq!(answer.status, 503, "{:?}", answer.body);
        }
    });
}

/// Requests that wait for a connection were accepted too: they are answered once there is one.
#[test]
fn sigterm_answers_requests_that_wait_for_a_connection() {
    run(async {
        let mut backend = Backend::echo().await;
        backend.stop().await;
        let flags = ["--queue-timeout", "25s", "--backoff-max", "200ms"];
        let mut baton = Baton::start(&[backend.url()], &flags).await;
        let client = Http2::connect(baton.address).await;
        let waiting =
            spawn(async move { client.send(head(Method::POST, "/", "waiting"), "waiting").await });
        baton.wait_for_log("a dial failed", |line| message(line) == "connect failed").await;
        baton.terminate();
        baton.wait_for_log("draining", |line| message(line) == "draining").await;
        backend.listen().await;
        let answer = within("it is answered", waiting).await.expect("no panic");
        assert_eq!(answer.expect("what was accepted is answered").body, "waiting");
        assert_eq!(baton.exit().await, Some(0));
    });
}
