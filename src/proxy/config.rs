//! What the proxy is started with: the result of reading a configuration file or the command line.
//!
//! Everything here is a value that was read and is in bounds; nothing was opened yet. See
//! [`Certificates`](super::tls::Certificates) for what the files hold.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::backend_url::{BackendUrl, Scheme};
use super::client_limits::ClientLimits;
use super::route::Route;
use crate::pool::{self, BackendConfig, Probing};

/// Certificate chain and key, both PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where to listen; port 0 lets the system choose (the log names the result).
    pub address: SocketAddr,
    /// TLS towards clients; plain text if `None`.
    pub tls: Option<CertificateFiles>,
    /// Whether clients may speak HTTP/2: by ALPN over TLS, with prior knowledge without.
    pub http2: bool,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 8080)), tls: None, http2: true }
    }
}

/// TLS towards backends. A cluster has one of these for all of its backends; a backend may have its
/// own value for each field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTlsSettings {
    /// Name to ask for (SNI) and to expect in the certificate; the host of the URL if `None`.
    pub name: Option<String>,
    /// Certificate authorities to trust, PEM; the system's if `None`.
    pub authorities: Option<PathBuf>,
    /// Certificate to show to backends that ask for one.
    pub certificate: Option<CertificateFiles>,
    /// Do not verify certificates.
    pub insecure: bool,
}

/// One backend of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSettings {
    /// Where it is and what it speaks.
    pub url: BackendUrl,
    /// Share of the requests under the weighted strategy, 1 to 1000.
    pub weight: u16,
    /// TLS, those values included that it has from its cluster.
    pub tls: UpstreamTlsSettings,
}

impl BackendSettings {
    /// Whether these are settings of the same backend, which then keeps its connections.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.url == other.url && self.tls.name == other.tls.name
    }

    /// Whether each connection is sure to carry one request at a time.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.url.scheme == Scheme::Http
    }
}

/// Statuses that are expected, such as `200-299, 304`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(
    /// Ranges, both ends included, from 100 to 599; at least one.
    Vec<RangeInclusive<u16>>,
);

impl Statuses {
    /// Whether a status is one of them.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{}", range.start())?;
            if range.start() != range.end() {
                write!(formatter, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}

impl FromStr for Statuses {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = |part: &str| {
            let part = part.trim();
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (100 <= first && first <= last && last <= 599).then_some(first..=last)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or("statuses from 100 to 599 such as \"200-299, 304\"")
    }
}

/// What an active health check of a backend is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeKind {
    /// None: every backend counts as up.
    #[default]
    Off,
    /// A GET over the backend's own protocol, and a status that is expected.
    Http,
    /// A TCP connection that is accepted.
    Tcp,
    /// `grpc.health.v1.Health/Check` that answers SERVING.
    Grpc,
}

/// The active health check of a cluster. Interval, timeout, fall and rise are the pool's:
/// [`pool::Timeouts::probe_interval`], [`pool::HealthConfig::fall`] and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// What is done.
    pub kind: ProbeKind,
    /// Path and query of an HTTP probe; starts with `/`.
    pub path: String,
    /// Authority of an HTTP or gRPC probe; host and port of the backend if `None`.
    pub host: Option<String>,
    /// Statuses that an HTTP probe expects.
    pub statuses: Statuses,
    /// Service that a gRPC probe asks for; the whole server if empty.
    pub service: String,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            kind: ProbeKind::Off,
            path: "/".to_owned(),
            host: None,
            statuses: Statuses(vec![200..=299]),
            service: String::new(),
        }
    }
}

/// Backends that are interchangeable, and how they are used. Each worker has a pool for each cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// How routes, logs and metrics call it.
    pub name: String,
    /// The backends, in the order in which [`pool::BackendId`] counts them; at least one.
    pub backends: Vec<BackendSettings>,
    /// TLS for backends that say nothing else.
    pub tls: UpstreamTlsSettings,
    /// What its pools are built from, but for the backends: see [`ClusterConfig::pool_config`].
    pub pool: pool::Config,
    /// Active health check.
    pub probe: ProbeSettings,
}

impl ClusterConfig {
    /// Slowest request body that is put up with unless configured otherwise, in bytes per second. The
    /// pool itself puts up with any.
    pub const BODY_RATE_MIN: u32 = 100;

    /// A cluster with defaults and no backends yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            backends: Vec::new(),
            tls: UpstreamTlsSettings::default(),
            pool: pool::Config { body_rate_min: Self::BODY_RATE_MIN, ..pool::Config::default() },
            probe: ProbeSettings::default(),
        }
    }

    /// What the pool of one worker for this cluster is built from, its backends included. Worker 0
    /// orders the probes; the others are told what it finds, so a backend is probed once for the whole
    /// process.
    #[must_use]
    pub fn pool_config(&self, worker: usize) -> pool::Config {
        let probing = match self.probe.kind {
            ProbeKind::Off => Probing::Off,
            ProbeKind::Http | ProbeKind::Tcp | ProbeKind::Grpc if worker == 0 => Probing::Ordered,
            ProbeKind::Http | ProbeKind::Tcp | ProbeKind::Grpc => Probing::Told,
        };
        let backend = |backend: &BackendSettings| BackendConfig {
            weight: backend.weight,
            exclusive: backend.is_exclusive(),
        };
        let backends = self.backends.iter().map(backend).collect();
        pool::Config { backends, probing, ..self.pool.clone() }
    }
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Not at all.
    Off,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
}

/// The access log: one line per request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// How a line is written.
    pub format: AccessLogFormat,
    /// Where to; standard error if `None`.
    pub file: Option<PathBuf>,
}

/// Severity from which on the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What needs someone to act.
    Error,
    /// What may need it.
    Warn,
    /// One line per request and connection.
    #[default]
    Info,
    /// Failed handshakes and clients that left.
    Debug,
    /// Everything, of the libraries too.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Everything the proxy is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Threads, each with a pool for each cluster, 1 to [`ProxyConfig::WORKERS_MAX`]; one per core if
    /// `None`.
    pub workers: Option<u16>,
    /// Seed of the pools' random choices; drawn if `None`. The pool of cluster `c` on worker `w` gets
    /// `seed + 1024 c + w`.
    pub seed: Option<u64>,
    /// Severity from which on the log is written.
    pub log_level: LogLevel,
    /// Whether to reload when the configuration file changes, or a file of certificates that it names.
    pub watch: bool,
    /// Where to listen; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// At least one, with names of their own.
    pub clusters: Vec<ClusterConfig>,
    /// Which requests go to which cluster; no two with the same host and prefix.
    pub routes: Vec<Route>,
    /// What clients may do.
    pub client_limits: ClientLimits,
    /// Where the admin interface listens; nowhere if `None`.
    pub admin: Option<SocketAddr>,
    /// The access log.
    pub access_log: AccessLogSettings,
}

impl ProxyConfig {
    /// Most workers.
    pub const WORKERS_MAX: u16 = 1024;
    /// Most listeners.
    pub const LISTENERS_MAX: usize = 256;
    /// Most clusters: each worker has a pool for each.
    pub const CLUSTERS_MAX: usize = 256;
    /// Most routes.
    pub const ROUTES_MAX: usize = 16_384;

    /// How many workers there are on this machine, at least 1.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = self.workers.map_or_else(cores, usize::from);
        count.clamp(1, usize::from(Self::WORKERS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_and_written() {
        let statuses: Statuses = "200-299,304 , 401".parse().expect("valid");
        assert_eq!(statuses.to_string(), "200-299, 304, 401");
        for (status, expected) in
            [(199, false), (200, true), (299, true), (304, true), (305, false)]
        {
            assert_eq!(statuses.contains(status), expected, "{status}");
        }
        for wrong in ["", "99", "600", "300-200", "200-", "2xx", "200,,201", "200;201"] {
            assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
        }
    }
}
