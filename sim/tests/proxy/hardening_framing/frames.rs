//! HTTP/2 frames of clients that break RFC 9113, and those that have to be ignored.

use super::started;
use crate::support::Baton;
use crate::support::raw::{flag, kind};
use crate::support::raw_client::{PREFACE, RawClient, block, frame};
use crate::system::run;

/// The type of a frame that `raw` does not name (RFC 9113, 6.6).
const PUSH_PROMISE: u8 = 0x5;
/// The flag of a frame with padding.
const PADDED: u8 = 0x8;
const END_HEADERS: u8 = flag::END_HEADERS;

/// Error codes (RFC 9113, 7).
const PROTOCOL: u32 = 0x1;
const FLOW_CONTROL: u32 = 0x3;
const STREAM_CLOSED: u32 = 0x5;
const FRAME_SIZE: u32 = 0x6;
const COMPRESSION: u32 = 0x9;

/// Frames behind the preface and SETTINGS, and what must happen.
struct Case {
    name: &'static str,
    /// The section of RFC 9113 with the rule.
    section: &'static str,
    sent: Vec<u8>,
    outcome: Outcome,
}

/// PROTOCOL_ERROR may stand for any code (RFC 9113, 5.4).
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// GOAWAY with this code, and the connection closes.
    Connection(u32),
    /// The stream 1 is reset with this code, and the next request is served. 5.4.1 allows a GOAWAY
    /// as well, but the connection may carry the requests of others.
    Stream(u32),
    /// One of both, with this code: 5.4.1 allows it, and it is no message that is malformed.
    Either(u32),
    /// The next request is served.
    Ignored,
}

use Outcome::{Connection, Either, Ignored, Stream};

fn case(name: &'static str, section: &'static str, sent: Vec<u8>, outcome: Outcome) -> Case {
    Case { name, section, sent, outcome }
}

/// A POST that has not ended, on stream 1.
fn post() -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, 1, &block("POST", &[]))
}

/// A GET on a stream.
fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | flag::END_STREAM, stream, &block("GET", &[]))
}

fn setting(identifier: u16, value: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// A POST whose head has not ended, and this behind it.
fn within_a_head(next: Vec<u8>) -> Vec<u8> {
    [frame(kind::HEADERS, 0, 1, &block("POST", &[])), next].concat()
}

/// A POST, and this behind it.
fn within_a_body(next: Vec<u8>) -> Vec<u8> {
    [post(), next].concat()
}

fn wrong_streams() -> Vec<Case> {
    vec![
        case("DATA on stream 0", "6.1", frame(kind::DATA, 0, 0, b"x"), Connection(PROTOCOL)),
        case("HEADERS on stream 0", "6.2", get(0), Connection(PROTOCOL)),
        case(
            "PRIORITY on stream 0",
            "6.3",
            frame(kind::PRIORITY, 0, 0, &[0; 5]),
            Connection(PROTOCOL),
        ),
        case(
            "RST_STREAM on stream 0",
            "6.4",
            frame(kind::RST_STREAM, 0, 0, &[0; 4]),
            Connection(PROTOCOL),
        ),
        case("SETTINGS on a stream", "6.5", frame(kind::SETTINGS, 0, 1, &[]), Connection(PROTOCOL)),
        case("PING on a stream", "6.7", frame(kind::PING, 0, 1, &[0; 8]), Connection(PROTOCOL)),
        case("GOAWAY on a stream", "6.8", frame(kind::GOAWAY, 0, 1, &[0; 8]), Connection(PROTOCOL)),
        case(
            "CONTINUATION on stream 0",
            "6.10",
            within_a_head(frame(kind::CONTINUATION, END_HEADERS, 0, &[])),
            Connection(PROTOCOL),
        ),
    ]
}

fn wrong_order() -> Vec<Case> {
    let empty = frame(kind::CONTINUATION, END_HEADERS, 1, &[]);
    vec![
        case("CONTINUATION without a head", "6.10", empty.clone(), Connection(PROTOCOL)),
        case("CONTINUATION behind a head", "6.10", within_a_body(empty), Connection(PROTOCOL)),
        case("HEADERS on an even stream", "5.1.1", get(2), Connection(PROTOCOL)),
        case("HEADERS on a lower stream", "5.1.1", [get(5), get(3)].concat(), Connection(PROTOCOL)),
        case("DATA on an idle stream", "5.1", frame(kind::DATA, 0, 1, b"x"), Connection(PROTOCOL)),
        case(
            "RST_STREAM on an idle stream",
            "6.4",
            frame(kind::RST_STREAM, 0, 1, &[0; 4]),
            Connection(PROTOCOL),
        ),
        case(
            "WINDOW_UPDATE on an idle stream",
            "5.1",
            frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Connection(PROTOCOL),
        ),
        case(
            "PING within a head",
            "6.2",
            within_a_head(frame(kind::PING, 0, 0, &[0; 8])),
            Connection(PROTOCOL),
        ),
        case(
            "DATA within a head",
            "6.2",
            within_a_head(frame(kind::DATA, 0, 1, b"x")),
            Connection(PROTOCOL),
        ),
        case("another head within a head", "6.2", within_a_head(get(3)), Connection(PROTOCOL)),
        case(
            "CONTINUATION of another stream",
            "6.10",
            within_a_head(frame(kind::CONTINUATION, END_HEADERS, 3, &[])),
            Connection(PROTOCOL),
        ),
        case(
            "an unknown frame within a head",
            "5.5",
            within_a_head(frame(0xbb, 0, 0, b"x")),
            Connection(PROTOCOL),
        ),
        case(
            "PUSH_PROMISE",
            "8.4",
            within_a_body(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
            Connection(PROTOCOL),
        ),
        case(
            "DATA behind the end",
            "5.1",
            [get(1), frame(kind::DATA, 0, 1, b"x")].concat(),
            Stream(STREAM_CLOSED),
        ),
        case("HEADERS behind the end", "5.1", [get(1), get(1)].concat(), Stream(STREAM_CLOSED)),
        case(
            "trailers that do not end the stream",
            "8.1",
            within_a_body(frame(kind::HEADERS, END_HEADERS, 1, &[])),
            Stream(PROTOCOL),
        ),
    ]
}

fn wrong_sizes() -> Vec<Case> {
    let large = vec![0; 16_385];
    vec![
        case(
            "RST_STREAM of 3 bytes",
            "6.4",
            within_a_body(frame(kind::RST_STREAM, 0, 1, &[0; 3])),
            Connection(FRAME_SIZE),
        ),
        case(
            "SETTINGS of 5 bytes",
            "6.5",
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
            Connection(FRAME_SIZE),
        ),
        case(
            "an acknowledgement of SETTINGS with values",
            "6.5",
            frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]),
            Connection(FRAME_SIZE),
        ),
        case("PING of 7 bytes", "6.7", frame(kind::PING, 0, 0, &[0; 7]), Connection(FRAME_SIZE)),
        case(
            "GOAWAY of 7 bytes",
            "4.2",
            frame(kind::GOAWAY, 0, 0, &[0; 7]),
            Connection(FRAME_SIZE),
        ),
        case(
            "WINDOW_UPDATE of 3 bytes",
            "6.9",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
            Connection(FRAME_SIZE),
        ),
        case(
            "DATA of 16 385 bytes",
            "4.2",
            within_a_body(frame(kind::DATA, 0, 1, &large)),
            Connection(FRAME_SIZE),
        ),
        case(
            "HEADERS of 16 385 bytes",
            "4.2",
            frame(kind::HEADERS, END_HEADERS, 1, &large),
            Connection(FRAME_SIZE),
        ),
        case(
            "PRIORITY of 4 bytes",
            "6.3",
            within_a_body(frame(kind::PRIORITY, 0, 1, &[0; 4])),
            Either(FRAME_SIZE),
        ),
    ]
}

fn wrong_values() -> Vec<Case> {
    let most = [0x7f, 0xff, 0xff, 0xff];
    vec![
        case(
            "more padding than DATA",
            "6.1",
            within_a_body(frame(kind::DATA, PADDED, 1, &[9, 0])),
            Connection(PROTOCOL),
        ),
        case(
            "more padding than HEADERS",
            "6.2",
            frame(kind::HEADERS, END_HEADERS | PADDED, 1, &[9, 0]),
            Connection(PROTOCOL),
        ),
        case(
            "no increment for the connection",
            "6.9",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            Connection(PROTOCOL),
        ),
        case(
            "too large a window of the connection",
            "6.9.1",
            frame(kind::WINDOW_UPDATE, 0, 0, &most),
            Connection(FLOW_CONTROL),
        ),
        case(
            "no increment for a stream",
            "6.9",
            within_a_body(frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])),
            Stream(PROTOCOL),
        ),
        case(
            "too large a window of a stream",
            "6.9.1",
            within_a_body(frame(kind::WINDOW_UPDATE, 0, 1, &most)),
            Stream(FLOW_CONTROL),
        ),
        case("ENABLE_PUSH 2", "6.5.2", setting(2, 2), Connection(PROTOCOL)),
        case(
            "INITIAL_WINDOW_SIZE of 32 bits",
            "6.5.2",
            setting(4, 1 << 31),
            Connection(FLOW_CONTROL),
        ),
        case("MAX_FRAME_SIZE below the least", "6.5.2", setting(5, 16_383), Connection(PROTOCOL)),
        case("MAX_FRAME_SIZE above the most", "6.5.2", setting(5, 1 << 24), Connection(PROTOCOL)),
        case(
            "a head that cannot be decompressed",
            "4.3",
            frame(kind::HEADERS, END_HEADERS, 1, &[0xff; 40]),
            Connection(COMPRESSION),
        ),
        case(
            "a field of an index that does not exist",
            "4.3",
            frame(kind::HEADERS, END_HEADERS, 1, &[0xfe]),
            Connection(COMPRESSION),
        ),
    ]
}

fn ignored() -> Vec<Case> {
    let end = flag::END_STREAM;
    let reserved = {
        let mut ping = frame(kind::PING, flag::ACK, 0, &[0; 8]);
        ping[5] |= 0x80;
        ping
    };
    vec![
        case("an unknown frame", "5.5", frame(0xbb, 0xff, 7, b"grease"), Ignored),
        case("an unknown setting", "6.5.2", setting(0xbbbb, u32::MAX), Ignored),
        case(
            "flags without a meaning",
            "4.1",
            frame(kind::PRIORITY, 0xff, 1, &[0, 0, 0, 9, 0]),
            Ignored,
        ),
        case("a reserved bit", "4.1", reserved, Ignored),
        case("PRIORITY on an idle stream", "5.1", frame(kind::PRIORITY, 0, 9, &[0; 5]), Ignored),
        case(
            "an unsolicited acknowledgement of PING",
            "6.7",
            frame(kind::PING, flag::ACK, 0, &[1; 8]),
            Ignored,
        ),
        case(
            "an unknown error code",
            "7",
            within_a_body(frame(kind::RST_STREAM, 0, 1, &[0xbb; 4])),
            Ignored,
        ),
        case(
            "DATA with padding",
            "6.1",
            within_a_body(frame(kind::DATA, PADDED | end, 1, &[2, b'x', 0, 0])),
            Ignored,
        ),
        case(
            "WINDOW_UPDATE behind the end",
            "6.9",
            [get(1), frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])].concat(),
            Ignored,
        ),
        case(
            "RST_STREAM twice",
            "5.1",
            within_a_body(frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]).repeat(2)),
            Ignored,
        ),
        case(
            "a body of empty DATA",
            "6.9.1",
            within_a_body(frame(kind::DATA, end, 1, &[])),
            Ignored,
        ),
        case(
            "a head in two parts",
            "6.10",
            within_a_head(frame(kind::CONTINUATION, END_HEADERS, 1, &[])),
            Ignored,
        ),
    ]
}

impl Case {
    /// Returns what is wrong.
    async fn judge(&self, baton: &Baton) -> Option<String> {
        let mut client = RawClient::silent(baton.address).await;
        let greeting = [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat();
        client.write(&[greeting, self.sent.clone(), get(101)].concat()).await;
        let (mut reset, mut goaway, mut is_served) = (None, None, false);
        while let Some(frame) = client.next().await {
            let code = |from: usize| {
                u32::from_be_bytes(frame.payload[from..from + 4].try_into().expect("four bytes"))
            };
            match frame.kind {
                kind::GOAWAY => goaway = Some(code(4)),
                kind::RST_STREAM if frame.stream == 1 => reset = Some(code(0)),
                kind::HEADERS if frame.stream == 101 => is_served = true,
                _ => {}
            }
            if is_served && (reset.is_some() || matches!(self.outcome, Ignored)) {
                break;
            }
        }
        let is = |found: Option<u32>, code| found.is_some_and(|it| it == code || it == PROTOCOL);
        let is_right = match self.outcome {
            Connection(code) => is(goaway, code) && !is_served,
            Stream(code) => is(reset, code) && is_served && goaway.is_none(),
            Either(code) => is(goaway, code) || (is(reset, code) && is_served),
            Ignored => is_served && goaway.is_none() && reset.is_none(),
        };
        (!is_right).then(|| {
            let Self { name, section, outcome, .. } = self;
            format!(
                "{name} ({section}): expected {outcome:?}; GOAWAY {goaway:?}, reset {reset:?}, \
                 served {is_served}"
            )
        })
    }
}

fn judge(cases: fn() -> Vec<Case>) {
    run(async move {
        let (_received, baton) = started().await;
        let mut wrong = Vec::new();
        for case in cases() {
            wrong.extend(case.judge(&baton).await);
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn frames_on_a_wrong_stream() {
    judge(wrong_streams);
}

#[test]
fn frames_in_a_wrong_order() {
    judge(wrong_order);
}

#[test]
fn frames_of_a_wrong_size() {
    judge(wrong_sizes);
}

#[test]
fn frames_with_a_wrong_value() {
    judge(wrong_values);
}

#[test]
fn frames_that_are_ignored() {
    judge(ignored);
}

#[test]
fn a_ping_is_answered_with_its_content() {
    run(async {
        let (_received, baton) = started().await;
        let mut client = RawClient::connect(baton.address).await;
        client.write(&frame(kind::PING, 0, 0, b"contents")).await;
        let pong = client.next_of(kind::PING).await;
        assert_eq!((pong.flags, pong.stream, &pong.payload[..]), (flag::ACK, 0, &b"contents"[..]));
    });
}

#[test]
fn settings_come_first_and_are_acknowledged() {
    run(async {
        let (_received, baton) = started().await;
        let mut client = RawClient::connect(baton.address).await;
        let first = client.next().await.expect("the connection lives");
        assert_eq!((first.kind, first.flags, first.stream), (kind::SETTINGS, 0, 0));
        for _ in 0..3 {
            let acknowledged = client.next_of(kind::SETTINGS).await;
            assert_eq!((acknowledged.flags, &acknowledged.payload[..]), (flag::ACK, &b""[..]));
            client.write(&setting(4, 100_000)).await;
        }
    });
}
