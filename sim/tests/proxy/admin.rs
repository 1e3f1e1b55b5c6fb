//! Tests the admin interface: its paths, its view of the pools, and readiness.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::support::baton::message;
use crate::support::client::head;
use crate::support::load::Held;
use crate::support::{Backend, Baton, Behaviour, Exchange, Http1, Http2, within};
use crate::system::run;

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

async fn hang(exchange: Exchange) {
    exchange.wait_for_reset().await;
}

#[test]
fn there_is_no_admin_interface_unless_asked_for() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        assert_eq!(
            Http2::connect(baton.address).await.get("/").await.expect("answered").status,
            200
        );
        assert!(baton.lines("admin listening").is_empty());
    });
}

#[test]
fn errors_list_the_available_paths() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &ADMIN).await;
        let mut client = Http1::connect(baton.admin().await).await;
        let contents = client.get("/").await.expect("answered");
        assert_eq!(contents.status, 200);
        let unknown = client.get("/metric").await.expect("answered");
        assert_eq!(unknown.status, 404);
        let wrong =
            client.send(head(Method::POST, "/metrics", "post"), "").await.expect("answered");
        assert_eq!((wrong.status.as_u16(), wrong.header("allow")), (405, "GET, HEAD"));
        let question = client.get("/reload").await.expect("answered");
        assert_eq!((question.status.as_u16(), question.header("allow")), (405, "POST"));
        for answer in [&contents, &unknown, &wrong, &question] {
            let text = std::str::from_utf8(&answer.body).expect("text");
            for path in ["/metrics", "/pools", "/ready", "/live"] {
                assert!(text.contains(&format!("GET {path}")), "{text}");
            }
            assert!(text.contains("POST /reload"), "{text}");
        }
        for answer in [unknown, wrong, question] {
            let error: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert!(error["error"].is_string(), "{error}");
        }
        let metrics = client.get("/metrics?x").await.expect("answered");
        assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let without_body = client.send(head(Method::HEAD, "/metrics", "head"), "").await;
        let without_body = without_body.expect("answered");
        assert_eq!((without_body.status.as_u16(), without_body.body.len()), (200, 0));
    });
}

/// The body of an order is limited, its parameters are checked, and pages in a browser cannot send
/// one.
#[test]
fn an_invalid_order_changes_nothing() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &ADMIN).await;
        let address = baton.admin().await;
        let from_a_page = |name: &str, value: &str| {
            let mut head = head(Method::POST, "/reload", "page");
            let name: http::HeaderName = name.parse().expect("a name");
            head.headers_mut().insert(name, value.parse().expect("a value"));
            head
        };
        for (order, body, status, error) in [
            (head(Method::POST, "/reload?now", "x"), 0, 400, "unknown parameter 'now'"),
            (head(Method::POST, "/reload", "x"), 64 * 1024 + 1, 413, "the body is too long"),
            (from_a_page("origin", "http://page.test"), 0, 403, "a page in a browser"),
            (from_a_page("sec-fetch-site", "cross-site"), 0, 403, "a page in a browser"),
        ] {
            let mut client = Http1::connect(address).await;
            let answer = client.send(order, vec![b'x'; body]).await.expect("answered");
            let text: Value = serde_json::from_slice(&answer.body).expect("JSON");
            let text = text["error"].as_str().expect("an error");
            assert_eq!(answer.status, status, "{text}");
            assert!(text.contains(error), "{text}");
        }
        let mut client = Http1::connect(address).await;
        let order = head(Method::POST, "/reload", "x");
        let answer = client.send(order, vec![b'x'; 64 * 1024]).await.expect("answered");
        assert_eq!(answer.status, 200, "an ignored body does no harm");
        assert_eq!(
            baton.wait_for_lines("reloaded", 1).await.len(),
            1,
            "the others were not carried out"
        );
    });
}

#[test]
fn pools_show_every_stream_in_use_of_every_worker() {
    run(async {
        let backend = Backend::start(Behaviour::default(), hang).await;
        let flags = [&ADMIN[..], &["--workers", "2"]].concat();
        let baton = Baton::start(&[backend.url()], &flags).await;
        let held = Held::begin(&baton, &backend).await;
        let pools: Value = serde_json::from_str(&baton.ask("/pools").await).expect("JSON");
        let workers = pools["workers"].as_array().expect("a list");
        assert_eq!(workers.len(), 2);
        let mut streams = 0;
        let mut names = BTreeSet::new();
        for worker in workers {
            assert_eq!(worker["answered"], true);
            let cluster = &worker["clusters"][0];
            let backend = &cluster["backends"][0];
            assert_eq!(cluster["cluster"], "default");
            assert_eq!(backend["healthy"], true);
            let mut of_worker = 0;
            for connection in backend["connections"].as_array().expect("a list") {
                assert_eq!(connection["state"], "available", "{connection}");
                assert!(connection["limit"].as_u64() > connection["streams"].as_u64());
                of_worker += connection["streams"].as_u64().expect("a number");
                names.insert(connection["connection"].as_str().expect("text").to_owned());
            }
            assert_eq!(cluster["requests"]["live"], of_worker);
            assert_eq!(cluster["streams"], of_worker);
            streams += of_worker;
        }
        assert_eq!(streams, held.requests.len() as u64);
        let connected = baton.lines("connected");
        assert!(
            connected.iter().all(|line| names.contains(line["connection"].as_str().expect("text")))
        );
    });
}

/// An unreachable backend is in backoff and has no connections.
#[test]
fn pools_show_what_is_down() {
    run(async {
        let mut down = Backend::healthy().await;
        down.stop().await;
        let flags = [
            &ADMIN[..],
            &["--queue-timeout", "300ms", "--backoff-min", "1h", "--backoff-max", "2h"],
        ];
        let baton = Baton::start(&[down.url()], &flags.concat()).await;
        let answer = Http2::connect(baton.address).await.get("/").await.expect("answered");
        assert_eq!(answer.status, 503);
        let pools: Value = serde_json::from_str(&baton.ask("/pools").await).expect("JSON");
        let backend = &pools["workers"][0]["clusters"][0]["backends"][0];
        assert!(backend["backoff_ms"].as_u64() > Some(60_000), "{backend}");
        assert_eq!(
            (&backend["backend"], &backend["available_streams"]),
            (&down.url().into(), &0.into())
        );
    });
}

#[test]
fn it_is_ready_until_it_drains_and_always_live() {
    run(async {
        let backend = Backend::start(Behaviour::default(), hang).await;
        let flags = [&ADMIN[..], &["--workers", "2", "--drain-timeout", "1h"]].concat();
        let baton = Baton::start(&[backend.url()], &flags).await;
        assert_eq!(
            (baton.ask("/ready").await, baton.ask("/live").await),
            ("ready\n".into(), "live\n".into())
        );
        let client = Http2::connect(baton.address).await;
        let _held =
            client.begin(head(Method::GET, "/", "held"), true).await.expect("the connection lives");
        backend.wait_until("one is in flight", |seen| seen.open() == 1).await;
        baton.terminate();
        baton.wait_for_log("draining", |line| message(line) == "draining").await;
        let mut admin = Http1::connect(baton.admin().await).await;
        let draining = async {
            while admin.get("/ready").await.expect("answered").status != 503 {
                tokio::task::yield_now().await;
            }
        };
        within("it is no longer ready", draining).await;
        let metrics = baton.metrics().await;
        assert_eq!(metrics.sum("baton_requests_live", &[("cluster", "default")]) as u64, 1);
    });
}

/// Silent connections to the admin interface do not block other clients forever.
#[test]
fn silent_connections_are_closed() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &ADMIN).await;
        let address = baton.admin().await;
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(crate::support::client::connect(address).await);
        }
        let answered = async {
            loop {
                if let Ok(answer) = Http1::connect(address).await.get("/ready").await {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        assert_eq!(within("it answers again", answered).await.status, 200);
        assert_eq!(
            Http2::connect(baton.address).await.get("/").await.expect("answered").status,
            200
        );
    });
}
