//! Responses of an HTTP/1.1 backend.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::message::{Message, Reading};
use crate::support::client::connect;
use crate::support::raw::RawBackend;
use crate::support::{Baton, within};
use crate::system::{TcpStream, run};

/// Bytes of a backend, and what must happen.
struct Case {
    name: &'static str,
    /// The rule that the outcome follows from.
    rule: &'static str,
    sent: &'static str,
    outcome: Outcome,
}

/// The client sends a second request, and the response to that is its own.
#[derive(Debug)]
enum Outcome {
    /// The client gets 502.
    BadGateway,
    /// The client gets 502, or a response that looks cut short.
    Cut,
    /// The client gets this response to a POST.
    Whole(&'static str),
    /// The client gets this response to a HEAD.
    ToHead(&'static str),
}

const fn bad(name: &'static str, rule: &'static str, sent: &'static str) -> Case {
    Case { name, rule, sent, outcome: Outcome::BadGateway }
}

const fn cut(name: &'static str, rule: &'static str, sent: &'static str) -> Case {
    Case { name, rule, sent, outcome: Outcome::Cut }
}

const fn whole(
    name: &'static str,
    rule: &'static str,
    sent: &'static str,
    got: &'static str,
) -> Case {
    Case { name, rule, sent, outcome: Outcome::Whole(got) }
}

const fn to_head(
    name: &'static str,
    rule: &'static str,
    sent: &'static str,
    got: &'static str,
) -> Case {
    Case { name, rule, sent, outcome: Outcome::ToHead(got) }
}

/// A 200 with these field lines and these bytes behind the head.
macro_rules! ok {
    ($fields:literal, $body:literal) => {
        concat!("HTTP/1.1 200 OK\r\n", $fields, "\r\n", $body)
    };
}

/// A 200 in chunks, which are these bytes.
macro_rules! chunks {
    ($chunks:literal) => {
        ok!("transfer-encoding: chunked\r\n", $chunks)
    };
}

const LENGTH: &str = "RFC 9112, 6.3";
const STATUS: &str = "RFC 9112, 4";
const CHUNK: &str = "RFC 9112, 7.1 and 8";

const MALFORMED: &[Case] = &[
    bad(
        "a coding before a length",
        LENGTH,
        ok!("transfer-encoding: chunked\r\ncontent-length: 2\r\n", "ok"),
    ),
    bad(
        "a length beside identity",
        LENGTH,
        ok!("content-length: 2\r\ntransfer-encoding: identity\r\n", "ok"),
    ),
    bad(
        "two lengths, the second 0",
        LENGTH,
        ok!("content-length: 2\r\ncontent-length: 0\r\n", "ok"),
    ),
    bad(
        "a list of equal lengths",
        "RFC 9110, 8.6: may be refused",
        ok!("content-length: 2, 2\r\n", "ok"),
    ),
    bad("a list of different lengths", LENGTH, ok!("content-length: 2, 3\r\n", "ok")),
    bad("a length that is negative", LENGTH, ok!("content-length: -2\r\n", "ok")),
    bad("a length with the sign +", LENGTH, ok!("content-length: +2\r\n", "ok")),
    bad("a length that is hexadecimal", LENGTH, ok!("content-length: 0x2\r\n", "ok")),
    bad("no digit", LENGTH, ok!("content-length:\r\n", "ok")),
    bad(
        "a length that is 2 in 64 bits",
        "RFC 9110, 8.6",
        ok!("content-length: 18446744073709551618\r\n", "ok"),
    ),
    bad(
        "chunked in HTTP/1.0",
        "RFC 9112, 6.1",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad(
        "chunked twice",
        "RFC 9112, 6.1",
        ok!("transfer-encoding: chunked, chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
    ),
    bad(
        "chunked on two lines",
        "RFC 9112, 6.1",
        ok!("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
    ),
    bad(
        "chunked with a parameter",
        "RFC 9112, 7.1",
        ok!("transfer-encoding: chunked;a=b\r\n", "2\r\nok\r\n0\r\n\r\n"),
    ),
    bad(
        "chunked behind a vertical tab",
        "RFC 9110, 5.5",
        ok!("transfer-encoding:\u{b}chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
    ),
    bad("a bare CR in a value", "RFC 9112, 2.2", ok!("x: y\rz\r\ncontent-length: 2\r\n", "ok")),
    bad(
        "a bare LF behind a field line",
        "RFC 9112, 2.2; stricter than the rule",
        ok!("content-length: 2\nx: y\r\n", "ok"),
    ),
    bad(
        "a bare LF as the empty line",
        "RFC 9112, 2.2; stricter than the rule",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nok",
    ),
    bad("a line folded with a tab", "RFC 9112, 5.2", ok!("content-length: 2\r\n\t0\r\n", "ok")),
    bad(
        "a space before the first field",
        "RFC 9112, 2.2",
        ok!(" x: y\r\ncontent-length: 2\r\n", "ok"),
    ),
    bad("no colon", "RFC 9112, 5", ok!("x\r\ncontent-length: 2\r\n", "ok")),
    bad(
        "a line break before the status line",
        STATUS,
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ),
    bad("HTTP/0.9", STATUS, "ok"),
    bad("the version http/1.1", "RFC 9112, 2.3", "http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    bad("the version HTTP/2", "RFC 9112, 2.3", "HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    bad("the status 000", "RFC 9110, 15", "HTTP/1.1 000 OK\r\ncontent-length: 2\r\n\r\nok"),
    bad("the status 99", STATUS, "HTTP/1.1 99 OK\r\ncontent-length: 2\r\n\r\nok"),
    bad("the status 2000", STATUS, "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok"),
    bad("the status 2x0", STATUS, "HTTP/1.1 2x0 OK\r\ncontent-length: 2\r\n\r\nok"),
    bad("the status -20", STATUS, "HTTP/1.1 -20 OK\r\ncontent-length: 2\r\n\r\nok"),
    bad("two spaces before the status", STATUS, "HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nok"),
    bad(
        "a change of protocol behind an interim response",
        "RFC 9110, 7.8",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\nok",
    ),
    bad(
        "content behind an interim response",
        LENGTH,
        "HTTP/1.1 100 Continue\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
    ),
    bad(
        "an interim response that ends with LF",
        "RFC 9112, 2.2; stricter than the rule",
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ),
    bad("only an interim response", "RFC 9112, 8", "HTTP/1.1 100 Continue\r\n\r\n"),
    bad("half a head", "RFC 9112, 8", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"),
    bad("nothing", "RFC 9112, 8", ""),
    cut(
        "content shorter than its length",
        "RFC 9112, 6.3 and 8",
        ok!("content-length: 3\r\n", "ok"),
    ),
    cut("no last chunk", CHUNK, chunks!("2\r\nok\r\n")),
    cut("a last chunk without its end", CHUNK, chunks!("2\r\nok\r\n0\r\n")),
    cut("half a chunk", CHUNK, chunks!("3\r\nok")),
    cut("the size 0x2", CHUNK, chunks!("0x2\r\nok\r\n0\r\n\r\n")),
    cut("the size -2", CHUNK, chunks!("-2\r\nok\r\n0\r\n\r\n")),
    cut("a size that is 2 in 64 bits", CHUNK, chunks!("10000000000000002\r\nok\r\n0\r\n\r\n")),
    cut("a size above 63 bits", CHUNK, chunks!("8000000000000000\r\nok\r\n0\r\n\r\n")),
    cut("a bare LF behind the last size", CHUNK, chunks!("2\r\nok\r\n0\n\r\n")),
    cut("a bare LF in an extension", CHUNK, chunks!("2;a\nb\r\nok\r\n0\r\n\r\n")),
    cut(
        "a length in trailers",
        "RFC 9110, 6.5.1",
        chunks!("2\r\nok\r\n0\r\ncontent-length: 2\r\n\r\n"),
    ),
    cut("a response in trailers", CHUNK, chunks!("2\r\nok\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n")),
];

const VALID: &[Case] = &[
    whole(
        "two equal lengths become one",
        "RFC 9110, 8.6",
        ok!("content-length: 2\r\nContent-Length: 2\r\n", "ok"),
        "200 length=2 ok",
    ),
    whole(
        "a length that Connection names",
        "RFC 9110, 7.6.1; not kept, so that the framing stays",
        ok!("connection: content-length\r\ncontent-length: 2\r\n", "ok"),
        "200 length=2 ok",
    ),
    whole("no content", LENGTH, ok!("content-length: 0\r\n", ""), "200 length=0 "),
    whole(
        "Chunked",
        "RFC 9112, 7",
        ok!("Transfer-Encoding: Chunked\r\n", "2;a=\"b;c\"\r\nok\r\n00\r\n\r\n"),
        "200 chunked ok",
    ),
    whole(
        "trailers",
        "RFC 9112, 7.1.2; RFC 9110, 6.5.1",
        chunks!("2\r\nok\r\n0\r\nx: 1\r\nhost: b\r\n\r\n"),
        "200 chunked ok +x: 1",
    ),
    whole("content until the close", LENGTH, ok!("", "ok"), "200 chunked ok"),
    whole(
        "content until the close, HTTP/1.0",
        LENGTH,
        "HTTP/1.0 200 OK\r\n\r\nok",
        "200 chunked ok",
    ),
    whole(
        "a length in HTTP/1.0",
        LENGTH,
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "200 length=2 ok",
    ),
    whole(
        "a 204 with a length",
        "RFC 9110, 8.6 and 15.3.5",
        "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n",
        "204 none ",
    ),
    whole(
        "a 204 in chunks",
        "RFC 9112, 6.1; RFC 9110, 15.3.5",
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        "204 none ",
    ),
    whole(
        "a 204 with content",
        "RFC 9110, 15.3.5; RFC 9112, 9.2",
        "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok",
        "204 none ",
    ),
    whole(
        "a 304 with a length",
        "RFC 9110, 8.6 and 15.4.5",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n",
        "304 length=2 ",
    ),
    whole(
        "a 304 with content",
        "RFC 9110, 15.4.5; RFC 9112, 9.2",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\nok",
        "304 length=2 ",
    ),
    whole(
        "a 304 in chunks",
        "RFC 9112, 6.3",
        "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n",
        "304 none ",
    ),
    to_head(
        "a length",
        "RFC 9110, 8.6 and 9.3.2",
        ok!("content-length: 2\r\n", ""),
        "200 length=2 ",
    ),
    to_head(
        "a length, and content",
        "RFC 9110, 9.3.2; RFC 9112, 9.2",
        ok!("content-length: 2\r\n", "ok"),
        "200 length=2 ",
    ),
    to_head("chunks", "RFC 9112, 6.3", chunks!(""), "200 none "),
    whole(
        "an interim response before the final one",
        "RFC 9110, 15.2",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "200 length=2 ok",
    ),
    whole(
        "three interim responses",
        "RFC 9110, 15.2",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 199 \r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "200 length=2 ok",
    ),
    whole(
        "an interim response with a length",
        "RFC 9112, 6.3",
        "HTTP/1.1 103 Early Hints\r\ncontent-length: 9\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "200 length=2 ok",
    ),
    whole(
        "an interim response in chunks",
        "RFC 9112, 6.3",
        "HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "200 length=2 ok",
    ),
    whole(
        "a response behind the response",
        "RFC 9112, 9.2",
        ok!("content-length: 2\r\n", "okHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled"),
        "200 length=2 ok",
    ),
    whole(
        "a response behind the last chunk",
        "RFC 9112, 9.2",
        chunks!("2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled"),
        "200 chunked ok",
    ),
    whole(
        "a line break behind the response",
        "RFC 9112, 9.2",
        ok!("content-length: 2\r\n", "ok\r\n"),
        "200 length=2 ok",
    ),
    whole(
        "no reason",
        "RFC 9112, 4",
        "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok",
        "200 length=2 ok",
    ),
    whole(
        "no reason and no space",
        "RFC 9112, 4; more lenient than the rule",
        "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
        "200 length=2 ok",
    ),
    whole(
        "a status that is unknown",
        "RFC 9110, 15",
        "HTTP/1.1 299 X\r\ncontent-length: 2\r\n\r\nok",
        "299 length=2 ok",
    ),
    whole(
        "the status 999",
        "RFC 9110, 15: should be taken for a 5xx",
        "HTTP/1.1 999 X\r\ncontent-length: 2\r\n\r\nok",
        "999 length=2 ok",
    ),
    whole(
        "a trailer that Connection of the head names",
        "RFC 9110, 7.6.1",
        ok!(
            "connection: x\r\ntransfer-encoding: chunked\r\n",
            "2\r\nok\r\n0\r\nx: 1\r\ny: 2\r\n\r\n"
        ),
        "200 chunked ok +y: 2",
    ),
];

/// A backend that answers its first request with these bytes and closes, and the next ones with
/// `next`.
async fn answering(sent: &'static str) -> String {
    let is_first = Rc::new(Cell::new(true));
    let server =
        RawBackend::accepting(move |tcp, _| Box::pin(serve(tcp, sent, Rc::clone(&is_first))));
    format!("http://{}", server.await.address)
}

async fn serve(mut tcp: TcpStream, sent: &'static str, is_first: Rc<Cell<bool>>) {
    let mut bytes = Vec::new();
    loop {
        match Message::take(&mut bytes, Reading::Requests).expect("Baton sends valid requests") {
            Some(_) if is_first.replace(false) => {
                let _ = tcp.write_all(sent.as_bytes()).await;
                return;
            }
            Some(_) => {
                let next = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext";
                if tcp.write_all(next).await.is_err() {
                    return;
                }
            }
            None => {
                if tcp.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
            }
        }
    }
}

/// Sends a request. Returns the response; `None` if the connection ends before its end.
async fn response(tcp: &mut TcpStream, request: &str) -> Option<String> {
    let reading = Reading::Responses { to_head: request.starts_with("HEAD ") };
    tcp.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    loop {
        let taken = Message::take(&mut bytes, reading).expect("Baton sends valid responses");
        if let Some(response) = taken {
            assert!(bytes.is_empty(), "nothing is behind: {bytes:?}");
            return Some(response.of_response());
        }
        if within("the response", tcp.read_buf(&mut bytes)).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

impl Case {
    /// Returns what is wrong.
    async fn judge(&self) -> Option<String> {
        let backend = answering(self.sent).await;
        let baton = Baton::start(&[backend], &[]).await;
        let request = match self.outcome {
            Outcome::ToHead(_) => "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n",
            _ => "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
        };
        let mut tcp = connect(baton.address).await;
        let got = response(&mut tcp, request).await;
        let next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut second = response(&mut tcp, next).await;
        if second.is_none() {
            let mut tcp = connect(baton.address).await;
            second = response(&mut tcp, next).await;
        }
        let is_bad = got.as_deref().is_some_and(|got| got.starts_with("502 "));
        let is_right = match self.outcome {
            Outcome::BadGateway => is_bad,
            Outcome::Cut => is_bad || got.is_none(),
            Outcome::Whole(whole) | Outcome::ToHead(whole) => got.as_deref() == Some(whole),
        };
        let is_next = second.as_deref() == Some("200 length=4 next");
        (!is_right || !is_next).then(|| {
            let Self { name, rule, sent, outcome } = self;
            format!("{name} ({rule}): {sent:?}\n  {got:?}, expected {outcome:?}; then {second:?}")
        })
    }
}

fn judge(cases: &'static [Case]) {
    run(async move {
        let mut wrong = Vec::new();
        for case in cases {
            wrong.extend(case.judge().await);
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn responses_that_no_client_gets() {
    judge(MALFORMED);
}

#[test]
fn where_a_response_ends() {
    judge(VALID);
}
