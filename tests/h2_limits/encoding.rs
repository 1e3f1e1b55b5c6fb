//! Fields as `h2` encodes and decodes them.

use h2::client::Builder;
use http::Request;

use super::frames::{END_STREAM, GET, HEADERS, block, headers, setting, string};
use super::setup::{Client, Server};

/// The header block of the only request that a client has written.
fn written(client: &mut Client) -> Vec<u8> {
    client.poll();
    let heads = client.peer.frames().into_iter().filter(|frame| frame.kind == HEADERS);
    let heads: Vec<_> = heads.collect();
    assert_eq!(heads.len(), 1);
    heads.into_iter().next().expect("one").payload
}

#[test]
fn a_field_that_must_never_be_indexed_keeps_its_mark() {
    // A literal never indexed (RFC 7541, 6.2.3).
    let secret = [&[0x10][..], &string(b"x-secret"), &string(b"a")].concat();
    let head = [&block(&GET)[..], &secret].concat();
    let mut server = Server::new();
    let (request, _respond) = server.receive(&headers(1, END_STREAM, &head)).pop().expect("one");
    let value = request.headers()["x-secret"].clone();
    assert!(value.is_sensitive());

    // A proxy that forwards the field has it never indexed too.
    for (sensitive, indexed) in [(false, true), (true, false)] {
        let mut client = Client::new();
        let mut value = value.clone();
        value.set_sensitive(sensitive);
        let request = Request::get("http://a/").header("x-secret", value);
        let _response = client.request(request.body(()).expect("valid"), true);
        // A literal with incremental indexing and a name in Huffman coding.
        let block = written(&mut client);
        let indexes = block.windows(2).any(|pair| pair[0] == 0x40 && pair[1] & 0x80 != 0);
        assert_eq!(indexes, indexed);
    }
}

#[test]
fn strings_are_huffman_coded_even_if_that_makes_them_longer() {
    let mut client = Client::new();
    let backslashes = "\\".repeat(80);
    let request = Request::get("http://a/").header("x", &*backslashes).body(()).expect("valid");
    let _response = client.request(request, true);
    // Each backslash has 19 bits (RFC 7541, appendix B).
    assert!(written(&mut client).len() > 80 * 19 / 8);
}

#[test]
fn the_size_of_header_lists_that_the_peer_takes_is_ignored() {
    const MAX_HEADER_LIST_SIZE: u16 = 6;
    let mut client = Client::with(&Builder::new(), &setting(MAX_HEADER_LIST_SIZE, 64));
    let long = "a".repeat(10_000);
    let request = Request::get("http://a/").header("x", long).body(()).expect("valid");
    let _response = client.request(request, true);
    assert!(written(&mut client).len() > 5000);
}
