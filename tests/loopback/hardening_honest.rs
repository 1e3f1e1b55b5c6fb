//! Tests honest clients with unusual behaviour: none is treated as an attacker.

use std::sync::Arc;

use h2::Reason;
use http::Method;

use crate::support::client::head;
use crate::support::{Backend, Baton, Behaviour, Http1, Http2, run_load, unique_id};

/// Checks that nothing was refused or closed.
fn nothing_refused(baton: &Baton) {
    for message in ["request refused", "client connection closed", "connections refused"] {
        assert_eq!(baton.lines(message), Vec::<serde_json::Value>::new(), "{message}");
    }
    let closed = baton.lines("connection closed");
    assert!(closed.is_empty(), "no backend connection either: {closed:?}");
}

/// Cancels every fourth request, a thousand times.
#[tokio::test(flavor = "local")]
async fn a_client_that_cancels_every_fourth_request() {
    let backend = Backend::start(Behaviour::default(), |exchange| async {
        match exchange.head.uri().path() {
            "/hang" => exchange.wait_for_reset().await,
            _ => exchange.answer(200, "done").await,
        }
    })
    .await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let client = Arc::new(Http2::connect(baton.address).await);
    run_load(4_000, 32, move |number| {
        let client = Arc::clone(&client);
        async move {
            if number % 4 == 0 {
                let head = head(Method::GET, "/hang", &unique_id());
                let (_response, mut stream) =
                    client.begin(head, true).await.expect("the connection lives");
                stream.send_reset(Reason::CANCEL);
                return;
            }
            assert_eq!(client.get("/").await.expect("it is answered").status, 200);
        }
    })
    .await;
    nothing_refused(&baton);
}

/// Ordinary traffic over both protocols and many connections.
#[tokio::test(flavor = "local")]
async fn ordinary_traffic() {
    let backend = Backend::echo().await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let address = baton.address;
    run_load(60, 12, move |number| async move {
        let mut http1 = Http1::connect(address).await;
        let http2 = Http2::connect(address).await;
        for _ in 0..10 {
            let body = vec![b'x'; number * 1_000];
            let head = head(Method::POST, "/", &unique_id());
            let answer = http1.send(head.clone(), body.clone()).await.expect("it is answered");
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, body.len()));
            let answer = http2.send(head, body.clone()).await.expect("it is answered");
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, body.len()));
        }
    })
    .await;
    nothing_refused(&baton);
}
