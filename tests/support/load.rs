//! Many requests at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

/// An id that no other request of this test run has.
pub(crate) fn unique_id() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("request-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Calls `one` with 0 to `total`, `concurrency` at a time. A panic in one fails the test.
pub(crate) async fn run_load<One, Running>(total: usize, concurrency: usize, one: One)
where
    One: Fn(usize) -> Running + Send + Sync + 'static,
    Running: Future<Output = ()> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let one = Arc::new(one);
    let mut runners = JoinSet::new();
    for _ in 0..concurrency {
        let next = Arc::clone(&next);
        let one = Arc::clone(&one);
        runners.spawn(async move {
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
