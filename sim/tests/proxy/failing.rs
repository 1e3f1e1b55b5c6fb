//! Tests failing backends, beside a healthy one or alone: killed, silent, never ready.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::support::baton::message;
use crate::support::certificate::acceptor;
use crate::support::client::head;
use crate::support::raw::{Bodies, RawBackend, RawConnection};
use crate::support::{Backend, Baton, Http2, run_load, unique_id, within};
use crate::system::{elapsed, lose_paths, run};

/// Sends GETs, `concurrency` at a time; every one must be answered with 200.
async fn get_all(client: &Arc<Http2>, count: usize, concurrency: usize) {
    let client = Arc::clone(client);
    run_load(count, concurrency, move |_| {
        let client = Arc::clone(&client);
        async move {
            let answer = client.send(head(Method::GET, "/", &unique_id()), "").await;
            let answer = answer.expect("it is answered");
            assert_eq!(answer.status, 200, "{:?} {:?}", answer.headers, answer.body);
        }
    })
    .await;
}

/// The host of one of two backends dies: its silent connection is detected, and its GETs are
/// answered by the other.
#[test]
fn black_hole_beside_a_healthy_one_fails_no_get() {
    run(async {
        let silent = watch::Sender::new(false);
        let silencing = silent.clone();
        let hole = RawBackend::accepting(move |tcp, number| {
            let mut silent = silent.subscribe();
            Box::pin(async move {
                if *silent.borrow() {
                    return pending().await;
                }
                let connection = RawConnection::greet(tcp, number, 100).await;
                let mut connection = connection.expect("its client speaks HTTP/2");
                let mut bodies = Bodies::default();
                loop {
                    tokio::select! {
                        biased;
                        () = async { drop(silent.wait_for(|silent| *silent).await) } => break,
                        request = connection.request(&mut bodies) => {
                            let Some((stream, body)) = request else { return };
                            connection.answer(stream, &body).await;
                        }
                    }
                }
                connection.fall_silent().await;
            })
        })
        .await;
        let healthy = Backend::healthy().await;
        let flags = [
            "--silence-timeout",
            "200ms",
            "--suspect-timeout",
            "300ms",
            "--connect-timeout",
            "500ms",
        ];
        let baton = Baton::start(&[hole.url(), healthy.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        get_all(&client, 50, 8).await;
        let before = healthy.seen(|seen| seen.heads.len());
        assert!(before < 50, "the other one takes part at first");
        silencing.send_replace(true);
        lose_paths(hole.address);
        get_all(&client, 200, 8).await;
        let close = |line: &serde_json::Value| {
            message(line) == "connection closed" && line["backend"] == hole.url()
        };
        baton.wait_for_log("the silent connection is closed", close).await;
    });
}

/// A backend with one thread that works on each request for twenty seconds, and answers no PING
/// meanwhile. Counts what it executes.
async fn busy(executed: &Rc<Cell<usize>>) -> RawBackend {
    let executed = Rc::clone(executed);
    RawBackend::start(100, move |mut connection| {
        let executed = Rc::clone(&executed);
        async move {
            let mut bodies = Bodies::default();
            while let Some((stream, body)) = connection.request(&mut bodies).await {
                executed.set(executed.get() + 1);
                connection.work(Duration::from_secs(20)).await;
                connection.answer(stream, &body).await;
            }
        }
    })
    .await
}

/// Its host acknowledges what the busy backend does not answer: no request is repeated or lost.
#[test]
fn busy_backend_executes_each_request_once_and_is_not_ejected() {
    for method in [Method::POST, Method::GET] {
        run(async move {
            let executed = Rc::new(Cell::new(0));
            let (backend, healthy) = (busy(&executed).await, Backend::healthy().await);
            let baton = Baton::start(&[backend.url(), healthy.url()], &[]).await;
            let client = Http2::connect(baton.address).await;
            for _ in 0..3 {
                let answer = client.send(head(method.clone(), "/", &unique_id()), "").await;
                assert_eq!(answer.expect("it is answered").status, 200);
            }
            let lines = baton.wait_for_requests(3).await;
            assert!(lines.iter().all(|line| line["attempts"] == 1), "{lines:?}");
            let here = lines.iter().filter(|line| line["backend"] == backend.url()).count();
            assert!(here > 0 && executed.get() == here, "{here}, executed {executed:?}");
            let changed = baton.lines("backend changed");
            assert!(changed.is_empty(), "{changed:?}");
        });
    }
}

/// The host of the busy backend dies: what may be repeated is elsewhere within seven seconds.
#[test]
fn request_on_a_busy_backend_whose_host_dies_is_tried_elsewhere() {
    run(async {
        let executed = Rc::new(Cell::new(0));
        let (backend, healthy) = (busy(&executed).await, Backend::healthy().await);
        let baton = Baton::start(&[backend.url(), healthy.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let asking = Arc::clone(&client);
        let asked = crate::system::spawn(async move { get_all(&asking, 2, 2).await });
        while executed.get() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = elapsed();
        lose_paths(backend.address);
        within("both are answered", asked).await.expect("no panic");
        let taken = elapsed() - before;
        assert!(taken < Duration::from_secs(7), "{taken:?}");
    });
}

/// One of two backends dies under at least half of sixty requests. The other one gets those, too,
/// but not all at once: the retry budget is a fifth of all requests.
#[test]
fn backend_that_dies_under_many_requests_fails_no_get() {
    run(async {
        let dying = RawBackend::start(100, |mut connection| async move {
            let mut bodies = Bodies::default();
            for _ in 0..30 {
                connection.request(&mut bodies).await;
            }
        })
        .await;
        let most = Rc::new(Cell::new(0));
        let counted = Rc::clone(&most);
        let slow = RawBackend::start(100, move |mut connection| {
            let most = Rc::clone(&counted);
            async move {
                let mut bodies = Bodies::default();
                loop {
                    let frames = connection.all_within(Duration::from_secs(3)).await;
                    let requests = frames.iter().filter_map(|frame| bodies.take_in(frame));
                    let requests: Vec<_> = requests.collect();
                    most.set(most.get().max(requests.len()));
                    for (stream, body) in requests {
                        connection.answer(stream, &body).await;
                    }
                }
            }
        })
        .await;
        let baton = Baton::start(&[dying.url(), slow.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        get_all(&client, 60, 60).await;
        let lines = baton.wait_for_requests(60).await;
        let again = lines.iter().filter(|line| line["attempts"] == 2).count();
        assert!(again >= 30, "{again} were on the one that died");
        assert!(most.get() <= 60 - again + 12, "{} at once", most.get());
    });
}

/// A listener whose TLS handshake never finishes.
async fn never_shakes_hands() -> RawBackend {
    RawBackend::accepting(|mut tcp, _| {
        Box::pin(async move {
            let mut hello = [0; 1024];
            while matches!(tcp.read(&mut hello).await, Ok(length) if length > 0) {}
        })
    })
    .await
}

#[test]
fn tls_handshake_that_never_finishes_beside_a_healthy_one() {
    run(async {
        let stuck = never_shakes_hands().await;
        let healthy = Backend::healthy().await;
        let flags = ["--connect-timeout", "300ms"];
        let baton = Baton::start(&[stuck.url(), healthy.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        get_all(&client, 100, 8).await;
        let failed = |line: &serde_json::Value| {
            message(line) == "connect failed" && line["backend"] == stuck.url()
        };
        baton.wait_for_log("the dial is given up", failed).await;
        get_all(&client, 100, 8).await;
    });
}

#[test]
fn tls_handshake_that_never_finishes_alone_is_a_503() {
    run(async {
        let stuck = never_shakes_hands().await;
        let flags = ["--connect-timeout", "300ms", "--queue-timeout", "700ms"];
        let baton = Baton::start(&[stuck.url()], &flags).await;
        let client = Http2::connect(baton.address).await;
        let answer = client.get("/").await.expect("an answer of Baton's own");
        assert_eq!(answer.status, 503);
        let line = &baton.wait_for_requests(1).await[0];
        assert_eq!(
            (&line["outcome"], &line["attempts"]),
            (&"rejected".into(), &0.into()),
            "{line}"
        );
    });
}

#[test]
fn accept_then_close_beside_a_healthy_one() {
    run(async {
        let closing = RawBackend::accepting(|tcp, _| Box::pin(async move { drop(tcp) })).await;
        let healthy = Backend::healthy().await;
        let baton = Baton::start(&[closing.url(), healthy.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        get_all(&client, 100, 8).await;
        assert_eq!(healthy.seen(|seen| seen.heads.len()), 100);
        baton.wait_for_log("connect failed", |line| message(line) == "connect failed").await;
    });
}

/// The connection is closed after the TLS handshake, before any SETTINGS.
#[test]
fn close_after_tls_beside_a_healthy_one() {
    run(async {
        let closing = RawBackend::accepting(|tcp, _| {
            Box::pin(async move { drop(acceptor(&["h2"]).accept(tcp).await) })
        })
        .await;
        let healthy = Backend::healthy().await;
        let baton = Baton::start(&[closing.url(), healthy.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        get_all(&client, 100, 8).await;
        assert_eq!(healthy.seen(|seen| seen.heads.len()), 100);
    });
}

/// Nothing listens at one of the addresses.
#[test]
fn connection_refused_beside_a_healthy_one() {
    run(async {
        let mut absent = Backend::healthy().await;
        absent.stop().await;
        let healthy = Backend::healthy().await;
        let baton = Baton::start(&[absent.url(), healthy.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        get_all(&client, 100, 8).await;
        assert_eq!(healthy.seen(|seen| seen.heads.len()), 100);
    });
}

/// A POST whose connection breaks after it was sent may have been executed: it is not retried.
#[test]
fn a_post_that_may_have_been_executed_is_not_retried() {
    run(async {
        let cut = Arc::new(AtomicBool::new(false));
        let backend = RawBackend::start(100, move |mut connection| {
            let cut = Arc::clone(&cut);
            async move {
                let mut bodies = Bodies::default();
                while let Some((stream, body)) = connection.request(&mut bodies).await {
                    if body == "once" {
                        assert!(!cut.swap(true, Ordering::Relaxed), "it was sent a second time");
                        return;
                    }
                    connection.answer(stream, &body).await;
                }
            }
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let answer = client.send(head(Method::POST, "/", "once"), "once").await.expect("a 502");
        assert_eq!(answer.status, 502);
        let line = baton.wait_for_requests(1).await.remove(0);
        assert_eq!(
            (&line["evidence"], &line["attempts"]),
            (&"unknown".into(), &1.into()),
            "{line}"
        );
        let next = client.send(head(Method::POST, "/", "next"), "next");
        assert_eq!(within("the next POST", next).await.expect("it is answered").status, 200);
    });
}
