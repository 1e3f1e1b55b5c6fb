//! The certificates of the machine.

use std::path::PathBuf;

use sim::proxy::stage::{AUTHORITY_FILE, BACKENDS_NAME, CERTIFICATE_FILE, KEY_FILE, backend_tls};
use tokio_rustls::TlsAcceptor;

/// The flags with which Baton trusts the certificate of backends.
pub(crate) fn trusting() -> [&'static str; 4] {
    ["--ca", AUTHORITY_FILE, "--tls-name", BACKENDS_NAME]
}

/// The same in a cluster of a configuration file.
pub(crate) fn cluster_trust() -> String {
    format!("authorities = '{AUTHORITY_FILE}'\ntls_name = '{BACKENDS_NAME}'")
}

/// The files with the proxy's certificate and its key.
pub(crate) fn certificate() -> (&'static str, &'static str) {
    (CERTIFICATE_FILE, KEY_FILE)
}

/// The path of a file of the machine.
pub(crate) fn scratch_file(name: &str) -> PathBuf {
    PathBuf::from("/tmp").join(name)
}

/// A TLS acceptor that offers these protocols by ALPN; no ALPN if empty.
pub(crate) fn acceptor(protocols: &[&str]) -> TlsAcceptor {
    TlsAcceptor::from(backend_tls(protocols))
}
