//! Tests the metrics: each changes with its cause, and all are well-formed.

use std::rc::Rc;
use std::sync::Arc;

use h2::Reason;
use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::support::client::{connect, head};
use crate::support::exposition::Exposition;
use crate::support::raw::RawBackend;
use crate::support::scripts::metrics::{answer_by_path, count, start};
use crate::support::{Backend, Behaviour, Http2, within};
use crate::system::{lose_paths, run, spawn};

#[test]
fn requests_are_counted_by_backend_status_and_outcome() {
    run(async {
        let backend = Backend::start(Behaviour::default(), answer_by_path).await;
        let url = backend.url();
        let baton = start(&url, &["--workers", "2"]).await;
        let client = Http2::connect(baton.address).await;
        for path in ["/", "/", "/404"] {
            client.get(path).await.expect("answered");
        }
        let post = head(Method::POST, "/reset", "post");
        assert_eq!(client.send(post, "body").await.expect("answered").status, 502);
        let echo = head(Method::POST, "/echo", "echo");
        assert_eq!(client.send(echo, "seven b").await.expect("answered").body, "seven b");
        let (_response, mut stream) = client
            .begin(head(Method::GET, "/hang", "hang"), true)
            .await
            .expect("the connection lives");
        backend.wait_until("it is there", |seen| seen.heads.len() == 6).await;
        let before = baton.metrics().await;
        assert_eq!(count(&before, "baton_requests_live", &[]), 1);
        assert_eq!(count(&before, "baton_streams", &[("backend", &url)]), 1);
        stream.send_reset(Reason::CANCEL);
        let metrics = baton
            .metrics_until("the cancelled one has ended", |metrics| {
                count(metrics, "baton_requests_live", &[]) == 0
            })
            .await;
        for (class, outcome, expected) in [
            ("2xx", "completed", 3),
            ("4xx", "completed", 1),
            ("5xx", "rejected", 1),
            ("none", "cancelled", 1),
        ] {
            let labels = [("backend", url.as_str()), ("status_class", class), ("outcome", outcome)];
            assert_eq!(count(&metrics, "baton_requests_total", &labels), expected, "{labels:?}");
        }
        assert_eq!(count(&metrics, "baton_requests_total", &[]), 6, "and no others");
        assert_eq!(count(&metrics, "baton_rejections_total", &[("reason", "attempt_failed")]), 1);
        for name in ["baton_queue_wait_seconds", "baton_request_duration_seconds"] {
            assert_eq!(count(&metrics, &format!("{name}_count"), &[]), 6, "{name}");
        }
        assert_eq!(count(&metrics, "baton_first_byte_seconds_count", &[]), 4);
        let bytes = |side, direction| {
            count(&metrics, "baton_body_bytes_total", &[("side", side), ("direction", direction)])
        };
        assert_eq!(bytes("client", "received"), 11);
        assert!(bytes("backend", "sent") >= 7);
        assert_eq!(bytes("backend", "received"), 9);
        assert!(bytes("client", "sent") > 9, "and the body of the 502");
    });
}

#[test]
fn what_baton_answers_itself_is_counted_by_reason() {
    run(async {
        let backend = Backend::start(Behaviour::default(), answer_by_path).await;
        let flags = ["--max-requests", "1", "--max-waiting", "1"];
        let baton = start(&backend.url(), &flags).await;
        let client = Http2::connect(baton.address).await;
        let held = client
            .begin(head(Method::GET, "/hang", "hang"), true)
            .await
            .expect("the connection lives");
        backend.wait_until("it is there", |seen| seen.open() == 1).await;
        assert_eq!(client.get("/").await.expect("answered").status, 503);
        let mut raw = connect(baton.address).await;
        raw.write_all(b"GET / HTTP/1.1\r\nno colon\r\n\r\n").await.expect("Baton listens");
        let mut without_host = connect(baton.address).await;
        without_host.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("Baton listens");
        let metrics = baton
            .metrics_until("all are counted", |metrics| {
                metrics.sum("baton_refusals_total", &[]) as u64 == 2
            })
            .await;
        assert_eq!(metrics.sum("baton_refusals_total", &[("reason", "malformed_head")]) as u64, 1);
        assert_eq!(metrics.sum("baton_refusals_total", &[("reason", "refused")]) as u64, 1);
        let hits = metrics.sum("baton_client_limit_hits_total", &[("limit", "malformed_head")]);
        assert_eq!(hits as u64, 1, "the metric of the limit itself");
        let refused = [("cluster", "-"), ("backend", "-"), ("status_class", "4xx")];
        assert_eq!(metrics.sum("baton_requests_total", &refused) as u64, 2);
        assert_eq!(count(&metrics, "baton_rejections_total", &[("reason", "requests_full")]), 1);
        let without = [("backend", "-"), ("status_class", "5xx"), ("outcome", "rejected")];
        assert_eq!(count(&metrics, "baton_requests_total", &without), 1);
        drop(held);
    });
}

#[test]
fn retries_and_resets_are_counted_by_evidence_and_code() {
    run(async {
        let backend = Backend::start(Behaviour::default(), answer_by_path).await;
        let url = backend.url();
        let baton = start(&url, &[]).await;
        let client = Http2::connect(baton.address).await;
        assert_eq!(client.get("/refuse").await.expect("answered").body, "second");
        assert_eq!(client.get("/reset").await.expect("answered").status, 502);
        let (_response, mut stream) = client
            .begin(head(Method::GET, "/hang", "hang"), true)
            .await
            .expect("the connection lives");
        backend.wait_until("it is there", |seen| seen.open() == 1).await;
        stream.send_reset(Reason::CANCEL);
        backend.wait_until("it is reset", |seen| seen.resets == [Reason::CANCEL]).await;
        let metrics = baton.metrics().await;
        assert_eq!(count(&metrics, "baton_retries_total", &[("evidence", "refused")]), 1);
        assert_eq!(count(&metrics, "baton_retries_total", &[("evidence", "unknown")]), 2);
        assert_eq!(count(&metrics, "baton_retries_total", &[]), 3);
        let resets = |direction, code| {
            let labels = [("backend", url.as_str()), ("direction", direction), ("code", code)];
            count(&metrics, "baton_rst_stream_frames_total", &labels)
        };
        assert_eq!(resets("received", "REFUSED_STREAM"), 1);
        assert_eq!(resets("received", "INTERNAL_ERROR"), 3);
        assert_eq!(resets("sent", "CANCEL"), 1);
        let from_client = [("direction", "received"), ("code", "CANCEL")];
        assert_eq!(metrics.sum("baton_client_rst_stream_frames_total", &from_client) as u64, 1);
    });
}

#[test]
fn gauges_follow_streams_and_retries() {
    run(async {
        let backend = Backend::start(Behaviour::default(), answer_by_path).await;
        let url = backend.url();
        let baton = start(&url, &[]).await;
        let client = Http2::connect(baton.address).await;
        client.get("/").await.expect("answered");
        let of_backend = [("backend", url.as_str())];
        let available =
            |metrics: &Exposition| count(metrics, "baton_streams_available", &of_backend);
        let retrying = |metrics: &Exposition| count(metrics, "baton_requests_retrying", &[]);
        let idle = baton.metrics().await;
        assert_eq!((available(&idle), retrying(&idle)), (100, 0), "the limit of Baton");
        let held = client
            .begin(head(Method::GET, "/retry", "retry"), true)
            .await
            .expect("the connection lives");
        let metrics =
            baton.metrics_until("it is on a retry", |metrics| retrying(metrics) == 1).await;
        assert_eq!(available(&metrics), 99);
        drop((held, client));
        let over = |metrics: &Exposition| retrying(metrics) == 0 && available(metrics) == 100;
        baton.metrics_until("no request is left", over).await;
    });
}

#[test]
fn connections_are_counted_from_the_dial_to_the_close() {
    run(async {
        let backend = Backend::healthy().await;
        let url = backend.url();
        let baton = start(&url, &["--idle-timeout", "300ms"]).await;
        let client = Http2::connect(baton.address).await;
        client.get("/").await.expect("answered");
        let metrics = baton.metrics().await;
        let labels = [("backend", url.as_str())];
        assert_eq!(count(&metrics, "baton_dials_total", &labels), 1);
        assert_eq!(count(&metrics, "baton_connect_seconds_count", &[]), 1);
        assert_eq!(count(&metrics, "baton_tls_handshake_seconds_count", &[]), 1);
        assert_eq!(count(&metrics, "baton_backend_healthy_workers", &labels), 1);
        assert_eq!(metrics.sum("baton_client_connections", &[]) as u64, 1);
        assert_eq!(metrics.sum("baton_client_connections_accepted_total", &[]) as u64, 1);
        let closed = |metrics: &Exposition, reason| {
            count(metrics, "baton_connections_closed_total", &[("reason", reason)])
        };
        baton.metrics_until("it is idle", |metrics| closed(metrics, "idle") == 1).await;
        client.get("/").await.expect("answered");
        backend.go_away();
        let metrics = baton.metrics_until("it has drained", |metrics| {
            closed(metrics, "idle") + closed(metrics, "drained") + closed(metrics, "peer") == 2
        });
        let metrics = metrics.await;
        let received = [("direction", "received"), ("code", "NO_ERROR")];
        assert!(count(&metrics, "baton_goaway_frames_total", &received) >= 1);
        assert_eq!(count(&metrics, "baton_connections", &[]), 0);
        client.get("/").await.expect("answered");
        backend.cut_connections().await;
        baton.metrics_until("it is cut", |metrics| closed(metrics, "peer") >= 1).await;
        drop(client);
        baton
            .metrics_until("the client is gone", |metrics| {
                metrics.sum("baton_client_connections", &[]) as u64 == 0
            })
            .await;
    });
}

#[test]
fn failed_dials_are_counted_by_phase() {
    run(async {
        let mut down = Backend::healthy().await;
        down.stop().await;
        let no_tls = RawBackend::accepting(|mut tcp, _| {
            Box::pin(async move {
                let _ = tcp.write_all(b"no TLS here").await;
            })
        })
        .await;
        let silent = RawBackend::accepting(|tcp, _| {
            Box::pin(async move {
                let _kept = tcp;
                std::future::pending::<()>().await;
            })
        })
        .await;
        let no_http = RawBackend::accepting(|mut tcp, _| {
            Box::pin(async move {
                let _ = tcp.write_all(&[0xff; 64]).await;
            })
        })
        .await;
        let urls = [
            ("tcp", down.url()),
            ("tls", no_tls.url()),
            ("deadline", silent.url()),
            ("protocol", format!("h2c://{}", no_http.address)),
        ];
        for (phase, url) in urls {
            let flags = ["--connect-timeout", "200ms", "--queue-timeout", "1h"];
            let baton = start(&url, &flags).await;
            let client = Http2::connect(baton.address).await;
            let _held = client
                .begin(head(Method::GET, "/", phase), true)
                .await
                .expect("the connection lives");
            let labels = [("backend", url.as_str()), ("phase", phase)];
            let counted =
                |metrics: &Exposition| count(metrics, "baton_dial_failures_total", &labels) >= 1;
            let metrics = baton.metrics_until(phase, counted).await;
            assert_eq!(count(&metrics, "baton_requests_waiting", &[]), 1, "{phase}");
            let all = count(&metrics, "baton_dial_failures_total", &[]);
            assert_eq!(count(&metrics, "baton_dial_failures_total", &labels), all, "only {phase}");
        }
    });
}

#[test]
fn silence_shows_a_suspect_connection_and_a_ping() {
    run(async {
        let asked = Rc::new(Notify::new());
        let arrived = Rc::clone(&asked);
        let backend = RawBackend::start(100, move |mut connection| {
            let arrived = Rc::clone(&arrived);
            async move {
                let mut bodies = crate::support::raw::Bodies::default();
                connection.request(&mut bodies).await;
                arrived.notify_one();
                connection.fall_silent().await;
            }
        })
        .await;
        let flags = ["--silence-timeout", "100ms", "--suspect-timeout", "1s", "--attempts", "1"];
        let baton = start(&backend.url(), &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let asking = Arc::clone(&client);
        let answered = spawn(async move { asking.get("/").await });
        within("it is on its way", asked.notified()).await;
        lose_paths(backend.address);
        let suspect = [("state", "suspect")];
        let metrics = baton
            .metrics_until("it is suspect", |metrics| {
                count(metrics, "baton_connections", &suspect) == 1
            })
            .await;
        assert_eq!(count(&metrics, "baton_pings_total", &[]), 1);
        let answer = within("the connection is closed", answered)
            .await
            .expect("no panic")
            .expect("answered");
        assert_eq!(answer.status, 502);
        let silent = [("reason", "silent")];
        baton
            .metrics_until("it is closed", |metrics| {
                count(metrics, "baton_connections_closed_total", &silent) == 1
            })
            .await;
    });
}
