//! Tests HTTP/2 floods from clients: GOAWAY(ENHANCE_YOUR_CALM) with the right last stream, then the
//! connection closes; one log line, and no effect on other clients.

use std::time::Duration;

use baton::proxy::client_limits::ClientLimits;
use rand_core::{Rng, SeedableRng};

use crate::support::raw::kind;
use crate::support::raw_client::{CALM, PREFACE, RawClient, block, frame, get};
use crate::support::{Backend, Baton, Behaviour, Http2, Limited};
use crate::system::run;

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

/// Rapid Reset, slow enough that every request is accepted first.
#[test]
fn rapid_reset_of_accepted_requests() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async {
            exchange.wait_for_reset().await;
        })
        .await;
        // One window for the whole test, however slow the machine is.
        let widen = |limits: &mut ClientLimits| limits.frames.window = Duration::from_secs(3600);
        let baton = Limited::start(&[backend.url()], &[], widen).await;
        let mut client = RawClient::connect(baton.address).await;
        let mut stream = 1;
        'attack: for _ in 0..200 {
            let first = stream;
            let mut burst = Vec::new();
            for _ in 0..50 {
                burst.extend(get(stream));
                stream += 2;
            }
            burst.extend(frame(kind::PING, 0, 0, &[2; 8]));
            if !client.write(&burst).await {
                break;
            }
            loop {
                match client.next().await {
                    None => break 'attack,
                    Some(frame) if frame.kind == kind::GOAWAY => break 'attack,
                    Some(frame) if frame.acknowledges(kind::PING) => break,
                    Some(_) => {}
                }
            }
            let resets = (first..stream).step_by(2);
            let resets: Vec<u8> =
                resets.flat_map(|id| frame(kind::RST_STREAM, 0, id, &[0, 0, 0, 8])).collect();
            client.write(&resets).await;
        }
        assert!(stream > 10_000, "as many cancels as honest clients send are allowed: {stream}");
        baton.refusal(client.address, "reset_flood").await;
        let healthy = Http2::connect(baton.address).await;
        healthy.ping().await;
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

/// Random valid and invalid frames on many connections, from a fixed seed: the process survives and
/// serves the next client.
#[test]
fn random_frames_never_end_the_process() {
    run(async {
        let (_backend, baton) = started().await;
        let mut random = rand_pcg::Pcg32::seed_from_u64(2026);
        let mut draw = |below: u32| random.next_u32() % below;
        for _ in 0..3_000 {
            let mut client = RawClient::connect(baton.address).await;
            let mut bytes = Vec::new();
            let mut stream: u32 = 1;
            for _ in 0..draw(40) {
                let id = [0, stream, stream.saturating_sub(2), draw(9)][draw(4) as usize];
                let flags = u8::try_from(draw(64)).expect("below 256")
                    & [0x5, 0x4, 0x1, 0x3f][draw(4) as usize];
                let number = draw(u32::MAX).to_be_bytes();
                let length = [("content-length", ["0", "3", "9"][draw(3) as usize])];
                bytes.extend(match draw(14) {
                    0..=3 => {
                        stream += 2;
                        let fields = &length[..draw(2) as usize];
                        frame(kind::HEADERS, flags | 0x4, stream, &block("POST", fields))
                    }
                    4..=6 => frame(kind::DATA, flags & 0x1, stream, &vec![b'd'; draw(12) as usize]),
                    7 => frame(kind::RST_STREAM, 0, id, &number),
                    8 => frame(kind::WINDOW_UPDATE, 0, id, &number),
                    9 => frame(kind::SETTINGS, 0, 0, &[&[0, 4][..], &number].concat()),
                    10 => frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, number[0]]),
                    11 => frame(kind::PRIORITY, 0, id, &[&number[..], &[1]].concat()),
                    12 => frame(u8::try_from(draw(12)).expect("small"), flags, id, &number),
                    _ => frame(kind::HEADERS, flags, stream, &block("GET", &[])),
                });
            }
            client.write(&bytes).await;
            if draw(2) == 0 {
                client.write(&frame(kind::PING, 0, 0, &[3; 8])).await;
                // The connection may have closed already.
                while let Some(frame) = client.next().await {
                    if frame.acknowledges(kind::PING) {
                        break;
                    }
                }
            }
        }
        serves(&baton).await;
    });
}
