//! What the proxy is started with: the result of parsing the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::backend_url::BackendUrl;
use super::client_limits::ClientLimits;
use crate::pool;

/// Certificate chain and key for TLS towards clients, both PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Everything the proxy is started with.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Where to listen; port 0 lets the system choose (the log names the result).
    pub listen: Vec<SocketAddr>,
    /// The backends, in the order in which [`pool::BackendId`] counts them.
    pub backends: Vec<BackendUrl>,
    /// TLS towards clients; plain text if `None`.
    pub downstream_tls: Option<CertificateFiles>,
    /// What clients may do.
    pub client_limits: ClientLimits,
    /// Certificate authorities to trust in backends, PEM; the system's if `None`.
    pub authorities: Option<PathBuf>,
    /// Do not verify backends' certificates.
    pub insecure: bool,
    /// Threads, each with its own pool; at least 1.
    pub workers: usize,
    /// Seed of the pools' random choices; worker `n` gets `seed + n`.
    pub seed: u64,
    /// What each pool is built from. Its `backends` agree with the ones above.
    pub pool: pool::Config,
}
