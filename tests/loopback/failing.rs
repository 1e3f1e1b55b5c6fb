//! Tests failing backends, beside a healthy one or alone: killed, silent, never ready.

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use http::Method;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, Notify};

use crate::support::certificate::{certificate, connector};
use crate::support::client::{connect, head};
use crate::support::raw::{Bodies, RawBackend};
use crate::support::{Backend, Baton, Behaviour, Http2, run_load, unique_id, within};

/// One of two backends is killed under load: no GET fails.
#[tokio::test(flavor = "local")]
async fn backend_killed_beside_a_healthy_one_fails_no_get() {
    let healthy = Backend::healthy().await;
    let victim = Rc::new(Mutex::new(Backend::healthy().await));
    let urls = [healthy.url(), victim.lock().await.url()];
    let baton = Baton::start(&urls, &[]).await;
    let client = Rc::new(Http2::connect(baton.address).await);
    let killed = Rc::clone(&victim);
    let getting = Rc::clone(&client);
    run_load(600, 8, move |number| {
        let (killed, client) = (Rc::clone(&killed), Rc::clone(&getting));
        async move {
            if number == 100 {
                killed.lock().await.stop().await;
            }
            let answer = client.send(head(Method::GET, "/", &unique_id()), "").await;
            let answer = answer.expect("it is answered");
            assert_eq!(answer.status, 200, "{:?} {:?}", answer.headers, answer.body);
        }
    })
    .await;
    assert!(victim.lock().await.seen(|seen| !seen.heads.is_empty()), "it served before");
    assert!(healthy.seen(|seen| seen.heads.len()) > 450, "the other one served the rest");
}

/// A backend with one thread answers no PING while it works, for longer than a silent connection is
/// borne. Its host is this machine, which acknowledges: nothing is lost.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "local")]
async fn busy_backend_keeps_its_post() {
    let busy = RawBackend::start(100, |mut connection| async move {
        while let Some((stream, body)) = connection.request(&mut Bodies::default()).await {
            connection.work(Duration::from_secs(2)).await;
            connection.answer(stream, &body).await;
        }
    })
    .await;
    let flags = ["--silence-timeout", "100ms", "--suspect-timeout", "200ms"];
    let baton = Baton::start(&[busy.url()], &flags).await;
    let client = Http2::connect(baton.address).await;
    let answer = client.send(head(Method::POST, "/", &unique_id()), "whole").await;
    let answer = answer.expect("it is answered");
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"whole"[..]));
    let lines = baton.wait_for_requests(1).await;
    assert_eq!(lines[0]["attempts"], 1);
    assert!(baton.lines("connection closed").is_empty());
}

/// A backend without TLS that dies within the body of its first response, which has no length.
async fn dying(dies: Rc<Notify>) -> RawBackend {
    RawBackend::accepting(move |mut tcp, _| {
        let dies = Rc::clone(&dies);
        Box::pin(async move {
            let _ = tcp.read(&mut [0; 4096]).await;
            let begun = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
            let _ = tcp.write_all(begun).await;
            dies.notified().await;
        })
    })
    .await
}

/// Reads a response that is cut short once it has begun. Returns what the client sees of the end.
async fn end_of_cut(mut io: impl AsyncRead + AsyncWrite + Unpin, dies: &Notify) -> ErrorKind {
    let request = b"GET / HTTP/1.0\r\nhost: front.test\r\n\r\n";
    within("sending", io.write_all(request)).await.expect("Baton reads");
    let mut received = Vec::new();
    while !received.ends_with(b"begun") {
        let read = within("reading", io.read_buf(&mut received)).await.expect("no reset");
        assert_ne!(read, 0, "not ended yet");
    }
    let text = String::from_utf8_lossy(&received).to_ascii_lowercase();
    assert!(!text.contains("content-length") && !text.contains("chunked"), "{text}");
    dies.notify_one();
    let end = within("the end", io.read_to_end(&mut received)).await;
    end.expect_err("a response cut short must not look complete").kind()
}

/// Only the end of the connection ends a response to an HTTP/1.0 client that has no length: if it
/// is cut short, the client sees an error.
#[tokio::test(flavor = "local")]
async fn a_cut_response_without_a_length_ends_in_an_error_for_an_http10_client() {
    let dies = Rc::new(Notify::new());
    let backend = dying(Rc::clone(&dies)).await;
    let url = format!("http://{}", backend.address);
    let baton = Baton::start(&[&url], &[]).await;
    let tcp = connect(baton.address).await;
    assert_eq!(end_of_cut(tcp, &dies).await, ErrorKind::ConnectionReset);

    // A client that closes its sending side may still read.
    let mut tcp = connect(baton.address).await;
    let request = b"GET / HTTP/1.0\r\nhost: front.test\r\n\r\n";
    within("sending", tcp.write_all(request)).await.expect("Baton reads");
    let mut received = Vec::new();
    while !received.ends_with(b"begun") {
        within("reading", tcp.read_buf(&mut received)).await.expect("no reset");
    }
    tcp.shutdown().await.expect("it is connected");
    dies.notify_one();
    let end = within("the end", tcp.read_to_end(&mut received)).await;
    assert_eq!(end.expect_err("it is cut short").kind(), ErrorKind::ConnectionReset);

    let certificate = certificate();
    let file = certificate.certificate_file.to_str().expect("UTF-8");
    let key = certificate.key_file.to_str().expect("UTF-8");
    let baton = Baton::start(&[&url], &["--tls-cert", file, "--tls-key", key]).await;
    let tcp = connect(baton.address).await;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let tls = within("TLS with Baton", connector(&["http/1.1"]).connect(name, tcp)).await;
    let tls = tls.expect("Baton's certificate is valid");
    assert_eq!(end_of_cut(tls, &dies).await, ErrorKind::UnexpectedEof);
}

/// It is an error as well if Baton itself dies.
#[tokio::test(flavor = "local")]
async fn a_response_without_a_length_does_not_end_well_when_baton_is_killed() {
    let never = Rc::new(Notify::new());
    let backend = dying(never).await;
    let baton = Baton::start(&[format!("http://{}", backend.address)], &[]).await;
    let tcp = connect(baton.address).await;
    let killed = Notify::new();
    let kill = async {
        killed.notified().await;
        drop(baton);
    };
    let (end, ()) = tokio::join!(end_of_cut(tcp, &killed), kill);
    assert_eq!(end, ErrorKind::ConnectionReset);
}

/// A backend that takes no more of a request body is to blame, not the client.
#[tokio::test(flavor = "local")]
async fn a_backend_that_takes_no_body_costs_the_client_a_504() {
    let behaviour = Behaviour { cleartext: true, window: Some(1024), ..Behaviour::default() };
    let deaf = Backend::start(behaviour, |exchange| exchange.wait_for_reset()).await;
    let silent = RawBackend::accepting(|mut tcp, _| {
        Box::pin(async move {
            let _ = tcp.read(&mut [0; 10]).await;
            std::future::pending::<()>().await;
        })
    })
    .await;
    for url in [deaf.url(), format!("http://{}", silent.address)] {
        let flags = ["--body-stall-timeout", "1s", "--body-rate-min", "0"];
        let baton = Baton::start(&[&url], &flags).await;
        let client = Http2::connect(baton.address).await;
        // More than all buffers on the way.
        let sent = client.send(head(Method::POST, "/", "large"), "x".repeat(30 << 20));
        let answer = within("the answer", sent).await.expect("it is answered");
        assert_eq!(answer.status, 504, "{url}: {:?}", answer.headers);
        let error = answer.header("proxy-status");
        assert!(error.contains("error=connection_write_timeout"), "{error}");
    }
}
