//! A certificate authority for one run, and one certificate signed by it for `localhost` and
//! 127.0.0.1, which the origin and every proxy present. All verify it with the same authority, so
//! all do the same work in a handshake. The key is ECDSA P-256, the most common type today.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Outcome;

/// The name in the certificate, and in the handshakes of all proxies.
pub(crate) const NAME: &str = "localhost";

/// Paths of the files. Peers need different formats.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Certificate and key in one file, as HAProxy reads them.
    pub(crate) both: PathBuf,
}

impl Certificates {
    /// The paths in a directory; the files may not exist yet.
    pub(crate) fn at(directory: &Path) -> Self {
        Self {
            authority: directory.join("authority.pem"),
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
            both: directory.join("certificate-and-key.pem"),
        }
    }

    /// Creates the authority and the certificate, and writes the files.
    pub(crate) fn write(directory: &Path) -> Outcome<Self> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "compare");
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate()?;
        let names = vec![NAME.to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;

        let files = Self::at(directory);
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        fs::write(&files.authority, authority_certificate.pem())?;
        fs::write(&files.certificate, &certificate)?;
        fs::write(&files.key, &key)?;
        fs::write(&files.both, certificate + &key)?;
        Ok(files)
    }

    /// TLS configuration of a server with these protocols.
    pub(crate) fn server(&self, protocols: &[&[u8]]) -> Outcome<Arc<ServerConfig>> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// TLS configuration of an HTTP/2 client.
    pub(crate) fn client(&self) -> Outcome<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.authority)? {
            roots.add(certificate?)?;
        }
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}
