//! Tests parked HTTP/1.1 clients: idle connections are kept without buffers until the next request.
//! Whenever a connection is parked, no byte is lost, read twice or misinterpreted.

use bytes::Bytes;
use h2::SendStream;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::connect;
use crate::support::exposition::Exposition;
use crate::support::{Backend, Baton, Behaviour, Exchange, eventually, within};

const REQUEST: &str = "GET /one HTTP/1.1\r\nhost: front.test\r\n\r\n";

/// Reads until this many answers are complete, all with the body `ok`.
async fn read_answers(tcp: &mut TcpStream, count: usize) -> String {
    let mut text = String::new();
    while text.matches("\r\n\r\nok").count() < count {
        let mut bytes = [0; 4096];
        let read = within("an answer", tcp.read(&mut bytes)).await.expect("no reset");
        assert_ne!(read, 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert_eq!(text.matches("HTTP/1.1 200").count(), count, "{text}");
    text
}

async fn answering() -> Backend {
    let handler = |mut exchange: Exchange| async move {
        begin_answer(&mut exchange, true).await;
    };
    Backend::start(Behaviour::default(), handler).await
}

/// Connects this many clients; each has received its answer.
async fn clients(baton: &Baton, count: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut tcp = connect(baton.address).await;
        within("sending", tcp.write_all(REQUEST.as_bytes())).await.expect("Baton reads");
        all.push(tcp);
    }
    for tcp in &mut all {
        read_answers(tcp, 1).await;
    }
    all
}

#[tokio::test(flavor = "local")]
async fn a_parked_client_costs_less_than_8_kib() {
    let backend = answering().await;
    let baton = Baton::start(&[backend.url()], &["--admin", "127.0.0.1:0"]).await;
    // One-time allocations for the first clients are not part of the cost per client.
    drop(clients(&baton, 100).await);
    let open = |metrics: &Exposition| metrics.sum("baton_client_connections", &[]);
    baton.metrics_until("they are gone", |metrics| open(metrics) < 1.0).await;
    let before = baton.process.resident_bytes();
    let _resting = clients(&baton, 400).await;
    let most = before + 400 * 8192;
    eventually("the memory is released", || baton.process.resident_bytes() < most).await;
}

/// Sends the whole answer; ends the stream if `ends`.
async fn begin_answer(exchange: &mut Exchange, ends: bool) -> SendStream<Bytes> {
    let head = Response::builder().header("content-length", 2).body(()).expect("a head");
    let mut stream = exchange.start_with(head).expect("the stream is open");
    exchange.send(&mut stream, Bytes::from_static(b"ok"), ends).await;
    stream
}
