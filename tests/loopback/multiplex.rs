//! Tests many requests over few connections: none swapped, none lost.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use crate::support::client::head;
use crate::support::{Backend, Baton, Http2, run_load, unique_id};

/// A unique body of 1 to about 4 000 bytes.
fn unique_body(id: &str, number: usize) -> Bytes {
    id.bytes().cycle().take(1 + id.len() + number * 37 % 4_000).collect()
}

#[tokio::test(flavor = "local")]
async fn five_thousand_multiplexed_requests_with_unique_bodies_none_swapped() {
    const REQUESTS: usize = 5_000;
    let first = Backend::echo().await;
    let second = Backend::echo().await;
    let baton = Baton::start(&[first.url(), second.url()], &["--workers", "2"]).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Http2::connect(baton.address).await);
    }
    let clients = Arc::new(clients);
    run_load(REQUESTS, 128, move |number| {
        let clients = Arc::clone(&clients);
        async move {
            let id = unique_id();
            let body = unique_body(&id, number);
            let head = head(Method::POST, "/unique", &id);
            let answer = clients[number % clients.len()].send(head, body.clone()).await;
            let answer = answer.expect("it is answered");
            assert_eq!(answer.status, 200, "{:?}", answer.body);
            assert!(answer.body == body, "{id} got the answer to another request");
        }
    })
    .await;
    let mut executed = first.seen(|seen| seen.executed.clone());
    executed.extend(second.seen(|seen| seen.executed.clone()));
    assert_eq!(executed.len(), REQUESTS);
    assert!(executed.values().all(|times| *times == 1));
    // For at most 128 concurrent requests, two workers need two connections to each backend; a few
    // more may be dialled before the first are connected.
    let connections = first.seen(|seen| seen.connections) + second.seen(|seen| seen.connections);
    assert!(connections <= 12, "{connections} connections for 128 requests at once");
}
