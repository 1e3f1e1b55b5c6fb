//! Tests clients that cancel: each cancels its own stream and nothing else.

use bytes::Bytes;
use h2::Reason;
use http::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::client::{connect, head, read_chunk};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, unique_id, within};
use crate::system::run;

/// Never answers `/hang`, echoes each chunk of `/talk` at once, and answers the rest.
async fn serve(mut exchange: Exchange) {
    match exchange.head.uri().path() {
        "/hang" => exchange.wait_for_reset().await,
        "/talk" => {
            let mut stream = exchange.start(200).expect("the stream is open");
            while let Ok(Some(piece)) = exchange.read_chunk().await {
                exchange.send(&mut stream, piece, false).await;
            }
            exchange.send(&mut stream, Bytes::new(), true).await;
        }
        _ => exchange.answer(200, "fine").await,
    }
}

#[test]
fn cancelling_2000_requests_affects_no_other_stream() {
    run(async {
        const WAVES: usize = 20;
        const WAVE: usize = 100;
        let backend = Backend::start(Behaviour::default(), serve).await;
        let baton = Baton::start(&[backend.url()], &["--max-connections", "2"]).await;
        let stormy = Http2::connect(baton.address).await;
        let calm = Http2::connect(baton.address).await;
        let talk = head(Method::POST, "/talk", "talk");
        let (response, mut talking) = calm.begin(talk, false).await.expect("the connection lives");
        talking.send_data(Bytes::from_static(b"begin"), false).expect("the stream is open");
        let mut listening = within("the head", response).await.expect("a response").into_body();
        read_chunk(&mut listening).await.expect("not cut").expect("not ended");

        for wave in 1..=WAVES {
            let mut streams = Vec::new();
            for _ in 0..WAVE {
                let head = head(Method::GET, "/hang", &unique_id());
                streams.push(stormy.begin(head, true).await.expect("the connection lives"));
            }
            backend.wait_until("the wave has arrived", |seen| seen.open() == WAVE + 1).await;
            for (_, stream) in &mut streams {
                stream.send_reset(Reason::CANCEL);
            }
            backend.wait_until("each was reset", |seen| seen.resets.len() == wave * WAVE).await;
            talking.send_data(wave.to_string().into(), false).expect("the stream is open");
            let echo = read_chunk(&mut listening).await.expect("not cut").expect("not ended");
            assert_eq!(echo, wave.to_string(), "the other stream continues");
            assert_eq!(calm.get("/").await.expect("it is answered").body, "fine");
        }

        talking.send_data(Bytes::new(), true).expect("the stream is open");
        assert!(read_chunk(&mut listening).await.expect("not cut").is_none(), "a clean end");
        assert_eq!(stormy.get("/").await.expect("it is answered").body, "fine");
        let cancelled = backend.seen(|seen| seen.resets.iter().all(|code| *code == Reason::CANCEL));
        assert!(cancelled, "they were reset with CANCEL");
        assert!(backend.seen(|seen| seen.connections) <= 2, "no connection was lost");
        let lines = baton.wait_for_requests(WAVES * WAVE + WAVES + 2).await;
        let count = |outcome: &str| lines.iter().filter(|line| line["outcome"] == outcome).count();
        assert_eq!((count("cancelled"), count("completed")), (WAVES * WAVE, WAVES + 2));
        let attempted =
            |line: &Value| line["attempt_list"].as_array().is_some_and(|it| it.len() == 1);
        let sent = |line: &Value| attempted(line) && line["wait_ms"].is_number();
        assert!(lines.iter().all(sent), "each line lists the attempt that the backend saw");
    });
}

/// Requests that wait for a connection can be cancelled: the dial continues and serves others.
#[test]
fn cancelling_waiting_requests_leaves_the_dial_alone() {
    run(async {
        let backend = Backend::start(Behaviour::default(), serve).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..10 {
            let (_, mut stream) = client
                .begin(head(Method::GET, "/hang", &unique_id()), true)
                .await
                .expect("the connection lives");
            stream.send_reset(Reason::CANCEL);
        }
        assert_eq!(client.get("/").await.expect("it is answered").body, "fine");
        let _ = baton.wait_for_requests(1).await;
        assert_eq!(backend.seen(|seen| seen.connections), 1, "one dial is enough");
    });
}

#[test]
fn http1_client_that_disconnects_resets_its_stream() {
    run(async {
        let backend = Backend::start(Behaviour::default(), serve).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut tcp = connect(baton.address).await;
        let request = b"GET /hang HTTP/1.1\r\nhost: front.test\r\n\r\n";
        within("sending", tcp.write_all(request)).await.expect("Baton reads");
        backend.wait_until("it arrived", |seen| seen.open() == 1).await;
        drop(tcp);
        backend.wait_until("it was reset", |seen| seen.resets == [Reason::CANCEL]).await;
        assert_eq!(baton.wait_for_requests(1).await[0]["outcome"], "cancelled");
        let client = Http2::connect(baton.address).await;
        assert_eq!(client.get("/").await.expect("it is answered").body, "fine");
        assert_eq!(backend.seen(|seen| seen.connections), 1, "the connection was kept");
    });
}

/// The client cancels in the middle of a download: the stream is reset at the backend.
#[test]
fn cancelling_a_download_resets_its_stream() {
    run(async {
        let backend = Backend::start(Behaviour::default(), Exchange::begin_and_hang).await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let head = head(Method::GET, "/", "download");
        let (response, mut stream) = client.begin(head, true).await.expect("the connection lives");
        let mut body = within("the head", response).await.expect("a response").into_body();
        read_chunk(&mut body).await.expect("not cut").expect("not ended");
        stream.send_reset(Reason::CANCEL);
        backend.wait_until("it was reset", |seen| seen.resets == [Reason::CANCEL]).await;
        let line = baton.wait_for_requests(1).await.remove(0);
        assert_eq!(line["outcome"], "cancelled", "{line}");
    });
}
