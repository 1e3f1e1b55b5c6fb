//! Tests backends that flood or send malformed responses: only their own requests fail.

use std::sync::Arc;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::baton::message;
use crate::support::client::head;
use crate::support::raw::{Bodies, RawBackend, RawConnection, flag, kind};
use crate::support::raw_client::literal;
use crate::support::{Backend, Baton, Http2};
use crate::system::run;

/// A backend that answers the first connection's requests with these frames, repeated `times`, and
/// every request of later connections properly.
async fn misbehaving(frames: Vec<(u8, u8, bool, Vec<u8>)>, times: usize) -> RawBackend {
    let frames = Arc::new(frames);
    RawBackend::start(100, move |mut connection: RawConnection| {
        let frames = Arc::clone(&frames);
        async move {
            let mut bodies = Bodies::default();
            while let Some((stream, body)) = connection.request(&mut bodies).await {
                if connection.number > 0 {
                    connection.answer(stream, &body).await;
                    continue;
                }
                for _ in 0..times {
                    for (kind, flags, on_stream, payload) in frames.iter() {
                        let stream = if *on_stream { stream } else { 0 };
                        connection.write(*kind, *flags, stream, payload).await;
                    }
                }
            }
        }
    })
    .await
}

/// The flood closes the connection and its request gets 502; the next requests are served.
async fn flood_of(kind: u8, flags: u8, on_stream: bool, payload: &[u8], reason: &str) {
    let backend = misbehaving(vec![(kind, flags, on_stream, payload.to_vec())], 12_000).await;
    let healthy = Backend::healthy().await;
    let baton = Baton::start(&[backend.url(), healthy.url()], &["-s", "round_robin"]).await;
    let client = Http2::connect(baton.address).await;
    let mut statuses = Vec::new();
    for number in 0..6 {
        let body = format!("{number}");
        let answer = client.send(head(Method::POST, "/", &body), body).await;
        statuses.push(answer.expect("the client's connection lives").status.as_u16());
    }
    let failed = statuses.iter().filter(|status| **status == 502).count();
    assert_eq!(failed, 1, "only the backend's own request: {statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "{statuses:?}");
    let closed = |line: &serde_json::Value| {
        message(line) == "connection closed" && line["backend"] == backend.url()
    };
    let line = baton.wait_for_log("the connection is closed", closed).await;
    assert_eq!(line["reason"], reason, "{line}");
}

#[test]
fn ping_flood_from_a_backend() {
    run(async {
        flood_of(kind::PING, 0, false, &[1; 8], "PING flood").await;
    });
}

#[test]
fn settings_flood_from_a_backend() {
    run(async {
        flood_of(kind::SETTINGS, 0, false, &[], "SETTINGS flood").await;
    });
}

#[test]
fn window_update_flood_from_a_backend() {
    run(async {
        flood_of(kind::WINDOW_UPDATE, 0, false, &[0, 0, 0, 1], "WINDOW_UPDATE flood").await;
    });
}

#[test]
fn flood_of_unknown_frames_from_a_backend() {
    run(async {
        flood_of(0xbb, 0, false, b"grease", "PRIORITY flood").await;
    });
}

#[test]
fn goaway_flood_from_a_backend() {
    run(async {
        let last = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        flood_of(kind::GOAWAY, 0, false, &last, "SETTINGS flood").await;
    });
}

/// Frames that `h2` itself rejects: each is a 502 for its request.
#[test]
fn invalid_frames_from_a_backend_are_a_bad_gateway() {
    run(async {
        let bomb = {
            let mut entry = literal("x-bomb", &"b".repeat(3_900));
            entry[0] = 0x40;
            [&[0x88][..], &entry, &[0xbe; 300]].concat()
        };
        let large: Vec<u8> = [&[0x88][..], &[0xbe; 30]].concat();
        let entry = {
            let mut entry = literal("x-large", &"l".repeat(3_900));
            entry[0] = 0x40;
            entry
        };
        let large = [&large[..1], &entry, &large[1..]].concat();
        let mut many = vec![0x88];
        (0..129).for_each(|number| many.extend(literal(&format!("x-{number}"), "v")));
        let mut length = vec![0x88];
        length.extend(literal("content-length", "5"));
        let whole = flag::END_HEADERS | flag::END_STREAM;
        for (what, frames) in [
            ("too many fields", vec![(kind::HEADERS, whole, true, many)]),
            ("a head that is too large", vec![(kind::HEADERS, whole, true, large)]),
            ("a head that expands", vec![(kind::HEADERS, whole, true, bomb)]),
            ("no status", vec![(kind::HEADERS, whole, true, literal("x", "y"))]),
            ("a field of the connection", {
                let block = [&[0x88][..], &literal("connection", "close")].concat();
                vec![(kind::HEADERS, whole, true, block)]
            }),
            ("a line break in a value", {
                let block = [&[0x88][..], &literal("x", "a\r\nb: c")].concat();
                vec![(kind::HEADERS, whole, true, block)]
            }),
            ("broken compression", vec![(kind::HEADERS, whole, true, vec![0xff; 40])]),
            ("DATA before HEADERS", vec![(kind::DATA, flag::END_STREAM, true, b"early".to_vec())]),
            ("a push", vec![(0x5, flag::END_HEADERS, true, vec![0, 0, 0, 2, 0x82])]),
            ("no window", vec![(kind::WINDOW_UPDATE, 0, true, vec![0; 4])]),
            ("a length without content", vec![(kind::HEADERS, whole, true, length)]),
            ("endless CONTINUATION", {
                let mut frames = vec![(kind::HEADERS, 0, true, vec![0x88])];
                frames.extend((0..40).map(|_| (kind::CONTINUATION, 0, true, literal("x", "y"))));
                frames
            }),
            ("empty DATA", {
                let mut frames = vec![(kind::HEADERS, flag::END_HEADERS, true, vec![])];
                frames.extend((0..600).map(|_| (kind::DATA, 0, true, vec![])));
                frames
            }),
        ] {
            let backend = misbehaving(frames, 1).await;
            let baton = Baton::start(&[backend.url()], &["--max-connections", "1"]).await;
            let client = Http2::connect(baton.address).await;
            let answer = client.send(head(Method::POST, "/", "one"), "one").await;
            assert_eq!(answer.expect("the client's connection lives").status, 502, "{what}");
            let line = baton.wait_for_requests(1).await.remove(0);
            assert_eq!(line["status"], 502, "{what}: {line}");
        }
    });
}

/// An HTTP/1.1 backend that answers each request with these bytes and keeps the connection open.
async fn scripted(answer: Vec<u8>) -> String {
    let answer = Arc::new(answer);
    let server = RawBackend::accepting(move |mut tcp, _| {
        let answer = Arc::clone(&answer);
        Box::pin(async move {
            let mut request = [0; 4096];
            while tcp.read(&mut request).await.is_ok_and(|length| length > 0) {
                if tcp.write_all(&answer).await.is_err() {
                    return;
                }
            }
        })
    })
    .await;
    format!("http://{}", server.address)
}

#[test]
fn malformed_http1_responses_are_a_bad_gateway() {
    run(async {
        let many = "x: y\r\n".repeat(129);
        let large = format!("x: {}\r\n", "v".repeat(70_000));
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\nx: y\n\n",
            "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\0\r\n\r\n",
            "HTTP/3.0 200 OK\r\n\r\n",
            "SSH-2.0-OpenSSH_9.9\r\n",
            &format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
            &format!("HTTP/1.1 200 OK\r\n{large}\r\n"),
        ] {
            let backend = scripted(answer.as_bytes().to_vec()).await;
            let baton = Baton::start(&[backend], &[]).await;
            let client = Http2::connect(baton.address).await;
            let answered = client.send(head(Method::POST, "/", "bad"), "bad").await;
            let shown = &answer[..answer.len().min(80)];
            assert_eq!(answered.expect("it is answered").status, 502, "{shown:?}");
            let line = baton.wait_for_requests(1).await.remove(0);
            assert_eq!(
                (&line["attempts"], &line["evidence"]),
                (&1.into(), &"unknown".into()),
                "{line}"
            );
        }
    });
}

/// A malformed body after the head: the client gets a truncated response, never a complete one.
#[test]
fn a_malformed_body_is_cut_short() {
    run(async {
        for body in
            ["5\nhello\r\n0\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n"]
        {
            let answer =
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n{body}");
            let backend = scripted(answer.into_bytes()).await;
            let baton = Baton::start(&[backend], &[]).await;
            let client = Http2::connect(baton.address).await;
            let answered = client.send(head(Method::POST, "/", "bad"), "bad").await;
            if let Ok(answer) = &answered {
                assert_eq!(answer.status, 502, "{body:?}: {answer:?}");
            }
            let line = baton.wait_for_requests(1).await.remove(0);
            assert_ne!(line["outcome"], "completed", "{body:?}: {line}");
            let mut closed = baton.wait_for_lines("connection closed", 1).await;
            assert_eq!(closed.remove(0)["reason"], "malformed chunk", "{body:?}");
        }
    });
}

/// Extra bytes after a response: the connection is closed, and the bytes are never used as the
/// answer to the next request.
#[test]
fn bytes_after_a_response_end_the_connection() {
    run(async {
        let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhonest{smuggled}");
        let backend = scripted(answer.into_bytes()).await;
        let baton = Baton::start(&[backend], &[]).await;
        let client = Http2::connect(baton.address).await;
        for number in 0..5 {
            let id = format!("{number}");
            let answer = client.send(head(Method::POST, "/", &id), id).await;
            assert_eq!(answer.expect("it is answered").body, "honest");
            let closed = baton.wait_for_lines("connection closed", number + 1).await;
            assert_eq!(closed[number]["reason"], "unsolicited bytes");
        }
    });
}
