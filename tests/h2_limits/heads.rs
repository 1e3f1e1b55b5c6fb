//! Malformed messages, and the limits on heads.

use h2::client::Builder as ClientBuilder;
use h2::server::Builder as ServerBuilder;

use super::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GET, HEADERS, OK, PRIORITY, SETTINGS, block, data,
    frame, get, headers, indexing_literal, literal, post, trailers,
};
use super::setup::{Accepted, Client, Server, now};

/// The end of a malformed message, as the frames show it.
const STREAM_ENDS: &[&str] = &["RST_STREAM 1 PROTOCOL_ERROR"];
const CONNECTION_ENDS: &[&str] = &["GOAWAY PROTOCOL_ERROR"];
const NOTHING: &[&str] = &[];

/// A request with one more field.
fn get_with(field: &[u8]) -> Vec<u8> {
    headers(1, END_STREAM, &[&block(&GET)[..], field].concat())
}

fn get_of(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(1, END_STREAM, &block(fields))
}

#[test]
fn the_decoder_of_fields_ends_the_connection_of_a_client() {
    let [method, scheme, authority, _] = GET;
    let path = literal(":path", b"/\xff");
    let invalid_path = [&block(&[method, scheme, authority])[..], &path].concat();
    for (case, request) in [
        ("a name in upper case", get_with(&literal("X-Upper", b"1"))),
        ("a space in a name", get_with(&literal("a b", b"1"))),
        ("LF in a value", get_with(&literal("x", b"a\nb"))),
        ("NUL in a value", get_with(&literal("x", b"a\0b"))),
        ("an unknown pseudo-header field", get_of(&[(":new", "1")])),
        ("no token as method", get_of(&[(":method", "G T"), scheme, authority, (":path", "/")])),
        ("a path that is not UTF-8", headers(1, END_STREAM, &invalid_path)),
    ] {
        assert_eq!(Server::new().answers(&request), CONNECTION_ENDS, "{case}");
    }
}

#[test]
fn other_malformed_requests_end_their_stream() {
    let [method, scheme, authority, path] = GET;
    for (case, request) in [
        ("a field of the connection", get_with(&literal("connection", b"close"))),
        ("te other than trailers", get_with(&literal("te", b"gzip"))),
        ("a pseudo-header field after a field", get_of(&[method, scheme, ("x", "1"), path])),
        ("a pseudo-header field twice", get_of(&[method, scheme, authority, path, path])),
        ("no method", get_of(&[scheme, authority, path])),
        ("an authority without a path", get_of(&[method, scheme, authority])),
        ("a status", get_of(&[method, scheme, authority, path, (":status", "200")])),
        (
            "contradicting lengths",
            get_of(&[method, scheme, authority, path, ("content-length", "1")]),
        ),
    ] {
        assert_eq!(Server::new().answers(&request), STREAM_ENDS, "{case}");
    }
}

fn accept_one(server: &mut Server, bytes: &[u8]) -> Accepted {
    let mut accepted = server.receive(bytes);
    assert_eq!(accepted.len(), 1);
    accepted.pop().expect("one")
}

#[test]
fn some_malformed_requests_are_accepted() {
    let mut server = Server::new();
    let (request, _respond) = accept_one(&mut server, &get_of(&[GET[0], GET[1]]));
    assert_eq!(request.uri().to_string(), "", "neither a path nor an authority");

    let mut server = Server::new();
    let (request, _respond) = accept_one(&mut server, &get_with(&literal("x", b" a\t")));
    assert_eq!(request.headers()["x"], " a\t", "white space around a value");

    let mut server = Server::new();
    let raw = get_of(&[GET[0], GET[1], GET[2], (":path", "/\u{e4}")]);
    let (request, _respond) = accept_one(&mut server, &raw);
    assert_eq!(request.uri().path(), "/\u{e4}", "a byte that is not ASCII");

    let mut server = Server::new();
    let (request, _respond) = accept_one(&mut server, &post(1));
    let malformed = headers(1, END_STREAM, &block(&[(":path", "/"), ("x", "1")]));
    server.receive(&malformed);
    let trailers = now(request.into_body().trailers()).expect("no error").expect("trailers");
    assert_eq!(trailers["x"], "1", "a pseudo-header field in trailers");
    assert_eq!(server.peer.seen(), NOTHING);
}

#[test]
fn a_malformed_response_ends_every_request_of_a_backend() {
    for (case, response) in [
        ("a name in upper case", literal("X-Upper", b"1")),
        ("LF in a value", literal("x", b"a\nb")),
        ("an unknown pseudo-header field", literal(":new", b"1")),
    ] {
        let mut client = Client::new();
        let (first, other) = (client.get(), client.get());
        client.poll();
        client.peer.frames();
        let answers =
            client.answers(&headers(1, END_STREAM, &[&block(&OK)[..], &response].concat()));
        assert_eq!(answers, CONNECTION_ENDS, "{case}");
        assert!(now(first).is_err() && now(other).is_err(), "{case}");
    }
    let mut client = Client::new();
    let _first = client.get();
    client.poll();
    client.peer.frames();
    let malformed = headers(1, END_STREAM, &block(&[(":status", "2000")]));
    assert_eq!(client.answers(&malformed), CONNECTION_ENDS, "no status");
}

#[test]
fn other_malformed_responses_end_their_stream_or_are_accepted() {
    let with = |field| headers(1, END_STREAM, &block(&[OK[0], field]));
    for (case, response, end) in [
        ("a field of the connection", with(("connection", "close")), STREAM_ENDS),
        ("no status", headers(1, 0, &block(&[("x", "1")])), STREAM_ENDS),
        ("a pseudo-header field of requests", with((":path", "/")), NOTHING),
        ("white space around a value", with(("x", " a ")), NOTHING),
        ("DATA before the head", data(1, END_STREAM, b"x"), CONNECTION_ENDS),
    ] {
        let mut client = Client::new();
        let first = client.get();
        client.poll();
        client.peer.frames();
        assert_eq!(client.answers(&response), end, "{case}");
        assert_eq!(now(first).is_ok(), end == NOTHING, "{case}");
    }
}

#[test]
fn a_malformed_head_in_two_frames_ends_the_connection() {
    let malformed = [&block(&GET)[..], &literal("connection", b"close")].concat();
    let first = frame(HEADERS, END_STREAM, 1, &malformed);
    let second = frame(CONTINUATION, END_HEADERS, 1, &literal("x", b"1"));
    let answers = Server::new().answers(&[first, second].concat());
    assert_eq!(answers, CONNECTION_ENDS);
}

#[test]
fn a_decoding_error_has_the_wrong_error_code() {
    // The dynamic table is empty: there is no entry 62.
    let request = headers(1, END_STREAM, &[0x80 | 62]);
    assert_eq!(Server::new().answers(&request), ["GOAWAY PROTOCOL_ERROR"]);
}

#[test]
fn the_fields_of_a_stream_that_depends_on_itself_do_not_reach_the_dynamic_table() {
    let head = |field: &[u8]| [&block(&GET)[..], field].concat();
    let mut server = Server::new();
    server.receive(&headers(1, END_STREAM, &head(&indexing_literal("x", "first"))));
    let dependency = [&3_u32.to_be_bytes()[..], &[0]].concat();
    let second = [dependency, head(&indexing_literal("x", "second"))].concat();
    server.receive(&headers(3, END_STREAM | PRIORITY, &second));
    let (request, _respond) = accept_one(&mut server, &headers(5, END_STREAM, &head(&[0x80 | 62])));
    assert_eq!(request.headers()["x"], "first", "the sender's entry 62 is the second value");
}

#[test]
fn a_head_of_12_kib_in_small_frames_ends_the_connection() {
    let field = literal("x-long", &[b'a'; 12 * 1024]);
    let head = [&block(&GET)[..], &field].concat();
    let pieces: Vec<&[u8]> = head.chunks(1024).collect();
    let last = pieces.len() - 1;
    let frames = pieces.iter().enumerate().map(|(number, piece)| {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let ends = if number == last { END_HEADERS } else { 0 };
        frame(kind, ends | if number == 0 { END_STREAM } else { 0 }, 1, piece)
    });
    let frames: Vec<u8> = frames.flatten().collect();
    let mut builder = ServerBuilder::new();
    builder.max_header_list_size(64 * 1024);
    let mut server = Server::with(&builder);
    assert_eq!(server.answers(&frames), ["GOAWAY ENHANCE_YOUR_CALM"]);
    let mut server = Server::with(&builder);
    assert_eq!(server.receive(&headers(1, END_STREAM, &head)).len(), 1, "in one frame");
}

#[test]
fn a_head_of_the_advertised_size_is_refused_and_hidden() {
    let size = |fields: &[(&str, &str)]| -> usize {
        fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    };
    let mut builder = ServerBuilder::new();
    builder.max_header_list_size(u32::try_from(size(&GET)).expect("small"));
    let mut server = Server::with(&builder);
    assert!(server.receive(&get(1)).is_empty(), "the application sees no request");
    assert_eq!(server.peer.seen(), ["HEADERS 1"], "h2 has answered by itself");
    builder.max_header_list_size(u32::try_from(size(&GET)).expect("small") + 1);
    assert_eq!(Server::with(&builder).receive(&get(1)).len(), 1);
}

#[test]
fn a_431_is_followed_by_a_reset_with_an_error() {
    let mut builder = ServerBuilder::new();
    builder.max_header_list_size(64);
    let mut server = Server::with(&builder);
    server.receive(&post(1));
    let frames = server.peer.frames();
    let head = frames.iter().find(|frame| frame.kind == HEADERS).expect("a response");
    assert!(head.flags & END_STREAM != 0);
    assert!(head.payload.len() < 8, "it has no field");
    let ends: Vec<_> = frames.iter().map(ToString::to_string).collect();
    assert_eq!(ends, ["HEADERS 1", "RST_STREAM 1 PROTOCOL_ERROR"]);
}

#[test]
fn a_response_without_content_must_not_have_a_length_unless_its_head_ends_the_stream() {
    for status in ["204", "304"] {
        let head = block(&[(":status", status), ("content-length", "5")]);
        // The trailers close the stream before the length is looked at: no reset is sent.
        for (last, end) in [(data(1, END_STREAM, b""), STREAM_ENDS), (trailers(1), NOTHING)] {
            let mut client = Client::new();
            let response = client.get();
            client.poll();
            client.peer.frames();
            assert_eq!(client.answers(&[headers(1, 0, &head), last].concat()), end, "{status}");
            let mut body = now(response).expect("a head").into_body();
            assert!(now(body.data()).expect("an end").is_err(), "{status}");
        }
        let mut client = Client::new();
        let response = client.get();
        client.poll();
        client.peer.frames();
        assert_eq!(client.answers(&headers(1, END_STREAM, &head)), NOTHING, "{status}");
        assert!(now(response).expect("a head").into_body().is_end_stream());
    }
}

#[test]
fn a_response_head_that_is_too_large_is_malformed() {
    let mut builder = ClientBuilder::new();
    builder.max_header_list_size(64);
    let mut client = Client::with(&builder, &frame(SETTINGS, 0, 0, &[]));
    let response = client.get();
    client.poll();
    client.peer.frames();
    let large = headers(1, 0, &block(&[OK[0], ("x", "a field that is too much")]));
    assert_eq!(client.answers(&large), STREAM_ENDS);
    let error = now(response).expect_err("no head");
    assert_eq!(error.to_string(), "stream error detected: unspecific protocol error detected");
}
