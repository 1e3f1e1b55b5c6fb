//! Tests what an intermediary owes to HTTP/1.1 messages: the framing follows from the message,
//! trailers pass, and an early response reaches its client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{connect, head, read_answer, send_all};
use crate::support::raw::RawBackend;
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, within};
use crate::system::{TcpStream, run};

/// The requests that a backend has received.
type Received = Arc<Mutex<Vec<String>>>;

/// A backend that reads each request up to `end` and answers with these bytes.
async fn answering(end: &'static str, answer: &'static str) -> (String, Received) {
    let received = Received::default();
    let noted = Arc::clone(&received);
    let server = RawBackend::accepting(move |mut tcp, _| {
        let noted = Arc::clone(&noted);
        Box::pin(async move {
            while let Some(request) = read_until(&mut tcp, end).await {
                noted.lock().expect("the lock is not poisoned").push(request);
                if tcp.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
    })
    .await;
    (format!("http://{}", server.address), received)
}

/// Reads up to `end`; `None` if the connection ends before.
async fn read_until(tcp: &mut TcpStream, end: &str) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let mut piece = [0; 4096];
        let length = tcp.read(&mut piece).await.unwrap_or(0);
        if length == 0 {
            return None;
        }
        read.extend_from_slice(&piece[..length]);
    }
    Some(String::from_utf8(read).expect("the requests are text"))
}

/// Sends bytes on a connection of its own. Returns the response, up to `end`.
async fn raw(baton: &Baton, request: &str, end: &str) -> String {
    let mut tcp = connect(baton.address).await;
    tcp.write_all(request.as_bytes()).await.expect("Baton reads");
    within("the response", read_until(&mut tcp, end)).await.expect("it is whole")
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_get_has_the_body_that_its_client_sent() {
    run(async {
        let (url, received) = answering("0\r\n\r\n", OK).await;
        let baton = Baton::start(&[url], &[]).await;
        let chunked = "GET /_search HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
            5\r\nquery\r\n0\r\n\r\n";
        assert!(raw(&baton, chunked, "ok").await.starts_with("HTTP/1.1 200"));
        // Over HTTP/2, without a length.
        let client = Http2::connect(baton.address).await;
        let begun = client.begin(head(Method::GET, "/_search", "r"), false).await;
        let (response, mut stream) = begun.expect("a stream");
        stream.send_data(Bytes::from_static(b"query"), true).expect("a window");
        let response = within("the response", response).await.expect("it is answered");
        assert_eq!(response.status(), StatusCode::OK);
        let received = received.lock().expect("the lock is not poisoned");
        assert_eq!(received.len(), 2);
        for request in &*received {
            assert!(request.starts_with("GET /_search HTTP/1.1\r\n"), "{request}");
            assert!(request.ends_with("\r\n\r\n5\r\nquery\r\n0\r\n\r\n"), "{request}");
        }
    });
}

#[test]
fn requests_without_content_say_so_where_content_is_usual() {
    run(async {
        let (url, received) = answering("\r\n\r\n", OK).await;
        let baton = Baton::start(&[url], &[]).await;
        for method in ["GET", "POST"] {
            let request = format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n");
            assert!(raw(&baton, &request, "ok").await.starts_with("HTTP/1.1 200"));
        }
        let received = received.lock().expect("the lock is not poisoned");
        assert!(!received[0].contains("content-length"), "{}", received[0]);
        assert!(received[1].contains("content-length: 0\r\n"), "{}", received[1]);
    });
}

/// The trailers of a response that is read whole, on a connection that is used again.
#[test]
fn trailers_of_a_response_pass_without_fields_of_the_connection() {
    run(async {
        let (url, _) = answering(
            "\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
             x-sum: 1\r\nconnection: x-named\r\nx-named: 1\r\n\r\n",
        )
        .await;
        let baton = Baton::start(&[url], &[]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..2 {
            let answer = client.get("/").await.expect("it is answered");
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"ok"[..]));
            let trailers = answer.trailers.expect("they pass");
            assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
        }
        let request = "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n";
        let answer = raw(&baton, request, "\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let lines = baton.wait_for_requests(3).await;
        assert!(lines.iter().all(|line| line["outcome"] == "completed"), "{lines:?}");
        assert_eq!(baton.lines("connected").len(), 1, "the connection is kept");
    });
}

#[test]
fn trailers_of_a_request_pass_without_fields_of_the_connection() {
    run(async {
        let (url, received) = answering("\r\nx-sum: 1\r\n\r\n", OK).await;
        let backend = Backend::start(Behaviour::default(), |mut exchange: Exchange| async move {
            let (body, trailers) = exchange.read().await.expect("a whole request");
            let names: Vec<_> = trailers.iter().flat_map(HeaderMap::keys).collect();
            let seen = format!("{names:?} {}", String::from_utf8_lossy(&body));
            exchange.answer(200, seen).await;
        })
        .await;
        let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
            2\r\nhi\r\n0\r\nconnection: x-named\r\nx-named: 1\r\nx-sum: 1\r\n\r\n";
        let baton = Baton::start(&[backend.url()], &[]).await;
        let answer = raw(&baton, request, "\r\n0\r\n\r\n").await;
        assert!(answer.contains("[\"x-sum\"] hi\r\n"), "{answer}");
        let baton = Baton::start(&[url], &[]).await;
        assert!(raw(&baton, request, "ok").await.starts_with("HTTP/1.1 200"));
        let received = received.lock().expect("the lock is not poisoned");
        assert!(received[0].ends_with("2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n"), "{}", received[0]);
    });
}

/// A backend that answers within the upload and closes: the client has the answer, and the backend
/// is not blamed.
#[test]
fn an_early_response_over_http1_reaches_its_client() {
    run(async {
        let answer = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\
            connection: close\r\n\r\nbig";
        let server = RawBackend::accepting(move |mut tcp, _| {
            Box::pin(async move {
                let _ = tcp.read(&mut [0; 1000]).await;
                let _ = tcp.write_all(answer.as_bytes()).await;
            })
        })
        .await;
        let baton = Baton::start(&[format!("http://{}", server.address)], &[]).await;
        for _ in 0..10 {
            let client = Http2::connect(baton.address).await;
            let begun = client.begin(head(Method::POST, "/", "r"), false).await;
            let (response, mut stream) = begun.expect("a stream");
            // The answer may stop the upload at any time.
            let upload = send_all(&mut stream, Bytes::from(vec![b'u'; 1 << 20]), true);
            let (response, _) = tokio::join!(response, upload);
            assert_eq!(response.expect("it is answered").status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        let lines = baton.wait_for_requests(10).await;
        assert!(lines.iter().all(|line| line["status"] == 413), "{lines:?}");
        let ejected = baton.all_lines().iter().any(|line| line["state"] == "ejected");
        assert!(!ejected, "{:?}", baton.all_lines());
    });
}

/// A backend that responds within an upload and reads no more of it: the response takes its time.
#[test]
fn an_early_response_may_take_its_time() {
    run(async {
        let server = RawBackend::accepting(move |mut tcp, _| {
            Box::pin(async move {
                let _ = tcp.read(&mut [0; 1000]).await;
                let head = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\n";
                let _ = tcp.write_all(head.as_bytes()).await;
                for piece in [b"a", b"b", b"c", b"d"] {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let _ = tcp.write_all(piece).await;
                }
            })
        })
        .await;
        let baton = Baton::start(&[format!("http://{}", server.address)], &[]).await;
        let client = Http2::connect(baton.address).await;
        let begun = client.begin(head(Method::POST, "/", "r"), false).await;
        let (response, mut stream) = begun.expect("a stream");
        let upload = send_all(&mut stream, Bytes::from(vec![b'u'; 1 << 20]), true);
        let answered = async {
            let response = response.await.expect("it is answered");
            read_answer(response).await.expect("it is whole")
        };
        let (answer, _) = tokio::join!(answered, upload);
        assert_eq!(&answer.body[..], b"abcd");
    });
}

/// A change of protocol that was not asked for, and a status without a meaning, with bytes behind.
#[test]
fn statuses_that_cannot_be_are_a_bad_gateway() {
    run(async {
        for answer in [
            "HTTP/1.1 101 Switching Protocols\r\n\r\nxyz",
            "HTTP/1.1 101 Switching Protocols\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 099 Early\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (url, _) = answering("\r\n\r\n", answer).await;
            let baton = Baton::start(&[url], &[]).await;
            let client = Http2::connect(baton.address).await;
            for method in [Method::POST, Method::GET] {
                let answer = client.send(head(method, "/", "r"), "").await.expect("answered");
                assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
            }
        }
    });
}

/// A response until the close is the last on its connection: no waiting request is given to it.
#[test]
fn a_response_until_the_close_costs_no_attempt_of_others() {
    run(async {
        let server = RawBackend::accepting(move |mut tcp, _| {
            Box::pin(async move {
                if read_until(&mut tcp, "\r\n\r\n").await.is_some() {
                    let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\nok").await;
                }
            })
        })
        .await;
        let url = format!("http://{}", server.address);
        let baton = Baton::start(&[url], &[]).await;
        let client = Http2::connect(baton.address).await;
        let requests = (0..60).map(|_| client.send(head(Method::POST, "/", "r"), ""));
        for answer in futures_util::future::join_all(requests).await {
            assert_eq!(answer.expect("it is answered").status, StatusCode::OK);
        }
        let lines = baton.wait_for_requests(60).await;
        assert!(lines.iter().all(|line| line["attempts"] == 1), "{lines:?}");
    });
}

/// `http` holds names of 65 535 bytes. A head may be larger.
#[test]
fn a_field_name_that_is_too_long_is_refused() {
    run(async {
        let (url, _) = answering("\r\n\r\n", OK).await;
        let baton = Baton::start(&[url], &["--client-head-bytes", "1MiB"]).await;
        let name = "n".repeat(70_000);
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{name}: 1\r\n\r\n");
        assert!(raw(&baton, &head, "\r\n\r\n").await.starts_with("HTTP/1.1 431 "));
        let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
        let trailers = format!("{chunked}{name}: 1\r\n\r\n");
        assert!(raw(&baton, &trailers, "malformed body\n").await.starts_with("HTTP/1.1 400 "));
        assert!(raw(&baton, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "ok").await.contains(" 200 "));
    });
}

/// Requests that wait behind others when their client leaves have lines of their own.
#[test]
fn requests_that_were_not_begun_are_logged() {
    run(async {
        let (url, received) = answering("\r\n\r\n", OK).await;
        let baton = Baton::start(&[url], &[]).await;
        let mut tcp = connect(baton.address).await;
        let requests: String =
            (1..=3).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        tcp.write_all(requests.as_bytes()).await.expect("Baton reads");
        tcp.shutdown().await.expect("Baton is there");
        let lines = baton.wait_for_requests(3).await;
        let served = received.lock().expect("the lock is not poisoned").len();
        let cancelled = lines.iter().filter(|line| line["outcome"] == "cancelled").count();
        assert_eq!(served + cancelled, 3, "{lines:?}");
    });
}
