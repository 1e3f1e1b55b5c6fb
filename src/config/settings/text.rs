//! Kinds of text values, and types that are text in a file.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery};
use rustls::pki_types::ServerName;

use crate::config::value::{Kind, text_fields};
use crate::pool::Strategy;
use crate::proxy::backend_url::BackendUrl;
use crate::proxy::config::{AccessLogFormat, HealthCheckKind, LogLevel, Statuses};
use crate::proxy::route::HostPattern;

/// The maximal length of a cluster's name, in characters.
const CLUSTER_NAME_MAX: usize = 64;

text_fields!(
    SocketAddr,
    BackendUrl,
    HostPattern,
    Statuses,
    LogLevel,
    AccessLogFormat,
    Strategy,
    HealthCheckKind,
);

/// The names of the strategies that choose a backend.
pub const STRATEGIES: &[&str] = Strategy::NAMES;

/// The names of the kinds of health checks.
pub const HEALTH_CHECK_KINDS: &[&str] = HealthCheckKind::NAMES;

/// Parses a text as a `T` and formats it again.
fn through<T: FromStr + fmt::Display>(text: &str) -> Option<String> {
    text.parse::<T>().ok().map(|value| value.to_string())
}

/// Returns the text itself, if it is valid.
fn unchanged(text: &str, valid: bool) -> Option<String> {
    valid.then(|| text.to_owned())
}

/// An IP address with a port.
pub const ADDRESS: Kind = Kind::Text {
    placeholder: "ADDR",
    expected: "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:443\"",
    canonical: through::<SocketAddr>,
};

/// The URL of a backend.
pub const BACKEND_URL: Kind = Kind::Text {
    placeholder: "URL",
    expected: "https://HOST:PORT, h2c://HOST:PORT or http://HOST:PORT",
    canonical: through::<BackendUrl>,
};

/// A name in a certificate.
pub const TLS_NAME: Kind = Kind::Text {
    placeholder: "NAME",
    expected: "a host name or an IP address",
    canonical: |text| unchanged(text, ServerName::try_from(text).is_ok()),
};

/// The hosts of a route.
pub const HOST_PATTERN: Kind = Kind::Text {
    placeholder: "HOST",
    expected: "a host such as \"example.com\", or \"*.example.com\" for its subdomains, without a port",
    canonical: through::<HostPattern>,
};

/// The path prefix of a route.
pub const PATH_PREFIX: Kind = Kind::Text {
    placeholder: "PATH",
    expected: "a path that starts with \"/\", without query or fragment",
    canonical: |text| unchanged(text, is_path(text) && !text.contains('?')),
};

/// The name of a cluster.
pub const CLUSTER_NAME: Kind = Kind::Text {
    placeholder: "NAME",
    expected: "the name of a cluster: 1 to 64 of a-z, A-Z, 0-9, \"-\" and \"_\"",
    canonical: |text| {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let length = (1..=CLUSTER_NAME_MAX).contains(&text.len());
        unchanged(text, length && text.bytes().all(valid))
    },
};

/// The path and query of a health check.
pub const HEALTH_CHECK_PATH: Kind = Kind::Text {
    placeholder: "PATH",
    expected: "a path that starts with \"/\", with or without a query",
    canonical: |text| unchanged(text, is_path(text)),
};

/// The Host field of a health check.
pub const HEALTH_CHECK_HOST: Kind = Kind::Text {
    placeholder: "HOST",
    expected: "a host, with or without a port",
    canonical: |text| {
        let valid = text.parse::<Authority>().is_ok_and(|host| !host.as_str().contains('@'));
        unchanged(text, valid)
    },
};

/// The expected status codes of a health check.
pub const STATUSES: Kind = Kind::Text {
    placeholder: "STATUSES",
    expected: "statuses from 100 to 599 such as \"200-299, 304\"",
    canonical: through::<Statuses>,
};

/// The service of a gRPC health check.
pub const GRPC_SERVICE: Kind = Kind::Text {
    placeholder: "NAME",
    expected: "the full name of a gRPC service, or \"\" for the whole server",
    canonical: |text| {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        unchanged(text, text.len() <= 256 && text.bytes().all(valid))
    },
};

fn is_path(text: &str) -> bool {
    // `PathAndQuery` cuts a fragment off instead of refusing it.
    text.starts_with('/') && !text.contains('#') && text.parse::<PathAndQuery>().is_ok()
}
