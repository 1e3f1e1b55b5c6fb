use super::*;
use rand_core::{Rng, SeedableRng};

const LIMITS: HeadLimits = HeadLimits { bytes: 512, fields: 8 };

/// Follows these bytes in pieces that end at `cuts`. Returns the number of heads begun, or the
/// offset and kind of the violation.
fn verdict(mut machine: Machine, bytes: &[u8], cuts: &[usize]) -> Result<u64, (usize, Violation)> {
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        machine.follow(&bytes[from..to]).map_err(|(at, violation)| (from + at, violation))?;
        from = to;
    }
    Ok(machine.begun())
}

fn requests() -> Machine {
    Machine::new(LIMITS)
}

/// Returns the same, and asserts that it does not depend on where the bytes are cut.
fn stable(make: impl Fn() -> Machine, bytes: &[u8]) -> Result<u64, (usize, Violation)> {
    let whole = verdict(make(), bytes, &[]);
    for cut in 0..=bytes.len() {
        assert_eq!(verdict(make(), bytes, &[cut]), whole, "cut at {cut}: {:?}", text(bytes));
    }
    let each: Vec<_> = (0..bytes.len()).collect();
    assert_eq!(verdict(make(), bytes, &each), whole, "byte by byte: {:?}", text(bytes));
    whole
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn valid_requests_pass() {
    for (request, count) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1),
        ("\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n", 1),
        ("GET /%20?q=\u{e9} HTTP/1.0\r\n\r\n", 1),
        ("POST / HTTP/1.1\r\ncontent-length:  5 \t\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n", 2),
        ("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 2),
        ("PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1),
        (
            "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nA;name=\"v\"\r\n0123456789\r\n\
             00\r\nx-sum: 1\r\nx-other: 2\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            2,
        ),
        ("GET / HTTP/1.1\r\nempty:\r\nx: a b\tc \u{fc}\r\n\r\n", 1),
        ("OPTIONS * HTTP/1.1\r\n\r\nM-SEARCH x HTTP/1.1\r\n\r\n", 2),
    ] {
        assert_eq!(stable(requests, request.as_bytes()), Ok(count), "{request:?}");
    }
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
    assert_eq!(stable(requests, head(512).as_bytes()), Ok(1));
    assert_eq!(stable(requests, head(513).as_bytes()), Err((512, Violation::HeadBytes)));
    let target = format!("GET /{}", "t".repeat(600));
    assert_eq!(stable(requests, target.as_bytes()), Err((512, Violation::HeadBytes)));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(count));
    assert_eq!(stable(requests, fields(8).as_bytes()), Ok(1));
    let expected = Err((16 + 8 * 5, Violation::HeadFields));
    assert_eq!(stable(requests, fields(9).as_bytes()), expected);
    let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
    let many = format!("{chunked}{}\r\n", "a:b\r\n".repeat(9));
    assert!(matches!(stable(requests, many.as_bytes()), Err((_, Violation::Trailer))));
    let long = format!("{chunked}a:{}\r\n\r\n", "b".repeat(600));
    assert!(matches!(stable(requests, long.as_bytes()), Err((_, Violation::Trailer))));
}

/// Follows random bytes, and valid requests with random damage: the machine never panics, and its
/// result never depends on the cuts.
#[test]
fn the_result_on_random_bytes_does_not_depend_on_the_cuts() {
    let alphabet: &[&str] = &[
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
    let mut random = rand_pcg::Pcg32::seed_from_u64(7);
    let mut draw = |below: usize| (random.next_u32() as usize) % below;
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..=draw(9) {
            bytes.extend_from_slice(alphabet[draw(alphabet.len())].as_bytes());
        }
        if draw(3) == 0 {
            let at = draw(bytes.len());
            bytes[at] = u8::try_from(draw(256)).expect("below 256");
        }
        let mut cuts: Vec<_> = (0..draw(6)).map(|_| draw(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (cut, whole) = (verdict(requests(), &bytes, &cuts), verdict(requests(), &bytes, &[]));
        assert_eq!(cut, whole, "{bytes:?}");
    }
}
