//! Clients that flood the proxy, as the log and the metrics show them, and honest ones beside them.

use crate::support::raw_client::RawClient;
use crate::support::{Backend, Baton, Http2};

pub(crate) async fn started() -> (Backend, Baton) {
    let backend = Backend::healthy().await;
    let baton = Baton::start(&[backend.url()], &["--admin", "127.0.0.1:0"]).await;
    (backend, baton)
}

/// Checks the one log line about why this client's connection was closed, the metric of that limit,
/// and the metric of the GOAWAY.
pub(crate) async fn closed(baton: &Baton, client: &RawClient, reason: &str) {
    let address = client.address.to_string();
    let about = |line: &serde_json::Value| {
        line["message"] == "client connection closed" && line["client"] == address
    };
    let line = baton.wait_for_log(reason, about).await;
    assert_eq!(line["reason"], reason, "{line}");
    let lines = baton.lines("client connection closed");
    let count = lines.iter().filter(|line| line["client"] == address).count();
    assert_eq!(count, 1, "one line per connection: {lines:?}");
    baton.wait_for_hits(reason, 1).await;
    let sent = [("direction", "sent")];
    baton
        .metrics_until("the GOAWAY is counted", |metrics| {
            metrics.sum("baton_client_goaway_frames_total", &sent) >= 1.0
        })
        .await;
}

/// Checks that an honest client is served.
pub(crate) async fn serves(baton: &Baton) {
    let client = Http2::connect(baton.address).await;
    assert_eq!(client.get("/").await.expect("it is answered").status, 200);
}
