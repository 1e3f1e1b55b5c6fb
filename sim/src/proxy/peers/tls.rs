//! TLS as a function of the seed: real rustls at every end, with a source of randomness, a clock
//! and a key exchange that the run decides. Every byte of a handshake and every byte after it
//! follows from the seed and from what is sent, so that ciphertext can be compared between runs.
//!
//! Certificates are constants: an authority, and certificates in its name with Ed25519 keys, valid
//! from 2020 to 2120. The proxy gets its own as the text of files.

mod signatures;

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup, ring,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, Error, NamedGroup, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::draw::{Domain, Draws, RandomStream};

/// A certificate and its key, as the text of PEM files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: &'static str,
    pub(crate) key: &'static str,
}

/// The authority that every certificate here is issued by, as the text of a PEM file.
pub(crate) const AUTHORITY: &str = include_str!("tls/authority.pem");
/// The name that clients expect of the proxy.
pub(crate) const FRONT_NAME: &str = "front.test";
/// The proxy's certificate, for [`FRONT_NAME`].
pub(crate) const FRONT: Identity =
    Identity { certificate: include_str!("tls/front.pem"), key: include_str!("tls/front-key.pem") };
/// Another certificate for the same name, with another key.
pub(crate) const FRONT_RENEWED: Identity = Identity {
    certificate: include_str!("tls/front-renewed.pem"),
    key: include_str!("tls/front-renewed-key.pem"),
};
/// The certificate of all backends: for `backends.test` and every name directly below it.
pub(crate) const BACKENDS: Identity = Identity {
    certificate: include_str!("tls/backends.pem"),
    key: include_str!("tls/backends-key.pem"),
};

/// A certificate of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// [`FRONT`].
    First,
    /// [`FRONT_RENEWED`].
    Renewed,
}

/// The certificate that the proxy has shown to a client; `None` if it is neither.
pub(crate) fn seen<S>(stream: &client::TlsStream<S>) -> Option<Front> {
    static KNOWN: [OnceLock<CertificateDer<'static>>; 2] = [const { OnceLock::new() }; 2];
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    [(Front::First, FRONT), (Front::Renewed, FRONT_RENEWED)].into_iter().find_map(
        |(front, identity)| {
            let known = KNOWN[front as usize].get_or_init(|| {
                CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("it is PEM")
            });
            (known == shown).then_some(front)
        },
    )
}

/// The one protocol that an end offers in ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
        }
    }
}

thread_local! {
    /// The source of randomness of the run on this thread.
    static RANDOM: RefCell<Option<RandomStream>> = const { RefCell::new(None) };
}

/// The randomness of TLS on this thread comes from a seed for as long as this lives. Without it,
/// no handshake succeeds.
#[derive(Debug)]
pub(crate) struct Seeded(());

impl Seeded {
    pub(crate) fn new(draws: Draws) -> Self {
        signatures::forget_unverified();
        RANDOM.set(Some(draws.stream(Domain::Tls, 0)));
        Self(())
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        RANDOM.set(None);
    }
}

/// The provider of every end of every run, the proxy's too: that of ring, apart from what it takes
/// from the system.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider {
            secure_random: &SeededRandom,
            kx_groups: vec![&OpenExchange],
            signature_verification_algorithms: signatures::ALGORITHMS,
            key_provider: &signatures::Keys,
            ..ring::default_provider()
        })
    });
    Arc::clone(provider)
}

/// The clock of every end of every run, the proxy's too. It stands still in 2026: no certificate
/// begins or ends to be valid in a run.
pub(crate) fn clock() -> Arc<dyn TimeProvider> {
    Arc::new(FixedTime)
}

#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(1_780_000_000)))
    }
}

#[derive(Debug)]
struct SeededRandom;

impl SecureRandom for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        RANDOM.with_borrow_mut(|random| {
            let random = random.as_mut().ok_or(GetRandomFailed)?;
            bytes.fill_with(|| random.below(256) as u8);
            Ok(())
        })
    }
}

/// A key exchange in the form of X25519, but without a secret: what both ends share is the
/// difference of their public keys, which are drawn. That of ring takes its keys from the system,
/// and there is no other way to make it draw them. Nothing of the proxy depends on secrecy.
#[derive(Debug)]
struct OpenExchange;

const KEY_BYTES: usize = 32;

impl SupportedKxGroup for OpenExchange {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut public = [0; KEY_BYTES];
        SeededRandom.fill(&mut public)?;
        Ok(Box::new(OpenKey(public)))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct OpenKey([u8; KEY_BYTES]);

impl ActiveKeyExchange for OpenKey {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        if peer.len() != KEY_BYTES {
            return Err(Error::General(format!("a public key of {} bytes", peer.len())));
        }
        let shared: Vec<u8> = self.0.iter().zip(peer).map(|(own, peer)| own ^ peer).collect();
        Ok(shared.into())
    }

    fn pub_key(&self) -> &[u8] {
        &self.0
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// Performs the handshake of a client with the proxy. The client trusts only [`AUTHORITY`].
pub(crate) async fn connect<S>(stream: S, protocol: Protocol) -> io::Result<client::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    static CONFIGS: [OnceLock<Arc<ClientConfig>>; 2] = [const { OnceLock::new() }; 2];
    let config = CONFIGS[protocol as usize].get_or_init(|| Arc::new(client_config(protocol)));
    let name = ServerName::try_from(FRONT_NAME).expect("it is a name");
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// Performs the handshake of a backend with the proxy, as [`BACKENDS`].
pub(crate) async fn accept<S>(stream: S, protocol: Protocol) -> io::Result<server::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    static CONFIGS: [OnceLock<Arc<ServerConfig>>; 2] = [const { OnceLock::new() }; 2];
    let config = CONFIGS[protocol as usize].get_or_init(|| {
        let mut config = server_config(BACKENDS);
        config.alpn_protocols = protocol.alpn();
        Arc::new(config)
    });
    TlsAcceptor::from(Arc::clone(config)).accept(stream).await
}

fn client_config(protocol: Protocol) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).expect("it is PEM");
    roots.add(authority).expect("it is a certificate");
    let mut config = ClientConfig::builder_with_details(provider(), clock())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocol.alpn();
    config.resumption = Resumption::disabled();
    config
}

/// Neither end of a run keeps a session: configurations are shared by all runs of the process.
pub(crate) fn server_config(identity: Identity) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("it is PEM");
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("it is PEM");
    let mut config = ServerConfig::builder_with_details(provider(), clock())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key is that of the certificate");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

#[cfg(test)]
mod tests;
