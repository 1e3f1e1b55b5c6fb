//! Chunks and trailers of requests.

use super::{BODY, Case, passes, refused};

/// A POST in chunks, which are these bytes.
macro_rules! post {
    ($chunks:literal) => {
        concat!("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", $chunks)
    };
}

const SEEN: &[&str] = &["POST /a a chunked a"];
const CHUNK: &str = "RFC 9112, 7.1";
const STRICT: &str = "RFC 9112, 7.1.1 and RFC 9110, 5.6.3; stricter than the rule";
const BARE: &str = "RFC 9112, 2.2 and 7.1";

pub(super) const CASES: &[Case] = &[
    refused("LF behind a size", BARE, post!("1\na\r\n0\r\n\r\n"), BODY),
    refused("CR behind a size", BARE, post!("1\ra\r\n0\r\n\r\n"), BODY),
    refused("LF behind a chunk", BARE, post!("1\r\na\n0\r\n\r\n"), BODY),
    refused("CR behind a chunk", BARE, post!("1\r\na\r0\r\n\r\n"), BODY),
    refused("LF behind the last size", BARE, post!("1\r\na\r\n0\n\r\n"), BODY),
    refused("LF as the last line", BARE, post!("1\r\na\r\n0\r\n\n"), BODY),
    refused("LF at the end of every line", BARE, post!("1\na\n0\n\n"), BODY),
    refused("nothing behind a chunk", CHUNK, post!("1\r\na0\r\n\r\n"), BODY),
    refused("a chunk longer than its size", CHUNK, post!("1\r\nab\r\n0\r\n\r\n"), BODY),
    refused("a chunk shorter than its size", CHUNK, post!("2\r\na\r\n0\r\n\r\n"), BODY),
    refused("no size", CHUNK, post!("\r\na\r\n0\r\n\r\n"), BODY),
    refused("an empty line behind a chunk", CHUNK, post!("1\r\na\r\n\r\n0\r\n\r\n"), BODY),
    refused("the size 0x1", CHUNK, post!("0x1\r\na\r\n0\r\n\r\n"), BODY),
    refused("the size +1", CHUNK, post!("+1\r\na\r\n0\r\n\r\n"), BODY),
    refused("the size -1", CHUNK, post!("-1\r\na\r\n0\r\n\r\n"), BODY),
    refused("the size -0", CHUNK, post!("1\r\na\r\n-0\r\n\r\n"), BODY),
    refused("the size g", CHUNK, post!("g\r\na\r\n0\r\n\r\n"), BODY),
    refused("the size 1g", CHUNK, post!("1g\r\na\r\n0\r\n\r\n"), BODY),
    refused("the size 1h", CHUNK, post!("1h\r\na\r\n0\r\n\r\n"), BODY),
    refused("the size 1_0", CHUNK, post!("1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), BODY),
    refused("the size 1,0", CHUNK, post!("1,0\r\n0123456789abcdef\r\n0\r\n\r\n"), BODY),
    refused("a size in quotes", CHUNK, post!("\"1\"\r\na\r\n0\r\n\r\n"), BODY),
    refused("NUL behind a size", CHUNK, post!("1\0\r\na\r\n0\r\n\r\n"), BODY),
    refused("a space before a size", CHUNK, post!(" 1\r\na\r\n0\r\n\r\n"), BODY),
    refused("a space behind a size", CHUNK, post!("1 \r\na\r\n0\r\n\r\n"), BODY),
    refused("a tab behind a size", CHUNK, post!("1\t\r\na\r\n0\r\n\r\n"), BODY),
    refused("a space behind the last size", CHUNK, post!("1\r\na\r\n0 \r\n\r\n"), BODY),
    refused("a size of 17 digits", CHUNK, post!("00000000000000001\r\na\r\n0\r\n\r\n"), BODY),
    refused(
        "a size that is 1 in 64 bits",
        CHUNK,
        post!("10000000000000001\r\na\r\n0\r\n\r\n"),
        BODY,
    ),
    refused("a size of 17 times f", CHUNK, post!("fffffffffffffffff\r\na\r\n0\r\n\r\n"), BODY),
    refused("a size of 64 bits", CHUNK, post!("ffffffffffffffff\r\na\r\n0\r\n\r\n"), BODY),
    refused("a size above 63 bits", CHUNK, post!("8000000000000000\r\na\r\n0\r\n\r\n"), BODY),
    refused("a bare LF in an extension", BARE, post!("1;a\nb\r\na\r\n0\r\n\r\n"), BODY),
    refused("a bare CR in an extension", BARE, post!("1;a\rb\r\na\r\n0\r\n\r\n"), BODY),
    refused("NUL in an extension", "RFC 9112, 7.1.1", post!("1;a\0\r\na\r\n0\r\n\r\n"), BODY),
    refused("LF at the end of an extension", BARE, post!("1;a=b\na\r\n0\r\n\r\n"), BODY),
    refused("LF at the end of the last extension", BARE, post!("1\r\na\r\n0;a\n\r\n"), BODY),
    refused("a space before an extension", STRICT, post!("1 ;a=b\r\na\r\n0\r\n\r\n"), BODY),
    refused("a tab before an extension", STRICT, post!("1\t;a=b\r\na\r\n0\r\n\r\n"), BODY),
    refused(
        "a comma before an extension",
        "RFC 9112, 7.1.1",
        post!("1,a=b\r\na\r\n0\r\n\r\n"),
        BODY,
    ),
    refused(
        "an extension of more than 256 bytes",
        "RFC 9112, 7.1.1",
        post!(
            "1;eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\
             eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\
             eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\
             eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\r\na\r\n0\r\n\r\n"
        ),
        BODY,
    ),
    refused(
        "a length in trailers",
        "RFC 9110, 6.5.1",
        post!("1\r\na\r\n0\r\ncontent-length: 5\r\n\r\n"),
        BODY,
    ),
    refused(
        "a coding in trailers",
        "RFC 9110, 6.5.1",
        post!("1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        BODY,
    ),
    refused(
        "a space before a colon in trailers",
        "RFC 9112, 5.1",
        post!("1\r\na\r\n0\r\nx : 1\r\n\r\n"),
        BODY,
    ),
    refused(
        "a folded line in trailers",
        "RFC 9112, 5.2",
        post!("1\r\na\r\n0\r\nx: 1\r\n 2\r\n\r\n"),
        BODY,
    ),
    refused(
        "white space before trailers",
        "RFC 9112, 5.2",
        post!("1\r\na\r\n0\r\n x: 1\r\n\r\n"),
        BODY,
    ),
    refused("LF behind a trailer", BARE, post!("1\r\na\r\n0\r\nx: 1\n\r\n"), BODY),
    refused("CR within a trailer", BARE, post!("1\r\na\r\n0\r\nx: 1\r2\r\n\r\n"), BODY),
    refused("NUL within a trailer", "RFC 9110, 5.5", post!("1\r\na\r\n0\r\nx: \0\r\n\r\n"), BODY),
    refused("no colon in trailers", "RFC 9112, 5", post!("1\r\na\r\n0\r\nx\r\n\r\n"), BODY),
    refused(
        "a request instead of the last line",
        "RFC 9112, 7.1",
        post!("1\r\na\r\n0\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
        BODY,
    ),
    passes("zeros before a size", CHUNK, post!("0001\r\na\r\n000\r\n\r\n"), SEEN),
    passes(
        "a size of 16 digits",
        CHUNK,
        post!("0000000000000001\r\na\r\n0000000000000000\r\n\r\n"),
        SEEN,
    ),
    passes(
        "a size in upper case",
        CHUNK,
        post!("A\r\n0123456789\r\n0\r\n\r\n"),
        &["POST /a a chunked 0123456789"],
    ),
    passes(
        "extensions go no further",
        "RFC 9112, 7.1.1",
        post!("1;a=b;c=\"d;e\";f\r\na\r\n0;g\r\n\r\n"),
        SEEN,
    ),
    passes(
        "a space within an extension",
        "RFC 9110, 5.6.3",
        post!("1; a = b\r\na\r\n0\r\n\r\n"),
        SEEN,
    ),
    passes(
        "line breaks within a chunk",
        CHUNK,
        post!("4\r\n\r\n\r\n\r\n0\r\n\r\n"),
        &["POST /a a chunked \r\n\r\n"],
    ),
    passes(
        "a request within a chunk",
        CHUNK,
        post!("2c\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: front\r\n\r\n\r\n0\r\n\r\n"),
        &["POST /a a chunked 0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: front\r\n\r\n"],
    ),
    passes(
        "trailers",
        "RFC 9112, 7.1.2",
        post!("1\r\na\r\n0\r\nx: 1\r\ny: 2\r\n\r\n"),
        &["POST /a a chunked a +x: 1 +y: 2"],
    ),
    passes(
        "a host in trailers is dropped",
        "RFC 9110, 6.5.1",
        post!("1\r\na\r\n0\r\nhost: b\r\nx: 1\r\n\r\n"),
        &["POST /a a chunked a +x: 1"],
    ),
    passes(
        "an expectation in trailers is dropped",
        "RFC 9110, 6.5.1",
        post!("1\r\na\r\n0\r\nexpect: 100-continue\r\n\r\n"),
        SEEN,
    ),
    passes(
        "fields that Connection names in trailers are dropped",
        "RFC 9110, 7.6.1",
        post!("1\r\na\r\n0\r\nconnection: x\r\nx: 1\r\ny: 2\r\n\r\n"),
        &["POST /a a chunked a +y: 2"],
    ),
];
