//! All settings, each defined once. These tables drive the reader of files, `baton config` and the
//! flags of `baton run`: a new setting is one new entry. The entries of pools and clients are in
//! [`pool::settings`](crate::pool::settings) and [`client_limits`](crate::proxy::client_limits).
//!
//! | table | of | in the file |
//! |---|---|---|
//! | [`PROCESS`] | the process | `[process]`, `[admin]`, `[access_log]` |
//! | [`CLIENTS`] | the process | `[clients]`, `[client_frames]` |
//! | [`LISTENER`] | each listener | `[[listener]]` |
//! | [`CLUSTER`] | each cluster | `[cluster.NAME]` and its sub-tables |
//! | [`UPSTREAM_TLS`] | a cluster or a backend | `[cluster.NAME]`, `[[cluster.NAME.backend]]` |
//! | [`BACKEND`] | each backend | `[[cluster.NAME.backend]]` |
//! | [`ROUTE`] | each route | `[[route]]` |
//!
//! Each entry gives its table in the file, relative to the table of its part. To add a table such
//! as `[admin]`, it is enough to name it in an entry.

mod clients;
mod cluster;
pub mod text;

use super::setting::{Setting, certificate_field, field};
use super::value::Kind;
use crate::pool::limits::WEIGHT_MAX;
use crate::proxy::config::{
    AccessLogFormat, BackendSettings, ListenerConfig, LogLevel, ProxyConfig, UpstreamTlsSettings,
};
use crate::proxy::limits::WORKERS_MAX;
use crate::proxy::route::Route;

pub use clients::CLIENTS;
pub use cluster::CLUSTER;

/// Any integer from zero to the largest that TOML allows.
const ANY_NUMBER: Kind = Kind::Integer { min: 0, max: i64::MAX as u64 };

/// Settings of the process, without those of [`CLIENTS`].
pub static PROCESS: &[Setting<ProxyConfig>] = &[
    Setting::new(
        "process",
        "workers",
        Kind::count(WORKERS_MAX as u64),
        field!(ProxyConfig: workers),
        "Threads, each with a pool for each cluster",
    )
    .flag("workers")
    .unset("one per core"),
    Setting::new(
        "process",
        "seed",
        ANY_NUMBER,
        field!(ProxyConfig: seed),
        "Seed of random choices",
    )
    .flag("seed")
    .unset("drawn"),
    Setting::new(
        "process",
        "log_level",
        Kind::Choice(LogLevel::NAMES),
        field!(ProxyConfig: log_level),
        "Lowest severity to log to standard error",
    )
    .flag("log-level")
    .short('l'),
    Setting::new(
        "process",
        "watch",
        Kind::Boolean,
        field!(ProxyConfig: watch),
        "Reload when the file, or a certificate that it names, changes",
    )
    .flag("watch"),
    Setting::new(
        "admin",
        "address",
        text::ADDRESS,
        field!(ProxyConfig: admin),
        "Address of the admin interface; it has no authentication: keep it on loopback",
    )
    .flag("admin")
    .unset("off"),
    Setting::new(
        "access_log",
        "format",
        Kind::Choice(AccessLogFormat::NAMES),
        field!(ProxyConfig: access_log.format),
        "Format of the access log; auto is text on a terminal, json elsewhere",
    )
    .flag("access-log"),
    Setting::new(
        "access_log",
        "file",
        Kind::Path,
        field!(ProxyConfig: access_log.file),
        "File for the access log",
    )
    .flag("access-log-file")
    .unset("standard error"),
];

/// Sorts settings by `sections`, which is the order in which they are printed. The order within a
/// section stays.
fn in_order<T>(mut settings: Vec<Setting<T>>, sections: &[&str]) -> Vec<Setting<T>> {
    let place = |section: &str| sections.iter().position(|it| *it == section);
    settings.sort_by_key(|setting| place(setting.section).expect("every table has its place"));
    settings
}

/// Returns all settings of the process.
pub fn of_process() -> impl Iterator<Item = &'static Setting<ProxyConfig>> {
    PROCESS.iter().chain(CLIENTS.iter())
}

/// Settings of a listener.
pub static LISTENER: &[Setting<ListenerConfig>] = &[
    Setting::new(
        "",
        "address",
        text::ADDRESS,
        field!(ListenerConfig: address),
        "Address to listen on; port 0 lets the system choose",
    )
    .required(),
    Setting::new(
        "",
        "certificate",
        Kind::Path,
        certificate_field!(ListenerConfig: tls => certificate),
        "Certificate chain for TLS to clients, PEM, leaf first",
    )
    .flag("tls-cert")
    .unset("plain text"),
    Setting::new(
        "",
        "key",
        Kind::Path,
        certificate_field!(ListenerConfig: tls => key),
        "Private key for TLS to clients, PEM",
    )
    .flag("tls-key")
    .unset("plain text"),
    Setting::new(
        "",
        "http2",
        Kind::Boolean,
        field!(ListenerConfig: http2),
        "Allow HTTP/2 from clients",
    )
    .flag("http2"),
];

/// Settings of TLS to backends. A cluster's values are the defaults of its backends.
pub static UPSTREAM_TLS: &[Setting<UpstreamTlsSettings>] = &[
    Setting::new(
        "",
        "authorities",
        Kind::Path,
        field!(UpstreamTlsSettings: authorities),
        "Certificate authorities for backends, PEM, instead of the system's",
    )
    .flag("ca")
    .unset("the system's"),
    Setting::new(
        "",
        "tls_name",
        text::TLS_NAME,
        field!(UpstreamTlsSettings: name),
        "Server name (SNI) to send and to expect in the backend's certificate",
    )
    .flag("tls-name")
    .unset("the host of the URL"),
    Setting::new(
        "",
        "certificate",
        Kind::Path,
        certificate_field!(UpstreamTlsSettings: certificate => certificate),
        "Certificate chain for backends that ask for one, PEM, leaf first",
    )
    .flag("client-cert")
    .unset("none"),
    Setting::new(
        "",
        "key",
        Kind::Path,
        certificate_field!(UpstreamTlsSettings: certificate => key),
        "Private key of that certificate, PEM",
    )
    .flag("client-key")
    .unset("none"),
    Setting::new(
        "",
        "insecure",
        Kind::Boolean,
        field!(UpstreamTlsSettings: insecure),
        "Do not verify the certificates of backends",
    )
    .flag("insecure")
    .short('k'),
];

/// Settings of a backend, besides TLS.
pub static BACKEND: &[Setting<BackendSettings>] = &[
    Setting::new(
        "",
        "url",
        text::BACKEND_URL,
        field!(BackendSettings: url),
        "URL; https:// is HTTP/2, or HTTP/1.1 by ALPN",
    )
    .required(),
    Setting::new(
        "",
        "weight",
        Kind::count(WEIGHT_MAX as u64),
        field!(BackendSettings: weight),
        "Share of the requests under the strategy \"weighted\"",
    ),
];

/// Settings of a route.
pub static ROUTE: &[Setting<Route>] = &[
    Setting::new(
        "",
        "host",
        text::HOST_PATTERN,
        field!(Route: host),
        "Host, or *.example.com for its subdomains; exact before wildcard before none",
    )
    .unset("any"),
    Setting::new(
        "",
        "path_prefix",
        text::PATH_PREFIX,
        field!(Route: path_prefix),
        "First segments of the path, compared byte by byte; the longest prefix wins",
    ),
    Setting::new(
        "",
        "cluster",
        text::CLUSTER_NAME,
        field!(Route: cluster),
        "Cluster that gets the requests",
    )
    .required(),
];
