//! Tests clients that do not take what they ask for: what waits for them is bounded, those that are
//! stalled are closed, and honest clients lose nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::client::connect;
use crate::support::raw::kind;
use crate::support::raw_client::{CALM, PREFACE, RawClient, frame, get};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http1, Http2, eventually};
use crate::system::TcpStream;

const BODY_BYTES: usize = 1 << 20;
const PIECE_BYTES: usize = 16 << 10;
/// The bound of the tests.
const BOUND_BYTES: u64 = 6 << 20;
/// A worker may be so far above the bound before it notices.
const STEP_BYTES: u64 = 64 << 10;
const STALLED_CLIENTS: usize = 10;
const STREAMS: u32 = 20;
/// SETTINGS_INITIAL_WINDOW_SIZE = 0 (RFC 9113, 6.5.2).
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
/// SETTINGS_INITIAL_WINDOW_SIZE = 2^31 - 1.
const LARGEST_WINDOW: [u8; 6] = [0, 4, 0x7f, 0xff, 0xff, 0xff];

async fn send_mebibyte(mut exchange: Exchange) {
    let Some(mut stream) = exchange.start(200) else { return };
    let piece = Bytes::from(vec![b'd'; PIECE_BYTES]);
    for left in (0..BODY_BYTES / PIECE_BYTES).rev() {
        if !exchange.send(&mut stream, piece.clone(), left == 0).await {
            return;
        }
    }
}

async fn start(flags: &[&str]) -> (Backend, Baton) {
    let backend = Backend::start(Behaviour::default(), send_mebibyte).await;
    let flags = [&["--admin", "127.0.0.1:0"], flags].concat();
    let baton = Baton::start(&[backend.url()], &flags).await;
    (backend, baton)
}

/// Connects with these SETTINGS and sends requests.
async fn ask(baton: SocketAddr, settings: &[u8], streams: u32) -> RawClient {
    let mut client = RawClient::silent(baton).await;
    client.write(PREFACE).await;
    client.write(&frame(kind::SETTINGS, 0, 0, settings)).await;
    for number in 0..streams {
        client.write(&get(2 * number + 1)).await;
    }
    client
}

/// The same by a client that never reads.
async fn ask_and_never_read(baton: SocketAddr) -> TcpStream {
    let mut tcp = connect(baton).await;
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(kind::SETTINGS, 0, 0, &LARGEST_WINDOW));
    bytes.extend(frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]));
    bytes.extend((0..STREAMS).flat_map(|number| get(2 * number + 1)));
    tcp.write_all(&bytes).await.expect("Baton reads");
    tcp
}

/// Honest clients over both protocols get all that they ask for.
async fn ask_honestly(baton: SocketAddr) {
    let http2 = Http2::connect(baton).await;
    let mut http1 = Http1::connect(baton).await;
    for _ in 0..5 {
        let (one, other) = tokio::join!(http2.get("/"), http1.get("/"));
        let answers = [one.expect("it is answered"), other.expect("it is answered")];
        assert!(answers.iter().all(|answer| answer.body.len() == BODY_BYTES));
    }
}

fn is_shed(line: &Value) -> bool {
    line["reason"] == "buffered_bytes" && line["ended_by"] == "proxy"
}

/// Checks that what waits stays below the bound after stalled clients were closed for it, at least
/// one and not all, and that their requests say why.
async fn expect_shed(baton: &Baton, backend: &Backend) {
    backend.wait_until("every request arrived", |seen| seen.heads.len() > 100).await;
    let waits = |metrics: &crate::support::exposition::Exposition| {
        metrics.sum("baton_client_buffered_bytes", &[]) as u64
    };
    baton.wait_for_hits("buffered_bytes", 1).await;
    baton.metrics_until("little waits", |it| waits(it) <= BOUND_BYTES + STEP_BYTES).await;
    ask_honestly(baton.address).await;
    assert!(waits(&baton.metrics().await) <= BOUND_BYTES + BODY_BYTES as u64);
    let closed = baton.lines("client connection closed");
    assert!(closed.iter().all(|line| line["reason"] == "buffered_bytes"), "{closed:?}");
    assert!(closed.len() < STALLED_CLIENTS, "no more than necessary: {closed:?}");
    let honest = || {
        let requests = baton.lines("request");
        requests.iter().filter(|line| line["outcome"] == "completed").count()
    };
    eventually("honest requests are complete", || honest() == 10).await;
    let requests = baton.wait_for_requests(10 + STREAMS as usize).await;
    assert!(requests.iter().filter(|line| line["outcome"] != "completed").all(is_shed));
}

#[tokio::test(flavor = "local")]
async fn clients_without_windows_are_closed_when_too_much_waits_for_them() {
    let bound = BOUND_BYTES.to_string();
    let (backend, baton) = start(&["--client-buffered-bytes", &bound]).await;
    let before = baton.process.resident_bytes();
    let mut stalled = Vec::new();
    for _ in 0..STALLED_CLIENTS {
        stalled.push(ask(baton.address, &NO_WINDOW, STREAMS).await);
    }
    expect_shed(&baton, &backend).await;
    let closed = &baton.lines("client connection closed")[0]["client"];
    let is_closed = |client: &&mut RawClient| *closed == client.address.to_string();
    let client = stalled.iter_mut().find(is_closed).expect("it is one of them");
    assert_eq!(client.goaway_code().await.1, CALM);
    let grown = baton.process.resident_bytes().saturating_sub(before);
    assert!(grown < 5 * BOUND_BYTES, "grew by {grown} bytes");
}

#[tokio::test(flavor = "local")]
async fn clients_that_never_read_are_closed_when_too_much_waits_for_them() {
    let bound = BOUND_BYTES.to_string();
    let (backend, baton) = start(&["--client-buffered-bytes", &bound]).await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED_CLIENTS {
        stalled.push(ask_and_never_read(baton.address).await);
    }
    expect_shed(&baton, &backend).await;
}

#[tokio::test(flavor = "local")]
async fn http1_clients_that_never_read_are_closed_when_too_much_waits_for_them() {
    let (_backend, baton) = start(&["--client-buffered-bytes", "2MiB"]).await;
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let mut tcp = connect(baton.address).await;
        // The system's buffers take much; requests behind each other ask for more.
        let request = b"GET / HTTP/1.1\r\nhost: front.test\r\n\r\n".repeat(8);
        tcp.write_all(&request).await.expect("Baton reads");
        stalled.push(tcp);
    }
    baton.wait_for_hits("buffered_bytes", 1).await;
    let waits = "baton_client_buffered_bytes";
    // The metric counts a whole window for the end of a response whose length is not known.
    let most = (4 << 20) as f64;
    baton.metrics_until("little waits", |it| it.sum(waits, &[]) <= most).await;
    ask_honestly(baton.address).await;
    let lines = baton.lines("request");
    assert!(lines.iter().filter(|line| line["outcome"] != "completed").all(is_shed), "{lines:?}");
    assert!(lines.iter().any(is_shed));
}

/// A connection for which more than a mebibyte waits gets its next requests answered later.
#[tokio::test(flavor = "local")]
async fn requests_wait_while_much_waits_for_their_client() {
    let (backend, baton) = start(&[]).await;
    let mut client = ask(baton.address, &NO_WINDOW, 0).await;
    let mut arrived = 0;
    for number in 0..40 {
        client.write(&get(2 * number + 1)).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
        arrived = backend.seen(|seen| seen.heads.len());
    }
    assert!((8..30).contains(&arrived), "{arrived} requests");
    assert_eq!(baton.lines("request").len(), 0);
    ask_honestly(baton.address).await;
    client.write(&frame(kind::SETTINGS, 0, 0, &LARGEST_WINDOW)).await;
    client.write(&frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0])).await;
    baton.wait_for_requests(40 + 10).await;
    assert!(baton.lines("request").iter().all(|line| line["outcome"] == "completed"));
    let is_none = || baton.lines("request refused").is_empty();
    eventually("nothing was refused", is_none).await;
    let waits = "baton_client_buffered_bytes";
    baton.metrics_until("nothing waits", |it| it.sum(waits, &[]) == 0.0).await;
}

#[tokio::test(flavor = "local")]
async fn a_client_that_opens_no_window_for_much_is_closed_after_the_write_stall_timeout() {
    let (_backend, baton) = start(&["--client-write-stall-timeout", "2s"]).await;
    let few = ask(baton.address, &NO_WINDOW, 4).await;
    let many = ask(baton.address, &NO_WINDOW, 20).await;
    baton.wait_for_hits("write_stall", 1).await;
    let closed = baton.lines("client connection closed");
    assert_eq!(closed.len(), 1, "little may wait for long: {closed:?}");
    assert_eq!(closed[0]["client"], many.address.to_string());
    drop(few);
}
