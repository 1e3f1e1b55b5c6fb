//! Tests how connections are opened, kept and retired without faults, and what is logged.

use std::sync::Arc;

use http::Method;
use tokio::sync::watch;

use crate::support::baton::message;
use crate::support::client::head;
use crate::support::raw::{Bodies, RawBackend, flag, kind};
use crate::support::{Backend, Baton, Behaviour, Http2, run_load, unique_id, within};
use crate::system::run;

/// Sixty requests at once without a connection cause one dial, because one connection has capacity
/// for all of them.
#[test]
fn a_burst_at_the_start_shares_one_dial() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        run_load(60, 60, move |_| {
            let client = Arc::clone(&client);
            async move {
                let answer = client.send(head(Method::GET, "/", &unique_id()), "").await;
                assert_eq!(answer.expect("it is answered").status, 200);
            }
        })
        .await;
        assert_eq!(backend.seen(|seen| seen.connections), 1);
    });
}

#[test]
fn an_idle_connection_is_closed_and_the_next_request_dials() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &["--idle-timeout", "200ms"]).await;
        let client = Http2::connect(baton.address).await;
        for connections in 1..=3 {
            assert_eq!(client.get("/").await.expect("it is answered").status, 200);
            assert_eq!(backend.seen(|seen| seen.connections), connections);
            baton.wait_for_lines("connection closed", connections).await;
        }
    });
}

#[test]
fn a_connection_retires_after_its_requests() {
    run(async {
        let backend = Backend::echo().await;
        let flags = ["--max-requests-per-connection", "10"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        run_load(100, 8, move |_| {
            let client = Arc::clone(&client);
            async move {
                let id = unique_id();
                let answer = client.send(head(Method::POST, "/", &id), id.clone()).await;
                assert_eq!(answer.expect("it is answered").body, id.as_bytes());
            }
        })
        .await;
        let connections = backend.seen(|seen| seen.connections);
        assert!((10..=20).contains(&connections), "10 requests each: {connections}");
        assert!(baton.wait_for_requests(100).await.iter().all(|line| line["attempts"] == 1));
    });
}

#[test]
fn a_connection_retires_at_its_max_age() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &["--max-age", "300ms"]).await;
        let client = Http2::connect(baton.address).await;
        assert_eq!(client.get("/").await.expect("it is answered").status, 200);
        let closed = |line: &serde_json::Value| message(line) == "connection closed";
        baton.wait_for_log("it is closed at its max age", closed).await;
        assert_eq!(client.get("/").await.expect("it is answered").status, 200);
    });
}

/// A slow backend that answers PINGs keeps its connection.
#[test]
fn a_slow_backend_that_answers_pings_is_kept() {
    run(async {
        let pings = watch::Sender::new(0_usize);
        let counting = pings.clone();
        let backend = RawBackend::start(100, move |mut connection| {
            let pings = counting.clone();
            async move {
                assert_eq!(connection.number, 0, "the first connection is kept");
                let mut bodies = Bodies::default();
                let (stream, body) =
                    connection.request(&mut bodies).await.expect("a request arrives");
                for _ in 0..2 {
                    let ping = |frame: &crate::support::raw::Frame| {
                        frame.kind == kind::PING && frame.flags & flag::ACK == 0
                    };
                    connection.until(ping).await;
                    pings.send_modify(|count| *count += 1);
                }
                connection.answer(stream, &body).await;
                while let Some((stream, body)) = connection.request(&mut bodies).await {
                    connection.answer(stream, &body).await;
                }
            }
        })
        .await;
        let flags = ["--silence-timeout", "100ms", "--suspect-timeout", "25s"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Http2::connect(baton.address).await;
        let answer = client.send(head(Method::POST, "/", "slow"), "slow").await;
        assert_eq!(answer.expect("it is answered").body, "slow");
        assert_eq!(*pings.borrow(), 2);
        let answer = client.send(head(Method::POST, "/", "next"), "next").await;
        assert_eq!(answer.expect("it is answered").body, "next");
    });
}

/// The access log line has every field documented in the README.
#[test]
fn the_access_line_names_the_request_and_its_backend() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async move {
            exchange.answer(201, "created").await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let sending = client.send(head(Method::POST, "/things?q=1", "line"), "twelve bytes");
        assert_eq!(within("the answer", sending).await.expect("it is answered").status, 201);
        let line = baton.wait_for_requests(1).await.remove(0);
        for (field, value) in [
            ("level", "INFO"),
            ("method", "POST"),
            ("outcome", "completed"),
            ("backend", &backend.url()),
            ("evidence", "-"),
        ] {
            assert_eq!(line[field], value, "{field} in {line}");
        }
        for (field, value) in
            [("status", 201), ("attempts", 1), ("request_bytes", 12), ("response_bytes", 7)]
        {
            assert_eq!(line[field], value, "{field} in {line}");
        }
        assert_eq!(line["stream"], 1, "the first stream of the connection: {line}");
        assert!(line["path"].as_str().is_some_and(|path| path.starts_with("/things")), "{line}");
        assert!(line["connection"].as_str().is_some_and(|name| name.starts_with("b0/s")), "{line}");
        assert!(
            line["client"].as_str().is_some_and(|name| name.starts_with("127.0.0.1:")),
            "{line}"
        );
        let time =
            |field: &str| line[field].as_f64().unwrap_or_else(|| panic!("{field} in {line}"));
        assert!(time("wait_ms") >= 0.0 && time("first_byte_ms") <= time("total_ms"), "{line}");
        let connected = baton.wait_for_lines("connected", 1).await.remove(0);
        assert_eq!(connected["connection"], line["connection"]);
        assert_eq!(connected["protocol"], "HTTP/2");
    });
}
