//! Tests TLS towards backends, per backend: names, authorities, client certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::certificate::{certificate_files, scratch_file};
use crate::support::{Baton, Http2};
use crate::system::spawn;

/// A TLS backend that answers with the requested server name and the presence of a client
/// certificate.
pub(crate) struct TlsBackend {
    pub(crate) address: SocketAddr,
}

impl TlsBackend {
    /// Starts it with this certificate and key. Requests a client certificate signed by `clients`,
    /// if given.
    pub(crate) async fn start(
        files: &(std::path::PathBuf, std::path::PathBuf),
        clients: Option<&Path>,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                let authority = CertificateDer::from_pem_file(clients).expect("PEM");
                roots.add(authority).expect("rcgen makes valid certificates");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("there is a root"))
            }
        };
        let chain = vec![CertificateDer::from_pem_file(&files.0).expect("PEM")];
        let key = PrivateKeyDer::from_pem_file(&files.1).expect("PEM");
        let mut config =
            builder.with_single_cert(chain, key).expect("the key fits the certificate");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system has a port");
        let address = listener.local_addr().expect("it is bound");
        spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                spawn(serve(acceptor.clone(), tcp));
            }
        });
        Self { address }
    }
}

async fn serve(acceptor: TlsAcceptor, tcp: TcpStream) {
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let session = tls.get_ref().1;
    let name = session.server_name().unwrap_or("none").to_owned();
    let shown = session.peer_certificates().is_some();
    let Ok(mut connection) = h2::server::handshake(tls).await else { return };
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        let body = Bytes::from(format!("name {name}, certificate {shown}"));
        if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
            // If the stream is gone, the answer cannot be delivered.
            let _ = stream.send_data(body, true);
        }
    }
}

/// Baton before these backends, each in a cluster `c0`, `c1`, … routed by path. The strings are TLS
/// settings of the cluster and of its backend.
async fn start(name: &str, backends: &[(&TlsBackend, String, String)]) -> Baton {
    let mut text = "[process]\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n".to_owned();
    for (number, (backend, of_cluster, of_backend)) in backends.iter().enumerate() {
        text += &format!(
            "[cluster.c{number}]\ntimeouts.queue = \"500ms\"\n{of_cluster}\n\
             [[cluster.c{number}.backend]]\nurl = \"https://{}\"\n{of_backend}\n\
             [[route]]\npath_prefix = \"/c{number}\"\ncluster = \"c{number}\"\n",
            backend.address
        );
    }
    let file = scratch_file(name);
    std::fs::write(&file, text).expect("target/tmp is writable");
    Baton::start_with_file(&file, &[]).await
}

fn authorities(file: &Path) -> String {
    format!("authorities = '{}'", file.display())
}

#[tokio::test(flavor = "local")]
async fn tls_name_is_requested_and_verified() {
    let files = certificate_files(&["backend.test"]);
    let backend = TlsBackend::start(&files, None).await;
    let trusted = authorities(&files.0);
    let named = |name: &str| format!("tls_name = \"{name}\"");
    let baton = start(
        "tls-name.toml",
        &[
            (&backend, trusted.clone(), named("backend.test")),
            (&backend, format!("{trusted}\n{}", named("backend.test")), String::new()),
            (&backend, trusted.clone(), named("other.test")),
            (&backend, trusted, String::new()),
        ],
    )
    .await;
    let client = Http2::connect(baton.address).await;
    for path in ["/c0", "/c1"] {
        let answer = client.get(path).await.expect("it is answered");
        assert_eq!(answer.body, "name backend.test, certificate false", "{path}");
    }
    for path in ["/c2", "/c3"] {
        assert_eq!(client.get(path).await.expect("Baton's own answer").status, 503, "{path}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_requests_a_certificate_gets_it() {
    let server = certificate_files(&["localhost"]);
    let (certificate, key) = certificate_files(&["client.test"]);
    let (other, other_key) = certificate_files(&["stranger.test"]);
    let backend = TlsBackend::start(&server, Some(&certificate)).await;
    let trusted = format!("{}\ntls_name = \"localhost\"", authorities(&server.0));
    let shows = |certificate: &Path, key: &Path| {
        format!("certificate = '{}'\nkey = '{}'", certificate.display(), key.display())
    };
    let baton = start(
        "client-certificate.toml",
        &[
            (&backend, format!("{trusted}\n{}", shows(&certificate, &key)), String::new()),
            (&backend, trusted.clone(), shows(&certificate, &key)),
            (&backend, trusted.clone(), shows(&other, &other_key)),
            (&backend, trusted, String::new()),
        ],
    )
    .await;
    let client = Http2::connect(baton.address).await;
    for path in ["/c0", "/c1"] {
        let answer = client.get(path).await.expect("it is answered");
        assert_eq!(answer.body, "name localhost, certificate true", "{path}");
    }
    for path in ["/c2", "/c3"] {
        let status = client.get(path).await.expect("Baton's own answer").status;
        assert!([502, 503].contains(&status.as_u16()), "{path}: {status}");
    }
}

/// A backend's TLS settings apply only to itself, and override its cluster's.
#[tokio::test(flavor = "local")]
async fn a_backend_may_override_the_authorities_or_skip_verification() {
    let files = certificate_files(&["127.0.0.1"]);
    let (elsewhere, _) = certificate_files(&["elsewhere.test"]);
    let backend = TlsBackend::start(&files, None).await;
    let wrong = authorities(&elsewhere);
    let baton = start(
        "authorities.toml",
        &[
            (&backend, wrong.clone(), authorities(&files.0)),
            (&backend, wrong.clone(), "insecure = true".to_owned()),
            (&backend, format!("{wrong}\ninsecure = true"), "insecure = false".to_owned()),
            (&backend, wrong, String::new()),
        ],
    )
    .await;
    let client = Http2::connect(baton.address).await;
    for (path, status) in [("/c0", 200), ("/c1", 200), ("/c2", 503), ("/c3", 503)] {
        assert_eq!(client.get(path).await.expect("it is answered").status, status, "{path}");
    }
}
