//! Tests parked HTTP/1.1 clients: idle connections are kept without buffers until the next request.
//! Whenever a connection is parked, no byte is lost, read twice or misinterpreted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::connect;
use crate::support::{Backend, Baton, Behaviour, Exchange, within};
use crate::system::{TcpStream, run};

/// Longer than the time before a connection is parked.
const PAUSE: Duration = Duration::from_millis(1_300);
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

fn paths(backend: &Backend) -> Vec<String> {
    backend.seen(|seen| seen.heads.iter().map(|head| head.uri().path().to_owned()).collect())
}

async fn answering() -> Backend {
    let handler = |mut exchange: Exchange| async move {
        begin_answer(&mut exchange, true).await;
    };
    Backend::start(Behaviour::default(), handler).await
}

#[test]
fn requests_work_after_parking_wherever_they_are_split() {
    run(async {
        let backend = answering().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut tcp = connect(baton.address).await;
        within("sending", tcp.write_all(REQUEST.as_bytes())).await.expect("Baton reads");
        read_answers(&mut tcp, 1).await;
        // Parks in the empty line before a request, in its first line, in a field, and before two
        // at once.
        let two = format!("{REQUEST}{REQUEST}");
        for (first, rest, answers) in [
            ("\r", format!("\n{REQUEST}"), 1),
            ("\r\nGET /one HTTP/1.1\r\n", "host: front.test\r\n\r\n".to_owned(), 1),
            ("GET /o", "ne HTTP/1.1\r\nhost: front.test\r\n\r\n".to_owned(), 1),
            ("GET /one HTTP/1.1\r\nhost: fro", "nt.test\r\n\r\n".to_owned(), 1),
            ("", two, 2),
        ] {
            tokio::time::sleep(PAUSE).await;
            within("sending", tcp.write_all(first.as_bytes())).await.expect("Baton reads");
            tokio::time::sleep(PAUSE).await;
            within("sending", tcp.write_all(rest.as_bytes())).await.expect("Baton reads");
            read_answers(&mut tcp, answers).await;
        }
        assert_eq!(paths(&backend), vec!["/one"; 7]);
    });
}

/// Sends the whole answer; ends the stream if `ends`.
async fn begin_answer(exchange: &mut Exchange, ends: bool) -> SendStream<Bytes> {
    let head = Response::builder().header("content-length", 2).body(()).expect("a head");
    let mut stream = exchange.start_with(head).expect("the stream is open");
    exchange.send(&mut stream, Bytes::from_static(b"ok"), ends).await;
    stream
}

/// Answers before the end of the upload, and keeps the stream open until the upload has arrived.
async fn answer_early(mut exchange: Exchange, uploaded: Arc<Mutex<Vec<u8>>>) {
    let first = exchange.read_chunk().await.expect("no reset").expect("the upload begins");
    uploaded.lock().expect("the lock is not poisoned").extend(first);
    let mut stream = begin_answer(&mut exchange, false).await;
    while let Ok(Some(chunk)) = exchange.read_chunk().await {
        uploaded.lock().expect("the lock is not poisoned").extend(chunk);
    }
    exchange.send(&mut stream, Bytes::new(), true).await;
}

#[test]
fn the_rest_of_an_upload_after_its_answer_is_not_a_request() {
    run(async {
        let uploaded = Arc::new(Mutex::new(Vec::new()));
        let uploading = Arc::clone(&uploaded);
        let handler = move |exchange| answer_early(exchange, Arc::clone(&uploading));
        let backend = Backend::start(Behaviour::default(), handler).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut tcp = connect(baton.address).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: front.test\r\n\r\n";
        let length = 5 + smuggled.len();
        let head = format!(
            "POST /upload HTTP/1.1\r\nhost: front.test\r\ncontent-length: {length}\r\n\r\nbegin"
        );
        within("sending", tcp.write_all(head.as_bytes())).await.expect("Baton reads");
        read_answers(&mut tcp, 1).await;
        tokio::time::sleep(PAUSE).await;
        within("sending", tcp.write_all(smuggled.as_bytes())).await.expect("Baton reads");
        backend.wait_until("the upload is over", |seen| seen.open() == 0).await;
        assert_eq!(paths(&backend), ["/upload"]);
        let uploaded = String::from_utf8_lossy(&uploaded.lock().expect("the lock is not poisoned"))
            .into_owned();
        assert_eq!(uploaded, format!("begin{smuggled}"));
    });
}
