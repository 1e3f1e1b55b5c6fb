//! Tests failing backends, beside a healthy one or alone: killed, silent, never ready.

use std::sync::Arc;

use http::Method;
use tokio::sync::Mutex;

use crate::support::client::head;
use crate::support::{Backend, Baton, Http2, run_load, unique_id};

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

/// One of two backends is killed under load: no GET fails.
#[tokio::test(flavor = "local")]
async fn backend_killed_beside_a_healthy_one_fails_no_get() {
    let healthy = Backend::healthy().await;
    let victim = Arc::new(Mutex::new(Backend::healthy().await));
    let urls = [healthy.url(), victim.lock().await.url()];
    let baton = Baton::start(&urls, &[]).await;
    let client = Arc::new(Http2::connect(baton.address).await);
    let killed = Arc::clone(&victim);
    let getting = Arc::clone(&client);
    run_load(600, 8, move |number| {
        let (killed, client) = (Arc::clone(&killed), Arc::clone(&getting));
        async move {
            if number == 100 {
                killed.lock().await.stop().await;
            }
            let answer = client.send(head(Method::GET, "/", &unique_id()), "").await;
            let answer = answer.expect("it is answered");
            assert_eq!(answer.status, 200, "{:?} {:?}", answer.headers, answer.body);
        }
    })
    .await;
    assert!(victim.lock().await.seen(|seen| !seen.heads.is_empty()), "it served before");
    assert!(healthy.seen(|seen| seen.heads.len()) > 450, "the other one served the rest");
}
