//! Tests the limits on the number of client connections.

use crate::support::client::connect;
use crate::support::{Backend, Http2, eventually};
use crate::system::{spawn, start_limited};

/// Without file descriptors nothing can be accepted: the log line is rate-limited, no CPU time is
/// wasted, and accepting resumes when descriptors are free.
#[tokio::test(flavor = "local")]
async fn running_out_of_file_descriptors_is_survived() {
    let backend = Backend::healthy().await;
    let baton = start_limited("ulimit -n 40", &[backend.url()]).await;
    let honest = Http2::connect(baton.address).await;
    assert_eq!(honest.get("/").await.expect("it is answered").status, 200);
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(connect(baton.address).await);
    }
    let failed = baton.wait_for_lines("accept failed", 3).await;
    assert!(
        failed[1]["count"].as_u64().expect("a count") < 100,
        "it does not busy-loop: {failed:?}"
    );
    assert_eq!(honest.get("/").await.expect("it is answered").status, 200);
    drop(held);
    let mut served = None;
    eventually("connections are accepted again", || {
        served.get_or_insert_with(|| spawn(Http2::connect(baton.address))).is_finished()
    })
    .await;
    let client = served.expect("just started").await.expect("it does not panic");
    assert_eq!(client.get("/").await.expect("it is answered").status, 200);
}
