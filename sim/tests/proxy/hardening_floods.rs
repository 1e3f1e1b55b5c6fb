//! Tests HTTP/2 floods from clients: GOAWAY(ENHANCE_YOUR_CALM) with the right last stream, then the
//! connection closes; one log line, and no effect on other clients.

use crate::support::Http2;
use crate::support::raw::kind;
use crate::support::raw_client::{CALM, PREFACE, RawClient, block, frame, get};
use crate::support::scripts::hardening_floods::{closed, serves, started};
use crate::system::run;

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

#[test]
fn ping_flood() {
    run(async {
        flood_of(frame(kind::PING, 0, 0, &[1; 8]), 10_000, "ping_flood").await;
    });
}

#[test]
fn flood_of_unsolicited_pongs() {
    run(async {
        flood_of(frame(kind::PING, 1, 0, &[1; 8]), 10_000, "ping_flood").await;
    });
}

#[test]
fn settings_flood() {
    run(async {
        flood_of(frame(kind::SETTINGS, 0, 0, &[]), 1_000, "settings_flood").await;
    });
}

#[test]
fn priority_flood() {
    run(async {
        let priority = frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 1, 15]);
        flood_of(priority, 5_000, "priority_flood").await;
    });
}

#[test]
fn flood_of_unknown_frames() {
    run(async {
        flood_of(frame(0xbb, 0, 0, b"grease"), 5_000, "priority_flood").await;
    });
}

#[test]
fn window_update_flood() {
    run(async {
        let update = frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        flood_of(update, 10_000, "window_update_flood").await;
    });
}

#[test]
fn flood_of_empty_data() {
    run(async {
        let (_backend, baton) = started().await;
        let mut client = RawClient::connect(baton.address).await;
        client.write(&frame(kind::HEADERS, 0x4, 1, &block("POST", &[]))).await;
        client.write(&frame(kind::DATA, 0, 1, &[]).repeat(200)).await;
        assert_eq!(client.goaway_code().await, (1, CALM));
        closed(&baton, &client, "data_flood").await;
        serves(&baton).await;
    });
}

/// Rapid Reset (CVE-2023-44487) at full speed.
#[test]
fn rapid_reset_in_bursts() {
    run(async {
        let (backend, baton) = started().await;
        let mut client = RawClient::connect(baton.address).await;
        let mut stream = 1;
        'attack: for _ in 0..100 {
            let mut burst = Vec::new();
            for _ in 0..500 {
                burst.extend(get(stream));
                burst.extend(frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
                stream += 2;
            }
            if !client.write(&burst).await {
                break 'attack;
            }
        }
        let (last, code) = client.goaway_code().await;
        assert_eq!(code, CALM);
        assert!(last < stream, "{last}");
        closed(&baton, &client, "reset_flood").await;
        serves(&baton).await;
        let reached = backend.seen(|seen| seen.heads.len());
        assert!(reached < 20_000, "most requests never reached the backend: {reached}");
    });
}

/// MadeYouReset (CVE-2025-8671): the client makes Baton reset the streams.
#[test]
fn provoked_resets() {
    run(async {
        let (_backend, baton) = started().await;
        let mut client = RawClient::connect(baton.address).await;
        let head = block("POST", &[("content-length", "1")]);
        let mut stream = 1;
        for _ in 0..150 {
            let mut burst = Vec::new();
            for _ in 0..20 {
                burst.extend(frame(kind::HEADERS, 0x4, stream, &head));
                burst.extend(frame(kind::DATA, 0x1, stream, b"more than one"));
                stream += 2;
            }
            if !client.write(&burst).await {
                break;
            }
        }
        let (_, code) = client.goaway_code().await;
        assert_eq!(code, CALM);
        closed(&baton, &client, "provoked_reset_flood").await;
        serves(&baton).await;
    });
}

/// Refused heads are cheap, but their number is limited.
#[test]
fn flood_of_malformed_requests() {
    run(async {
        let (_backend, baton) = started().await;
        let mut client = RawClient::connect(baton.address).await;
        let head = block("GET", &[("connection", "close")]);
        client.write(&frame(kind::HEADERS, 0x5, 1, &head)).await;
        assert_eq!(client.next_of(kind::RST_STREAM).await.stream, 1);
        let refused = baton.wait_for_lines("request refused", 1).await;
        assert_eq!(refused[0]["reason"], "malformed_head");
        for stream in (3..4_000).step_by(2) {
            if !client.write(&frame(kind::HEADERS, 0x5, stream, &head)).await {
                break;
            }
        }
        let (_, code) = client.goaway_code().await;
        assert_eq!(code, CALM);
        closed(&baton, &client, "provoked_reset_flood").await;
        let refused = baton.lines("request refused");
        assert!(refused.len() <= 600, "one line each, up to the limit: {}", refused.len());
        serves(&baton).await;
    });
}

/// Invalid frames after the preface end the connection with GOAWAY.
#[test]
fn invalid_frames_end_in_goaway() {
    run(async {
        let (_backend, baton) = started().await;
        for wrong in [
            frame(kind::DATA, 0, 1, b"on an idle stream"),
            frame(kind::HEADERS, 0x5, 2, &block("GET", &[])),
            frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0]),
            frame(kind::SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
            frame(kind::PING, 0, 0, &[1; 7]),
            frame(kind::HEADERS, 0x5, 1, &[0xff; 40]),
            frame(kind::CONTINUATION, 0x4, 1, &[]),
            [&[0xff, 0xff, 0xff][..], &[0; 600]].concat(),
        ] {
            let mut client = RawClient::silent(baton.address).await;
            client.write(PREFACE).await;
            client.write(&frame(kind::SETTINGS, 0, 0, &[])).await;
            client.write(&wrong).await;
            let (_, code) = client.goaway_code().await;
            assert_ne!(code, 0, "{wrong:?}");
            closed(&baton, &client, "malformed_frames").await;
        }
        serves(&baton).await;
    });
}
