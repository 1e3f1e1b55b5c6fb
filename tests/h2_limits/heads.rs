//! Malformed messages, and the limits on heads.

use h2::client::Builder as ClientBuilder;
use h2::server::Builder as ServerBuilder;

use super::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GET, HEADERS, MAX_CONCURRENT_STREAMS, OK, PRIORITY,
    PRIORITY_FRAME, SETTINGS, block, data, frame, get, headers, indexing_literal, literal, post,
    setting, trailers,
};
use super::setup::{Accepted, Client, Server, now};

/// The end of a malformed message, as the frames show it.
const STREAM_ENDS: &[&str] = &["RST_STREAM 1 PROTOCOL_ERROR"];
const NOTHING: &[&str] = &[];

/// A request with one more field.
fn get_with(field: &[u8]) -> Vec<u8> {
    headers(1, END_STREAM, &[&block(&GET)[..], field].concat())
}

fn get_of(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(1, END_STREAM, &block(fields))
}

/// A request in which one pseudo-header field has this value instead of its own.
fn get_but(name: &str, value: &[u8]) -> Vec<u8> {
    let block = GET.iter().flat_map(|field| {
        let value = if field.0 == name { value } else { field.1.as_bytes() };
        literal(field.0, value)
    });
    headers(1, END_STREAM, &block.collect::<Vec<u8>>())
}

#[test]
fn a_malformed_request_ends_its_stream_only() {
    let [method, scheme, authority, path] = GET;
    for (case, request) in [
        ("a name in upper case", get_with(&literal("X-Upper", b"1"))),
        ("a space in a name", get_with(&literal("a b", b"1"))),
        ("no name", get_with(&literal("", b"1"))),
        ("LF in a value", get_with(&literal("x", b"a\nb"))),
        ("CR in a value", get_with(&literal("x", b"a\rb"))),
        ("NUL in a value", get_with(&literal("x", b"a\0b"))),
        // The static table has the name of `user-agent` (RFC 7541, appendix A).
        ("LF in a value of a known name", get_with(&[&[0x0f, 58 - 15][..], b"\x03a\nb"].concat())),
        ("an unknown pseudo-header field", get_of(&[(":new", "1")])),
        ("no token as method", get_but(":method", b"G T")),
        ("a path that is not UTF-8", get_but(":path", b"/\xff")),
        ("an authority that is not UTF-8", get_but(":authority", b"a\xff")),
        ("a scheme that is not UTF-8", get_but(":scheme", b"http\xff")),
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
        let mut server = Server::new();
        assert_eq!(server.answers(&request), STREAM_ENDS, "{case}");
        let _other = accept_one(&mut server, &get(3));
        assert_eq!(server.peer.seen(), NOTHING, "{case}");
    }
}

#[test]
fn malformed_fields_have_their_place_in_the_dynamic_table() {
    let head = |field: &[u8]| [&block(&GET)[..], field].concat();
    let mut server = Server::new();
    let good = indexing_literal("x", "first");
    let _first = accept_one(&mut server, &headers(1, END_STREAM, &head(&good)));
    for (stream, name, value) in [(3, "X-Upper", "1"), (5, ":new", ""), (7, "y", "a\nb")] {
        let malformed = headers(stream, END_STREAM, &head(&indexing_literal(name, value)));
        let answers = server.answers(&malformed);
        assert_eq!(answers, [format!("RST_STREAM {stream} PROTOCOL_ERROR")]);
    }
    let (request, _to_nine) = accept_one(&mut server, &headers(9, END_STREAM, &head(&[0x80 | 65])));
    assert_eq!(request.headers()["x"], "first", "the oldest of four entries");
    // The index of a malformed field is one too, and its name can be used with another value.
    let again = server.answers(&headers(11, END_STREAM, &head(&[0x80 | 64])));
    assert_eq!(again, ["RST_STREAM 11 PROTOCOL_ERROR"]);
    let mended = [&[0x0f, 62 - 15][..], b"\x02ok"].concat();
    let (request, _respond) = accept_one(&mut server, &headers(13, END_STREAM, &head(&mended)));
    assert_eq!(request.headers()["y"], "ok");
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
fn a_malformed_response_ends_its_stream_only_or_is_accepted() {
    let with = |name, value: &str| headers(1, END_STREAM, &block(&[OK[0], (name, value)]));
    let interim = headers(1, 0, &block(&[(":status", "103")]));
    let data_first = data(1, END_STREAM, b"x");
    for (case, response, end) in [
        ("a name in upper case", with("X-Upper", "1"), STREAM_ENDS),
        ("LF in a value", with("x", "a\nb"), STREAM_ENDS),
        ("an unknown pseudo-header field", with(":new", "1"), STREAM_ENDS),
        ("no number as status", headers(1, 0, &block(&[(":status", "2000")])), STREAM_ENDS),
        ("a field of the connection", with("connection", "close"), STREAM_ENDS),
        ("no status", headers(1, 0, &block(&[("x", "1")])), STREAM_ENDS),
        ("DATA before the head", data_first.clone(), STREAM_ENDS),
        ("DATA before the final head", [interim, data_first].concat(), STREAM_ENDS),
        ("a pseudo-header field of requests", with(":path", "/"), NOTHING),
        ("white space around a value", with("x", " a "), NOTHING),
    ] {
        let mut client = Client::new();
        let (first, other) = (client.get(), client.get());
        client.poll();
        client.peer.frames();
        assert_eq!(client.answers(&response), end, "{case}");
        assert_eq!(now(first).is_ok(), end == NOTHING, "{case}");
        assert_eq!(client.answers(&headers(3, END_STREAM, &block(&OK))), NOTHING, "{case}");
        assert!(now(other).is_ok(), "{case}");
    }
}

#[test]
fn data_on_an_idle_stream_ends_the_connection() {
    let builder = ClientBuilder::new();
    let mut client = Client::with(&builder, &setting(MAX_CONCURRENT_STREAMS, 1));
    let _open = client.get();
    let _waiting = client.get();
    client.poll();
    client.peer.frames();
    assert_eq!(client.answers(&data(3, 0, b"x")), ["GOAWAY PROTOCOL_ERROR"]);
}

#[test]
fn a_malformed_head_in_two_frames_ends_its_stream_only() {
    for field in [literal("connection", b"close"), literal("X-Upper", b"1")] {
        let malformed = [&block(&GET)[..], &field].concat();
        let first = frame(HEADERS, END_STREAM, 1, &malformed);
        let second = frame(CONTINUATION, END_HEADERS, 1, &literal("x", b"1"));
        let mut server = Server::new();
        assert_eq!(server.answers(&[first, second].concat()), STREAM_ENDS);
        assert_eq!(server.receive(&get(3)).len(), 1);
    }
}

#[test]
fn a_malformed_head_has_a_limit_of_size() {
    let mut builder = ServerBuilder::new();
    builder.max_header_list_size(1024);
    // The pseudo-header field is there already: each one is malformed, and one byte.
    let malformed = [&block(&GET)[..], &[0x82; 16]].concat();
    let first = frame(HEADERS, END_STREAM, 1, &malformed);
    let more = frame(CONTINUATION, 0, 1, &[0x82; 100]);
    let answers = Server::with(&builder).answers(&[&first[..], &more].concat());
    assert_eq!(answers, ["GOAWAY ENHANCE_YOUR_CALM"]);
}

#[test]
fn a_decoding_error_is_a_compression_error() {
    // The dynamic table is empty: there is no entry 62.
    let request = headers(1, END_STREAM, &[0x80 | 62]);
    assert_eq!(Server::new().answers(&request), ["GOAWAY COMPRESSION_ERROR"]);
    let first = frame(HEADERS, END_STREAM, 1, &block(&GET));
    let second = frame(CONTINUATION, END_HEADERS, 1, &[0x80 | 62]);
    let answers = Server::new().answers(&[first, second].concat());
    assert_eq!(answers, ["GOAWAY COMPRESSION_ERROR"]);
}

#[test]
fn a_stream_may_depend_on_itself() {
    let head = |field: &[u8]| [&block(&GET)[..], field].concat();
    let mut server = Server::new();
    let first = head(&indexing_literal("x", "first"));
    let _first = accept_one(&mut server, &headers(1, END_STREAM, &first));
    let dependency = [&3_u32.to_be_bytes()[..], &[0]].concat();
    let second = [dependency, head(&indexing_literal("x", "second"))].concat();
    let (request, _respond) = accept_one(&mut server, &headers(3, END_STREAM | PRIORITY, &second));
    assert_eq!(request.headers()["x"], "second");
    let (request, _respond) = accept_one(&mut server, &headers(5, END_STREAM, &head(&[0x80 | 62])));
    assert_eq!(request.headers()["x"], "second", "the sender's entry 62");
    let priority = frame(PRIORITY_FRAME, 0, 7, &[&7_u32.to_be_bytes()[..], &[0]].concat());
    assert_eq!(server.answers(&priority), NOTHING);
}

/// A header block in a HEADERS frame and CONTINUATION frames of this size.
fn in_pieces(block: &[u8], size: usize) -> Vec<u8> {
    let pieces: Vec<&[u8]> = block.chunks(size).collect();
    let last = pieces.len() - 1;
    let frames = pieces.iter().enumerate().map(|(number, piece)| {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let ends = if number == last { END_HEADERS } else { 0 };
        frame(kind, ends | if number == 0 { END_STREAM } else { 0 }, 1, piece)
    });
    frames.flatten().collect()
}

#[test]
fn a_head_may_be_cut_into_small_frames() {
    let field = literal("x-long", &[b'a'; 12 * 1024]);
    let head = [&block(&GET)[..], &field].concat();
    let mut builder = ServerBuilder::new();
    builder.max_header_list_size(64 * 1024);
    for size in [16_000, 1024, 750, 100, 64] {
        let mut server = Server::with(&builder);
        let (request, _respond) = accept_one(&mut server, &in_pieces(&head, size));
        assert_eq!(request.headers()["x-long"].len(), 12 * 1024, "{size}");
    }
}

#[test]
fn a_flood_of_continuation_frames_ends_the_connection() {
    let mut builder = ServerBuilder::new();
    builder.max_header_list_size(64 * 1024);
    let long = |bytes: usize| [&block(&GET)[..], &literal("x-long", &vec![b'a'; bytes])].concat();
    for (case, frames) in [
        ("one byte each", in_pieces(&long(1024), 1)),
        ("32 bytes each", in_pieces(&long(1024), 32)),
        ("a string without an end", in_pieces(&long(300 * 1024), 16_000)),
    ] {
        let answers = Server::with(&builder).answers(&frames);
        assert_eq!(answers, ["GOAWAY ENHANCE_YOUR_CALM"], "{case}");
    }
    let empty: Vec<u8> = (0..8).flat_map(|_| frame(CONTINUATION, 0, 1, &[])).collect();
    let frames = [frame(HEADERS, END_STREAM, 1, &block(&GET)), empty].concat();
    let answers = Server::with(&builder).answers(&frames);
    assert_eq!(answers, ["GOAWAY ENHANCE_YOUR_CALM"], "no byte");
}

#[test]
fn a_head_beyond_the_advertised_size_is_refused_and_hidden() {
    let size = |fields: &[(&str, &str)]| -> usize {
        fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    };
    let mut builder = ServerBuilder::new();
    builder.max_header_list_size(u32::try_from(size(&GET)).expect("small") - 1);
    let mut server = Server::with(&builder);
    assert!(server.receive(&get(1)).is_empty(), "the application sees no request");
    assert_eq!(server.peer.seen(), ["HEADERS 1"], "h2 has answered by itself");
    builder.max_header_list_size(u32::try_from(size(&GET)).expect("small"));
    assert_eq!(Server::with(&builder).receive(&get(1)).len(), 1);
}

#[test]
fn a_431_is_followed_by_a_reset_without_an_error() {
    let mut builder = ServerBuilder::new();
    builder.max_header_list_size(64);
    let mut server = Server::with(&builder);
    server.receive(&post(1));
    let frames = server.peer.frames();
    let head = frames.iter().find(|frame| frame.kind == HEADERS).expect("a response");
    assert!(head.flags & END_STREAM != 0);
    assert!(head.payload.len() < 8, "it has no field");
    let ends: Vec<_> = frames.iter().map(ToString::to_string).collect();
    assert_eq!(ends, ["HEADERS 1", "RST_STREAM 1 NO_ERROR"]);
}

#[test]
fn a_response_without_content_may_have_a_length() {
    for status in ["204", "304"] {
        let head = block(&[(":status", status), ("content-length", "5")]);
        for (last, end) in [
            (data(1, END_STREAM, b""), NOTHING),
            (trailers(1), NOTHING),
            (data(1, END_STREAM, b"bytes"), STREAM_ENDS),
        ] {
            let mut client = Client::new();
            let response = client.get();
            client.poll();
            client.peer.frames();
            assert_eq!(client.answers(&[headers(1, 0, &head), last].concat()), end, "{status}");
            let mut body = now(response).expect("a head").into_body();
            let data = now(body.data());
            let is_good = data.is_none_or(|data| data.is_ok_and(|data| data.is_empty()));
            assert_eq!(is_good, end == NOTHING, "{status}");
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
