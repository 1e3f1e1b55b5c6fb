//! `Transfer-Encoding` of requests.

use super::{Case, FRAMING, HEAD, Outcome, case, passes, refused};

/// A POST with these field lines, and a chunk behind the head.
macro_rules! post {
    ($fields:literal) => {
        concat!("POST /a HTTP/1.1\r\nhost: a\r\n", $fields, "\r\n4\r\nbody\r\n0\r\n\r\n")
    };
}

/// The chunk, as the backend receives it.
const CHUNK: &[&str] = &["POST /a a chunked body"];

pub(super) const CASES: &[Case] = &[
    refused("xchunked", "RFC 9112, 6.3", post!("transfer-encoding: xchunked\r\n"), FRAMING),
    refused("chunkedx", "RFC 9112, 6.3", post!("transfer-encoding: chunkedx\r\n"), FRAMING),
    refused("chunk ed", "RFC 9112, 6.3", post!("transfer-encoding: chunk ed\r\n"), FRAMING),
    refused("identity", "RFC 9112, 6.3", post!("transfer-encoding: identity\r\n"), FRAMING),
    refused("gzip", "RFC 9112, 6.3", post!("transfer-encoding: gzip\r\n"), FRAMING),
    refused("an empty value", "RFC 9112, 6.3", post!("transfer-encoding:\r\n"), FRAMING),
    refused(
        "gzip, chunked",
        "RFC 9112, 6.1; 501 should be the status",
        post!("transfer-encoding: gzip, chunked\r\n"),
        FRAMING,
    ),
    refused(
        "identity, chunked",
        "RFC 9112, 6.1; 501 should be the status",
        post!("transfer-encoding: identity, chunked\r\n"),
        FRAMING,
    ),
    refused(
        "chunked, identity",
        "RFC 9112, 6.3",
        post!("transfer-encoding: chunked, identity\r\n"),
        FRAMING,
    ),
    refused(
        "chunked, chunked",
        "RFC 9112, 6.1",
        post!("transfer-encoding: chunked, chunked\r\n"),
        FRAMING,
    ),
    refused(
        "chunked, with an empty list member behind",
        "RFC 9110, 5.6.1.2; stricter than the rule",
        post!("transfer-encoding: chunked,\r\n"),
        FRAMING,
    ),
    refused(
        "chunked, with an empty list member in front",
        "RFC 9110, 5.6.1.2; stricter than the rule",
        post!("transfer-encoding: ,chunked\r\n"),
        FRAMING,
    ),
    refused(
        "two codings on two lines",
        "RFC 9112, 6.1",
        post!("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        FRAMING,
    ),
    refused(
        "chunked, and identity on a line of its own",
        "RFC 9112, 6.3",
        post!("transfer-encoding: chunked\r\nx: y\r\nTransfer-Encoding: identity\r\n"),
        FRAMING,
    ),
    refused(
        "identity, and chunked on a line of its own",
        "RFC 9112, 6.1; 501 should be the status",
        post!("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n"),
        FRAMING,
    ),
    refused(
        "chunked with a parameter",
        "RFC 9112, 7.1",
        post!("transfer-encoding: chunked;q=1\r\n"),
        FRAMING,
    ),
    refused(
        "chunked with a semicolon",
        "RFC 9112, 7.1",
        post!("transfer-encoding: chunked;\r\n"),
        FRAMING,
    ),
    refused(
        "chunked in quotes",
        "RFC 9112, 6.3",
        post!("transfer-encoding: \"chunked\"\r\n"),
        FRAMING,
    ),
    refused(
        "chunked in HTTP/1.0",
        "RFC 9112, 6.1",
        "POST /a HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        FRAMING,
    ),
    refused(
        "chunked beside a length in HTTP/1.0",
        "RFC 9112, 6.1",
        "POST /a HTTP/1.0\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\nbody",
        FRAMING,
    ),
    refused(
        "a vertical tab before chunked",
        "RFC 9110, 5.5",
        post!("transfer-encoding:\u{b}chunked\r\n"),
        HEAD,
    ),
    refused(
        "a vertical tab behind chunked",
        "RFC 9110, 5.5",
        post!("transfer-encoding: chunked\u{b}\r\n"),
        HEAD,
    ),
    refused(
        "a form feed before chunked",
        "RFC 9110, 5.5",
        post!("transfer-encoding: \u{c}chunked\r\n"),
        HEAD,
    ),
    refused("NUL behind chunked", "RFC 9110, 5.5", post!("transfer-encoding: chunked\0\r\n"), HEAD),
    refused(
        "a space that is not ASCII before chunked",
        "RFC 9112, 6.3",
        post!("transfer-encoding: \u{a0}chunked\r\n"),
        FRAMING,
    ),
    refused(
        "a space before the colon",
        "RFC 9112, 5.1",
        post!("transfer-encoding : chunked\r\n"),
        HEAD,
    ),
    refused(
        "a tab before the colon",
        "RFC 9112, 5.1",
        post!("transfer-encoding\t: chunked\r\n"),
        HEAD,
    ),
    refused(
        "chunked in a folded line",
        "RFC 9112, 5.2",
        post!("transfer-encoding:\r\n chunked\r\n"),
        FRAMING,
    ),
    refused(
        "a folded line behind chunked",
        "RFC 9112, 5.2",
        post!("transfer-encoding: chunked\r\n\t, identity\r\n"),
        HEAD,
    ),
    refused(
        "a coding within a folded line, beside a length",
        "RFC 9112, 5.2",
        post!("content-length: 4\r\nx: y\r\n\ttransfer-encoding: chunked\r\n"),
        HEAD,
    ),
    refused(
        "a coding behind a bare CR, beside a length",
        "RFC 9112, 2.2",
        post!("content-length: 4\r\nx: y\rtransfer-encoding: chunked\r\n"),
        HEAD,
    ),
    refused(
        "a coding behind a bare LF, beside a length",
        "RFC 9112, 2.2; stricter than the rule",
        post!("content-length: 4\r\nx: y\ntransfer-encoding: chunked\r\n"),
        HEAD,
    ),
    refused(
        "a name with a character that is not ASCII",
        "RFC 9110, 5.1",
        post!("\u{a0}transfer-encoding: chunked\r\ncontent-length: 4\r\n"),
        HEAD,
    ),
    passes("Chunked", "RFC 9112, 7", post!("Transfer-Encoding: Chunked\r\n"), CHUNK),
    passes("cHuNkEd", "RFC 9112, 7", post!("TRANSFER-ENCODING: cHuNkEd\r\n"), CHUNK),
    passes(
        "spaces and tabs around chunked",
        "RFC 9110, 5.5",
        post!("transfer-encoding:\t chunked \t\r\n"),
        CHUNK,
    ),
    passes(
        "a coding that Connection names",
        "RFC 9110, 7.6.1; RFC 9112, 6.1",
        post!("connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n"),
        CHUNK,
    ),
    passes(
        "a name with an underscore is another field",
        "RFC 9110, 5.1",
        post!("transfer_encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
        CHUNK,
    ),
    passes(
        "TE is not about the content",
        "RFC 9110, 10.1.4",
        post!("te: gzip, chunked\r\ntransfer-encoding: chunked\r\n"),
        CHUNK,
    ),
    case(
        "chunked, with the last request of the connection",
        "RFC 9112, 9.6",
        post!("connection: close\r\ntransfer-encoding: chunked\r\n"),
        Outcome::Last(CHUNK),
    ),
];
