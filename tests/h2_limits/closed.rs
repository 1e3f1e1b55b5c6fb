//! Frames on streams that are closed, refused or reset.

use std::time::Duration;

use h2::Reason;
use h2::server::Builder;

use super::frames::{
    END_STREAM, OK, WINDOW_UPDATE, block, data, frame, get, headers, post, trailers,
};
use super::setup::{Client, Server};

/// A server that has received the heads of uploads on these streams, and has reset them in order.
fn reset(builder: &Builder, streams: &[u32]) -> Server {
    let mut server = Server::with(builder);
    for stream in streams {
        for (_request, mut respond) in server.receive(&post(*stream)) {
            respond.send_reset(Reason::CANCEL);
        }
        server.accept();
        let seen = server.peer.seen();
        assert_eq!(seen, [format!("RST_STREAM {stream} CANCEL")]);
    }
    server
}

#[test]
fn late_frames_of_a_reset_stream_are_ignored_while_it_is_remembered() {
    let mut server = reset(&Builder::new(), &[1]);
    assert!(server.answers(&[data(1, 0, b"late"), trailers(1)].concat()).is_empty());
}

#[test]
fn late_data_of_a_forgotten_stream_is_reset_again_and_late_trailers_end_the_connection() {
    let mut builder = Builder::new();
    builder.max_concurrent_reset_streams(0);
    let late = data(1, 0, b"late");
    let answers = reset(&builder, &[1]).answers(&late);
    assert_eq!(answers, ["RST_STREAM 1 STREAM_CLOSED"]);
    assert_eq!(reset(&builder, &[1]).answers(&trailers(1)), ["GOAWAY PROTOCOL_ERROR"]);
    builder.max_local_error_reset_streams(Some(1));
    let mut server = reset(&builder, &[1]);
    assert_eq!(server.answers(&late), ["RST_STREAM 1 STREAM_CLOSED"]);
    assert_eq!(server.answers(&late), ["GOAWAY ENHANCE_YOUR_CALM"], "each counts as an error");
}

#[test]
fn the_oldest_reset_stream_is_the_first_to_be_forgotten() {
    let mut builder = Builder::new();
    builder.max_concurrent_reset_streams(1);
    assert!(reset(&builder, &[1, 3]).answers(&trailers(3)).is_empty());
    assert_eq!(reset(&builder, &[1, 3]).answers(&trailers(1)), ["GOAWAY PROTOCOL_ERROR"]);
    builder.max_concurrent_reset_streams(2);
    let mut server = reset(&builder, &[1, 3, 5, 7]);
    assert!(server.answers(&[data(5, 0, b"late"), trailers(7)].concat()).is_empty());
}

#[test]
fn a_reset_stream_is_forgotten_by_the_clock_of_the_system() {
    let mut builder = Builder::new();
    builder.reset_stream_duration(Duration::from_nanos(1));
    // No runtime and no clock was given to `h2`, and yet time passes.
    assert_eq!(reset(&builder, &[1]).answers(&trailers(1)), ["GOAWAY PROTOCOL_ERROR"]);
}

#[test]
fn frames_after_the_end_of_a_stream_end_that_stream_only() {
    for late in [data(1, END_STREAM, b"x"), data(1, 0, b""), trailers(1)] {
        let mut server = Server::new();
        let _open = server.receive(&get(1));
        assert_eq!(server.answers(&late), ["RST_STREAM 1 STREAM_CLOSED"]);
        assert_eq!(server.receive(&get(3)).len(), 1);
    }

    for is_over in [true, false] {
        let mut client = Client::new();
        let request = http::Request::post("http://a/").body(()).expect("valid");
        let _exchange = client.request(request, is_over);
        client.poll();
        client.answers(&headers(1, END_STREAM, &block(&OK)));
        let answers = client.answers(&data(1, END_STREAM, b"x"));
        assert_eq!(answers, ["RST_STREAM 1 STREAM_CLOSED"]);
        let _next = client.get();
        client.poll();
        assert_eq!(client.peer.seen(), ["HEADERS 3"]);
    }
}

#[test]
fn data_that_is_not_expected_counts_for_flow_control() {
    let mut server = Server::new();
    let _open = server.receive(&get(1));
    // More than the connection's window of 65 535 bytes, in all.
    for stream in (3..13).step_by(2) {
        let _other = server.receive(&get(stream));
        server.receive(&data(stream, 0, &[0; 16_000]));
        let frames = server.peer.frames();
        let ends: Vec<_> = frames.iter().filter(|frame| frame.kind != WINDOW_UPDATE).collect();
        assert_eq!(ends.len(), 1, "{frames:?}");
        assert_eq!(ends[0].to_string(), format!("RST_STREAM {stream} STREAM_CLOSED"));
    }
}

#[test]
fn a_window_update_of_zero_ends_its_stream_only() {
    let update = |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
    let mut server = Server::new();
    let _open = server.receive(&post(1));
    assert_eq!(server.answers(&update(1)), ["RST_STREAM 1 PROTOCOL_ERROR"]);
    assert!(server.answers(&update(1)).is_empty(), "it is closed");
    assert_eq!(server.receive(&get(3)).len(), 1);
    assert_eq!(server.answers(&update(0)), ["GOAWAY PROTOCOL_ERROR"], "of the connection");

    let answers = Server::new().answers(&update(1));
    assert_eq!(answers, ["GOAWAY PROTOCOL_ERROR"], "an idle stream");
}

#[test]
fn a_refused_stream_is_remembered() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let mut server = Server::with(&builder);
    let _open = server.receive(&get(1));
    let refused = server.answers(&post(3));
    assert_eq!(refused, ["RST_STREAM 3 REFUSED_STREAM"]);
    assert!(server.answers(&[data(3, 0, b"late"), trailers(3)].concat()).is_empty());

    let mut server = Server::with(&builder);
    let _open = server.receive(&get(1));
    let answers = server.answers(&[post(3), trailers(3)].concat());
    assert_eq!(answers, ["RST_STREAM 3 REFUSED_STREAM"]);
}
