//! Tests bodies that stall or crawl, in both directions.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{head, read_chunk};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, within};
use crate::system::{TcpStream, run};

/// Sends the head of a POST with a body of `length` bytes over HTTP/1.1.
async fn begin_post(baton: &Baton, length: usize) -> TcpStream {
    let mut tcp = crate::support::client::connect(baton.address).await;
    let request =
        format!("POST /up HTTP/1.1\r\nhost: front.test\r\ncontent-length: {length}\r\n\r\n");
    within("sending", tcp.write_all(request.as_bytes())).await.expect("Baton reads");
    tcp
}

/// Sends a byte at this interval until an answer arrives. Returns the answer and the number of
/// bytes sent.
async fn trickle(tcp: &mut TcpStream, every: Duration, most: usize) -> (String, usize) {
    let mut received = Vec::new();
    let mut sent = 0;
    while sent < most {
        tokio::select! {
            biased;
            read = tcp.read_buf(&mut received) => {
                read.expect("no reset");
                break;
            }
            // The pace of the client, not a wait for an event.
            () = tokio::time::sleep(every) => {
                tcp.write_all(b"x").await.expect("Baton reads");
                sent += 1;
            }
        }
    }
    if received.is_empty() {
        within("the answer", tcp.read_buf(&mut received)).await.expect("no reset");
    }
    (String::from_utf8_lossy(&received).into_owned(), sent)
}

#[test]
fn a_stalled_request_body_is_answered_408_and_logged() {
    run(async {
        let handler = |exchange: Exchange| exchange.wait_for_reset();
        let backend = Backend::start(Behaviour::default(), handler).await;
        let baton = Baton::start(&[backend.url()], &["--body-stall-timeout", "400ms"]).await;
        let mut tcp = begin_post(&baton, 100).await;
        let mut received = Vec::new();
        within("the answer", tcp.read_to_end(&mut received)).await.expect("it is closed in order");
        let text = String::from_utf8_lossy(&received);
        assert!(text.starts_with("HTTP/1.1 408"), "{text}");
        assert!(text.contains("proxy-status: baton; error=http_request_error"), "{text}");
        let line = baton.wait_for_requests(1).await.remove(0);
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&408.into(), &"body_stalled".into()),
            "{line}"
        );
        backend.wait_until("the stream to be reset", |seen| !seen.resets.is_empty()).await;
    });
}

#[test]
fn a_crawling_request_body_is_answered_408_and_a_slow_one_is_not() {
    run(async {
        let backend = Backend::echo().await;
        let flags = ["--body-stall-timeout", "1s", "--body-rate-min", "40"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        // Ten bytes a second: less than a quarter of the minimum rate, but never stalled.
        let mut tcp = begin_post(&baton, 1_000).await;
        let (answer, sent) = trickle(&mut tcp, Duration::from_millis(100), 1_000).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(sent < 100, "{sent} bytes passed first");
        // A hundred bytes a second, for longer than the stall timeout.
        let mut tcp = begin_post(&baton, 250).await;
        let (answer, sent) = trickle(&mut tcp, Duration::from_millis(10), 250).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "after {sent}: {answer}");
    });
}

#[test]
fn a_stalled_response_is_cut_and_a_slow_one_is_not() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |mut exchange| async move {
            exchange.execute();
            if exchange.id() == "still" {
                return exchange.begin_and_hang().await;
            }
            let mut stream = exchange.start(200).expect("the stream is open");
            for _ in 0..6 {
                if !exchange.send(&mut stream, Bytes::from_static(b"part"), false).await {
                    return;
                }
                // The pace of the backend, not a wait for an event.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            exchange.send(&mut stream, Bytes::new(), true).await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &["--response-stall-timeout", "800ms"]).await;
        let client = Http2::connect(baton.address).await;
        let (response, _) =
            client.begin(head(Method::GET, "/", "still"), true).await.expect("open");
        let mut body = within("the head", response).await.expect("a response").into_body();
        assert_eq!(
            read_chunk(&mut body).await.expect("a part"),
            Some(Bytes::from_static(b"begun"))
        );
        read_chunk(&mut body).await.expect_err("it must look cut short");
        let line = baton.wait_for_requests(1).await.remove(0);
        assert_eq!(line["outcome"], "cut_short", "{line}");
        let (response, _) =
            client.begin(head(Method::GET, "/", "moves"), true).await.expect("open");
        let mut body = within("the head", response).await.expect("a response").into_body();
        let mut received = 0;
        while let Some(part) = read_chunk(&mut body).await.expect("it continues") {
            received += part.len();
        }
        assert_eq!(received, 24, "for longer than the stall timeout");
    });
}
