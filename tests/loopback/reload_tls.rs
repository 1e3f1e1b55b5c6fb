//! Tests certificates that change: towards clients and backends, with a file and with flags.

use std::net::SocketAddr;
use std::path::Path;

use rustls::pki_types::ServerName;

use super::upstream_tls::TlsBackend;
use crate::support::certificate::{
    certificate, certificate_files, connector_trusting, scratch_file,
};
use crate::support::client::connect;
use crate::support::reload::{
    ConfigFile, LISTENER, PROCESS, cluster, refused, reload, reloaded, replace,
};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, within};

async fn it() -> Backend {
    Backend::start(Behaviour::default(), |exchange: Exchange| exchange.answer(200, "it")).await
}

/// Replaces a PEM file with another one.
fn put(from: &Path, to: &Path) {
    replace(to, &std::fs::read_to_string(from).expect("the file exists"));
}

/// Connects a client that trusts only this certificate; `None` if another one is served.
async fn trusting(address: SocketAddr, authority: &Path) -> Option<Http2> {
    let name = ServerName::try_from("front.test").expect("a name");
    let connector = connector_trusting(&[authority], &["h2"]);
    let handshake = connector.connect(name, connect(address).await);
    let tls = within("the handshake", handshake).await.ok()?;
    Some(Http2::over(tls).await)
}

/// A renewed certificate is served to new connections, whatever triggered the reload.
#[tokio::test(flavor = "local")]
async fn a_renewed_certificate_is_served_to_new_clients() {
    let backend = it().await;
    let (old, new) =
        (certificate_files(&["front.test", "old"]), certificate_files(&["front.test", "new"]));
    let served = (scratch_file("served-certificate.pem"), scratch_file("served-key.pem"));
    put(&old.0, &served.0);
    put(&old.1, &served.1);
    let [certificate, key] = [&served.0, &served.1].map(|path| path.to_str().expect("UTF-8"));
    let flags = ["--tls-cert", certificate, "--tls-key", key, "--admin", "127.0.0.1:0", "--watch"];
    let baton = Baton::start(&[backend.url()], &flags).await;
    let before = trusting(baton.address, &old.0).await.expect("the old one");
    assert_eq!(reloaded(&baton).await, ["nothing changed"]);

    // A certificate without its key is refused, and nothing changes.
    put(&new.0, &served.0);
    let reasons = refused(&baton, 400).await;
    assert!(reasons[0].contains("expected a certificate and its key"), "{reasons:?}");
    assert!(trusting(baton.address, &old.0).await.is_some());
    assert!(trusting(baton.address, &new.0).await.is_none());
    // The second half triggers a reload.
    put(&new.1, &served.1);
    let renewed = |line: &serde_json::Value| {
        let changes = line["changes"].as_str().unwrap_or_default();
        line["trigger"] == "changed file" && changes.contains("served-key.pem re-read")
    };
    baton.wait_for_log("a reload by itself", renewed).await;
    assert!(trusting(baton.address, &old.0).await.is_none());
    let after = trusting(baton.address, &new.0).await.expect("the new one");
    for client in [before, after] {
        assert_eq!(client.get("/").await.expect("both still work").body, "it");
    }
    let (_, report) = reload(&baton).await;
    assert_eq!(report["certificates"]["changed"], serde_json::json!([]));
    // Certificate and key towards clients, and the authority of the backend.
    assert_eq!(report["certificates"]["read"], 3);
}

/// Authorities are checked when a connection is opened: open connections continue.
#[tokio::test(flavor = "local")]
async fn new_authorities_apply_to_new_connections_only() {
    let backend = it().await;
    let (foreign, _) = certificate_files(&["foreign"]);
    let good = &certificate().certificate_file;
    let authorities = scratch_file("authorities.pem");
    put(good, &authorities);
    let web = cluster("web", "timeouts.queue = \"500ms\"\n", &[(backend.url(), 1)]);
    let web = web.replace(&good.display().to_string(), &authorities.display().to_string());
    let text = [PROCESS, LISTENER, &web].concat();
    let config = ConfigFile::new("authorities.toml", &text);
    let baton = Baton::start_with_file(&config.path, &[]).await;
    let client = Http2::connect(baton.address).await;
    assert_eq!(client.get("/").await.expect("it is answered").body, "it");
    put(&foreign, &authorities);
    let changes = reloaded(&baton).await;
    assert_eq!(changes, [format!("file {} re-read", authorities.display())]);
    assert_eq!(client.get("/").await.expect("it is answered").body, "it");
    assert_eq!(backend.seen(|seen| seen.connections), 1, "its connection stays");
    backend.cut_connections().await;
    let answer = client.get("/").await.expect("Baton's own answer");
    assert_eq!(answer.status, 503, "the backend is not trusted");
    put(good, &authorities);
    reloaded(&baton).await;
    let again = async {
        while client.get("/").await.expect("it is answered").status != 200 {
            tokio::task::yield_now().await;
        }
    };
    within("it is trusted again", again).await;
}

/// A renewed client certificate is used for new connections; the backend did not trust the old one.
#[tokio::test(flavor = "local")]
async fn a_renewed_client_certificate_is_shown_to_backends() {
    let server = certificate_files(&["renewing.test"]);
    let (old, new) = (certificate_files(&["old-client"]), certificate_files(&["new-client"]));
    let shown = (scratch_file("shown-certificate.pem"), scratch_file("shown-key.pem"));
    put(&old.0, &shown.0);
    put(&old.1, &shown.1);
    let backend = TlsBackend::start(&server, Some(&new.0)).await;
    let [authority, certificate, key] = [&server.0, &shown.0, &shown.1].map(|path| path.display());
    let text = format!(
        "{PROCESS}{LISTENER}[cluster.web]\nauthorities = '{authority}'\n\
         tls_name = \"renewing.test\"\ncertificate = '{certificate}'\nkey = '{key}'\n\
         timeouts.queue = \"500ms\"\n[[cluster.web.backend]]\nurl = \"https://{}\"\n",
        backend.address
    );
    let config = ConfigFile::new("client-renewed.toml", &text);
    let baton = Baton::start_with_file(&config.path, &[]).await;
    let client = Http2::connect(baton.address).await;
    let status = client.get("/").await.expect("Baton's own answer").status;
    assert!([502, 503].contains(&status.as_u16()), "{status}");
    put(&new.0, &shown.0);
    put(&new.1, &shown.1);
    assert_eq!(reloaded(&baton).await.len(), 2, "certificate and key");
    let answered = async {
        loop {
            let answer = client.get("/").await.expect("it is answered");
            if answer.status == 200 {
                return answer;
            }
        }
    };
    let answer = within("the backend trusts it", answered).await;
    assert_eq!(answer.body, "name renewing.test, certificate true");
}
