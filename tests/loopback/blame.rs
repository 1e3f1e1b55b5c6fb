//! Tests blame: a request that every backend fails costs none of them its place, and neither does a
//! connection that is dead when it is used after being idle.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use h2::Reason;
use http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::support::baton::message;
use crate::support::raw::RawBackend;
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, within};
use crate::system::TcpStream;

/// Reads a request head over HTTP/1.1. Returns its request line; `None` if there is none.
async fn request_line(tcp: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if tcp.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    String::from_utf8_lossy(&head).lines().next().map(str::to_owned)
}

async fn respond(tcp: &mut TcpStream) {
    let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
}

/// A backend that closes the connection of each request for `/close`, and answers one for
/// `/nonsense` with no HTTP.
async fn touchy() -> RawBackend {
    RawBackend::accepting(|mut tcp, _| {
        Box::pin(async move {
            while let Some(line) = request_line(&mut tcp).await {
                match line.split(' ').nth(1) {
                    Some("/close") => return,
                    Some("/nonsense") => return drop(tcp.write_all(b"nonsense\r\n\r\n").await),
                    _ => respond(&mut tcp).await,
                }
            }
        })
    })
    .await
}

/// Sends poisoned requests, and honest ones behind each.
async fn poison(client: &Http2, path: &str) {
    for _ in 0..15 {
        let answer = client.get(path).await.expect("it is answered");
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        for _ in 0..2 {
            let answer = client.get("/").await.expect("it is answered");
            assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.headers);
        }
    }
}

fn assert_none_is_ejected(baton: &Baton) {
    let changed = baton.lines("backend changed");
    assert!(changed.is_empty(), "{changed:?}");
}

#[tokio::test(flavor = "local")]
async fn a_request_that_every_backend_resets_ejects_none_and_is_tried_on_two() {
    for reason in [Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let behaviour = || Behaviour { cleartext: true, ..Behaviour::default() };
        let handler = move |exchange: Exchange| async move {
            match exchange.head.uri().path() {
                "/poison" => exchange.reset(reason),
                _ => exchange.answer(200, "").await,
            }
        };
        let mut backends = Vec::new();
        for _ in 0..3 {
            backends.push(Backend::start(behaviour(), handler).await);
        }
        let urls: Vec<_> = backends.iter().map(Backend::url).collect();
        let baton = Baton::start(&urls, &[]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..9 {
            client.get("/").await.expect("it is answered");
        }
        poison(&client, "/poison").await;
        assert_none_is_ejected(&baton);
        let tried = |backend: &Backend| {
            let poisoned = |head: &&http::Request<()>| head.uri().path() == "/poison";
            backend.seen(|seen| seen.heads.iter().filter(poisoned).count())
        };
        assert_eq!(backends.iter().map(tried).sum::<usize>(), 30, "{reason}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_request_that_costs_http1_connections_ejects_none() {
    for path in ["/close", "/nonsense"] {
        let mut urls = Vec::new();
        for _ in 0..3 {
            urls.push(format!("http://{}", touchy().await.address));
        }
        let baton = Baton::start(&urls, &[]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..9 {
            client.get("/").await.expect("it is answered");
        }
        poison(&client, path).await;
        assert_none_is_ejected(&baton);
    }
}

/// Six connections that were idle are reset when they are used: no GET fails, and no backend is
/// ejected.
#[tokio::test(flavor = "local")]
async fn dead_idle_connections_cost_no_get() {
    let (are_dead, all_wait) = (Rc::new(Cell::new(false)), Rc::new(Notify::new()));
    let (dead, wait) = (Rc::clone(&are_dead), Rc::clone(&all_wait));
    let waiting = Rc::new(Cell::new(0));
    let backend = RawBackend::accepting(move |mut tcp, number| {
        let (dead, wait, waiting) = (Rc::clone(&dead), Rc::clone(&wait), Rc::clone(&waiting));
        Box::pin(async move {
            while let Some(line) = request_line(&mut tcp).await {
                if dead.get() && number < 6 {
                    // The request was read, so the close would not be a reset by itself.
                    tcp.set_zero_linger().expect("a connected socket takes the option");
                    return;
                }
                if line.contains("/first") {
                    waiting.set(waiting.get() + 1);
                    if waiting.get() == 6 {
                        wait.notify_waiters();
                    } else {
                        wait.notified().await;
                    }
                }
                respond(&mut tcp).await;
            }
        })
    })
    .await;
    let url = format!("http://{}", backend.address);
    let baton = Baton::start(&[&url], &["--max-connections", "16"]).await;
    let client = Http2::connect(baton.address).await;
    let first = join_all((0..6).map(|_| client.get("/first")));
    for answer in within("six requests", first).await {
        assert_eq!(answer.expect("it is answered").status, StatusCode::OK);
    }
    are_dead.set(true);
    // Only a connection that has been idle for a second may be dead of that.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for answer in within("three requests", join_all((0..3).map(|_| client.get("/")))).await {
        let answer = answer.expect("it is answered");
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.headers);
    }
    assert_none_is_ejected(&baton);
    let stale = |line: &Value| message(line) == "connection closed" && line["reason"] == "stale";
    baton.wait_for_log("an idle connection is closed with the dead ones", stale).await;
}
