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
fn a_string_that_huffman_coding_makes_longer_is_not_coded() {
    let mut client = Client::new();
    let backslashes = "\\".repeat(80);
    let request = Request::get("http://a/").header("x", &*backslashes).body(()).expect("valid");
    let _response = client.request(request, true);
    // Each backslash has 19 bits in Huffman coding (RFC 7541, appendix B).
    let block = written(&mut client);
    assert!(block.windows(80).any(|part| part == backslashes.as_bytes()));
    // Coded, a string of zeros has 5 bits for each of them.
    let zeros = "0".repeat(80);
    let request = Request::get("http://a/").header("x", &*zeros).body(()).expect("valid");
    let _response = client.request(request, true);
    assert!(written(&mut client).len() < 60);
}

#[test]
fn values_that_change_each_time_do_not_enter_the_dynamic_table() {
    let mut client = Client::new();
    let mut block = |value: &str| {
        let request = Request::get("http://a/").header("x", value).body(()).expect("valid");
        let _response = client.request(request, true);
        written(&mut client)
    };
    let _first_two = [block("0"), block("1")];
    // A literal without indexing, whose name is the first entry of the dynamic table: 15 + 47.
    for value in ["2", "3", "4"] {
        let block = block(value);
        assert_eq!(block[block.len() - 4..block.len() - 1], [0x0f, 47, 0x81]);
    }
    // The same value a second time is worth an entry, and is then a single byte.
    assert_ne!(block("4").len(), block("4").len());
    assert_eq!(block("4").last(), Some(&(0x80 | 62)));
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
