use std::fmt::Write as _;

use rand_core::{Rng, SeedableRng};

use super::*;
use crate::wire::http1::compared;

const LIMITS: HeadLimits = HeadLimits { bytes: 512, fields: 8 };

/// One line for each event, or the number of bytes before the first wrong one, and the violation.
type Verdict = Result<String, (usize, Violation)>;

fn requests() -> Decoder {
    Decoder::new(Role::Server, LIMITS)
}

fn responses(expected: Expected) -> Decoder {
    let mut decoder = Decoder::new(Role::Client, LIMITS);
    decoder.expect(expected);
    decoder
}

/// Reads these bytes in pieces that end at `cuts`.
fn verdict(mut decoder: Decoder, bytes: &[u8], cuts: &[usize]) -> Verdict {
    let mut story = String::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        decoder.buffer().extend_from_slice(&bytes[from..to]);
        loop {
            match decoder.next_event() {
                Ok(None) => break,
                Ok(Some(event)) => tell(&mut story, &event, &decoder),
                Err(violation) => {
                    assert_eq!(decoder.next_event(), Err(violation), "it stays");
                    return Err((to, violation));
                }
            }
        }
        from = to;
    }
    let _ = write!(story, "{:?}", decoder.end_of_input());
    Ok(story)
}

/// Tells an event. Data that follows data is one piece.
fn tell(story: &mut String, event: &Event, decoder: &Decoder) {
    let head = decoder.head();
    match event {
        Event::Data(data) => {
            if !story.ends_with('+') {
                story.push_str("data ");
            } else {
                story.pop();
            }
            let _ = write!(story, "{}+", data.escape_ascii());
            return;
        }
        Event::End => story.push_str("\nend"),
        Event::Trailers => story.push_str("\ntrailers"),
        Event::Head | Event::Interim => {
            let (method, target) = (head.method().escape_ascii(), head.target());
            let (target, status) = (target.escape_ascii(), head.status());
            let (version, framing) = (head.version(), head.framing());
            let _ = write!(story, "{event:?} {method} {target} {status} {version:?} {framing:?}");
        }
    }
    if matches!(event, Event::Head | Event::Interim | Event::Trailers) {
        for (name, value) in head.fields() {
            let _ = write!(story, " {}={}", name.escape_ascii(), value.escape_ascii());
        }
    }
    story.push('\n');
}

/// Returns what was read, and asserts that it does not depend on where the bytes are cut. A wrong
/// byte is found as soon as it is there.
fn stable(make: impl Fn() -> Decoder, bytes: &[u8]) -> Verdict {
    let each: Vec<_> = (0..bytes.len()).collect();
    let exact = verdict(make(), bytes, &each);
    for cut in 0..=bytes.len() {
        let halves = verdict(make(), bytes, &[cut]);
        match (&exact, &halves) {
            (Ok(_), _) => assert_eq!(halves, exact, "cut at {cut}: {:?}", text(bytes)),
            (Err((at, violation)), Err((found, same))) => {
                let expected = if cut >= *at { cut } else { bytes.len() };
                assert_eq!((*found, same), (expected, violation), "cut at {cut}");
            }
            (Err(_), Ok(_)) => panic!("cut at {cut}: {:?} is accepted", text(bytes)),
        }
    }
    exact.map_err(|(at, violation)| (at - 1, violation))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The number of heads in these requests.
fn heads(bytes: &str) -> Result<usize, (usize, Violation)> {
    stable(requests, bytes.as_bytes()).map(|story| story.matches("Head ").count())
}

#[test]
fn requests_are_read_whole() {
    let requests_in = |bytes: &str| stable(requests, bytes.as_bytes()).expect("valid");
    assert_eq!(
        requests_in("\r\nGET /%20?q=\"<\u{e9} HTTP/1.0\r\nHost:\ta b \t\r\nempty:\r\n\r\n"),
        "Head GET /%20?q=\\\"<\\xc3\\xa9 0 Http10 Nothing Host=a b empty=\n\nend\nBetweenMessages"
    );
    assert_eq!(
        requests_in("POST * HTTP/1.1\r\ncontent-length:  5 \t\r\n\r\nhelloGET a HTTP/1.1\r\n\r\n"),
        "Head POST * 0 Http11 Length(5) content-length=5\ndata hello+\nend\n\
         Head GET a 0 Http11 Nothing\n\nend\nBetweenMessages"
    );
    assert_eq!(
        requests_in(
            "PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\nA;name=\"v\"\r\n0123456789\r\n\
             1\r\n!\r\n00\r\nx-sum: 1\r\nx-other: 2\r\n\r\n"
        ),
        "Head PUT / 0 Http11 Chunked Transfer-Encoding=Chunked\ndata 0123456789!+\n\
         trailers x-sum=1 x-other=2\n\nend\nBetweenMessages"
    );
    let incomplete = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n";
    assert!(requests_in(incomplete).ends_with("data !+WithinMessage"));
    assert_eq!(requests_in("GET / HTTP/1.1\r\n"), "WithinMessage");
    assert_eq!(requests_in("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"), {
        "Head POST / 0 Http11 Nothing content-length=0\n\nend\nBetweenMessages"
    });
    assert_eq!(
        requests_in("OPTIONS * HTTP/1.1\r\n\r\nM-SEARCH x HTTP/1.1\r\n\r\n"),
        "Head OPTIONS * 0 Http11 Nothing\n\nend\nHead M-SEARCH x 0 Http11 Nothing\n\nend\n\
         BetweenMessages"
    );
}

/// Heads whose last byte is the first wrong one.
const WRONG_HEADS: &[(&str, Violation)] = &[
    ("\n", Violation::StartLine),
    ("\r\n\r", Violation::StartLine),
    (" ", Violation::StartLine),
    ("\x16", Violation::StartLine),
    ("GET  ", Violation::StartLine),
    ("GET\t", Violation::StartLine),
    ("GET /\r", Violation::StartLine),
    ("GET /\n", Violation::StartLine),
    ("GET /\0", Violation::StartLine),
    ("GET / \n", Violation::StartLine),
    ("GET /  ", Violation::StartLine),
    ("GET / HTTP/1.1 ", Violation::StartLine),
    ("GET / HTTP/1.1\n", Violation::StartLine),
    ("GET / HTTP/1.1\rX", Violation::StartLine),
    ("GET / HTTP/2", Violation::StartLine),
    ("GET / HTTP/1.2", Violation::StartLine),
    ("GET / h", Violation::StartLine),
    ("G@", Violation::StartLine),
    ("GET / HTTP/1.1\r\n ", Violation::Field),
    ("GET / HTTP/1.1\r\nhost: a\r\n ", Violation::Field),
    ("GET / HTTP/1.1\r\nhost: a\r\n\t", Violation::Field),
    ("GET / HTTP/1.1\r\nhost ", Violation::Field),
    ("GET / HTTP/1.1\r\nhost\t", Violation::Field),
    ("GET / HTTP/1.1\r\n:", Violation::Field),
    ("GET / HTTP/1.1\r\nhost\r", Violation::Field),
    ("GET / HTTP/1.1\r\nhost: a\n", Violation::Field),
    ("GET / HTTP/1.1\r\nhost: a\rb", Violation::Field),
    ("GET / HTTP/1.1\r\nhost: a\0", Violation::Field),
    ("GET / HTTP/1.1\r\nhost: a\x7f", Violation::Field),
    ("GET / HTTP/1.1\r\nho\0", Violation::Field),
    ("GET / HTTP/1.1\r\n\n", Violation::Field),
    ("GET / HTTP/1.1\r\n\r\r", Violation::Field),
    ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: 1\r\nContent-Length: 2\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: +1\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: -1\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: 0x1\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: 1 2\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length:\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: 9223372036854775808\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: 000000000000000000000000000001\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n", Violation::Framing),
    (
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        Violation::Framing,
    ),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunked, chunked\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunkedx\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunk ed\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ntransfer-encoding: identity\r\n", Violation::Framing),
    ("POST / HTTP/1.1\r\ntransfer-encoding:\r\n", Violation::Framing),
    ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n", Violation::Framing),
];

/// Chunked bodies whose last byte is the first wrong one, or else the space before a colon.
const WRONG_BODIES: &[(&str, Violation)] = &[
    ("\r", Violation::Chunk),
    ("x", Violation::Chunk),
    (" ", Violation::Chunk),
    ("5 ", Violation::Chunk),
    ("+", Violation::Chunk),
    ("5\n", Violation::Chunk),
    ("5\rh", Violation::Chunk),
    ("0x", Violation::Chunk),
    ("10000000000000000", Violation::Chunk),
    ("8000000000000000", Violation::Chunk),
    ("00000000000000000", Violation::Chunk),
    ("5;a\n", Violation::Chunk),
    ("5;a\0", Violation::Chunk),
    ("5\r\nhello\n", Violation::Chunk),
    ("5\r\nhello0", Violation::Chunk),
    ("5\r\nhello\r0", Violation::Chunk),
    ("5\r\nhello\r\n\r", Violation::Chunk),
    ("0\n", Violation::Chunk),
    ("0\r\n\n", Violation::Trailer),
    ("0\r\n ", Violation::Trailer),
    ("0\r\nx: 1\n", Violation::Trailer),
    ("0\r\nx : 1", Violation::Trailer),
    ("0\r\n\rx", Violation::Trailer),
    ("0\r\ncontent-length: 1\r\n", Violation::Trailer),
    ("0\r\ntransfer-encoding: chunked\r\n", Violation::Trailer),
];

#[test]
fn ambiguous_messages_are_refused() {
    for (request, violation) in WRONG_HEADS {
        let expected = Err((request.len() - 1, *violation));
        assert_eq!(stable(requests, request.as_bytes()), expected, "{request:?}");
    }
    let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    for (body, violation) in WRONG_BODIES {
        let request = format!("{chunked}{body}");
        let at = request.find(" : ").map_or(request.len() - 1, |at| at);
        assert_eq!(stable(requests, request.as_bytes()), Err((at, *violation)), "{body:?}");
    }
    let long = format!("{chunked}5;{}", "e".repeat(257));
    assert_eq!(stable(requests, long.as_bytes()), Err((long.len() - 1, Violation::Chunk)));
}

#[test]
fn heads_and_trailers_are_bounded_in_bytes_and_fields() {
    let head = |filler: usize| {
        let start = "GET / HTTP/1.1\r\nx: \r\n\r\n";
        format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "v".repeat(filler - start.len()))
    };
    assert_eq!(heads(&head(512)), Ok(1));
    assert_eq!(heads(&head(513)), Err((512, Violation::HeadBytes)));
    assert_eq!(heads(&format!("GET /{}", "t".repeat(600))), Err((512, Violation::HeadBytes)));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(count));
    assert_eq!(heads(&fields(8)), Ok(1));
    assert_eq!(heads(&fields(9)), Err((16 + 8 * 5, Violation::HeadFields)));
    let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
    let many = format!("{chunked}{}\r\n", "a:b\r\n".repeat(9));
    assert!(matches!(heads(&many), Err((_, Violation::Trailer))));
    let long = format!("{chunked}a:{}\r\n\r\n", "b".repeat(600));
    assert!(matches!(heads(&long), Err((_, Violation::Trailer))));
}

#[test]
fn the_head_determines_where_a_response_ends() {
    for (expected, response, story) in [
        (
            Expected::Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
            "Length(2) content-length=2 content-length=2\ndata hi+\nend\n",
        ),
        (Expected::Other, "HTTP/1.1 204\r\n\r\n", "204 Http11 Nothing\n\nend\n"),
        (
            Expected::Other,
            "HTTP/1.0 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
            "304 Http10 Nothing content-length=99\n\nend\n",
        ),
        (Expected::Head, "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", "99\n\nend\n"),
        (
            Expected::Head,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "Nothing transfer-encoding=chunked\n\nend\n",
        ),
        (
            Expected::Other,
            "HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "Chunked transfer-encoding=chunked\n\nend\n",
        ),
        (
            Expected::Other,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "Interim   100 Http11 Nothing\nHead   200 Http11 Nothing content-length=0\n\nend\n",
        ),
    ] {
        let read = stable(|| responses(expected), response.as_bytes()).expect("valid");
        assert!(read.ends_with(&format!("{story}BetweenMessages")), "{response:?}: {read}");
        let more = format!("{response}H");
        let expected_error = Err((response.len(), Violation::Unsolicited));
        assert_eq!(stable(|| responses(expected), more.as_bytes()), expected_error);
    }
    let until_close = b"HTTP/1.1 200 OK\r\n\r\nanything\n\r\0";
    let read = stable(|| responses(Expected::Other), until_close).expect("valid");
    assert!(read.ends_with("UntilClose\ndata anything\\n\\r\\x00+EndsContent"), "{read}");
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi";
    let read = stable(|| responses(Expected::Other), short).expect("valid so far");
    assert!(read.ends_with("data hi+WithinMessage"), "{read}");
    assert_eq!(stable(|| responses(Expected::Other), b""), Ok("WithinMessage".to_owned()));
}

#[test]
fn malformed_responses_are_refused() {
    use Violation::{Chunk, Field, Framing, StartLine};
    for (response, violation) in [
        ("HTTP/2", StartLine),
        ("S", StartLine),
        ("HTTP/1.1  ", StartLine),
        ("HTTP/1.1 20 ", StartLine),
        ("HTTP/1.1 2000", StartLine),
        ("HTTP/1.1 200 OK\n", StartLine),
        ("HTTP/1.1 200 O\0", StartLine),
        ("HTTP/1.1 101 Switching Protocols\r\n", StartLine),
        ("HTTP/1.1 099 \r\n", StartLine),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n", Framing),
        ("HTTP/1.1 200 OK\r\na: b\r\n ", Field),
        ("HTTP/1.1 200 OK\r\na ", Field),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n", Framing),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n", Framing),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n", Framing),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhellox", Chunk),
    ] {
        let expected = Err((response.len() - 1, violation));
        let read = stable(|| responses(Expected::Other), response.as_bytes());
        assert_eq!(read, expected, "{response:?}");
    }
    let early = verdict(Decoder::new(Role::Client, LIMITS), b"H", &[]);
    assert_eq!(early, Err((1, Violation::Unsolicited)));
}

#[test]
fn a_decoder_knows_if_a_message_is_open() {
    let mut decoder = requests();
    let mut feed = |bytes: &[u8]| {
        decoder.buffer().extend_from_slice(bytes);
        while decoder.next_event().expect("valid").is_some() {}
        decoder.is_between_messages()
    };
    assert!(feed(b""));
    assert!(!feed(b"P"));
    assert!(!feed(b"OST / HTTP/1.1\r\ncontent-length: 1\r\n"));
    assert!(!feed(b"\r\n"));
    assert!(feed(b"x"));
    assert!(!feed(b"\r"));
}

/// Pieces of messages, to be put together at random.
const ALPHABET: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /x HTTP/1.1\r\n",
    "host: a\r\n",
    "content-length: 3\r\n",
    "transfer-encoding: chunked\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "3\r\nabc\r\n",
    "0\r\n",
    "abc",
    ":",
    ";",
    "f",
    "HTTP/1.1 200 OK\r\n",
    "x: y\r\n",
];

/// Calls `judge` with random messages, some of which are damaged, and random cuts.
fn random_messages(mut judge: impl FnMut(usize, &[u8], &[usize])) {
    let mut random = rand_pcg::Pcg32::seed_from_u64(7);
    let mut draw = |below: usize| (random.next_u32() as usize) % below;
    for round in 0..20_000 {
        let mut bytes = Vec::new();
        if draw(2) == 0 {
            let starts = ["POST /x?a=b HTTP/1.1\r\n", "HTTP/1.0 404 Not Found\r\n"];
            bytes.extend_from_slice(starts[round % 2].as_bytes());
        }
        for _ in 0..=draw(9) {
            bytes.extend_from_slice(ALPHABET[draw(ALPHABET.len())].as_bytes());
        }
        if draw(3) == 0 {
            let at = draw(bytes.len());
            bytes[at] = u8::try_from(draw(256)).expect("below 256");
        }
        let mut cuts: Vec<_> = (0..draw(6)).map(|_| draw(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        judge(round, &bytes, &cuts);
    }
}

#[test]
fn the_result_on_random_bytes_does_not_depend_on_the_cuts() {
    random_messages(|round, bytes, cuts| {
        let make = || if round % 2 == 0 { requests() } else { responses(Expected::Other) };
        let (cut, whole) = (verdict(make(), bytes, cuts), verdict(make(), bytes, &[]));
        match (cut, whole) {
            (Err((at, cut)), Err((end, whole))) => {
                assert!(cut == whole && at <= end, "{bytes:?} {cuts:?}: {cut} and {whole}");
            }
            (cut, whole) => assert_eq!(cut, whole, "{bytes:?} {cuts:?}"),
        }
    });
}

/// A head that is accepted means the same to another parser.
#[test]
fn another_parser_reads_the_same_heads() {
    let mut accepted = 0;
    random_messages(|round, bytes, _| {
        accepted += usize::from(if round % 2 == 0 {
            compared::request(bytes, LIMITS)
        } else {
            compared::response(bytes, LIMITS)
        });
    });
    assert!(accepted > 500, "{accepted} heads were compared");
}

/// The fuzzer starts from these files.
#[test]
fn the_corpus_of_the_fuzzer_passes() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/http1");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("it is part of the repository") {
        let bytes = std::fs::read(entry.expect("it can be read").path()).expect("it can be read");
        let _ = stable(requests, &bytes);
        let _ = stable(|| responses(Expected::Other), &bytes);
        compared::request(&bytes, LIMITS);
        compared::response(&bytes, LIMITS);
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

/// Pieces that wait for a slow consumer keep about as much memory as they have bytes.
#[test]
fn small_pieces_do_not_keep_the_buffer() {
    let mut decoder = requests();
    decoder.buffer().extend_from_slice(b"PUT / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n");
    assert!(matches!(decoder.next_event(), Ok(Some(Event::Head))));
    decoder.buffer().reserve(8192);
    let place = decoder.buffer().as_ptr();
    let mut pieces = Vec::new();
    for _ in 0..100 {
        decoder.buffer().extend_from_slice(b"x");
        let Ok(Some(Event::Data(piece))) = decoder.next_event() else { panic!("data is there") };
        pieces.push(piece);
        decoder.buffer().reserve(8192);
    }
    assert_eq!(decoder.buffer().as_ptr(), place, "the buffer is used again");
    assert!(pieces.iter().all(|piece| &piece[..] == b"x"));
}

#[test]
fn announced_content_is_missing_until_it_is_received() {
    let mut decoder = requests();
    let receive = |decoder: &mut Decoder, bytes: &[u8]| {
        decoder.buffer().extend_from_slice(bytes);
        while let Ok(Some(_)) = decoder.next_event() {}
        decoder.missing()
    };
    assert_eq!(receive(&mut decoder, b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r"), 0);
    assert_eq!(receive(&mut decoder, b"\n1234"), 5);
    decoder.buffer().extend_from_slice(b"567");
    assert_eq!(decoder.missing(), 2);
    assert_eq!(receive(&mut decoder, b"89"), 0);
    let head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(receive(&mut decoder, head), 0);
    assert_eq!(receive(&mut decoder, b"3\r\na"), 2);
    assert_eq!(receive(&mut decoder, b"bc\r\n"), 0);
}
