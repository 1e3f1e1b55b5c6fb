//! Tests several clusters behind one listener, and several listeners.

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::certificate::{certificate, connector, scratch_file};
use crate::support::client::connect;
use crate::support::{Backend, Baton, Exchange, Http1, Http2, within};

/// Writes a configuration file.
fn file(name: &str, text: &str) -> std::path::PathBuf {
    let path = scratch_file(name);
    std::fs::write(&path, text).expect("target/tmp is writable");
    path
}

fn authority() -> &'static str {
    certificate().certificate_file.to_str().expect("UTF-8")
}

/// One cluster with one backend.
fn cluster(name: &str, url: &str, more: &str) -> String {
    let authority = authority();
    format!(
        "[cluster.{name}]\nauthorities = '{authority}'\n{more}\n\
         [[cluster.{name}.backend]]\nurl = \"{url}\"\n"
    )
}

async fn named(name: &'static str) -> Backend {
    Backend::start(Default::default(), move |exchange: Exchange| exchange.answer(200, name)).await
}

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n";

#[tokio::test(flavor = "local")]
async fn tls_and_http2_are_configured_per_listener() {
    let backend = named("it").await;
    let key = certificate().key_file.to_str().expect("UTF-8");
    let tls = format!("certificate = '{}'\nkey = '{key}'\n", authority());
    let text = [
        "[process]\nworkers = 1\n".to_owned(),
        LISTENER.to_owned(),
        format!("{LISTENER}http2 = false\n"),
        format!("{LISTENER}{tls}"),
        format!("{LISTENER}{tls}http2 = false\n"),
        cluster("it", &backend.url(), ""),
    ];
    let baton = Baton::start_with_file(&file("listeners.toml", &text.concat()), &[]).await;
    let lines = baton.wait_for_lines("listening", 4).await;
    let mut addresses = Vec::new();
    for (line, (tls, http2)) in
        lines.iter().zip([(false, true), (false, false), (true, true), (true, false)])
    {
        assert_eq!((&line["tls"], &line["http2"]), (&tls.into(), &http2.into()), "{line}");
        let address = line["address"].as_str().expect("text");
        addresses.push(address.parse().expect("an address"));
    }
    let [plain, plain_http1, tls, tls_http1] = addresses[..] else { panic!("four") };

    assert_eq!(Http2::connect(plain).await.get("/").await.expect("HTTP/2").body, "it");
    assert_eq!(Http1::connect(plain).await.get("/").await.expect("HTTP/1.1").body, "it");
    assert_eq!(Http1::connect(plain_http1).await.get("/").await.expect("HTTP/1.1").body, "it");
    // RFC 9113, 3.4: a server with HTTP/2 answers the preface with SETTINGS.
    let mut tcp = connect(plain_http1).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    tcp.write_all(preface).await.expect("it listens");
    let mut answer = Vec::new();
    // A reset is fine, because Baton does not read the bytes after the preface.
    let _ = within("the end of the connection", tcp.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");

    let name = ServerName::try_from("127.0.0.1").expect("an address");
    for (address, offered, agreed) in [
        (tls, "h2", Some("h2")),
        (tls, "http/1.1", Some("http/1.1")),
        (tls_http1, "http/1.1", Some("http/1.1")),
        (tls_http1, "h2", None),
    ] {
        let handshake = connector(&[offered]).connect(name.clone(), connect(address).await);
        let result = within("the handshake", handshake).await;
        let protocol = result.as_ref().ok().and_then(|tls| tls.get_ref().1.alpn_protocol());
        assert_eq!(protocol, agreed.map(str::as_bytes), "{offered} on {address}");
        if let (Ok(tls), "http/1.1") = (result, offered) {
            assert_eq!(Http1::over(tls).await.get("/").await.expect("HTTP/1.1").body, "it");
        }
    }
}
