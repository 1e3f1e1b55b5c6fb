//! Content of requests by method, and requests behind each other.

use super::{Case, Outcome, case, denied, passes};

pub(super) const CASES: &[Case] = &[
    passes(
        "a GET with a length",
        "RFC 9110, 9.3.1; RFC 9112, 6",
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
        &["GET /a a length=4 body"],
    ),
    passes(
        "a DELETE in chunks",
        "RFC 9110, 9.3.5; RFC 9112, 6",
        "DELETE /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        &["DELETE /a a chunked body"],
    ),
    passes(
        "a HEAD with a length",
        "RFC 9110, 9.3.2; RFC 9112, 6.3",
        "HEAD /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
        &["HEAD /a a length=4 body"],
    ),
    passes(
        "an OPTIONS with a length",
        "RFC 9112, 6",
        "OPTIONS /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
        &["OPTIONS /a a length=4 body"],
    ),
    passes(
        "an unknown method with a length",
        "RFC 9112, 6",
        "X /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
        &["X /a a length=4 body"],
    ),
    passes(
        "content that is a request",
        "RFC 9112, 6.3",
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST /a a length=35 GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"],
    ),
    passes(
        "content of a GET that is a request",
        "RFC 9112, 6.3",
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET /a a length=35 GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"],
    ),
    passes(
        "content with an expectation, sent at once",
        "RFC 9110, 10.1.1",
        "POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody",
        &["POST /a a length=4 body"],
    ),
    passes(
        "an expectation without content",
        "RFC 9110, 10.1.1",
        "GET /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
        &["GET /a a none "],
    ),
    passes(
        "an expectation that is unknown",
        "RFC 9110, 10.1.1",
        "POST /a HTTP/1.1\r\nhost: a\r\nexpect: x\r\ncontent-length: 4\r\n\r\nbody",
        &["POST /a a length=4 body"],
    ),
    passes(
        "an upgrade is ignored",
        "RFC 9110, 7.8",
        "GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
         http2-settings: AAAA\r\n\r\n",
        &["GET /a a none "],
    ),
    passes(
        "three requests at once",
        "RFC 9112, 9.3.2",
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody\
         POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n\
         GET /c HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST /a a length=4 body", "POST /b a chunked b", "GET /c a none "],
    ),
    passes(
        "a HEAD before a GET",
        "RFC 9112, 6.3",
        "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        &["HEAD /a a none ", "GET /b a none "],
    ),
    denied(
        "a refused target with content that is a request",
        "RFC 9112, 9.3",
        "POST * HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    denied(
        "two Hosts, with content in chunks",
        "RFC 9112, 3.2 and 9.3",
        "POST /a HTTP/1.1\r\nhost: a\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n\
         4\r\nbody\r\n0\r\n\r\n",
    ),
    case(
        "CONNECT makes no tunnel",
        "RFC 9110, 9.3.6",
        "CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\n\r\n",
        Outcome::Denied(405),
    ),
    case(
        "CONNECT with content",
        "RFC 9110, 9.3.6; RFC 9112, 6.3",
        "CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\ncontent-length: 35\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        Outcome::Denied(405),
    ),
    case(
        "nothing is read behind the request that closes",
        "RFC 9112, 9.6",
        "GET /a HTTP/1.1\r\nhost: a\r\nConnection: x, Close\r\n\r\n",
        Outcome::Last(&["GET /a a none "]),
    ),
    case(
        "close on the second line of Connection",
        "RFC 9112, 9.6; RFC 9110, 5.3",
        "GET /a HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\nconnection: close\r\n\r\n",
        Outcome::Last(&["GET /a a none "]),
    ),
    case(
        "HTTP/1.0 with content",
        "RFC 9112, 6.3 and 9.3",
        "POST /a HTTP/1.0\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
        Outcome::Last(&["POST /a a length=4 body"]),
    ),
    case(
        "HTTP/1.0 with an expectation, which is ignored",
        "RFC 9110, 10.1.1",
        "POST /a HTTP/1.0\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody",
        Outcome::Last(&["POST /a a length=4 body"]),
    ),
    passes(
        "keep-alive in HTTP/1.0",
        "RFC 9112, C.2.2; more lenient than 9.3, which is about proxies",
        "GET /a HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
        &["GET /a a none "],
    ),
    passes(
        "a trailer that Connection of the head names",
        "RFC 9110, 7.6.1",
        "POST /a HTTP/1.1\r\nhost: a\r\nconnection: x\r\ntransfer-encoding: chunked\r\n\r\n\
         1\r\na\r\n0\r\nx: 1\r\ny: 2\r\n\r\n",
        &["POST /a a chunked a +y: 2"],
    ),
];
