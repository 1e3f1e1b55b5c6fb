//! Tests the transports: TLS towards clients, h2c, and verification of backends.

use http::Method;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;

use crate::support::baton::message;
use crate::support::certificate::{certificate, connector};
use crate::support::client::{connect, head};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http1, Http2, within};

async fn connect_tls(baton: &Baton, protocol: &str) -> TlsStream<tokio::net::TcpStream> {
    let tcp = connect(baton.address).await;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let tls = within("TLS with Baton", connector(&[protocol]).connect(name, tcp)).await;
    let tls = tls.expect("Baton's certificate is valid");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    tls
}

#[tokio::test(flavor = "local")]
async fn clients_use_either_protocol_over_tls() {
    let backend = Backend::echo().await;
    let certificate = certificate();
    let file = certificate.certificate_file.to_str().expect("UTF-8");
    let key = certificate.key_file.to_str().expect("UTF-8");
    let baton = Baton::start(&[backend.url()], &["--tls-cert", file, "--tls-key", key]).await;
    assert_eq!(baton.lines("listening")[0]["tls"], true);
    let http2 = Http2::over(connect_tls(&baton, "h2").await).await;
    let answer = http2.send(head(Method::POST, "/", "tls-2"), "over TLS").await;
    assert_eq!(answer.expect("it is answered").body, "over TLS");
    for protocol in ["http/1.1", "http/1.0"] {
        let mut http1 = Http1::over(connect_tls(&baton, protocol).await).await;
        let answer = http1.send(head(Method::POST, "/", "tls-1"), "over TLS").await;
        assert_eq!(answer.expect("it is answered").body, "over TLS", "{protocol}");
    }
    backend.seen(|seen| {
        for head in &seen.heads {
            assert_eq!(head.headers()["x-forwarded-proto"], "https", "{head:?}");
        }
    });
}

#[tokio::test(flavor = "local")]
async fn h2c_backend_is_reached_with_prior_knowledge() {
    let behaviour = Behaviour { cleartext: true, ..Behaviour::default() };
    let backend = Backend::start(behaviour, Exchange::echo).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let client = Http2::connect(baton.address).await;
    let answer = client.send(head(Method::POST, "/", "h2c"), "in the clear").await;
    assert_eq!(answer.expect("it is answered").body, "in the clear");
    assert_eq!(baton.wait_for_lines("connected", 1).await[0]["protocol"], "HTTP/2");
}

/// Backends' certificates are verified against the system's roots by default.
#[tokio::test(flavor = "local")]
async fn an_untrusted_certificate_is_a_503_and_insecure_skips_the_check() {
    let backend = Backend::healthy().await;
    let url = backend.url();
    // Another authority: the backend's certificate is not signed by it.
    let other = rcgen::generate_simple_self_signed(vec!["other.test".to_owned()]).expect("valid");
    let file = crate::support::certificate::scratch_file("other-authority.pem");
    std::fs::write(&file, other.cert.pem()).expect("target/tmp is writable");
    let authority = file.to_str().expect("UTF-8");
    let flags = ["--insecure", "--queue-timeout", "300ms"];
    let skipping = Baton::start(&[&url], &flags).await;
    let client = Http2::connect(skipping.address).await;
    assert_eq!(client.get("/").await.expect("it is answered").status, 200);
    let warns =
        |line: &serde_json::Value| line["level"] == "WARN" && message(line).contains("verif");
    skipping.wait_for_log("a warning that verification is off", warns).await;

    let flags = ["--queue-timeout", "300ms"];
    let verifying = Baton::start_trusting(&[&url], &["--ca", authority], &flags).await;
    let client = Http2::connect(verifying.address).await;
    assert_eq!(client.get("/").await.expect("an answer of Baton's own").status, 503);
    let failed = |line: &serde_json::Value| message(line) == "connect failed";
    verifying.wait_for_log("the dial failed", failed).await;
}

/// Several listen addresses serve the same backends.
#[tokio::test(flavor = "local")]
async fn several_addresses_can_be_listened_on() {
    let backend = Backend::healthy().await;
    let baton = Baton::start(&[backend.url()], &["--listen", "127.0.0.1:0"]).await;
    for line in baton.wait_for_lines("listening", 2).await {
        let address = line["address"].as_str().expect("text").parse().expect("an address");
        let client = Http2::connect(address).await;
        assert_eq!(client.get("/").await.expect("it is answered").status, 200);
    }
}

/// Each address is logged once, however many workers listen on it.
#[tokio::test(flavor = "local")]
async fn each_address_is_logged_once() {
    let backend = Backend::healthy().await;
    let mut baton = Baton::start(&[backend.url()], &["--workers", "3"]).await;
    let client = Http2::connect(baton.address).await;
    assert_eq!(client.get("/").await.expect("it is answered").status, 200);
    baton.terminate();
    assert_eq!(baton.exit().await, Some(0));
    baton.wait_for_lines("stopped", 1).await;
    assert_eq!(baton.lines("listening").len(), 1);
    assert_eq!(baton.lines("stopped").len(), 1);
}

/// A library makes this response, with the clock of the system, which the simulator does not have.
#[tokio::test(flavor = "local")]
async fn the_response_to_a_malformed_head_has_a_date() {
    let backend = Backend::echo().await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let mut tcp = connect(baton.address).await;
    let wrote = tcp.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n").await;
    wrote.expect("Baton reads it");
    let mut answer = String::new();
    let read = within("the end of the response", tcp.read_to_string(&mut answer)).await;
    read.expect("it is text");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\r\ndate: "), "{answer}");
}

/// A request whose head has about this size.
fn large(bytes: usize) -> http::Request<()> {
    let mut request = head(Method::POST, "/", "large");
    let value = "v".repeat(bytes).parse().expect("a value");
    request.headers_mut().insert("x-large", value);
    request
}

/// A head that is larger than a backend accepts is not sent to it: neither the connection nor the
/// other requests on it suffer.
#[tokio::test(flavor = "local")]
async fn a_head_beyond_the_limit_of_the_backend_gets_431_and_is_not_sent() {
    let behaviour = Behaviour { cleartext: true, header_list: Some(8192), ..Behaviour::default() };
    let backend = Backend::start(behaviour, |exchange| exchange.answer(200, "")).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let client = Http2::connect(baton.address).await;
    for (bytes, status) in [(20_000, 431), (9_000, 431), (7_000, 200), (10, 200)] {
        let answer = client.send(large(bytes), "").await.expect("it is answered");
        assert_eq!(answer.status, status, "{bytes}: {:?}", answer.headers);
        if status == 431 {
            assert!(answer.header("proxy-status").contains("error=http_request_error"));
        }
    }
    assert_eq!(backend.seen(|seen| (seen.connections, seen.heads.len())), (1, 2));
    assert!(baton.lines("backend changed").is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_large_head_goes_to_the_backend_that_accepts_it() {
    let with = |header_list| Behaviour { cleartext: true, header_list, ..Behaviour::default() };
    let small = Backend::start(with(Some(8192)), |exchange| exchange.answer(200, "")).await;
    let wide = Backend::start(with(Some(65_536)), |exchange| exchange.answer(200, "")).await;
    let baton = Baton::start(&[small.url(), wide.url()], &[]).await;
    let client = Http2::connect(baton.address).await;
    for _ in 0..8 {
        client.send(head(Method::POST, "/", "small"), "").await.expect("it is answered");
    }
    for _ in 0..8 {
        let answer = client.send(large(20_000), "").await.expect("it is answered");
        assert_eq!(answer.status, 200, "{:?}", answer.headers);
    }
    assert!(wide.seen(|seen| seen.heads.len()) >= 8);
    assert_eq!(small.seen(|seen| seen.connections), 1);
}
