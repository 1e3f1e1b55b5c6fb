//! Tests the audit of a consistent pool. The driver's own tests cover an inconsistent one, because
//! no external input can make a pool miscount.

use std::sync::Arc;

use crate::support::exposition::Exposition;
use crate::support::{Backend, Baton, Http2, run_load};
use crate::system::spawn;

#[tokio::test(flavor = "local")]
async fn every_pool_audits_itself_under_load_and_finds_nothing() {
    let backend = Backend::healthy().await;
    let flags = ["--admin", "127.0.0.1:0", "--workers", "2"];
    let baton = Baton::start(&[backend.url()], &flags).await;
    let cluster = [("cluster", "default")];
    let client = Arc::new(Http2::connect(baton.address).await);
    let (enough, baton) = (Arc::new(tokio::sync::Notify::new()), Arc::new(baton));
    let (reported, asking) = (Arc::clone(&enough), Arc::clone(&baton));
    let audits = spawn(async move {
        let four = |metrics: &Exposition| {
            metrics.sum("baton_pool_audit_seconds_count", &cluster) as u64 >= 4
        };
        asking.metrics_until("two audits of two pools", four).await;
        reported.notify_one();
    });
    tokio::pin! {
        let enough = enough.notified();
    }
    loop {
        let client = Arc::clone(&client);
        let load = run_load(50, 8, move |_| {
            let client = Arc::clone(&client);
            async move { assert_eq!(client.get("/").await.expect("answered").status, 200) }
        });
        tokio::select! {
            biased;
            () = &mut enough => break,
            () = load => {}
        }
    }
    audits.await.expect("no panic");
}
