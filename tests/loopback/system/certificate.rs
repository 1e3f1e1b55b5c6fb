//! A self-signed certificate for 127.0.0.1, created once per test run. It is its own authority, so
//! Baton verifies it with `--ca`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A certificate with its key, also as PEM files.
pub(crate) struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The certificate as PEM, used to trust and to serve.
    pub(crate) certificate_file: PathBuf,
    /// The key as PEM.
    pub(crate) key_file: PathBuf,
}

/// The certificate of this test run.
pub(crate) fn certificate() -> &'static Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("the names are valid");
        let certificate_file = scratch_file("certificate.pem");
        let key_file = scratch_file("key.pem");
        std::fs::write(&certificate_file, made.cert.pem()).expect("target/tmp is writable");
        std::fs::write(&key_file, made.signing_key.serialize_pem()).expect("as above");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("rcgen: PKCS 8");
        Certificate { chain: vec![made.cert.der().clone()], key, certificate_file, key_file }
    })
}

/// The flags with which Baton trusts [`certificate`].
pub(crate) fn trusting() -> [&'static str; 2] {
    ["--ca", certificate().certificate_file.to_str().expect("UTF-8")]
}

/// The same in a cluster of a configuration file.
pub(crate) fn cluster_trust() -> String {
    format!("authorities = '{}'", certificate().certificate_file.display())
}

/// Creates a self-signed certificate for these names, its own authority. Returns the PEM files of
/// certificate and key.
pub(crate) fn certificate_files(names: &[&str]) -> (PathBuf, PathBuf) {
    let subject: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(subject).expect("the names are valid");
    let certificate = scratch_file(&format!("{}-certificate.pem", names.join("-")));
    let key = scratch_file(&format!("{}-key.pem", names.join("-")));
    std::fs::write(&certificate, made.cert.pem()).expect("target/tmp is writable");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("as above");
    (certificate, key)
}

/// The path of a scratch file that no other call returns: tests run at the same time, and two may
/// choose the same name.
pub(crate) fn scratch_file(name: &str) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    directory.join(format!("{}-{number}-{name}", std::process::id()))
}

/// A TLS acceptor that offers these protocols by ALPN; no ALPN if empty.
pub(crate) fn acceptor(protocols: &[&str]) -> TlsAcceptor {
    let certificate = certificate();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_no_client_auth()
        .with_single_cert(certificate.chain.clone(), certificate.key.clone_key())
        .expect("the key belongs to the certificate");
    config.alpn_protocols = alpn(protocols);
    TlsAcceptor::from(Arc::new(config))
}

/// A TLS connector that trusts [`certificate`] and offers these protocols by ALPN.
pub(crate) fn connector(protocols: &[&str]) -> TlsConnector {
    connector_trusting(&[&certificate().certificate_file], protocols)
}

/// A TLS connector that trusts any of these PEM certificates and offers these protocols by ALPN.
pub(crate) fn connector_trusting(files: &[&Path], protocols: &[&str]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    for file in files {
        let certificate = CertificateDer::from_pem_file(file).expect("PEM");
        roots.add(certificate).expect("rcgen makes valid certificates");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn(protocols);
    TlsConnector::from(Arc::new(config))
}

fn alpn(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}
