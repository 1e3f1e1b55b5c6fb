//! Tests HTTP/2 floods from clients: GOAWAY(ENHANCE_YOUR_CALM) with the right last stream, then the
//! connection closes; one log line, and no effect on other clients.

use std::time::Duration;

use baton::proxy::client_limits::ClientLimits;
use rand_core::{Rng, SeedableRng};

use crate::support::raw::kind;
use crate::support::raw_client::{CALM, RawClient, block, frame, get, literal};
use crate::support::scripts::hardening_floods::{closed, serves, started};
use crate::support::{Backend, Behaviour, Http2, Limited};

/// An endless header block is limited while it arrives (CVE-2024-27316).
#[tokio::test(flavor = "local")]
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
    let peak = baton.process.peak_resident_bytes();
    assert!(peak < 64 << 20, "memory does not grow: {peak}");
}

/// Rapid Reset, slow enough that every request is accepted first.
#[tokio::test(flavor = "local")]
async fn rapid_reset_of_accepted_requests() {
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
}

/// A few bytes that expand: repeated references to one entry of the dynamic table (HPACK bomb).
#[tokio::test(flavor = "local")]
async fn expanding_header_lists() {
    let (backend, baton) = started().await;
    baton.process.forget_peak();
    let before = baton.process.resident_bytes();
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
    let grown = baton.process.peak_resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "memory does not grow: {grown}");
}

/// Random valid and invalid frames on many connections, from a fixed seed: the process survives and
/// serves the next client.
#[tokio::test(flavor = "local")]
async fn random_frames_never_end_the_process() {
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
}
