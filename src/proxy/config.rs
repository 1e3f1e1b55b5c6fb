//! The configuration of the proxy: the result of reading a configuration file or the command line.
//!
//! All values here have been parsed and are within bounds; no file has been opened yet. See
//! [`Certificates`](super::tls::Certificates) for the contents of the files.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::backend_url::{BackendUrl, Scheme};
use super::client_limits::ClientLimits;
use super::limits::WORKERS_MAX;
use super::route::Route;
use crate::pool::{self, BackendConfig, HealthChecking};
use crate::words;

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateFiles {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// The address to listen on; port 0 lets the system choose one, which is logged.
    pub address: SocketAddr,
    /// TLS towards clients; `None` for cleartext.
    pub tls: Option<CertificateFiles>,
    /// True if clients may use HTTP/2: by ALPN over TLS, with prior knowledge otherwise.
    pub http2: bool,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 8080)), tls: None, http2: true }
    }
}

/// TLS towards backends. A cluster has these settings for all of its backends; a backend may
/// override each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTlsSettings {
    /// The name to send (SNI) and to verify; the URL's host if `None`.
    pub name: Option<String>,
    /// The certificate authorities to trust, PEM; the system's if `None`.
    pub authorities: Option<PathBuf>,
    /// The certificate for backends that request one.
    pub certificate: Option<CertificateFiles>,
    /// True if certificates are not verified.
    pub insecure: bool,
}

/// One backend of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSettings {
    /// The backend's URL.
    pub url: BackendUrl,
    /// The share of requests under the weighted strategy, 1 to [`pool::limits::WEIGHT_MAX`].
    pub weight: u16,
    /// TLS, including the values inherited from the cluster.
    pub tls: UpstreamTlsSettings,
}

impl BackendSettings {
    /// True if `other` are settings of the same backend, which then keeps its connections.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.url == other.url && self.tls.name == other.tls.name
    }

    /// True if each connection carries at most one request at a time.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.url.scheme == Scheme::Http
    }
}

/// Expected status codes, such as `200-299, 304`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(
    /// Inclusive ranges from 100 to 599; at least one.
    Vec<RangeInclusive<u16>>,
);

impl Statuses {
    /// True if a status code is expected.
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

words! {
    /// The kind of an active health check.
    #[derive(Default)]
    pub enum HealthCheckKind {
        /// No check: every backend counts as up.
        #[default]
        Off = "off",
        /// A GET over the backend's protocol must return an expected status code.
        Http = "http",
        /// A TCP connection must be accepted.
        Tcp = "tcp",
        /// `grpc.health.v1.Health/Check` must return SERVING.
        Grpc = "grpc",
    }
}

/// The active health check of a cluster. Interval, timeout, fall and rise are settings of the pool:
/// [`pool::Timeouts::health_check_interval`], [`pool::HealthConfig::fall`] and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheckSettings {
    /// The kind of the check.
    pub kind: HealthCheckKind,
    /// Path and query of an HTTP check; starts with `/`.
    pub path: String,
    /// Authority of an HTTP or gRPC check; host and port of the backend if `None`.
    pub host: Option<String>,
    /// The status codes that an HTTP check expects.
    pub statuses: Statuses,
    /// The service that a gRPC check asks for; the whole server if empty.
    pub service: String,
}

impl Default for HealthCheckSettings {
    fn default() -> Self {
        Self {
            kind: HealthCheckKind::Off,
            path: "/".to_owned(),
            host: None,
            statuses: Statuses(vec![200..=299]),
            service: String::new(),
        }
    }
}

/// A set of interchangeable backends, and the settings for using them. Each worker has a pool for
/// each cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The name in routes, logs and metrics.
    pub name: String,
    /// The backends, in the order of [`pool::BackendId`]; at least one.
    pub backends: Vec<BackendSettings>,
    /// The default TLS settings of the backends.
    pub tls: UpstreamTlsSettings,
    /// The settings of its pools, without the backends: see [`ClusterConfig::pool_config`].
    pub pool: pool::Config,
    /// The active health check.
    pub health_check: HealthCheckSettings,
}

impl ClusterConfig {
    /// Creates a cluster with defaults and without backends.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            backends: Vec::new(),
            tls: UpstreamTlsSettings::default(),
            pool: pool::Config::DEFAULT,
            health_check: HealthCheckSettings::default(),
        }
    }

    /// Returns the configuration of one worker's pool for this cluster, with its backends. Worker 0
    /// orders the health checks and reports the results to the others, so a backend is checked once
    /// for the whole process.
    #[must_use]
    pub fn pool_config(&self, worker: usize) -> pool::Config {
        let backend = |backend: &BackendSettings| BackendConfig {
            weight: backend.weight,
            exclusive: backend.is_exclusive(),
        };
        let backends = self.backends.iter().map(backend).collect();
        pool::Config {
            backends,
            health_checking: self.health_checking(worker),
            ..self.pool.clone()
        }
    }

    /// Returns where the pool of one worker gets the results of health checks from.
    #[must_use]
    pub fn health_checking(&self, worker: usize) -> HealthChecking {
        match self.health_check.kind {
            HealthCheckKind::Off => HealthChecking::Off,
            HealthCheckKind::Http | HealthCheckKind::Tcp | HealthCheckKind::Grpc if worker == 0 => {
                HealthChecking::Ordered
            }
            HealthCheckKind::Http | HealthCheckKind::Tcp | HealthCheckKind::Grpc => {
                HealthChecking::Reported
            }
        }
    }
}

words! {
    /// The format of the access log.
    #[derive(Default)]
    pub enum AccessLogFormat {
        /// No access log.
        Off = "off",
        /// Text, for people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
        /// Text on a terminal, JSON elsewhere.
        #[default]
        Auto = "auto",
    }
}

/// The access log: one line per request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// The format of a line.
    pub format: AccessLogFormat,
    /// The file; standard error if `None`.
    pub file: Option<PathBuf>,
}

words! {
    /// The least severity that is logged.
    #[derive(Default)]
    pub enum LogLevel {
        /// Errors that need action.
        Error = "error",
        /// Warnings that may need action.
        Warn = "warn",
        /// One line per request and connection.
        #[default]
        Info = "info",
        /// Failed handshakes and clients that closed early.
        Debug = "debug",
        /// Everything, including the libraries. Release builds have no trace points of their own.
        Trace = "trace",
    }
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

/// The whole configuration of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The number of threads, each with a pool for each cluster, 1 to [`WORKERS_MAX`]; one
    /// per core if `None`.
    pub workers: Option<u16>,
    /// The seed of the pools' random choices; random if `None`. The pool of cluster `c` on worker
    /// `w` uses `seed + 1024 c + w`.
    pub seed: Option<u64>,
    /// The least severity that is logged.
    pub log_level: LogLevel,
    /// True if a change of the configuration file, or of a certificate file that it names, causes a
    /// reload.
    pub watch: bool,
    /// The listeners; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// The clusters; at least one, with distinct names.
    pub clusters: Vec<ClusterConfig>,
    /// The routes of requests to clusters; no two with the same host and prefix.
    pub routes: Vec<Route>,
    /// The limits of clients.
    pub client_limits: ClientLimits,
    /// The bytes of responses that may wait for all clients of the process; a quarter of the memory
    /// if `None`.
    pub buffered_bytes: Option<u64>,
    /// The address of the admin interface; none if `None`.
    pub admin: Option<SocketAddr>,
    /// The access log.
    pub access_log: AccessLogSettings,
}

impl ProxyConfig {
    /// The number of workers on this machine, at least 1.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = self.workers.map_or_else(cores, usize::from);
        count.clamp(1, usize::from(WORKERS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_parsed_and_formatted() {
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
