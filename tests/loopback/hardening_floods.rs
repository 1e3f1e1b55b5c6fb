//! Tests HTTP/2 floods from clients: GOAWAY(ENHANCE_YOUR_CALM) with the right last stream, then the
//! connection closes; one log line, and no effect on other clients.

use std::time::Duration;

use baton::proxy::client_limits::ClientLimits;
use rand_core::{Rng, SeedableRng};

use crate::support::raw::kind;
use crate::support::raw_client::{CALM, PREFACE, RawClient, block, frame, get, literal};
use crate::support::{Backend, Baton, Behaviour, Http2, Limited};

async fn started() -> (Backend, Baton) {
    let backend = Backend::healthy().await;
    let baton = Baton::start(&[backend.url()], &["--admin", "127.0.0.1:0"]).await;
    (backend, baton)
}

/// Checks the one log line about why this client's connection was closed, the metric of that limit,
/// and the metric of the GOAWAY.
async fn closed(baton: &Baton, client: &RawClient, reason: &str) {
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
async fn serves(baton: &Baton) {
    let client = Http2::connect(baton.address).await;
    assert_eq!(client.get("/").await.expect("it is answered").status, 200);
}

/// Sends one request, then this frame repeatedly until the connection closes.
async fn flood_of(frame: Vec<u8>, count: usize, reason: &str) {
    let (_backend, baton) = started().await;
    let honest = Http2::connect(baton.address).await;
    let mut client = RawClient::connect(baton.address).await;
    client.get(1).await.expect("it is answered");
    let batch = frame.repeat(100);
    for _ in 0..=count / 100 {
        if !client.write(&batch).await {
            break;
        }
    }
    assert_eq!(client.goaway_code().await, (1, CALM), "{reason}");
    closed(&baton, &client, reason).await;
    assert_eq!(honest.get("/").await.expect("another connection lives").status, 200);
    serves(&baton).await;
}

/// An endless header block is limited while it arrives (CVE-2024-27316).
#[tokio::test]
async fn continuation_flood() {
    let (_backend, baton) = started().await;
    for piece in [&[][..], &literal("x-filler", &"v".repeat(8_000))] {
        let mut client = RawClient::connect(baton.address).await;
        client.get(1).await.expect("it is answered");
        client.write(&frame(kind::HEADERS, 0x1, 3, &block("GET", &[]))).await;
        let continuation = frame(kind::CONTINUATION, 0, 3, piece);
        for _ in 0..2_000 {
            if !client.write(&continuation).await {
                break;
            }
        }
        let (_, code) = client.goaway_code().await;
        assert_eq!(code, CALM);
        closed(&baton, &client, "continuation_flood").await;
    }
    serves(&baton).await;
    let peak = baton.peak_resident_bytes();
    assert!(peak < 64 << 20, "memory does not grow: {peak}");
}

/// A few bytes that expand: repeated references to one entry of the dynamic table (HPACK bomb).
#[tokio::test]
async fn expanding_header_lists() {
    let (backend, baton) = started().await;
    baton.forget_peak();
    let before = baton.resident_bytes();
    let mut client = RawClient::connect(baton.address).await;
    // A literal with incremental indexing becomes entry 62 (RFC 7541, 6.2.1).
    let mut entry = literal("x-bomb", &"b".repeat(3_900));
    entry[0] = 0x40;
    let mut head = block("GET", &[]);
    head.extend(entry);
    // A list that is too large gets 431, each time.
    let mut bomb = head.clone();
    bomb.extend([0xbe; 30]);
    for stream in (1..40).step_by(2) {
        client.write(&frame(kind::HEADERS, 0x5, stream, &bomb)).await;
        let answer = client.next_of(kind::HEADERS).await;
        assert!(answer.ends_stream() && answer.stream == stream, "{answer:?}");
    }
    // A list that is far too large closes the connection.
    head.extend([0xbe; 10_000]);
    client.write(&frame(kind::HEADERS, 0x5, 41, &head)).await;
    let (_, code) = client.goaway_code().await;
    assert_eq!(code, CALM);
    closed(&baton, &client, "header_expansion").await;
    let refused = baton.wait_for_lines("request refused", 20).await;
    assert!(refused.iter().all(|line| line["reason"] == "head_bytes"), "{refused:?}");
    assert_eq!(refused.len(), 20, "each exactly once");
    assert_eq!(backend.seen(|seen| seen.heads.len()), 0);
    serves(&baton).await;
    let grown = baton.peak_resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "memory does not grow: {grown}");
}
