//! Every setting, once. The reader of files, `baton config` and the flags of `baton run` are driven by
//! these tables: a further setting is one more entry.
//!
//! | table | of | in the file |
//! |---|---|---|
//! | [`PROCESS`] | the process | `[process]`, `[admin]`, `[access_log]` |
//! | [`CLIENTS`] | the process, too | `[clients]`, `[client_frames]` |
//! | [`LISTENER`] | each listener | `[[listener]]` |
//! | [`CLUSTER`] | each cluster | `[cluster.NAME]` and its sub-tables |
//! | [`UPSTREAM_TLS`] | a cluster, or one backend of it | `[cluster.NAME]`, `[[cluster.NAME.backend]]` |
//! | [`BACKEND`] | each backend | `[[cluster.NAME.backend]]` |
//! | [`ROUTE`] | each route | `[[route]]` |
//!
//! An entry names the table that it is in within that of its part, so a further table such as
//! `[admin]` is made by an entry that names it.

mod clients;
mod cluster;
pub mod text;

use super::setting::{Setting, certificate_field, field};
use super::value::Kind;
use crate::proxy::config::{BackendSettings, ListenerConfig, ProxyConfig, UpstreamTlsSettings};
use crate::proxy::route::Route;

pub use clients::CLIENTS;
pub use cluster::CLUSTER;

/// A number that any 64 bits are good for, as far as a file can hold it.
const ANY_NUMBER: Kind = Kind::Integer { min: 0, max: i64::MAX as u64 };

/// What the process has one of.
pub static PROCESS: &[Setting<ProxyConfig>] = &[
    Setting::new(
        "process",
        "workers",
        Kind::count(ProxyConfig::WORKERS_MAX as u64),
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
        Kind::Choice(text::LOG_LEVELS),
        field!(ProxyConfig: log_level),
        "Severity from which on to log to standard error",
    )
    .flag("log-level")
    .short('l'),
    Setting::new(
        "process",
        "watch",
        Kind::Boolean,
        field!(ProxyConfig: watch),
        "Whether to reload when the file or a certificate that it names changes",
    )
    .flag("watch"),
    Setting::new(
        "admin",
        "address",
        text::ADDRESS,
        field!(ProxyConfig: admin),
        "Address of the admin interface; it asks for no password, so keep it on loopback",
    )
    .flag("admin")
    .unset("off"),
    Setting::new(
        "access_log",
        "format",
        Kind::Choice(text::ACCESS_LOG_FORMATS),
        field!(ProxyConfig: access_log.format),
        "Form of a line per request; auto is text on a terminal and json elsewhere",
    )
    .flag("access-log"),
    Setting::new(
        "access_log",
        "file",
        Kind::Path,
        field!(ProxyConfig: access_log.file),
        "File that the lines go to",
    )
    .flag("access-log-file")
    .unset("standard error"),
];

/// Everything that the process has one of.
pub fn of_process() -> impl Iterator<Item = &'static Setting<ProxyConfig>> {
    PROCESS.iter().chain(CLIENTS)
}

/// What each listener has.
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
        "Certificate chain for TLS towards clients, PEM, leaf first",
    )
    .flag("tls-cert")
    .unset("plain text"),
    Setting::new(
        "",
        "key",
        Kind::Path,
        certificate_field!(ListenerConfig: tls => key),
        "Private key for TLS towards clients, PEM",
    )
    .flag("tls-key")
    .unset("plain text"),
    Setting::new(
        "",
        "http2",
        Kind::Boolean,
        field!(ListenerConfig: http2),
        "Whether clients may speak HTTP/2",
    )
    .flag("http2"),
];

/// TLS towards backends. A cluster's values hold for each of its backends that has none of its own.
pub static UPSTREAM_TLS: &[Setting<UpstreamTlsSettings>] = &[
    Setting::new(
        "",
        "authorities",
        Kind::Path,
        field!(UpstreamTlsSettings: authorities),
        "Certificate authorities to trust in backends, PEM, instead of the system's",
    )
    .flag("ca")
    .unset("the system's"),
    Setting::new(
        "",
        "tls_name",
        text::TLS_NAME,
        field!(UpstreamTlsSettings: name),
        "Name to ask backends for (SNI) and to expect in their certificates",
    )
    .flag("tls-name")
    .unset("the host of the URL"),
    Setting::new(
        "",
        "certificate",
        Kind::Path,
        certificate_field!(UpstreamTlsSettings: certificate => certificate),
        "Certificate chain to show to backends that ask for one, PEM, leaf first",
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

/// What each backend has, besides TLS.
pub static BACKEND: &[Setting<BackendSettings>] = &[
    Setting::new(
        "",
        "url",
        text::BACKEND_URL,
        field!(BackendSettings: url),
        "Where it is; over https:// it is HTTP/2, or HTTP/1.1 by ALPN",
    )
    .required(),
    Setting::new(
        "",
        "weight",
        Kind::count(1000),
        field!(BackendSettings: weight),
        "Share of the requests under the strategy \"weighted\"",
    ),
];

/// What each route has.
pub static ROUTE: &[Setting<Route>] = &[
    Setting::new(
        "",
        "host",
        text::HOST_PATTERN,
        field!(Route: host),
        "Host, or *.example.com for all below it; exact before wildcard before none",
    )
    .unset("any"),
    Setting::new(
        "",
        "path_prefix",
        text::PATH_PREFIX,
        field!(Route: path_prefix),
        "First segments of the path; the longest prefix decides, byte for byte",
    ),
    Setting::new(
        "",
        "cluster",
        text::CLUSTER_NAME,
        field!(Route: cluster),
        "Where its requests go",
    )
    .required(),
];
