//! Tests the framing of messages and request smuggling (RFC 9112, 11.2), case by case, from tables
//! of bytes. Each case names the rule that it is judged by. The backend is one that reads requests
//! strictly, without code of Baton.
//!
//! | table | cases |
//! |---|---|
//! | `lengths`, `codings` | how a request says where it ends |
//! | `lines`, `targets` | the request line, field lines, and the host |
//! | `chunks`, `contents` | bodies, trailers, and requests behind each other |
//! | `responses` | responses of an HTTP/1.1 backend |
//! | `translated` | HTTP/2 requests to an HTTP/1.1 backend |
//! | `frames` | HTTP/2 frames |

mod chunks;
mod codings;
mod contents;
mod frames;
mod lengths;
mod lines;
mod message;
mod responses;
mod targets;
mod translated;

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::message::{Message, Reading};
use crate::support::client::connect;
use crate::support::raw::RawBackend;
use crate::support::{Baton, within};
use crate::system::{TcpStream, run};

/// The reasons in the log.
const HEAD: &str = "malformed_head";
const FRAMING: &str = "malformed_framing";
const BODY: &str = "malformed_body";

/// Bytes of a client, and what must happen.
struct Case {
    name: &'static str,
    /// The rule that the outcome follows from.
    rule: &'static str,
    sent: &'static str,
    outcome: Outcome,
}

/// A request is behind the bytes of each case.
enum Outcome {
    /// 400 with this reason in the log. The connection closes, and nothing behind is read.
    Refused(&'static str),
    /// Baton answers with this status, and serves the request behind.
    Denied(u16),
    /// The backend receives these requests, and the one behind.
    Passes(&'static [&'static str]),
    /// The backend receives these requests. The connection closes, and nothing behind is read.
    Last(&'static [&'static str]),
}

const fn case(
    name: &'static str,
    rule: &'static str,
    sent: &'static str,
    outcome: Outcome,
) -> Case {
    Case { name, rule, sent, outcome }
}

const fn refused(
    name: &'static str,
    rule: &'static str,
    sent: &'static str,
    reason: &'static str,
) -> Case {
    case(name, rule, sent, Outcome::Refused(reason))
}

const fn denied(name: &'static str, rule: &'static str, sent: &'static str) -> Case {
    case(name, rule, sent, Outcome::Denied(400))
}

const fn passes(
    name: &'static str,
    rule: &'static str,
    sent: &'static str,
    seen: &'static [&'static str],
) -> Case {
    case(name, rule, sent, Outcome::Passes(seen))
}

/// The request behind the bytes of a case, and as the backend receives it.
const BEHIND: &str = "GET /behind HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const BEHIND_SEEN: &str = "GET /behind a none ";

/// The requests that a backend has received, in order.
type Received = Rc<RefCell<Vec<String>>>;

/// An HTTP/1.1 backend that answers each whole request with 200, and a Baton before it.
async fn started() -> (Received, Baton) {
    let received = Received::default();
    let noted = Rc::clone(&received);
    let server = RawBackend::accepting(move |tcp, _| Box::pin(serve(tcp, Rc::clone(&noted))));
    let url = format!("http://{}", server.await.address);
    (received, Baton::start(&[url], &["--admin", "127.0.0.1:0"]).await)
}

async fn serve(mut tcp: TcpStream, received: Received) {
    let mut bytes = Vec::new();
    loop {
        match Message::take(&mut bytes, Reading::Requests) {
            Ok(Some(request)) => {
                let request = request.of_request();
                let body = if request.starts_with("HEAD ") { "" } else { "ok" };
                received.borrow_mut().push(request);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
                if tcp.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                if tcp.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            Err(what) => return received.borrow_mut().push(format!("ambiguous: {what}")),
        }
    }
}

/// Sends bytes in pieces. Returns the responses until Baton closes.
async fn exchange(baton: &Baton, sent: &[u8], piece: usize) -> Vec<u8> {
    let mut tcp = connect(baton.address).await;
    for piece in sent.chunks(piece) {
        // Baton may have closed already; its answer can still be read.
        let _ = within("sending", tcp.write_all(piece)).await;
    }
    let mut answer = Vec::new();
    within("the end", tcp.read_to_end(&mut answer)).await.expect("no reset");
    answer
}

/// The statuses of these responses; interim ones only if they are `counted`. `to_head` has an entry
/// for each request.
fn statuses(mut answer: Vec<u8>, to_head: &[bool], counted: bool) -> Result<Vec<u16>, String> {
    let mut statuses = Vec::new();
    while !answer.is_empty() {
        let to_head = to_head.get(statuses.len()).copied().unwrap_or(false);
        match Message::take(&mut answer, Reading::Responses { to_head })? {
            Some(response) if response.status() < 200 && !counted => {}
            Some(response) => statuses.push(response.status()),
            None => return Err("an incomplete response".to_owned()),
        }
    }
    Ok(statuses)
}

impl Case {
    /// The requests that the backend receives, and the statuses of the responses.
    fn expected(&self) -> (Vec<&str>, Vec<u16>) {
        match self.outcome {
            Outcome::Refused(_) => (vec![], vec![400]),
            Outcome::Denied(status) => (vec![BEHIND_SEEN], vec![status, 200]),
            Outcome::Passes(seen) => ([seen, &[BEHIND_SEEN]].concat(), vec![200; seen.len() + 1]),
            Outcome::Last(seen) => (seen.to_vec(), vec![200; seen.len()]),
        }
    }

    /// Sends the case, and checks what the backend and the client receive. Returns what is wrong.
    async fn judge(&self, baton: &Baton, received: &Received, piece: usize) -> Option<String> {
        received.borrow_mut().clear();
        let sent = [self.sent, BEHIND].concat();
        let piece = piece.min(sent.len());
        let answer = exchange(baton, sent.as_bytes(), piece).await;
        let (seen, answered) = self.expected();
        // Nothing comes late: a request on a connection of its own is the next.
        let after = "GET /after HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        exchange(baton, after.as_bytes(), after.len()).await;
        let seen = [&seen[..], &["GET /after a none "]].concat();
        let to_head: Vec<_> = seen.iter().map(|request| request.starts_with("HEAD ")).collect();
        // RFC 9110, 15.2: HTTP/1.0 has no interim responses.
        let statuses = statuses(answer, &to_head, self.sent.contains(" HTTP/1.0\r\n"));
        let received = received.borrow();
        let is_right = statuses.as_ref() == Ok(&answered) && **received == *seen;
        (!is_right).then(|| {
            let Self { name, rule, sent, .. } = self;
            format!(
                "{name} ({rule}), by {piece}: {sent:?}\n  backend: {received:?}\n  expected: {seen:?}\n  \
                 client: {statuses:?}\n  expected: {answered:?}"
            )
        })
    }
}

/// Judges every case of a table, in one piece and byte by byte.
fn judge(cases: &'static [Case]) {
    run(async move {
        let (received, baton) = started().await;
        let mut wrong = Vec::new();
        let mut reasons = Vec::new();
        for case in cases {
            for piece in [usize::MAX, 1] {
                wrong.extend(case.judge(&baton, &received, piece).await);
                if let Outcome::Refused(reason) = case.outcome {
                    reasons.push(reason);
                }
            }
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        check_log(&baton, &reasons).await;
    });
}

/// Each refused request has its reason in the access log and counts in the metric of that limit. If
/// its head was refused, the log has a line about that as well.
async fn check_log(baton: &Baton, reasons: &[&str]) {
    exchange(baton, b"GET /end HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 1).await;
    baton.wait_for_log("the last line", |line| line["path"] == "/end").await;
    let is_malformed = |line: &Value| [HEAD, FRAMING, BODY].iter().any(|it| line["reason"] == *it);
    let malformed = |message| {
        let lines = baton.lines(message).into_iter().filter(is_malformed);
        lines.collect::<Vec<_>>()
    };
    let names = |lines: &[Value]| -> Vec<_> {
        lines.iter().map(|line| line["reason"].as_str().expect("a reason").to_owned()).collect()
    };
    let requests = malformed("request");
    assert_eq!(names(&requests), reasons);
    for line in &requests {
        let is_parsed = line["path"] != "-";
        assert_eq!((is_parsed, &line["status"]), (line["reason"] == BODY, &400.into()), "{line}");
    }
    let of_heads: Vec<_> = reasons.iter().filter(|reason| **reason != BODY).copied().collect();
    assert_eq!(names(&malformed("request refused")), of_heads);
    for limit in [HEAD, FRAMING, BODY] {
        let count = reasons.iter().filter(|reason| **reason == limit).count();
        baton.wait_for_hits(limit, count).await;
    }
}

#[test]
fn where_a_request_ends_by_its_length() {
    judge(lengths::CASES);
}

#[test]
fn where_a_request_ends_by_its_coding() {
    judge(codings::CASES);
}

#[test]
fn request_lines_and_field_lines() {
    judge(lines::CASES);
}

#[test]
fn targets_and_hosts() {
    judge(targets::CASES);
}

#[test]
fn chunks_and_trailers() {
    judge(chunks::CASES);
}

#[test]
fn contents_and_requests_behind_each_other() {
    judge(contents::CASES);
}
