//! Tests what an intermediary does to heads (RFC 9110, 7), as seen from both ends.

use http::{HeaderMap, Method, Request, Response, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{connect, head};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http1, Http2, within};
use crate::system::{TcpStream, run};

async fn started() -> (Backend, Baton) {
    let backend = Backend::start(Behaviour::default(), serve).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    (backend, baton)
}

/// Answers `/204` and `/304` with that status, and HEAD with the length of GET's body.
async fn serve(mut exchange: Exchange) {
    let respond = |status: u16, fields: &[(&str, &str)]| {
        let mut head = Response::builder().status(status);
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        head.body(()).expect("a valid head")
    };
    let empty = match (exchange.head.method().as_str(), exchange.head.uri().path()) {
        ("HEAD", _) => respond(200, &[("content-length", "1234"), ("etag", "\"h\"")]),
        (_, "/204") => respond(204, &[("x-kept", "yes")]),
        (_, "/304") => respond(304, &[("etag", "\"e\""), ("content-length", "99")]),
        _ => return exchange.answer(200, "body").await,
    };
    exchange.respond.send_response(empty, true).expect("the stream is open");
}

/// The fields of the only request that the backend received.
fn fields(backend: &Backend) -> (Uri, HeaderMap) {
    backend.seen(|seen| {
        assert_eq!(seen.heads.len(), 1);
        (seen.heads[0].uri().clone(), seen.heads[0].headers().clone())
    })
}

/// Reads from an HTTP/1.1 connection up to this text.
async fn read_until(tcp: &mut TcpStream, end: &str) -> String {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if text.contains(end) {
            return text;
        }
        let read = within("reading", tcp.read_buf(&mut received)).await.expect("no reset");
        assert_ne!(read, 0, "ended before {end:?}: {text:?}");
    }
}

async fn exchange_bytes(baton: &Baton, request: &str, end: &str) -> String {
    let mut tcp = connect(baton.address).await;
    within("sending", tcp.write_all(request.as_bytes())).await.expect("Baton reads");
    read_until(&mut tcp, end).await
}

#[test]
fn hop_by_hop_fields_of_an_http1_client_are_removed() {
    run(async {
        let (backend, baton) = started().await;
        let request = "GET / HTTP/1.1\r\nHost: front.test\r\nConnection: keep-alive, X-Secret\r\n\
            X-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
            X-Many: one\r\nX-Many: two\r\nUpgrade: websocket\r\n\r\n";
        let answer = exchange_bytes(&baton, request, "body").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (uri, fields) = fields(&backend);
        for removed in ["connection", "x-secret", "keep-alive", "proxy-connection", "te", "upgrade"]
        {
            assert!(fields.get(removed).is_none(), "{removed}: {fields:?}");
        }
        let many: Vec<_> = fields.get_all("x-many").iter().collect();
        assert_eq!(many, ["one", "two"], "the others are kept, in order");
        assert_eq!(uri.authority().expect("an :authority"), "front.test");
        assert!(fields.get("host").is_none(), "it became the :authority");
    });
}

#[test]
fn via_and_forwarded_fields_are_added() {
    run(async {
        let (backend, baton) = started().await;
        let mut head = head(Method::GET, "/", "via");
        head.headers_mut().insert("x-forwarded-for", "203.0.113.9".parse().expect("valid"));
        head.headers_mut().insert("via", "1.1 edge".parse().expect("valid"));
        let answer =
            Http2::connect(baton.address).await.send(head, "").await.expect("it is answered");
        assert!(answer.header("via").contains("baton"), "{:?}", answer.headers);
        let (_, fields) = fields(&backend);
        let all = |name: &str| {
            let values = fields.get_all(name).iter().map(|value| value.to_str().expect("ASCII"));
            values.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(all("x-forwarded-for"), "203.0.113.9, 127.0.0.1");
        assert_eq!(all("x-forwarded-proto"), "http");
        assert_eq!(all("x-forwarded-host"), "front.test");
        let via = all("via");
        assert!(via.starts_with("1.1 edge, 2") && via.ends_with(" baton"), "{via}");
    });
}

#[test]
fn paths_and_queries_pass_byte_for_byte() {
    run(async {
        for path in [
            "/a%2fB%2F//c/../d/./e;p=1?x=%20&&y=[1]|2&z=a+b?",
            "/%e4%bd%a0?",
            "//double",
            "/?only=query",
            "/~tilde/:colon/@at/!$&'()*+,;=",
        ] {
            let (backend, baton) = started().await;
            let request = format!("GET {path} HTTP/1.1\r\nhost: front.test\r\n\r\n");
            let answer = exchange_bytes(&baton, &request, "body").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            let (uri, _) = fields(&backend);
            assert_eq!(uri.path_and_query().expect("a path").as_str(), path);
            let line = baton.wait_for_requests(1).await.remove(0);
            let logged = line["path"].as_str().expect("a path").to_owned();
            assert!(path.starts_with(&logged), "the log has the path: {logged}");
        }
    });
}

#[test]
fn options_asterisk_and_the_absolute_form_pass() {
    run(async {
        let (backend, baton) = started().await;
        let request = "GET http://other.test/absolute?q HTTP/1.1\r\nhost: front.test\r\n\r\n";
        exchange_bytes(&baton, request, "body").await;
        let (uri, _) = fields(&backend);
        assert_eq!(uri.authority().expect("an :authority"), "other.test", "RFC 9112, 3.2.2");
        assert_eq!(uri.path_and_query().expect("a path"), "/absolute?q");
        let request = "OPTIONS * HTTP/1.1\r\nhost: front.test\r\n\r\n";
        let answer = exchange_bytes(&baton, request, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
}

#[test]
fn connect_is_refused_with_405() {
    run(async {
        let (backend, baton) = started().await;
        let request = "CONNECT front.test:443 HTTP/1.1\r\nhost: front.test:443\r\n\r\n";
        let answer = exchange_bytes(&baton, request, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        let client = Http2::connect(baton.address).await;
        let head = Request::connect("front.test:443").body(()).expect("a valid head");
        let (response, _stream) = client.begin(head, false).await.expect("the connection lives");
        assert_eq!(within("the head", response).await.expect("a response").status(), 405);
        assert_eq!(backend.seen(|seen| seen.heads.len()), 0, "no backend receives it");
    });
}

#[test]
fn requests_without_exactly_one_host_are_refused_with_400() {
    run(async {
        let (backend, baton) = started().await;
        for hosts in ["", "host: a.test\r\nhost: b.test\r\n"] {
            let request = format!("GET / HTTP/1.1\r\n{hosts}\r\n");
            let answer = exchange_bytes(&baton, &request, "\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{hosts:?}: {answer}");
        }
        assert_eq!(backend.seen(|seen| seen.heads.len()), 0, "no backend receives it");
    });
}

#[test]
fn head_204_and_304_have_no_body_and_keep_their_fields() {
    run(async {
        let (_backend, baton) = started().await;
        let mut http1 = Http1::connect(baton.address).await;
        let http2 = Http2::connect(baton.address).await;
        for (method, path, status, kept, value) in [
            (Method::HEAD, "/", 200, "content-length", "1234"),
            (Method::GET, "/204", 204, "x-kept", "yes"),
            (Method::GET, "/304", 304, "etag", "\"e\""),
        ] {
            let request = || head(method.clone(), path, "bodiless");
            let from_http1 = http1.send(request(), "").await.expect("HTTP/1.1: it is answered");
            let from_http2 = http2.send(request(), "").await.expect("HTTP/2: it is answered");
            for answer in [from_http1, from_http2] {
                assert_eq!(answer.status, status, "{method} {path}");
                assert!(answer.body.is_empty(), "{method} {path}");
                assert_eq!(answer.header(kept), value, "{method} {path}: {:?}", answer.headers);
                assert!(answer.headers.get("transfer-encoding").is_none(), "{method} {path}");
            }
        }
        assert_eq!(http1.get("/after").await.expect("still in sync").body, "body");
    });
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    run(async {
        let backend = Backend::echo().await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let mut tcp = connect(baton.address).await;
        let request = "POST / HTTP/1.1\r\nhost: front.test\r\nexpect: 100-continue\r\n\
            content-length: 8\r\n\r\n";
        within("sending", tcp.write_all(request.as_bytes())).await.expect("Baton reads");
        let interim = read_until(&mut tcp, "\r\n\r\n").await;
        assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
        within("sending", tcp.write_all(b"the body")).await.expect("Baton reads");
        let answer = read_until(&mut tcp, "the body").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (_, fields) = fields(&backend);
        assert!(fields.get("expect").is_none(), "Baton answered the expectation");
        assert_eq!(fields["content-length"], "8");
    });
}

/// HTTP/1.0 has no chunks: the end of the connection is the end of the body.
#[test]
fn an_http10_client_gets_a_body_it_understands() {
    run(async {
        let (_backend, baton) = started().await;
        let mut tcp = connect(baton.address).await;
        let request = b"GET / HTTP/1.0\r\nhost: front.test\r\n\r\n";
        within("sending", tcp.write_all(request)).await.expect("Baton reads");
        let mut answer = String::new();
        within("the end", tcp.read_to_string(&mut answer)).await.expect("no reset");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        assert!(head.contains(" 200 ") && !head.contains("chunked"), "{head}");
        assert_eq!(body, "body");
    });
}

/// Chunks and trailers of an HTTP/1.1 request become DATA and a HEADERS frame.
#[test]
fn a_chunked_upload_passes_with_its_trailers() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |mut exchange| async move {
            let (body, trailers) = exchange.read().await.expect("a whole request");
            assert!(exchange.head.headers().get("transfer-encoding").is_none());
            let checksum = trailers.map(|trailers| trailers["x-checksum"].clone());
            exchange.answer(200, format!("{body:?} {checksum:?}")).await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let request = "POST / HTTP/1.1\r\nhost: front.test\r\ntransfer-encoding: chunked\r\n\
            trailer: x-checksum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-checksum: ok\r\n\r\n";
        let answer = exchange_bytes(&baton, request, "Some(").await;
        assert!(answer.contains("[97, 98, 99, 100, 101] Some(\"ok\")"), "{answer}");
    });
}

/// Contradicting lengths: the request is refused, and the bytes after it are not read as a request
/// (RFC 9112, 6.3).
#[test]
fn contradicting_lengths_smuggle_nothing() {
    run(async {
        let (backend, baton) = started().await;
        let request = "POST /outer HTTP/1.1\r\nhost: front.test\r\ncontent-length: 4\r\n\
            content-length: 60\r\n\r\nbodyGET /smuggled HTTP/1.1\r\nhost: front.test\r\n\r\n";
        let answer = exchange_bytes(&baton, request, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_eq!(backend.seen(|seen| seen.heads.len()), 0, "no backend receives it");
    });
}
