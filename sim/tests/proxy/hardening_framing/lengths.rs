//! `Content-Length` of requests, alone and beside `Transfer-Encoding`.

use super::{Case, FRAMING, HEAD, passes, refused};

/// A POST with these field lines and these bytes behind the head.
macro_rules! post {
    ($fields:literal, $body:literal) => {
        concat!("POST /a HTTP/1.1\r\nhost: a\r\n", $fields, "\r\n", $body)
    };
}

/// Four bytes of content, as the backend receives them.
const FOUR: &[&str] = &["POST /a a length=4 body"];

pub(super) const CASES: &[Case] = &[
    refused(
        "a length before a coding",
        "RFC 9112, 6.1 and 6.3",
        post!("content-length: 4\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        FRAMING,
    ),
    refused(
        "a coding before a length",
        "RFC 9112, 6.1 and 6.3",
        post!("transfer-encoding: chunked\r\ncontent-length: 4\r\n", "0\r\n\r\n"),
        FRAMING,
    ),
    refused(
        "the length 0 beside a coding",
        "RFC 9112, 6.1 and 6.3",
        post!("content-length: 0\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        FRAMING,
    ),
    refused(
        "a length beside a coding, with other fields between and other cases of letters",
        "RFC 9112, 6.1 and 6.3; RFC 9110, 5.1",
        post!("CONTENT-Length: 4\r\nx: 1\r\ny: 2\r\nTransfer-ENCODING: chunked\r\n", "0\r\n\r\n"),
        FRAMING,
    ),
    refused(
        "two equal lengths",
        "RFC 9110, 8.6: may be refused",
        post!("content-length: 4\r\ncontent-length: 4\r\n", "body"),
        FRAMING,
    ),
    refused(
        "two lengths, the second larger",
        "RFC 9112, 6.3",
        post!("content-length: 4\r\ncontent-length: 60\r\n", "body"),
        FRAMING,
    ),
    refused(
        "two lengths, the second 0",
        "RFC 9112, 6.3",
        post!("content-length: 4\r\nx: y\r\nContent-Length: 0\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a list of equal lengths",
        "RFC 9110, 8.6: may be refused",
        post!("content-length: 4, 4\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a list of different lengths",
        "RFC 9112, 6.3",
        post!("content-length: 4, 60\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a length with an empty list member",
        "RFC 9110, 8.6: may be refused",
        post!("content-length: 4,\r\n", "body"),
        FRAMING,
    ),
    refused("the sign +", "RFC 9112, 6.3", post!("content-length: +4\r\n", "body"), FRAMING),
    refused("the sign -", "RFC 9112, 6.3", post!("content-length: -4\r\n", "body"), FRAMING),
    refused("minus zero", "RFC 9112, 6.3", post!("content-length: -0\r\n", ""), FRAMING),
    refused("hexadecimal", "RFC 9112, 6.3", post!("content-length: 0x4\r\n", "body"), FRAMING),
    refused(
        "a hexadecimal digit",
        "RFC 9112, 6.3",
        post!("content-length: a\r\n", "0123456789"),
        FRAMING,
    ),
    refused("an exponent", "RFC 9112, 6.3", post!("content-length: 4e0\r\n", "body"), FRAMING),
    refused("a fraction", "RFC 9112, 6.3", post!("content-length: 4.0\r\n", "body"), FRAMING),
    refused("a parameter", "RFC 9112, 6.3", post!("content-length: 4;a=b\r\n", "body"), FRAMING),
    refused("quotes", "RFC 9112, 6.3", post!("content-length: \"4\"\r\n", "body"), FRAMING),
    refused(
        "a space between digits",
        "RFC 9112, 6.3",
        post!("content-length: 1 4\r\n", "body"),
        FRAMING,
    ),
    refused(
        "an underscore between digits",
        "RFC 9112, 6.3",
        post!("content-length: 0_4\r\n", "body"),
        FRAMING,
    ),
    refused("no digit", "RFC 9112, 6.3", post!("content-length:\r\n", "body"), FRAMING),
    refused("only spaces", "RFC 9112, 6.3", post!("content-length: \t \r\n", "body"), FRAMING),
    refused(
        "digits that are not ASCII",
        "RFC 9112, 6.3",
        post!("content-length: \u{664}\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a length above 63 bits",
        "RFC 9110, 8.6",
        post!("content-length: 9223372036854775808\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a length that is 4 in 64 bits",
        "RFC 9110, 8.6",
        post!("content-length: 18446744073709551620\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a length that is 4 in 32 bits, beside 4",
        "RFC 9112, 6.3",
        post!("content-length: 4294967300\r\ncontent-length: 4\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a length of 21 digits with zeros in front",
        "RFC 9110, 8.6; stricter than the rule",
        post!("content-length: 000000000000000000004\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a space before the colon of the length",
        "RFC 9112, 5.1",
        post!("content-length : 4\r\n", "body"),
        HEAD,
    ),
    refused(
        "a tab before the colon of the length",
        "RFC 9112, 5.1",
        post!("content-length\t: 4\r\n", "body"),
        HEAD,
    ),
    refused(
        "a folded line in front of the length",
        "RFC 9112, 5.2",
        post!("content-length:\r\n 4\r\n", "body"),
        FRAMING,
    ),
    refused(
        "a folded line behind the length",
        "RFC 9112, 5.2",
        post!("content-length: 4\r\n 0\r\n", "body"),
        HEAD,
    ),
    refused(
        "a length within a folded line",
        "RFC 9112, 5.2",
        post!("x: y\r\n content-length: 60\r\ncontent-length: 4\r\n", "body"),
        HEAD,
    ),
    refused(
        "a vertical tab before the length",
        "RFC 9110, 5.5",
        post!("content-length:\u{b}4\r\n", "body"),
        HEAD,
    ),
    refused("a length with NUL", "RFC 9110, 5.5", post!("content-length: 4\0\r\n", "body"), HEAD),
    refused(
        "a length behind a bare CR",
        "RFC 9112, 2.2",
        post!("x: y\rcontent-length: 60\r\ncontent-length: 4\r\n", "body"),
        HEAD,
    ),
    passes(
        "spaces and tabs around the length",
        "RFC 9110, 5.5",
        post!("content-length:\t 4 \t\r\n", "body"),
        FOUR,
    ),
    passes("zeros in front", "RFC 9110, 8.6", post!("content-length: 0004\r\n", "body"), FOUR),
    passes("letters of any case", "RFC 9110, 5.1", post!("CONTENT-LENGTH:4\r\n", "body"), FOUR),
    passes(
        "a name with an underscore is another field",
        "RFC 9110, 5.1",
        post!("content_length: 60\r\ncontent-length: 4\r\n", "body"),
        FOUR,
    ),
    passes(
        "a length that Connection names",
        "RFC 9110, 7.6.1; not kept, so that the framing stays",
        post!("connection: content-length\r\ncontent-length: 4\r\n", "body"),
        FOUR,
    ),
    passes(
        "the length 0",
        "RFC 9110, 8.6",
        post!("content-length: 0\r\n", ""),
        &["POST /a a length=0 "],
    ),
    passes("no length", "RFC 9112, 6.3; RFC 9110, 8.6", post!("", ""), &["POST /a a length=0 "]),
];
