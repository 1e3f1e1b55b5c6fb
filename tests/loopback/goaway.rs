//! Tests backends that send GOAWAY, in two steps and in one, and backends that restart.

use std::sync::Arc;

use http::Method;

use crate::support::baton::message;
use crate::support::client::head;
use crate::support::{Backend, Baton, Behaviour, Http2, run_load, unique_id};

/// Every connection of both backends is drained with GOAWAY after 40 requests, repeatedly.
#[tokio::test(flavor = "local")]
async fn rolling_goaway_under_load_fails_nothing_and_executes_each_post_once() {
    const REQUESTS: usize = 1_200;
    let behaviour = Behaviour { goaway_after: Some(40), ..Behaviour::default() };
    let first = Backend::start(behaviour, |exchange| exchange.echo()).await;
    let second = Backend::start(behaviour, |exchange| exchange.echo()).await;
    let baton = Baton::start(&[first.url(), second.url()], &["--workers", "2"]).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Http2::connect(baton.address).await);
    }

    let clients = Arc::new(clients);
    run_load(REQUESTS, 32, move |number| {
        let clients = Arc::clone(&clients);
        async move {
            let id = unique_id();
            let head = head(Method::POST, "/rolling", &id);
            let client = &clients[number % clients.len()];
            let answer = client.send(head, id.clone()).await.expect("no request fails");
            assert_eq!(answer.status, 200, "{}: {:?}", id, answer.body);
            assert_eq!(answer.body, id.as_bytes(), "the answer belongs to the request");
        }
    })
    .await;

    let mut executed = first.seen(|seen| seen.executed.clone());
    for (id, times) in second.seen(|seen| seen.executed.clone()) {
        *executed.entry(id).or_default() += times;
    }
    assert_eq!(executed.len(), REQUESTS, "each was executed");
    assert!(executed.values().all(|times| *times == 1), "none was executed twice");
    let connections = first.seen(|seen| seen.connections) + second.seen(|seen| seen.connections);
    assert!(connections >= REQUESTS / 2 / 40, "connections were drained: {connections}");
    baton.wait_for_log("goaway received", |line| message(line) == "goaway received").await;
}
