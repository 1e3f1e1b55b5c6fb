//! Tests malformed messages over HTTP/2 (RFC 9113, 8.1.1): each costs its own stream, and nothing
//! of the others on its connection.

use futures_util::future::join_all;
use http::{Method, StatusCode};

use crate::support::client::head;
use crate::support::raw::{Bodies, RawBackend, RawConnection, flag, kind};
use crate::support::raw_client::{RawClient, block, frame, get, literal};
use crate::support::{Backend, Baton, Behaviour, Http2, within};

const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];
/// Requests that share a connection with a malformed message.
const OTHERS: usize = 3;

/// A response head that no message may have, by the name of its fault.
fn malformed(fault: &str) -> Vec<u8> {
    let field = match fault {
        "upper case" => literal("X-Upper", "1"),
        "LF" => literal("x", "a\nb"),
        "pseudo-header" => literal(":new", "1"),
        _ => panic!("no such fault: {fault}"),
    };
    // `:status: 200` is in the static table.
    [&[0x88][..], &field].concat()
}

/// Answers the requests that wait only behind a malformed response to another one.
async fn serve(mut connection: RawConnection) {
    let (mut bodies, mut waiting, mut poisoned) = (Bodies::default(), Vec::new(), None);
    while let Some((stream, body)) = connection.request(&mut bodies).await {
        match &*body {
            "good" => connection.answer(stream, "ok").await,
            "waits" => waiting.push(stream),
            fault => poisoned = Some((stream, malformed(fault))),
        }
        if let Some((stream, block)) = &poisoned
            && waiting.len() == OTHERS
        {
            let flags = flag::END_HEADERS | flag::END_STREAM;
            connection.write(kind::HEADERS, flags, *stream, block).await;
            for stream in waiting.drain(..) {
                connection.answer(stream, "ok").await;
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_malformed_response_costs_its_own_request_only() {
    let backend = RawBackend::start(100, serve).await;
    let baton = Baton::start(&[backend.url()], &["--max-connections", "1"]).await;
    let client = Http2::connect(baton.address).await;
    let post = async |body: &'static str| {
        let answer = client.send(head(Method::POST, "/", body), body).await;
        answer.expect("it is answered").status
    };
    for fault in ["upper case", "LF", "pseudo-header"] {
        let all = join_all([fault, "waits", "waits", "waits"].map(&post)).await;
        assert_eq!(all[0], StatusCode::BAD_GATEWAY, "{fault}");
        assert_eq!(all[1..], [StatusCode::OK; OTHERS], "{fault}");
        assert_eq!(post("good").await, StatusCode::OK, "{fault}");
    }
    let changed = baton.lines("backend changed");
    assert!(changed.is_empty(), "{changed:?}");
    let connected = baton.lines("connected");
    assert_eq!(connected.len(), 1, "the connection stays in use: {connected:?}");
}

#[tokio::test(flavor = "local")]
async fn a_malformed_request_costs_its_own_stream_only() {
    let backend = Backend::start(Behaviour::default(), |exchange| exchange.echo()).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let path = [&[0, 5][..], b":path", &[2], b"/\xff"].concat();
    let raw_path = [&literal(":method", "GET")[..], &[0x86], &path].concat();
    let upper = block("GET", &[("X-Upper", "1")]);
    for malformed in [raw_path, upper] {
        let mut client = RawClient::connect(baton.address).await;
        // An upload that goes on.
        client.write(&frame(kind::HEADERS, flag::END_HEADERS, 1, &block("POST", &[]))).await;
        let flags = flag::END_HEADERS | flag::END_STREAM;
        client.write(&frame(kind::HEADERS, flags, 3, &malformed)).await;
        let reset = client.next_of(kind::RST_STREAM).await;
        assert_eq!((reset.stream, &reset.payload[..]), (3, &PROTOCOL_ERROR[..]));
        let head = client.get(5).await.expect("the connection goes on");
        assert_eq!(head.kind, kind::HEADERS);
        client.write(&frame(kind::DATA, flag::END_STREAM, 1, b"the rest")).await;
        let end = within("the answer to the upload", async {
            loop {
                let frame = client.next().await.expect("the connection goes on");
                if frame.stream == 1 && frame.ends_stream() {
                    return frame.kind;
                }
            }
        });
        assert_ne!(end.await, kind::RST_STREAM);
    }
    baton.wait_for_lines("request refused", 2).await;
}

#[tokio::test(flavor = "local")]
async fn an_error_of_a_connection_is_one_failure_of_its_backend() {
    let broken = RawBackend::start(100, |mut connection: RawConnection| async move {
        let mut bodies = Bodies::default();
        while let Some((stream, body)) = connection.request(&mut bodies).await {
            if body == "poison" {
                // Index 0 names no field (RFC 7541, 6.1): the connection ends.
                connection.write(kind::HEADERS, flag::END_HEADERS, stream, &[0x80]).await;
            }
        }
    })
    .await;
    let good = Backend::start(Behaviour::default(), |exchange| exchange.echo()).await;
    let baton = Baton::start(&[broken.url(), good.url()], &[]).await;
    let client = Http2::connect(baton.address).await;
    let get = async || client.send(head(Method::GET, "/", ""), "").await.expect("an answer").status;
    let gets = async { join_all((0..8).map(|_| get())).await };
    let poison = async {
        // Each backend gets one of them; the other one echoes it.
        let posts = [(); 2].map(|()| client.send(head(Method::POST, "/", "poison"), "poison"));
        join_all(posts).await
    };
    let (answers, _) = tokio::join!(gets, poison);
    assert!(answers.iter().all(|status| *status == StatusCode::OK), "{answers:?}");
    let changed = baton.lines("backend changed");
    assert!(changed.is_empty(), "{changed:?}");
}

#[tokio::test(flavor = "local")]
async fn every_malformed_request_of_a_flood_is_logged() {
    let backend = Backend::start(Behaviour::default(), |exchange| exchange.echo()).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let mut client = RawClient::connect(baton.address).await;
    let (upper, flags) = (block("GET", &[("X-Upper", "1")]), flag::END_HEADERS | flag::END_STREAM);
    let heads = (0..600).flat_map(|number| frame(kind::HEADERS, flags, 2 * number + 1, &upper));
    client.write(&heads.collect::<Vec<_>>()).await;
    // That is the budget of resets that a client may provoke.
    baton.wait_for_lines("request refused", 500).await;
    baton.wait_for_lines("client connection closed", 1).await;
}

#[tokio::test(flavor = "local")]
async fn content_of_a_response_that_has_none_is_malformed() {
    let backend = RawBackend::start(100, |mut connection: RawConnection| async move {
        let mut bodies = Bodies::default();
        while let Some((stream, _)) = connection.request(&mut bodies).await {
            // `:status: 204` is in the static table.
            connection.write(kind::HEADERS, flag::END_HEADERS, stream, &[0x89]).await;
            connection.write(kind::DATA, flag::END_STREAM, stream, b"hello").await;
        }
    })
    .await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let mut client = RawClient::connect(baton.address).await;
    client.write(&get(1)).await;
    // The head may go to the client before the content comes.
    let frame = loop {
        let frame = client.next().await.expect("the end of the stream");
        if frame.stream == 1 && (frame.kind == kind::RST_STREAM || frame.ends_stream()) {
            break frame;
        }
    };
    assert!(frame.kind != kind::DATA || frame.payload.is_empty(), "{frame:?}");
    let line = baton.wait_for_lines("request", 1).await;
    assert_eq!(line[0]["attempt_list"][0]["failure"], "malformed");
}
