//! Tests ambiguous HTTP/1.1 requests (smuggling): 400 and close, and nothing after them is read as
//! a request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::connect;
use crate::support::{Backend, Baton, Http1, within};
use crate::system::run;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: front.test\r\n\r\n";

/// Sends these bytes in pieces and reads until Baton closes.
async fn exchange(baton: &Baton, bytes: &[u8], piece: usize) -> String {
    let mut tcp = connect(baton.address).await;
    for piece in bytes.chunks(piece) {
        // Baton may have closed already; its answer can still be read.
        let _ = within("sending", tcp.write_all(piece)).await;
    }
    let mut answer = Vec::new();
    within("the end", tcp.read_to_end(&mut answer)).await.expect("no reset");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Checks that only requests for these paths reached the backend.
fn only(backend: &Backend, paths: &[&str]) {
    backend.seen(|seen| {
        let seen: Vec<_> = seen.heads.iter().map(|head| head.uri().path().to_owned()).collect();
        assert!(seen.iter().all(|path| paths.contains(&path.as_str())), "{seen:?}");
    });
}

#[test]
fn malformed_heads_are_answered_400_and_nothing_follows() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &["--admin", "127.0.0.1:0"]).await;
        let heads = [
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nbody",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 60\r\n\r\nbody",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +4\r\n\r\nbody",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\n host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\n\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx\0y: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / x HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ];
        for head in heads {
            for piece in [usize::MAX, 1] {
                let bytes = format!("{head}{SMUGGLED}");
                let answer = exchange(&baton, bytes.as_bytes(), piece.min(bytes.len())).await;
                assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?} by {piece}: {answer}");
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?}: {answer}");
            }
        }
        only(&backend, &[]);
        let lines = baton.wait_for_lines("request refused", heads.len() * 2).await;
        assert_eq!(lines.len(), heads.len() * 2, "each exactly once");
        for line in lines {
            let reason = line["reason"].as_str().expect("a reason");
            assert!(["malformed_head", "malformed_framing"].contains(&reason), "{line}");
            assert!(line["client"].as_str().expect("a client").starts_with("127.0.0.1:"), "{line}");
        }
        for limit in ["malformed_head", "malformed_framing"] {
            baton.wait_for_hits(limit, 2).await;
        }
        let lines = baton.wait_for_requests(heads.len() * 2).await;
        assert_eq!(lines.len(), heads.len() * 2, "each exactly once in the access log as well");
        assert!(lines.iter().all(|line| line["path"] == "-"), "no request was parsed: {lines:?}");
    });
}

#[test]
fn malformed_chunks_are_answered_400_and_nothing_follows() {
    run(async {
        let backend = Backend::echo().await;
        let baton = Baton::start(&[backend.url()], &["--admin", "127.0.0.1:0"]).await;
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(300));
        let bodies = [
            "1\na\r\n0\r\n\r\n",
            "1 \r\na\r\n0\r\n\r\n",
            " 1\r\na\r\n0\r\n\r\n",
            "0x1\r\na\r\n0\r\n\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "2\r\na\r\n0\r\n\r\n",
            "fffffffffffffffff\r\na\r\n0\r\n\r\n",
            "ffffffffffffffff\r\na\r\n0\r\n\r\n",
            "1;a\nb\r\na\r\n0\r\n\r\n",
            "1\r\na\r\n0\r\nx : 1\r\n\r\n",
            "1\r\na\r\n0\r\ncontent-length: 5\r\n\r\n",
            "1\r\na\r\n0\r\nx: 1\n\r\n",
            &long,
        ];
        for body in bodies {
            for piece in [usize::MAX, 1] {
                let bytes = format!(
                    "POST /chunked HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}{SMUGGLED}"
                );
                let answer = exchange(&baton, bytes.as_bytes(), piece.min(bytes.len())).await;
                assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?} by {piece}: {answer}");
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{body:?}: {answer}");
            }
        }
        only(&backend, &["/chunked"]);
        assert!(backend.seen(|seen| seen.executed.is_empty()), "no request was complete");
        for line in baton.wait_for_requests(bodies.len() * 2).await {
            assert_eq!((&line["status"], &line["reason"]), (&400.into(), &"malformed_body".into()));
        }
        baton.wait_for_hits("malformed_body", bodies.len() * 2).await;
    });
}

/// Valid requests before the first malformed one are answered, in order.
#[test]
fn requests_before_a_malformed_one_are_answered() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let first = "POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
        let second = "GET /two HTTP/1.1\r\nhost: a\r\n\r\n";
        let wrong = "GET /three HTTP/1.1\r\nhost: a\nx: y\r\n\r\n";
        let bytes = format!("{first}{second}{wrong}{SMUGGLED}");
        for piece in [bytes.len(), 7, 1] {
            let answer = exchange(&baton, bytes.as_bytes(), piece).await;
            let statuses: Vec<_> = answer.matches("HTTP/1.1 ").collect();
            assert_eq!(statuses.len(), 3, "{answer}");
            assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
            assert!(answer.rfind("HTTP/1.1 400 ") > answer.rfind("HTTP/1.1 200 "), "{answer}");
        }
        only(&backend, &["/one", "/two"]);
    });
}

/// Unusual but valid requests pass, in pieces of any size.
#[test]
fn honest_requests_in_any_pieces_are_served() {
    run(async {
        let backend = Backend::echo().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let bytes = "\r\nPOST /a HTTP/1.1\r\nHOST:a\r\nContent-Length:  3 \r\n\r\nabc\
            POST /b HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
            003;name=\"value; x\"\r\nabc\r\n2\r\nde\r\n00\r\nx-checksum: 1\r\n\r\n\
            PUT /c HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nx: \u{e9}\tb\r\nempty:\r\n\r\n\
            GET /d?q=%20 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        for piece in [1, 2, 3, 5, 64, bytes.len()] {
            let answer = exchange(&baton, bytes.as_bytes(), piece).await;
            assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 4, "by {piece}: {answer}");
            assert!(answer.contains("abcde"), "{answer}");
        }
        let mut client = Http1::connect(baton.address).await;
        for _ in 0..20 {
            assert_eq!(client.get("/").await.expect("it is answered").status, 200);
        }
        assert_eq!(baton.lines("request refused").len(), 0);
    });
}
