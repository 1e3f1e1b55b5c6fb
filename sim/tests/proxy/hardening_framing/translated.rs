//! HTTP/2 requests on their way to an HTTP/1.1 backend. `hardening_translation` has more of them.

use super::{Received, exchange, started};
use crate::support::Baton;
use crate::support::raw::{flag, kind};
use crate::support::raw_client::{RawClient, frame, literal};
use crate::system::run;

/// Names and values, in order.
type Fields = &'static [(&'static str, &'static str)];

/// A request, and what must happen.
struct Case {
    name: &'static str,
    /// The rule that the outcome follows from.
    rule: &'static str,
    /// The head. If no pseudo-header field is in it, it is a POST to `/a` of `a`.
    head: Fields,
    content: Option<&'static str>,
    trailers: Fields,
    /// The request that the backend receives; `None` if the stream is reset or gets 400.
    seen: Option<&'static str>,
}

const POST: Fields =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "a")];

/// A request without content that is refused.
const fn refused(name: &'static str, rule: &'static str, head: Fields) -> Case {
    Case { name, rule, head, content: None, trailers: &[], seen: None }
}

/// A request with four bytes of content that is refused.
const fn with_content(name: &'static str, rule: &'static str, head: Fields) -> Case {
    Case { name, rule, head, content: Some("body"), trailers: &[], seen: None }
}

/// A request with four bytes of content and trailers that is refused.
const fn with_trailers(name: &'static str, rule: &'static str, trailers: Fields) -> Case {
    Case { name, rule, head: &[], content: Some("body"), trailers, seen: None }
}

const fn passes(
    name: &'static str,
    rule: &'static str,
    head: Fields,
    content: Option<&'static str>,
    seen: &'static str,
) -> Case {
    Case { name, rule, head, content, trailers: &[], seen: Some(seen) }
}

const LENGTH: &str = "RFC 9110, 8.6; RFC 9113, 8.1.1";
const VALUE: &str = "RFC 9113, 8.2.1";
const PSEUDO: &str = "RFC 9113, 8.3";

const CASES: &[Case] = &[
    with_content(
        "two lengths, the second larger",
        LENGTH,
        &[("content-length", "4"), ("content-length", "60")],
    ),
    with_content(
        "two lengths, the second 0",
        LENGTH,
        &[("content-length", "4"), ("content-length", "0")],
    ),
    with_content("a list of lengths", LENGTH, &[("content-length", "4, 4")]),
    with_content("a length with a sign", LENGTH, &[("content-length", "+4")]),
    with_content("a length that is hexadecimal", LENGTH, &[("content-length", "0x4")]),
    with_content("a length behind a space", VALUE, &[("content-length", " 4")]),
    with_content(
        "a length that is 4 in 64 bits",
        LENGTH,
        &[("content-length", "18446744073709551620")],
    ),
    with_content("an empty length", LENGTH, &[("content-length", "")]),
    with_content("the length 0 before content", LENGTH, &[("content-length", "0")]),
    with_content(
        "a coding beside a length",
        "RFC 9113, 8.2.2",
        &[("content-length", "4"), ("transfer-encoding", "chunked")],
    ),
    refused("TE with another member", "RFC 9113, 8.2.2", &[("te", "trailers, chunked")]),
    refused("a value with CR", VALUE, &[("x", "a\rb")]),
    refused("a name with a letter in upper case", VALUE, &[("transfer-Encoding", "chunked")]),
    refused("a name that is not ASCII", VALUE, &[("x\u{e9}", "1")]),
    refused("a name with a space behind", VALUE, &[("transfer-encoding ", "chunked")]),
    refused(
        "a method that is a request line",
        "RFC 9110, 9.1",
        &[
            (":method", "GET / HTTP/1.1\r\nx: y\r\n\r\n"),
            (":scheme", "http"),
            (":path", "/a"),
            (":authority", "a"),
        ],
    ),
    refused(
        "a method with a space",
        "RFC 9110, 9.1",
        &[(":method", "GET /b"), (":scheme", "http"), (":path", "/a"), (":authority", "a")],
    ),
    refused(
        "an empty method",
        "RFC 9110, 9.1",
        &[(":method", ""), (":scheme", "http"), (":path", "/a"), (":authority", "a")],
    ),
    refused(
        "a scheme with a line break",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http\r\nx: y"), (":path", "/a"), (":authority", "a")],
    ),
    refused(
        "a scheme that is a URL",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http://b/?"), (":path", "/a"), (":authority", "a")],
    ),
    refused(
        "a path with NUL",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a\0"), (":authority", "a")],
    ),
    refused(
        "a path with a tab",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a\tb"), (":authority", "a")],
    ),
    refused(
        "a path that is a request line",
        "RFC 9113, 8.3.1",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a HTTP/1.1\r\nx: y"),
            (":authority", "a"),
        ],
    ),
    refused(
        "an authority with a path",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "a/b")],
    ),
    refused(
        "an authority with a query",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "a?b")],
    ),
    refused(
        "an empty authority",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "")],
    ),
    refused(
        "two authorities",
        PSEUDO,
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a"),
            (":authority", "a"),
            (":authority", "b"),
        ],
    ),
    refused(
        "two methods",
        PSEUDO,
        &[
            (":method", "GET"),
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/a"),
            (":authority", "a"),
        ],
    ),
    refused("no scheme", PSEUDO, &[(":method", "GET"), (":path", "/a"), (":authority", "a")]),
    refused("no path", PSEUDO, &[(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
    refused(
        "a status",
        PSEUDO,
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a"),
            (":authority", "a"),
            (":status", "200"),
        ],
    ),
    refused(
        "an unknown pseudo-header field",
        PSEUDO,
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a"),
            (":authority", "a"),
            (":x", "y"),
        ],
    ),
    refused(
        "a pseudo-header field behind others",
        PSEUDO,
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a"),
            ("x", "y"),
            (":authority", "a"),
        ],
    ),
    refused(
        "a protocol without CONNECT",
        PSEUDO,
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a"),
            (":authority", "a"),
            (":protocol", "websocket"),
        ],
    ),
    refused(
        "CONNECT with a path",
        "RFC 9113, 8.5",
        &[(":method", "CONNECT"), (":scheme", "http"), (":path", "/a"), (":authority", "a:80")],
    ),
    refused(
        "two hosts",
        "RFC 9112, 3.2",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a"), ("host", "a"), ("host", "a")],
    ),
    refused("two hosts beside an authority", "RFC 9112, 3.2", &[("host", "a"), ("host", "a")]),
    refused("a host that is another one", "RFC 9113, 8.3.1", &[("host", "b")]),
    with_trailers("Connection in trailers", "RFC 9113, 8.2.2", &[("connection", "x")]),
    with_trailers("a coding in trailers", "RFC 9113, 8.2.2", &[("transfer-encoding", "chunked")]),
    with_trailers("a name in upper case in trailers", VALUE, &[("X", "1")]),
    with_trailers("a line break in trailers", VALUE, &[("x", "1\r\n\r\nGET /smuggled HTTP/1.1")]),
    passes("a length", LENGTH, &[("content-length", "4")], Some("body"), "POST /a a length=4 body"),
    passes(
        "zeros before a length",
        LENGTH,
        &[("content-length", "0004")],
        Some("body"),
        "POST /a a length=4 body",
    ),
    passes("no length", "RFC 9112, 6.3", &[], Some("body"), "POST /a a chunked body"),
    passes("no content", "RFC 9110, 8.6", &[], None, "POST /a a length=0 "),
    passes(
        "content that is a request",
        "RFC 9112, 7.1",
        &[],
        Some("0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
        "POST /a a chunked 0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    passes(
        "a GET with content",
        "RFC 9112, 6",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "a")],
        Some("body"),
        "GET /a a chunked body",
    ),
    passes(
        "an expectation",
        "RFC 9110, 10.1.1",
        &[("expect", "100-continue"), ("content-length", "4")],
        Some("body"),
        "POST /a a length=4 body",
    ),
    passes("the host again", "RFC 9113, 8.3.1", &[("host", "A")], None, "POST /a a length=0 "),
    passes(
        "a host and no authority",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a"), ("host", "a")],
        None,
        "GET /a a none ",
    ),
    passes(
        "the asterisk of OPTIONS",
        "RFC 9113, 8.3.1",
        &[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "a")],
        None,
        "OPTIONS * a none ",
    ),
    passes(
        "a name with an underscore is another field",
        "RFC 9110, 5.1",
        &[("transfer_encoding", "chunked")],
        None,
        "POST /a a length=0 ",
    ),
    Case {
        name: "trailers",
        rule: "RFC 9113, 8.1; RFC 9112, 7.1.2",
        head: &[],
        content: Some("body"),
        trailers: &[("x", "1"), ("host", "b"), ("content-length", "9")],
        seen: Some("POST /a a chunked body +x: 1"),
    },
    Case {
        name: "trailers have no place behind a length",
        rule: "RFC 9110, 6.5.1",
        head: &[("content-length", "4")],
        content: Some("body"),
        trailers: &[("x", "1")],
        seen: Some("POST /a a length=4 body"),
    },
    passes(
        "two equal lengths become one",
        "RFC 9110, 8.6",
        &[("content-length", "4"), ("content-length", "4")],
        Some("body"),
        "POST /a a length=4 body",
    ),
    refused("a value that begins with a space", VALUE, &[("x", " 1")]),
    refused("a value that ends with a tab", VALUE, &[("x", "1\t")]),
];

/// Cases in which Baton breaks the rule. A case whose fault is mended belongs into the other table.
const FAULTS: &[Case] = &[
    passes(
        "the host again, with the default port",
        "RFC 9113, 8.3.1",
        &[("host", "a:80")],
        None,
        "POST /a a length=0 ",
    ),
    refused(
        "a path with a fragment",
        "RFC 9113, 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a#b"), (":authority", "a")],
    ),
    with_trailers("a pseudo-header field in trailers", "RFC 9113, 8.1", &[(":path", "/b")]),
];

fn block(fields: Fields) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

impl Case {
    /// The frames of the request.
    fn frames(&self) -> Vec<u8> {
        let has_pseudo = self.head.iter().any(|(name, _)| name.starts_with(':'));
        let head = [block(if has_pseudo { &[] } else { POST }), block(self.head)].concat();
        let end = |is_last: bool| if is_last { flag::END_STREAM } else { 0 };
        let ends = end(self.content.is_none()) | flag::END_HEADERS;
        let mut frames = frame(kind::HEADERS, ends, 1, &head);
        if let Some(content) = self.content {
            let ends = end(self.trailers.is_empty());
            frames.extend(frame(kind::DATA, ends, 1, content.as_bytes()));
        }
        if !self.trailers.is_empty() {
            let ends = flag::END_STREAM | flag::END_HEADERS;
            frames.extend(frame(kind::HEADERS, ends, 1, &block(self.trailers)));
        }
        frames
    }

    /// Returns what is wrong.
    async fn judge(&self, baton: &Baton, received: &Received) -> Option<String> {
        received.borrow_mut().clear();
        let mut client = RawClient::connect(baton.address).await;
        client.write(&self.frames()).await;
        let answer = loop {
            let Some(frame) = client.next().await else { break "closed" };
            match (frame.kind, frame.payload.first()) {
                (kind::GOAWAY, _) => break "GOAWAY",
                (kind::RST_STREAM, _) => break "reset",
                // RFC 7541, appendix A.
                (kind::HEADERS, Some(0x88)) => break "200",
                (kind::HEADERS, Some(0x8c)) => break "400",
                (kind::HEADERS, _) => break "another status",
                _ => {}
            }
        };
        let after = b"GET /after HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        exchange(baton, after, after.len()).await;
        let seen: Vec<_> = self.seen.into_iter().chain(["GET /after a none "]).collect();
        let received = received.borrow();
        let is_answered = match self.seen {
            Some(_) => answer == "200",
            None => ["GOAWAY", "reset", "400"].contains(&answer),
        };
        (!is_answered || **received != *seen).then(|| {
            let Self { name, rule, head, .. } = self;
            format!("{name} ({rule}): {head:?}\n  {answer}; {received:?}, expected {seen:?}")
        })
    }
}

fn judge(cases: &'static [Case]) {
    run(async move {
        let (received, baton) = started().await;
        let mut wrong = Vec::new();
        for case in cases {
            wrong.extend(case.judge(&baton, &received).await);
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn translated_requests() {
    judge(CASES);
}

#[test]
#[ignore = "these faults are not mended yet"]
fn known_faults_of_translation() {
    judge(FAULTS);
}
