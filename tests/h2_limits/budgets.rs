//! Frames with little data, and errors counted over the life of a connection.

use h2::server::Builder;

use super::frames::{OK, block, data, get, headers, literal, post};
use super::setup::{Client, Server, now};

#[test]
fn empty_data_frames_are_counted_for_the_life_of_a_connection() {
    let mut server = Server::new();
    let (request, _respond) = server.receive(&post(1)).pop().expect("a request");
    let mut body = request.into_body();
    for _ in 0..100 {
        let frames = [data(1, 0, b""), data(1, 0, &[b'a'; 1000])].concat();
        assert!(server.answers(&frames).is_empty());
        let read = now(body.data()).expect("data").expect("no error");
        body.flow_control().release_capacity(read.len()).expect("it was received");
    }
    assert_eq!(server.answers(&data(1, 0, b"")), ["GOAWAY ENHANCE_YOUR_CALM"]);
}

#[test]
fn some_small_frames_that_wait_end_the_connection() {
    let mut server = Server::new();
    let _open = server.receive(&post(1));
    // Half of the window of 65 535 bytes, at 255 for each frame of one byte.
    for _ in 0..128 {
        assert!(server.answers(&data(1, 0, b"a")).is_empty());
    }
    assert_eq!(server.answers(&data(1, 0, b"a")), ["GOAWAY ENHANCE_YOUR_CALM"]);
}

#[test]
fn small_frames_that_are_ignored_spend_no_budget() {
    let mut client = Client::new();
    // Each round cancels a response while small frames are on their way.
    for round in 0..16 {
        let response = client.get();
        client.poll();
        let stream = 2 * round + 1;
        client.answers(&headers(stream, 0, &block(&OK)));
        drop(now(response).expect("a head"));
        client.poll();
        let late: Vec<u8> = (0..8).flat_map(|_| data(stream, 0, b"a")).collect();
        client.peer.seen();
        assert!(client.answers(&late).is_empty(), "round {round}");
    }
    let response = client.get();
    client.poll();
    client.answers(&headers(33, 0, &block(&OK)));
    let _body = now(response).expect("a head");
    assert!(client.answers(&data(33, 0, b"a")).is_empty());
}

#[test]
fn errors_of_streams_are_counted_for_the_life_of_a_connection() {
    let mut builder = Builder::new();
    builder.max_local_error_reset_streams(Some(3));
    let mut server = Server::with(&builder);
    let malformed = |stream| headers(stream, 0, &literal("x", b"no pseudo-header field"));
    for number in 0..3 {
        let (bad, good) = (4 * number + 1, 4 * number + 3);
        let answers = server.answers(&malformed(bad));
        assert_eq!(answers, [format!("RST_STREAM {bad} PROTOCOL_ERROR")]);
        let (_request, mut respond) = server.receive(&get(good)).pop().expect("a request");
        respond.send_response(http::Response::new(()), true).expect("sent");
        server.accept();
        assert_eq!(server.peer.seen(), [format!("HEADERS {good}")]);
    }
    assert_eq!(server.answers(&malformed(13)), ["GOAWAY ENHANCE_YOUR_CALM"]);
}
