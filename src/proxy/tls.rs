//! TLS on both sides, with rustls. The cryptography provider is passed explicitly everywhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use super::config::CertificateFiles;

/// HTTP/2 in ALPN (RFC 9113, 3.2).
pub const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// How backends are verified.
#[derive(Clone)]
enum Verification {
    Roots(Arc<RootCertStore>),
    None,
}

/// Address and server name. Verification is the same for all of one [`UpstreamTls`].
type SessionKey = (String, String);

/// TLS towards backends. A session is resumed only with the address, server name and verification it
/// was made with: each combination has a configuration, and so a session cache, of its own.
#[derive(Clone)]
pub struct UpstreamTls {
    verification: Verification,
    configurations: Arc<Mutex<BTreeMap<SessionKey, Arc<ClientConfig>>>>,
}

impl UpstreamTls {
    /// Trusts the authorities in a PEM file, or those of the system; nobody is verified if
    /// `insecure`.
    ///
    /// # Errors
    /// If there is no authority to trust; the text says where it was looked for.
    pub fn new(authorities: Option<&Path>, insecure: bool) -> Result<Self, String> {
        let verification = if insecure {
            tracing::warn!(target: "baton", "certificates of backends are not verified (--insecure)");
            Verification::None
        } else {
            let roots = match authorities {
                Some(path) => roots_from_file(path)?,
                None => system_roots(),
            };
            Verification::Roots(Arc::new(roots))
        };
        Ok(Self { verification, configurations: Arc::default() })
    }

    /// The configuration for one backend, made when it is first asked for.
    ///
    /// # Panics
    /// If another thread panicked in here.
    pub fn client_config(&mut self, address: &str, server_name: &str) -> Arc<ClientConfig> {
        let mut configurations = self.configurations.lock().expect("nobody panics in here");
        let key = (address.to_owned(), server_name.to_owned());
        let made =
            configurations.entry(key).or_insert_with(|| Arc::new(self.verification.config()));
        Arc::clone(made)
    }
}

impl Verification {
    fn config(&self) -> ClientConfig {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3");
        let mut config = match self {
            Self::Roots(roots) => {
                builder.with_root_certificates(Arc::clone(roots)).with_no_client_auth()
            }
            Self::None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        config
    }
}

/// Believes anyone, for `--insecure`. Signatures are still checked: the peer has the key it shows.
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

fn roots_from_file(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: not a certificate authority: {error}", path.display()))?;
    }
    Ok(roots)
}

/// What of the system's roots can be used. None at all is no error here: every connection to an
/// `https://` backend will say so.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!(target: "baton", %error, "system certificate not loaded");
    }
    roots.add_parsable_certificates(loaded.certs);
    roots
}

/// TLS towards clients.
///
/// # Errors
/// If a file cannot be read or does not hold what it should; the text names the file.
pub fn server_config(files: &CertificateFiles) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
        format!("{}: expected a private key in PEM: {error}", files.key.display())
    })?;
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            let (certificate, key) = (files.certificate.display(), files.key.display());
            format!("{certificate} and {key}: not usable together: {error}")
        })?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error| format!("{}: expected certificates in PEM: {error}", path.display());
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let certificates = read.map_err(failed)?;
    if certificates.is_empty() {
        return Err(format!("{}: expected certificates in PEM, found none", path.display()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_kept_apart_by_address_and_name() {
        let mut tls = UpstreamTls::new(None, true).expect("nothing is read");
        let config = tls.client_config("127.0.0.1:1", "one");
        assert!(Arc::ptr_eq(&config, &tls.client_config("127.0.0.1:1", "one")));
        assert!(!Arc::ptr_eq(&config, &tls.client_config("127.0.0.1:1", "two")));
        assert!(!Arc::ptr_eq(&config, &tls.client_config("127.0.0.1:2", "one")));
    }

    #[test]
    fn a_file_that_is_missing_or_wrong_is_named() {
        let missing = Path::new("/nonexistent/ca.pem");
        let error = UpstreamTls::new(Some(missing), false).err().expect("missing");
        assert!(error.contains("/nonexistent/ca.pem"), "{error}");
        let wrong = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let error = UpstreamTls::new(Some(wrong), false).err().expect("wrong");
        assert!(error.contains("Cargo.toml: expected certificates in PEM"), "{error}");
    }
}
