//! Generates concurrent requests.

use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::Method;
use tokio::task::JoinSet;

use super::backend::Backend;
use super::baton::Baton;
use super::client::{Http2, head};

/// An id that is unique in this test run.
pub(crate) fn unique_id() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("request-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Calls `one` with 0 to `total - 1`, `concurrency` at a time. A panic in a call fails the test.
pub(crate) async fn run_load<One, Running>(total: usize, concurrency: usize, one: One)
where
    One: Fn(usize) -> Running + 'static,
    Running: Future<Output = ()> + 'static,
{
    let next = Rc::new(AtomicUsize::new(0));
    let one = Rc::new(one);
    let mut runners = JoinSet::new();
    for _ in 0..concurrency {
        let next = Rc::clone(&next);
        let one = Rc::clone(&one);
        runners.spawn_local(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return;
                }
                one(number).await;
            }
        });
    }
    while let Some(ended) = runners.join_next().await {
        ended.expect("no request fails");
    }
}

/// Unanswered requests, three on each of eight connections: enough that every worker has some,
/// because the system chooses the worker for each connection.
pub(crate) struct Held {
    /// The pending responses.
    pub(crate) requests: Vec<(ResponseFuture, SendStream<Bytes>)>,
    _clients: Vec<Http2>,
}

impl Held {
    /// Starts the requests, and waits until all are in flight.
    pub(crate) async fn begin(baton: &Baton, backend: &Backend) -> Self {
        let (mut requests, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let client = Http2::connect(baton.address).await;
            for _ in 0..3 {
                let request = client.begin(head(Method::GET, "/", "held"), true).await;
                requests.push(request.expect("the connection lives"));
            }
            clients.push(client);
        }
        backend.wait_until("all are in flight", |seen| seen.open() == requests.len()).await;
        Self { requests, _clients: clients }
    }
}
