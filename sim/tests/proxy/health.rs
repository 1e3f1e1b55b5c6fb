//! Tests active health checks: over every protocol, of every kind, once per process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::Full;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::baton::message;
use crate::support::client::head;
use crate::support::exposition::Exposition;
use crate::support::http1::{Http1Backend, Reached};
use crate::support::raw::{RawBackend, kind};
use crate::support::reload::{ConfigFile, LISTENER, cluster, reloaded};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, within};
use crate::system::{certificate, run};

const AGENT: &str = concat!("baton/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Flags for an admin interface and frequent checks with a long timeout, plus `more`.
fn flags<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "--admin",
        "127.0.0.1:0",
        "--health-check-interval",
        "20ms",
        "--health-check-timeout",
        "20s",
    ];
    [&usual, more].concat()
}

/// Answers checks with the status in `status`, and all other requests with 200.
async fn checked(behaviour: Behaviour, status: Arc<AtomicUsize>) -> Backend {
    Backend::start(behaviour, move |exchange| {
        let status = Arc::clone(&status);
        async move {
            let check = exchange.head.headers()["user-agent"] == AGENT;
            let status = if check { status.load(Ordering::Relaxed) as u16 } else { 200 };
            exchange.answer(status, "body").await;
        }
    })
    .await
}

fn is_check(head: &http::Request<()>) -> bool {
    head.headers().get("user-agent").is_some_and(|agent| agent == AGENT)
}

/// Number of client requests that a backend received.
fn served(backend: &Backend) -> usize {
    backend.seen(|seen| seen.heads.iter().filter(|head| !is_check(head)).count())
}

async fn get(client: &Http2, count: usize) {
    for _ in 0..count {
        let mut request = head(http::Method::GET, "/", "id");
        request.headers_mut().insert("user-agent", HeaderValue::from_static("client"));
        assert_eq!(client.send(request, "").await.expect("answered").status, 200);
    }
}

async fn changed(baton: &Baton, url: &str, state: &str) -> Value {
    let wanted = |line: &Value| {
        message(line) == "backend changed" && line["backend"] == url && line["state"] == state
    };
    baton.wait_for_log(&format!("{url} is {state}"), wanted).await
}

/// Waits until this many checks have finished. Returns the number of failed ones.
async fn failures_after(baton: &Baton, count: u64) -> u64 {
    let over = |name, metrics: &Exposition| metrics.sum(name, &[]) as u64;
    let metrics = baton
        .metrics_until("checks are over", |metrics| {
            over("baton_health_checks_total", metrics) >= count
        })
        .await;
    over("baton_health_checks_failed_total", &metrics)
}

fn backend_of(pools: &str, worker: usize, url: &str) -> Value {
    let pools: Value = serde_json::from_str(pools).expect("JSON");
    let backends = pools["workers"][worker]["clusters"][0]["backends"].as_array().expect("a list");
    backends.iter().find(|backend| backend["backend"] == url).expect("it is there").clone()
}

#[test]
fn a_backend_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    run(async {
        let status = Arc::new(AtomicUsize::new(200));
        let sick = checked(Behaviour::default(), Arc::clone(&status)).await;
        let well = checked(Behaviour::default(), Arc::new(AtomicUsize::new(204))).await;
        let path = [
            "--health-check",
            "http",
            "--health-check-path",
            "/healthz?deep",
            "--health-check-host",
            "check.test",
        ];
        let baton = Baton::start(&[sick.url(), well.url()], &flags(&path)).await;
        let client = Http2::connect(baton.address).await;
        get(&client, 10).await;
        let before = served(&sick);
        assert!(before > 0, "it is healthy at first");
        status.store(500, Ordering::Relaxed);
        let line = changed(&baton, &sick.url(), "down").await;
        assert_eq!(
            (&line["level"], &line["cause"]),
            (&"WARN".into(), &"health_checks".into()),
            "{line}"
        );
        assert_eq!(line["reason"], "status 500, expected 200-299", "{line}");
        get(&client, 20).await;
        assert_eq!(served(&sick), before, "it is down");
        let seen = backend_of(&baton.ask("/pools").await, 0, &sick.url());
        assert_eq!(seen["state"], "down", "{seen}");
        assert_eq!(
            (&seen["cause"], &seen["usable"]),
            (&"health_checks".into(), &false.into()),
            "{seen}"
        );
        assert_eq!(
            seen["last_health_check_failure"]["reason"], "status 500, expected 200-299",
            "{seen}"
        );
        assert!(seen["last_health_check_failure"]["ago_ms"].is_u64(), "{seen}");
        let metrics = baton.metrics().await;
        let url = sick.url();
        let count = |name, labels: &[(&str, &str)]| metrics.sum(name, labels) as u64;
        let of =
            |state| count("baton_backend_state_workers", &[("backend", &url), ("state", state)]);
        assert_eq!((of("down"), of("up")), (1, 0));
        assert!(count("baton_health_checks_failed_total", &[("backend", &url)]) >= 3);
        let well_url = well.url();
        assert_eq!(count("baton_health_checks_failed_total", &[("backend", &well_url)]), 0);
        assert_eq!(count("baton_fail_open_workers", &[]), 0, "one half is healthy");
        status.store(200, Ordering::Relaxed);
        changed(&baton, &url, "up").await;
        get(&client, 10).await;
        assert!(served(&sick) > before, "it serves again");
        let check = sick.seen(|seen| seen.heads.iter().find(|head| is_check(head)).cloned());
        let check = check.expect("it was checked");
        assert_eq!(check.uri().to_string(), "https://check.test/healthz?deep");
    });
}

/// Fall and rise count checks, not time: two failures in a row are not three.
#[test]
fn occasional_failures_take_no_backend_down() {
    run(async {
        let number = Arc::new(AtomicUsize::new(0));
        let backend = Backend::start(Behaviour::default(), move |exchange| {
            let third = number.fetch_add(1, Ordering::Relaxed) % 3 == 2;
            exchange.answer(if third { 200 } else { 503 }, "")
        })
        .await;
        let baton = Baton::start(&[backend.url()], &flags(&["--health-check", "http"])).await;
        assert!(failures_after(&baton, 12).await >= 8);
        assert_eq!(baton.lines("backend changed"), Vec::<Value>::new());
    });
}

#[test]
fn http_checks_use_the_protocol_of_the_backend() {
    run(async {
        let ok = || Arc::new(AtomicUsize::new(200));
        let http2 = checked(Behaviour::default(), ok()).await;
        let cleartext = checked(Behaviour { cleartext: true, ..Behaviour::default() }, ok()).await;
        let (sender, mut heads) = mpsc::unbounded_channel();
        let mut urls = vec![http2.url(), cleartext.url()];
        let mut http1 = Vec::new();
        for reached in [Reached::Cleartext, Reached::TlsWithAlpn, Reached::TlsWithoutAlpn] {
            let sender = sender.clone();
            let answer = move |request: http::Request<hyper::body::Incoming>| {
                sender.send(request.into_parts().0).expect("the test waits");
                async { Response::new(Full::new(Bytes::from_static(b"fine"))) }
            };
            let backend = Http1Backend::start(reached, answer).await;
            urls.push(backend.url());
            http1.push(backend);
        }
        let path = [
            "--health-check",
            "http",
            "--health-check-path",
            "/up?x=1",
            "--health-check-statuses",
            "200",
        ];
        let baton = Baton::start(&urls, &flags(&path)).await;
        for (backend, scheme) in [(&http2, "https"), (&cleartext, "http")] {
            backend.wait_until("it is checked twice", |seen| seen.heads.len() >= 2).await;
            let head = backend.seen(|seen| seen.heads[1].clone());
            assert!(is_check(&head), "{head:?}");
            assert_eq!(head.uri().to_string(), format!("{scheme}://{}/up?x=1", backend.address));
            backend
                .wait_until("each check has a connection of its own", |seen| seen.connections >= 2)
                .await;
        }
        for _ in 0..9 {
            let head = within("an HTTP/1.1 check", heads.recv()).await.expect("the sender lives");
            assert_eq!(head.uri.to_string(), "/up?x=1");
            assert_eq!(head.headers["user-agent"], AGENT);
            let host = head.headers["host"].to_str().expect("ASCII").to_owned();
            assert!(urls.iter().any(|url| url.ends_with(&format!("//{host}"))), "{host}");
        }
        assert_eq!(failures_after(&baton, 15).await, 0);
        let metrics = baton.metrics().await;
        assert_eq!(metrics.sum("baton_dials_total", &[]) as u64, 0, "no connection of the pools");
        drop(http1);
    });
}

/// One worker checks a backend for the whole process, and every worker receives the result.
#[test]
fn one_worker_checks_for_all() {
    run(async {
        for workers in [1, 3] {
            let backend = checked(Behaviour::default(), Arc::new(AtomicUsize::new(500))).await;
            let number = workers.to_string();
            let flags = [
                "--admin",
                "127.0.0.1:0",
                "--workers",
                &number,
                "--health-check",
                "http",
                "--health-check-fall",
                "1",
                // Long enough that only the first check of each checker runs during the test.
                "--health-check-interval",
                "1h",
                "--health-check-timeout",
                "20s",
            ];
            let baton = Baton::start(&[backend.url()], &flags).await;
            let lines = baton.wait_for_lines("backend changed", workers).await;
            let mut reported: Vec<_> = lines.iter().map(|line| line["worker"].as_u64()).collect();
            reported.sort_unstable();
            let all: Vec<_> = (0..workers as u64).map(Some).collect();
            assert_eq!(reported, all, "{lines:?}");
            assert!(lines.iter().all(|line| line["state"] == "down"), "{lines:?}");
            assert_eq!(backend.seen(|seen| seen.heads.len()), 1, "{workers} workers");
            let metrics = baton.metrics().await;
            assert_eq!(metrics.sum("baton_health_checks_total", &[]) as u64, 1);
            assert_eq!(metrics.sum("baton_health_checks_failed_total", &[]) as u64, 1);
            let down = [("state", "down")];
            assert_eq!(metrics.sum("baton_backend_state_workers", &down) as usize, workers);
            let pools = baton.ask("/pools").await;
            for worker in 0..workers {
                let seen = backend_of(&pools, worker, &backend.url());
                let reason = &seen["last_health_check_failure"]["reason"];
                assert_eq!(reason, "status 500, expected 200-299", "worker {worker}");
            }
        }
    });
}

/// A listener that accepts every connection and stays silent.
async fn accepts_and_keeps() -> RawBackend {
    RawBackend::accepting(|tcp, _| {
        Box::pin(async move {
            let _kept = tcp;
            std::future::pending::<()>().await;
        })
    })
    .await
}

#[test]
fn an_unanswered_check_times_out_and_reports_what_it_waited_for() {
    run(async {
        let silent = Backend::start(Behaviour::default(), Exchange::wait_for_reset).await;
        let stuck = accepts_and_keeps().await;
        let once = [
            "--health-check",
            "http",
            "--health-check-fall",
            "1",
            "--health-check-interval",
            "20ms",
            "--health-check-timeout",
            "2s",
        ];
        let baton = Baton::start(&[silent.url(), stuck.url()], &once).await;
        let line = changed(&baton, &silent.url(), "down").await;
        assert_eq!(line["reason"], "no answer within 2s: waiting for the response", "{line}");
        let line = changed(&baton, &stuck.url(), "down").await;
        assert_eq!(line["reason"], "no answer within 2s: TLS handshake", "{line}");
        // A check that timed out is cancelled.
        silent.wait_until("a check is reset or closed", |seen| seen.open() <= 1).await;
    });
}

#[test]
fn a_tcp_check_tests_the_connection_and_tls() {
    run(async {
        let stuck = accepts_and_keeps().await;
        let plain = format!("http://{}", stuck.address);
        let mut gone = Backend::healthy().await;
        gone.stop().await;
        let baton = Baton::start(&[plain, gone.url()], &flags(&["--health-check", "tcp"])).await;
        let line = changed(&baton, &gone.url(), "down").await;
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("cannot connect: "), "{reason}");
        gone.listen().await;
        changed(&baton, &gone.url(), "up").await;
        assert!(gone.seen(|seen| seen.heads.is_empty()), "no request is sent");
        let changes = baton.lines("backend changed");
        assert!(changes.iter().all(|line| line["backend"] == gone.url()), "{changes:?}");

        let backend = Backend::healthy().await;
        // The certificate of the proxy itself: it did not sign that of the backend.
        let other = certificate::certificate().0;
        let baton = Baton::start_trusting(
            &[backend.url()],
            &["--ca", other],
            &flags(&["--health-check", "tcp"]),
        )
        .await;
        let line = changed(&baton, &backend.url(), "down").await;
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("TLS: invalid peer certificate"), "{reason}");
    });
}

/// Answers the gRPC health service with this status.
async fn answer_health(mut exchange: Exchange, status: u8, asked: mpsc::UnboundedSender<Vec<u8>>) {
    assert_eq!(exchange.head.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(exchange.head.method(), http::Method::POST);
    assert_eq!(exchange.head.headers()["content-type"], "application/grpc");
    assert_eq!(exchange.head.headers()["te"], "trailers");
    let Ok((body, _)) = exchange.read().await else { return };
    let _ = asked.send(body);
    let head = Response::builder().header("content-type", "application/grpc");
    if status == 12 {
        let head = head.header("grpc-status", "12").body(()).expect("a valid head");
        exchange.respond.send_response(head, true).expect("the stream is open");
        return;
    }
    let Some(mut stream) = exchange.start_with(head.body(()).expect("valid")) else { return };
    let message = Bytes::from(vec![0, 0, 0, 0, 2, 0x08, status]);
    exchange.send(&mut stream, message, false).await;
    let end = [("grpc-status", "0")]
        .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
    let _ = stream.send_trailers(HeaderMap::from_iter(end));
}

#[test]
fn a_grpc_check_calls_the_health_service() {
    run(async {
        let status = Arc::new(AtomicU8::new(1));
        let (sender, mut asked) = mpsc::unbounded_channel();
        let said = Arc::clone(&status);
        let behaviour = Behaviour { cleartext: true, ..Behaviour::default() };
        let backend = Backend::start(behaviour, move |exchange| {
            answer_health(exchange, said.load(Ordering::Relaxed), sender.clone())
        })
        .await;
        let service = ["--health-check", "grpc", "--health-check-service", "shop.Cart"];
        let baton = Baton::start(&[backend.url()], &flags(&service)).await;
        let body = within("a check", asked.recv()).await.expect("the sender lives");
        assert_eq!(body, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
        assert_eq!(failures_after(&baton, 3).await, 0);
        status.store(2, Ordering::Relaxed);
        let line = changed(&baton, &backend.url(), "down").await;
        assert_eq!(line["reason"], "NOT_SERVING", "{line}");
        status.store(1, Ordering::Relaxed);
        changed(&baton, &backend.url(), "up").await;

        let (sender, _asked) = mpsc::unbounded_channel();
        let backend = Backend::start(Behaviour::default(), move |exchange| {
            answer_health(exchange, 12, sender.clone())
        })
        .await;
        let baton = Baton::start(&[backend.url()], &flags(&["--health-check", "grpc"])).await;
        let line = changed(&baton, &backend.url(), "down").await;
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("UNIMPLEMENTED: "), "{reason}");
    });
}

/// A server that closes connections with GOAWAY(NO_ERROR) and accepts new ones is healthy.
#[test]
fn a_goaway_without_an_error_is_no_failure() {
    run(async {
        let first = Arc::new(AtomicBool::new(false));
        let backend = RawBackend::start(100, move |mut connection| {
            let away = !first.fetch_xor(true, Ordering::Relaxed);
            async move {
                while let Some(frame) = connection.next().await {
                    match frame.kind {
                        kind::HEADERS if away => return connection.go_away(0, 0).await,
                        kind::HEADERS => connection.answer(frame.stream, "fine").await,
                        _ => {}
                    }
                }
            }
        })
        .await;
        let once = ["--health-check", "http", "--health-check-fall", "1"];
        let baton = Baton::start(&[backend.url()], &flags(&once)).await;
        assert_eq!(failures_after(&baton, 5).await, 0);

        let backend = RawBackend::start(100, |mut connection| async move {
            drop(connection.until(|frame| frame.kind == kind::HEADERS).await);
            connection.go_away(0, 0).await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &flags(&once)).await;
        let line = changed(&baton, &backend.url(), "down").await;
        assert_eq!(line["reason"], "GOAWAY on two connections in a row", "{line}");
    });
}

/// Fail-open: with fewer than half of the backends healthy, all are used.
#[test]
fn with_too_few_healthy_backends_all_are_used() {
    run(async {
        let status = Arc::new(AtomicUsize::new(500));
        let mut sick = Vec::new();
        for _ in 0..2 {
            sick.push(checked(Behaviour::default(), Arc::clone(&status)).await);
        }
        let well = checked(Behaviour::default(), Arc::new(AtomicUsize::new(200))).await;
        let urls = [sick[0].url(), sick[1].url(), well.url()];
        let baton = Baton::start(&urls, &flags(&["--health-check", "http"])).await;
        let fail_open = |workers: f64| {
            move |metrics: &Exposition| {
                metrics.sum("baton_fail_open_workers", &[]) as u64 == workers as u64
            }
        };
        baton.metrics_until("one third is healthy", fail_open(1.0)).await;
        let pools: Value = serde_json::from_str(&baton.ask("/pools").await).expect("JSON");
        assert_eq!(pools["workers"][0]["clusters"][0]["fail_open"], true);
        let client = Http2::connect(baton.address).await;
        get(&client, 30).await;
        for backend in &sick {
            assert!(served(backend) > 5, "it is used while down");
        }
        status.store(200, Ordering::Relaxed);
        baton.metrics_until("all are healthy", fail_open(0.0)).await;
    });
}

/// A reload enables, changes and disables checks; other reloads do not affect them.
#[test]
fn a_reload_changes_the_checks_of_every_worker() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| {
            let status = if exchange.head.uri().path() == "/bad" { 500 } else { 200 };
            exchange.answer(status, "")
        })
        .await;
        let file = |health_check: &str| {
            let process = "[process]\nworkers = 3\n[admin]\naddress = \"127.0.0.1:0\"\n";
            [process, LISTENER, &cluster("web", health_check, &[(backend.url(), 1)])].concat()
        };
        let health_check = |path: &str| {
            let times = "interval = \"20ms\", timeout = \"20s\", fall = 1";
            file(&format!("health_check = {{ kind = \"http\", path = \"{path}\", {times} }}"))
        };
        let in_state = |state: &'static str| {
            move |metrics: &Exposition| {
                metrics.sum("baton_backend_state_workers", &[("state", state)]) as u64 == 3
            }
        };
        let config = ConfigFile::new("checks.toml", &file(""));
        let baton = Baton::start_with_file(&config.path, &[]).await;
        baton.metrics_until("no checks run", in_state("up")).await;
        assert!(backend.seen(|seen| seen.heads.is_empty()));
        for (text, state) in [
            (health_check("/bad"), "down"),
            (health_check("/good"), "up"),
            (health_check("/bad"), "down"),
            (file(""), "up"),
        ] {
            config.write(&text);
            assert_ne!(reloaded(&baton).await, Vec::<String>::new());
            baton.metrics_until(state, in_state(state)).await;
            // Reloading the same file changes nothing.
            reloaded(&baton).await;
        }
        let lines = baton.wait_for_lines("backend changed", 12).await;
        assert_eq!(lines.len(), 12, "four changes of three workers: {lines:?}");
        let paths = backend.seen(|seen| {
            let mut paths: Vec<_> =
                seen.heads.iter().map(|head| head.uri().path().to_owned()).collect();
            paths.dedup();
            paths
        });
        assert_eq!(paths, ["/bad", "/good", "/bad"], "checks use the configured path");
    });
}
