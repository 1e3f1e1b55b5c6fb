//! Tests clients that cancel: each cancels its own stream and nothing else.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::connect;
use crate::support::{Backend, Baton, Behaviour, Exchange, within};

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

/// The client has disconnected before Baton reads its request: no backend receives it.
#[tokio::test(flavor = "local")]
async fn a_request_of_a_disconnected_client_is_not_forwarded() {
    let backend = Backend::start(Behaviour::default(), serve).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let mut client = connect(baton.address).await;
    for number in 1..=5 {
        let request = |path| format!("GET {path} HTTP/1.1\r\nHost: front.test\r\n\r\n");
        within("sending", client.write_all(request("/").as_bytes())).await.expect("Baton reads");
        let mut answer = vec![0; 4096];
        within("reading", client.read(&mut answer)).await.expect("it is answered");
        baton.wait_for_requests(2 * number - 1).await;
        baton.process.pause().await;
        within("sending", client.write_all(request("/late").as_bytes())).await.expect("it fits");
        drop(client);
        client = connect(baton.address).await;
        baton.process.resume();
        let lines = baton.wait_for_requests(2 * number).await;
        let late = &lines[2 * number - 1];
        assert_eq!((&late["path"], &late["outcome"]), (&"/late".into(), &"cancelled".into()));
        assert_eq!((&late["ended_by"], &late["attempts"]), (&"client".into(), &0.into()));
    }
    assert_eq!(baton.lines("connected").len(), 1, "no connection was closed");
    backend.seen(|seen| assert!(seen.heads.iter().all(|head| head.uri().path() == "/")));
}
