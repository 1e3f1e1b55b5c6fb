//! The target of a request (RFC 9110, 7.1; RFC 9112, 3.2), and what is wrong with it.

use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, StatusCode, Version, request};

use super::malformed::{has_padded_value, has_wrong_length};

/// Returns the authority that a request is for: its target's, or else that of its `Host` (RFC 9112,
/// 3.2.2).
///
/// # Errors
/// The status and the reason if the request cannot be forwarded.
pub fn authority(parts: &request::Parts) -> Result<Authority, (StatusCode, &'static str)> {
    if parts.method == Method::CONNECT {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not supported"));
    }
    let bad = |line| (StatusCode::BAD_REQUEST, line);
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("more than one Host field"));
    }
    let of_host = host.map(|host| Authority::try_from(host.as_bytes())).transpose();
    let of_host = of_host.map_err(|_| bad("Host is not an authority"))?;
    // RFC 9112, 3.2: HTTP/1.1 requires Host; RFC 9113, 8.3.1: HTTP/2 requires one of the two.
    // HTTP/1.0 requires neither, but a request without an authority cannot be forwarded over
    // HTTP/2.
    let is_due = parts.version == Version::HTTP_11 && host.is_none();
    let authority = parts.uri.authority().cloned().or(of_host).filter(|_| !is_due);
    let authority = authority.ok_or_else(|| bad("no authority: expected Host or :authority"))?;
    if let Some(line) = refuse_target(parts, host) {
        return Err(bad(line));
    }
    if !is_host_and_port(&authority) {
        return Err(bad("the authority is not a host and a port"));
    }
    Ok(authority)
}

/// Returns what is wrong with the target of a request, if anything. Refuses what the next recipient
/// could read differently, above all after a change of protocol.
fn refuse_target(parts: &request::Parts, host: Option<&HeaderValue>) -> Option<&'static str> {
    let authority = parts.uri.authority().map(Authority::as_str);
    // RFC 9110, 4.2.4; RFC 9113, 8.3.1.
    let host = host.map(HeaderValue::as_bytes);
    if authority.is_some_and(|authority| authority.contains('@'))
        || host.is_some_and(|host| host.contains(&b'@'))
    {
        return Some("user information in the authority");
    }
    // RFC 9110, 7.4.
    let is_http = |scheme: &str| ["http", "https"].iter().any(|it| it.eq_ignore_ascii_case(scheme));
    if parts.uri.scheme_str().is_some_and(|scheme| !is_http(scheme)) {
        return Some("the scheme is not http or https");
    }
    // RFC 9112, 3.2.3: the authority form is for CONNECT.
    if authority.is_some() && parts.uri.scheme().is_none() {
        return Some("the target is an authority");
    }
    // RFC 9113, 8.3.1. Over HTTP/1.1 the path of an absolute form may be empty.
    if parts.version == Version::HTTP_2 && parts.uri.path().is_empty() {
        return Some("no :path");
    }
    if parts.version == Version::HTTP_2 && has_padded_value(&parts.headers) {
        return Some("white space around a field value");
    }
    if has_wrong_length(&parts.headers) {
        return Some("the length is not one number");
    }
    let path = parts.uri.path();
    let asterisk = path == "*" && parts.method == Method::OPTIONS;
    if !path.is_empty() && !path.starts_with('/') && !asterisk {
        return Some("the target is not a path");
    }
    let lacks_path = parts.uri.path_and_query().is_some_and(is_query_alone);
    if lacks_path && origin_form(parts).is_none() {
        return Some("the target is too long");
    }
    // RFC 9113, 8.3.1. In HTTP/1.1 a target with an authority replaces Host (RFC 9112, 3.2.2).
    if parts.version == Version::HTTP_2
        && let (Some(authority), Some(host)) = (authority, host)
        && !authority.as_bytes().eq_ignore_ascii_case(host)
    {
        return Some(":authority and Host disagree");
    }
    None
}

/// True if an authority without user information has a host, and its port is none or a number (RFC
/// 9110, 4.2.1; RFC 3986, 3.2.3).
fn is_host_and_port(authority: &Authority) -> bool {
    let authority = authority.as_str();
    // An IPv6 address has colons, too.
    let host = if authority.starts_with('[') {
        authority.find(']').map(|last| last + 1)
    } else {
        authority.bytes().position(|byte| byte == b':')
    };
    let (host, port) = authority.split_at(host.unwrap_or(authority.len()));
    let is_port = |port: &str| {
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        is_number && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    !host.is_empty() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Returns the target of a request without its authority. The path of a target in absolute form may
/// be empty (RFC 9112, 3.2.1). `None` if the path that is added makes it too long.
pub(super) fn origin_form(parts: &request::Parts) -> Option<PathAndQuery> {
    match (parts.uri.path_and_query(), parts.uri.query()) {
        (Some(target), Some(query)) if is_query_alone(target) => format!("/?{query}").parse().ok(),
        (Some(target), _) => Some(target.clone()),
        (None, _) => Some(PathAndQuery::from_static("/")),
    }
}

fn is_query_alone(target: &PathAndQuery) -> bool {
    target.as_str().starts_with('?')
}
