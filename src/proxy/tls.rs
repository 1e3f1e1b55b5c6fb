//! TLS towards clients and backends, with rustls. The cryptography provider is always passed
//! explicitly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use super::backend_url::Scheme;
use super::config::{BackendSettings, CertificateFiles, ProxyConfig};
use super::limits::{BACKEND_SESSIONS, CERTIFICATE_FILE_BYTES_MAX};
use super::seams;

/// HTTP/2 in ALPN (RFC 9113, 3.2).
pub const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";
/// The name of HTTP/1.0 (IANA, TLS ALPN Protocol IDs). curl offers nothing else for `--http1.0`.
const ALPN_HTTP10: &[u8] = b"http/1.0";

/// The contents of a configuration's files: what TLS needs on both sides.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// TLS towards clients, by listener; `None` for cleartext.
    pub listeners: Vec<Option<Arc<ServerConfig>>>,
    /// TLS towards backends, by cluster and backend; `None` for cleartext.
    pub backends: Vec<Vec<Option<BackendTls>>>,
}

impl Certificates {
    /// Reads every certificate, key and authority that a configuration names. A reload reads them
    /// again.
    ///
    /// # Errors
    /// One line for each file that cannot be read or is invalid.
    pub fn load(config: &ProxyConfig) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let listeners = config.listeners.iter().map(|listener| {
            let files = listener.tls.as_ref()?;
            server_config(files, listener.http2).map_err(|error| errors.push(error)).ok()
        });
        let listeners = listeners.collect();
        let mut upstream = UpstreamTls::default();
        let clusters = config.clusters.iter().map(|cluster| {
            let backends = cluster.backends.iter().map(|backend| match backend.url.scheme {
                Scheme::Https => upstream.backend(backend).map_err(|error| errors.push(error)).ok(),
                Scheme::Http2Cleartext | Scheme::Http => None,
            });
            backends.collect()
        });
        let backends = clusters.collect();
        errors.sort();
        errors.dedup();
        if errors.is_empty() { Ok(Self { listeners, backends }) } else { Err(errors) }
    }
}

/// TLS towards one backend.
#[derive(Clone, Debug)]
pub struct BackendTls {
    /// The server name to send (SNI) and to verify.
    pub name: ServerName<'static>,
    /// The rest of the configuration, with the cache of sessions that may be resumed.
    pub config: Arc<ClientConfig>,
}

/// Everything that must be equal for a TLS session to be resumed. Each key has its own
/// configuration, and so its own session cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SessionKey {
    address: String,
    server_name: String,
    authorities: Option<PathBuf>,
    certificate: Option<CertificateFiles>,
    insecure: bool,
}

/// TLS towards backends. Each file is read once.
#[derive(Default)]
struct UpstreamTls {
    roots: BTreeMap<Option<PathBuf>, Arc<RootCertStore>>,
    configurations: BTreeMap<SessionKey, Arc<ClientConfig>>,
    warned: bool,
}

impl UpstreamTls {
    fn backend(&mut self, backend: &BackendSettings) -> Result<BackendTls, String> {
        let (url, settings) = (&backend.url, &backend.tls);
        let server_name = settings.name.as_ref().unwrap_or(&url.host);
        let name = ServerName::try_from(server_name.clone())
            .map_err(|error| format!("{server_name}: {error}; expected a name for TLS"))?;
        let key = SessionKey {
            address: format!("{}:{}", url.host, url.port),
            server_name: server_name.clone(),
            // Without verification the authorities have no effect.
            authorities: settings.authorities.clone().filter(|_| !settings.insecure),
            certificate: settings.certificate.clone(),
            insecure: settings.insecure,
        };
        if settings.insecure && !self.warned {
            tracing::warn!(target: "baton", "certificates of backends are not verified (insecure)");
            self.warned = true;
        }
        let config = match self.configurations.get(&key) {
            Some(config) => Arc::clone(config),
            None => {
                let config = Arc::new(self.client_config(&key)?);
                self.configurations.insert(key, Arc::clone(&config));
                config
            }
        };
        Ok(BackendTls { name, config })
    }

    fn client_config(&mut self, key: &SessionKey) -> Result<ClientConfig, String> {
        let provider = seams::crypto_provider();
        let clock = seams::certificate_clock();
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), clock)
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3");
        let builder = if key.insecure {
            let unverified = Arc::new(Unverified(provider));
            builder.dangerous().with_custom_certificate_verifier(unverified)
        } else {
            builder.with_root_certificates(self.roots(key.authorities.as_deref())?)
        };
        let mut config = match &key.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let (chain, private_key) = read_certificate(files)?;
                builder
                    .with_client_auth_cert(chain, private_key)
                    .map_err(|error| not_together(files, &error))?
            }
        };
        config.resumption = Resumption::in_memory_sessions(BACKEND_SESSIONS);
        config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(config)
    }

    /// Returns the authorities in a file, or those of the system.
    fn roots(&mut self, path: Option<&Path>) -> Result<Arc<RootCertStore>, String> {
        let key = path.map(Path::to_path_buf);
        if let Some(roots) = self.roots.get(&key) {
            return Ok(Arc::clone(roots));
        }
        let roots = Arc::new(match path {
            Some(path) => roots_from_file(path)?,
            None => system_roots(),
        });
        self.roots.insert(key, Arc::clone(&roots));
        Ok(roots)
    }
}

/// Accepts every certificate, for `--insecure`. Signatures are still verified: the peer owns the
/// key of its certificate.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Reads certificate authorities, PEM.
///
/// # Errors
/// If the file cannot be read or is invalid; the text names the file.
pub fn roots_from_file(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| {
            format!("{}: {error}; expected certificate authorities in PEM", path.display())
        })?;
    }
    Ok(roots)
}

/// Returns the usable roots of the system. Having none is not an error here: every connection to an
/// `https://` backend will fail with one.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!(target: "baton", %error, "system certificate not loaded");
    }
    roots.add_parsable_certificates(loaded.certs);
    roots
}

/// Builds the TLS configuration towards clients, with HTTP/2 or without.
///
/// # Errors
/// If a file cannot be read or is invalid; the text names the file.
pub fn server_config(files: &CertificateFiles, http2: bool) -> Result<Arc<ServerConfig>, String> {
    let (chain, key) = read_certificate(files)?;
    let (provider, clock) = (seams::crypto_provider(), seams::certificate_clock());
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| not_together(files, &error))?;
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec(), ALPN_HTTP10.to_vec()];
    if http2 {
        config.alpn_protocols.insert(0, ALPN_H2.to_vec());
    }
    Ok(Arc::new(config))
}

/// Checks a client certificate for backends.
///
/// # Errors
/// If a file cannot be read or is invalid; the text names the file.
pub fn check_client_certificate(files: &CertificateFiles) -> Result<(), String> {
    // Client and server certificates must match their keys in the same way.
    server_config(files, true).map(drop)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_certificate(files: &CertificateFiles) -> Result<Identity, String> {
    let chain = certificates(&files.certificate)?;
    let key = read(&files.key).and_then(|bytes| PrivateKeyDer::from_pem_slice(&bytes));
    let key = key.map_err(|error| {
        format!("{}: {error}; expected a private key in PEM", files.key.display())
    })?;
    Ok((chain, key))
}

fn read(path: &Path) -> Result<Vec<u8>, pem::Error> {
    seams::read_file(path, CERTIFICATE_FILE_BYTES_MAX).map_err(pem::Error::Io)
}

fn not_together(files: &CertificateFiles, error: &Error) -> String {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    format!("{certificate} and {key}: {error}; expected a certificate and its key")
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error| format!("{}: {error}; expected certificates in PEM", path.display());
    let bytes = read(path).map_err(failed)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(failed)?;
    if certificates.is_empty() {
        return Err(format!("{}: no certificate; expected certificates in PEM", path.display()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::config::{ClusterConfig, UpstreamTlsSettings};

    fn backend(url: &str, tls: UpstreamTlsSettings) -> BackendSettings {
        BackendSettings { url: url.parse().expect("a URL"), weight: 1, tls }
    }

    #[test]
    fn sessions_are_shared_only_between_equal_settings() {
        let mut upstream = UpstreamTls::default();
        let insecure = UpstreamTlsSettings { insecure: true, ..UpstreamTlsSettings::default() };
        let named =
            |name: &str| UpstreamTlsSettings { name: Some(name.to_owned()), ..insecure.clone() };
        let mut config = |url: &str, tls: &UpstreamTlsSettings| {
            upstream.backend(&backend(url, tls.clone())).expect("nothing is read").config
        };
        let first = config("https://127.0.0.1:1", &insecure);
        assert!(Arc::ptr_eq(&first, &config("https://127.0.0.1:1", &insecure)));
        let same_name = config("https://127.0.0.1:1", &named("127.0.0.1"));
        assert!(Arc::ptr_eq(&first, &same_name));
        for other in [
            config("https://127.0.0.1:2", &insecure),
            config("https://127.0.0.1:1", &named("other.test")),
            config("https://127.0.0.1:1", &UpstreamTlsSettings::default()),
        ] {
            assert!(!Arc::ptr_eq(&first, &other));
        }
    }

    #[test]
    fn each_file_that_is_missing_or_wrong_is_named() {
        let wrong = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let mut cluster = ClusterConfig::new("any");
        for path in ["/nonexistent/ca.pem", wrong] {
            let tls = UpstreamTlsSettings {
                authorities: Some(path.into()),
                ..UpstreamTlsSettings::default()
            };
            cluster.backends.push(backend("https://127.0.0.1:1", tls));
        }
        let config = ProxyConfig { clusters: vec![cluster], ..ProxyConfig::default() };
        let errors = Certificates::load(&config).expect_err("two wrong files");
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors.iter().any(|error| error.starts_with("/nonexistent/ca.pem: ")),
            "{errors:?}"
        );
        let says = |error: &String| error.contains("Cargo.toml: no certificate; expected");
        assert!(errors.iter().any(says), "{errors:?}");
    }
}
