//! Tests streaming with back-pressure: a slow side slows down the other one, and Baton buffers
//! little.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::client::{head, read_chunk, send_all};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, unique_id, within};

const BODY_BYTES: usize = 50 << 20;
const PIECE_BYTES: usize = 64 << 10;
/// The slow side pauses for a round trip each time it has read this many bytes.
const PAUSE_BYTES: usize = 256 << 10;
/// Maximum growth of Baton's memory for one stream.
const GROWTH_MAX: u64 = 2 << 20;

async fn send_body(mut exchange: Exchange) {
    let Some(mut stream) = exchange.start(200) else { return };
    let piece = Bytes::from(vec![b'd'; PIECE_BYTES]);
    for sent in 1..=BODY_BYTES / PIECE_BYTES {
        let last = sent == BODY_BYTES / PIECE_BYTES;
        if !exchange.send(&mut stream, piece.clone(), last).await {
            return;
        }
    }
}

/// Runs `body`. Returns the peak growth of Baton's resident memory in the meantime.
async fn growth<F: Future<Output = ()>>(baton: &Baton, body: F) -> u64 {
    let before = baton.process.resident_bytes();
    baton.process.forget_peak();
    body.await;
    baton.process.peak_resident_bytes().saturating_sub(before)
}

/// Reads a whole download. If `slowly`, Baton gets many chances to read ahead between pieces.
async fn download(client: &Http2, backend: &Backend, slowly: bool) {
    let head = head(Method::GET, "/download", &unique_id());
    let (response, _) = client.begin(head, true).await.expect("the connection lives");
    let mut body = within("the head", response).await.expect("a response").into_body();
    let sent_before = backend.seen(|seen| seen.sent_bytes);
    if slowly {
        // Reads nothing for a hundred round trips, in which all 50 MiB could pass.
        for _ in 0..100 {
            client.ping().await;
        }
    }
    let mut received = 0;
    let mut ahead_max = 0;
    while let Some(chunk) = read_chunk(&mut body).await.expect("it is not cut") {
        received += chunk.len();
        if slowly && received % PAUSE_BYTES < chunk.len() {
            client.ping().await;
            let sent = backend.seen(|seen| seen.sent_bytes) - sent_before;
            ahead_max = ahead_max.max(sent.saturating_sub(received));
        }
    }
    assert_eq!(received, BODY_BYTES);
    assert!(ahead_max < BODY_BYTES / 2, "the backend is slowed down: {ahead_max} bytes ahead");
}

#[tokio::test(flavor = "local")]
async fn slow_http2_client_of_50_mib_holds_under_2_mib() {
    let backend = Backend::start(Behaviour::default(), send_body).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let client = Http2::connect(baton.address).await;
    download(&client, &backend, false).await;
    let growth = growth(&baton, download(&client, &backend, true)).await;
    assert!(growth < GROWTH_MAX, "grew by {growth} bytes");
}

#[tokio::test(flavor = "local")]
async fn slow_http1_client_of_50_mib_holds_under_2_mib() {
    let backend = Backend::start(Behaviour::default(), send_body).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    download_http1(&baton, &backend, false).await;
    let growth = growth(&baton, download_http1(&baton, &backend, true)).await;
    assert!(growth < GROWTH_MAX, "grew by {growth} bytes");
}

async fn download_http1(baton: &Baton, backend: &Backend, slowly: bool) {
    let mut tcp = crate::support::client::connect(baton.address).await;
    let request = b"GET / HTTP/1.1\r\nhost: front.test\r\nconnection: close\r\n\r\n";
    within("sending", tcp.write_all(request)).await.expect("Baton reads");
    // Round trips on another connection give Baton time to read ahead.
    let other = Http2::connect(baton.address).await;
    if slowly {
        backend.wait_until("it arrived", |seen| seen.heads.len() == 2).await;
        for _ in 0..100 {
            other.ping().await;
        }
    }
    let mut piece = vec![0; PIECE_BYTES];
    let mut received = 0;
    loop {
        if slowly && received % PAUSE_BYTES < PIECE_BYTES {
            other.ping().await;
        }
        let read = within("reading", tcp.read(&mut piece)).await.expect("it is not reset");
        if read == 0 {
            break;
        }
        received += read;
    }
    assert!(received > BODY_BYTES, "head, chunks and all of the body: {received}");
}

/// A backend that reads one piece each time the test sends a turn.
async fn slow_backend() -> (Backend, mpsc::Sender<()>) {
    let (turn, turns) = mpsc::channel::<()>(1);
    let turns = Arc::new(tokio::sync::Mutex::new(turns));
    let backend = Backend::start(Behaviour::default(), move |mut exchange| {
        let turns = Arc::clone(&turns);
        async move {
            let mut turns = turns.lock().await;
            let slowly = exchange.head.uri().path() == "/slow";
            let mut received = 0;
            loop {
                if slowly && turns.recv().await.is_none() {
                    return;
                }
                let Ok(Some(chunk)) = exchange.read_chunk().await else { break };
                received += chunk.len();
            }
            exchange.answer(200, received.to_string()).await;
        }
    })
    .await;
    (backend, turn)
}

async fn upload(client: &Http2, path: &str) {
    let head = head(Method::POST, path, &unique_id());
    let (response, mut stream) = client.begin(head, false).await.expect("the connection lives");
    let piece = Bytes::from(vec![b'u'; PIECE_BYTES]);
    for sent in 1..=BODY_BYTES / PIECE_BYTES {
        let last = sent == BODY_BYTES / PIECE_BYTES;
        send_all(&mut stream, piece.clone(), last).await.expect("it is not cut");
    }
    let response = within("the head", response).await.expect("a response");
    let answer = crate::support::client::read_answer(response).await.expect("a whole response");
    assert_eq!((answer.status.as_u16(), answer.body), (200, BODY_BYTES.to_string().into()));
}

#[tokio::test(flavor = "local")]
async fn slow_backend_of_50_mib_holds_under_2_mib() {
    let (backend, turn) = slow_backend().await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let client = Http2::connect(baton.address).await;
    upload(&client, "/fast").await;
    let other = Http2::connect(baton.address).await;
    let slowness = async {
        backend.wait_until("it arrived", |seen| seen.heads.len() == 2).await;
        for _ in 0..100 {
            other.ping().await;
        }
        // Ends when the backend has read everything.
        let all = 2 * BODY_BYTES;
        while backend.seen(|seen| seen.received_bytes) < all {
            let before = backend.seen(|seen| seen.received_bytes);
            turn.send(()).await.expect("the backend lives");
            backend.wait_until("a piece is read", |seen| seen.received_bytes > before).await;
            if before % PAUSE_BYTES < PIECE_BYTES {
                other.ping().await;
            }
        }
        turn.send(()).await.expect("the backend reads the end");
    };
    let both = async {
        tokio::join!(upload(&client, "/slow"), slowness);
    };
    let growth = growth(&baton, both).await;
    assert!(growth < GROWTH_MAX, "grew by {growth} bytes");
}

/// A stalled client stalls only its own stream, although all streams share the connection to the
/// backend.
#[tokio::test(flavor = "local")]
async fn a_stalled_client_stalls_only_its_own_stream() {
    let backend = Backend::start(Behaviour::default(), |exchange| async {
        if exchange.head.uri().path() == "/download" {
            return send_body(exchange).await;
        }
        exchange.answer(200, "quick").await;
    })
    .await;
    let baton = Baton::start(&[backend.url()], &["--max-connections", "1"]).await;
    let stalled = Http2::connect(baton.address).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let head = head(Method::GET, "/download", &unique_id());
        let (response, _) = stalled.begin(head, true).await.expect("the connection lives");
        held.push(within("the head", response).await.expect("a response"));
    }
    let quick = Http2::connect(baton.address).await;
    for _ in 0..50 {
        assert_eq!(quick.get("/quick").await.expect("it is answered").body, "quick");
    }
    assert_eq!(backend.seen(|seen| seen.connections), 1, "all streams share one connection");
    drop(held);
}
