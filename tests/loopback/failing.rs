//! Tests failing backends, beside a healthy one or alone: killed, silent, never ready.

use std::rc::Rc;

use http::Method;
use tokio::sync::Mutex;

use crate::support::client::head;
use crate::support::{Backend, Baton, Http2, run_load, unique_id};

/// One of two backends is killed under load: no GET fails.
#[tokio::test(flavor = "local")]
async fn backend_killed_beside_a_healthy_one_fails_no_get() {
    let healthy = Backend::healthy().await;
    let victim = Rc::new(Mutex::new(Backend::healthy().await));
    let urls = [healthy.url(), victim.lock().await.url()];
    let baton = Baton::start(&urls, &[]).await;
    let client = Rc::new(Http2::connect(baton.address).await);
    let killed = Rc::clone(&victim);
    let getting = Rc::clone(&client);
    run_load(600, 8, move |number| {
        let (killed, client) = (Rc::clone(&killed), Rc::clone(&getting));
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
