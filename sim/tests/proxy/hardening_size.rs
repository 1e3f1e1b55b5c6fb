//! Tests heads that are too large, too many streams, and requests just within the limits.

use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{connect, head};
use crate::support::raw::kind;
use crate::support::raw_client::{RawClient, get};
use crate::support::{Backend, Baton, Behaviour, Http1, Http2, within};
use crate::system::run;

async fn started() -> (Backend, Baton) {
    let backend = Backend::healthy().await;
    let baton = Baton::start(&[backend.url()], &["--admin", "127.0.0.1:0"]).await;
    (backend, baton)
}

/// Sends these bytes and reads until Baton closes.
async fn exchange(baton: &Baton, bytes: &[u8]) -> String {
    let mut tcp = connect(baton.address).await;
    // Baton may have closed already; its answer can still be read.
    let _ = within("sending", tcp.write_all(bytes)).await;
    let mut answer = Vec::new();
    within("the end", tcp.read_to_end(&mut answer)).await.expect("no reset");
    String::from_utf8_lossy(&answer).into_owned()
}

fn with_fields(path: &str, count: usize, value: &str) -> Request<()> {
    let mut head = Request::get(format!("http://front.test{path}"));
    for number in 0..count {
        head = head.header(format!("x-{number}"), value);
    }
    head.body(()).expect("a valid head")
}

#[test]
fn an_http1_head_that_is_too_large_is_a_431() {
    run(async {
        let (backend, baton) = started().await;
        let field = format!("x-large: {}\r\n", "v".repeat(70_000));
        let target = format!("/{}", "t".repeat(70_000));
        let many = "x: y\r\n".repeat(128);
        let endless = "x: y\r\n".repeat(100_000);
        for (request, reason) in [
            (format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n"), "head_bytes"),
            (format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"), "head_bytes"),
            (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), "head_fields"),
            (format!("GET / HTTP/1.1\r\nhost: a\r\n{endless}"), "head_fields"),
        ] {
            let before = baton.lines("request refused").len();
            let answer = exchange(&baton, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{reason}: {answer}");
            let lines = baton.wait_for_lines("request refused", before + 1).await;
            assert_eq!((&lines[before]["reason"], lines.len()), (&reason.into(), before + 1));
        }
        assert_eq!(backend.seen(|seen| seen.heads.len()), 0);
        let lines = baton.wait_for_requests(4).await;
        assert!(lines.len() == 4 && lines.iter().all(|line| line["status"] == 431), "{lines:?}");
        for limit in ["head_bytes", "head_fields"] {
            baton.wait_for_hits(limit, 2).await;
        }
    });
}

#[test]
fn an_http2_head_that_is_too_large_is_a_431() {
    run(async {
        let (backend, baton) = started().await;
        let client = Http2::connect(baton.address).await;
        let mut cookies = head(Method::GET, "/", "cookies");
        for number in 0..130 {
            let crumb = format!("name{number}=value").parse().expect("valid");
            cookies.headers_mut().append("cookie", crumb);
        }
        for (request, reason) in [
            (with_fields("/", 70, &"v".repeat(1_000)), "head_bytes"),
            (with_fields("/", 129, "v"), "head_fields"),
            (cookies, "head_fields"),
        ] {
            let before = baton.lines("request refused").len();
            let answer = client.send(request, "").await.expect("it is answered");
            assert_eq!(answer.status, 431, "{reason}");
            let lines = baton.wait_for_lines("request refused", before + 1).await;
            assert_eq!((&lines[before]["reason"], lines.len()), (&reason.into(), before + 1));
        }
        assert_eq!(backend.seen(|seen| seen.heads.len()), 0);
        let answer = client.get("/").await.expect("the connection still works");
        assert_eq!(answer.status, 200);
        let lines = baton.wait_for_requests(4).await;
        let said: Vec<_> = lines.iter().map(|line| (&line["path"], &line["status"])).collect();
        let (unseen, path) = (&"-".into(), &"/".into());
        let (refused, fine) = (&431.into(), &200.into());
        assert_eq!(said, [(unseen, refused), (path, refused), (path, refused), (path, fine)]);
    });
}

/// Large and numerous fields within the limits pass over both protocols.
#[test]
fn heads_within_the_limits_pass() {
    run(async {
        let (backend, baton) = started().await;
        let http2 = Http2::connect(baton.address).await;
        let mut http1 = Http1::connect(baton.address).await;
        for request in [
            || with_fields("/", 1, &"v".repeat(60_000)),
            || with_fields("/", 60, &"v".repeat(1_000)),
            || with_fields("/", 127, "v"),
        ] {
            for _ in 0..3 {
                assert_eq!(http2.send(request(), "").await.expect("answered").status, 200);
                assert_eq!(http1.send(request(), "").await.expect("answered").status, 200);
            }
        }
        assert_eq!(backend.seen(|seen| seen.heads.len()), 18);
        assert_eq!(baton.lines("request refused").len(), 0);
    });
}

/// The hundred and first stream is refused with REFUSED_STREAM, so that it may be retried.
#[test]
fn the_hundred_and_first_stream_is_refused() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async {
            exchange.wait_for_reset().await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &["--admin", "127.0.0.1:0"]).await;
        let mut client = RawClient::connect(baton.address).await;
        let requests: Vec<u8> = (1..203).step_by(2).flat_map(get).collect();
        client.write(&requests).await;
        let reset = client.next_of(kind::RST_STREAM).await;
        assert_eq!((reset.stream, &reset.payload[..]), (201, &[0, 0, 0, 7][..]), "REFUSED_STREAM");
        let lines = baton.wait_for_lines("request refused", 1).await;
        assert_eq!(lines[0]["reason"], "streams_per_connection");
        baton.wait_for_hits("streams_per_connection", 1).await;
        backend.wait_until("the others are in flight", |seen| seen.open() == 100).await;
    });
}
