//! Tests ambiguous HTTP/1.1 requests (smuggling) beside others: the others are served. Single cases
//! are in `hardening_framing`.

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
