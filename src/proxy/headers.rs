//! What an intermediary changes in requests and responses, and what it keeps (RFC 9110, 7.6).

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, request, response};

use super::backend_url::Scheme;
use crate::pool::Protocol;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields about one connection, not about the message (RFC 9110, 7.6.1), or for the first proxy alone.
/// That includes `Expect`: Baton answers 100 (Continue) itself, when it begins to read the body.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHORIZATION,
    EXPECT,
];
/// Fields that `Connection` must not take away: the message makes no sense without them, or they say
/// where it came from.
static PROTECTED: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    VIA,
    TRAILER,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
];

/// Who asked, and how.
#[derive(Clone, Copy, Debug)]
pub struct ClientFacts<'a> {
    /// Its address, as [`client_address`] writes it.
    pub address: &'a HeaderValue,
    /// Whether over TLS.
    pub tls: bool,
}

/// A client's address as it stands in `X-Forwarded-For`.
///
/// # Panics
/// Never: addresses are ASCII.
#[must_use]
pub fn client_address(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_canonical().to_string()).expect("addresses are ASCII")
}

/// Whether a request may be repeated without harm (RFC 9110, 9.2.2).
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE]
        .contains(method)
}

/// The authority that a request is for: that of its target if it has one, or else its `Host` (RFC 9112,
/// 3.2.2).
///
/// # Errors
/// Why the request cannot be passed on.
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
    // RFC 9112, 3.2: HTTP/1.1 requires Host; RFC 9113, 8.3.1: HTTP/2 one of the two. HTTP/1.0 does
    // not, but nothing could be sent on over HTTP/2 without an authority.
    let authority = parts.uri.authority().cloned().or(of_host);
    let authority = authority.ok_or_else(|| bad("no authority: expected Host or :authority"))?;
    match refuse_target(parts, host) {
        None => Ok(authority),
        Some(line) => Err(bad(line)),
    }
}

/// What is wrong with the target of a request, if anything: what would mean something else to the
/// next reader, above all after a change of protocol.
fn refuse_target(parts: &request::Parts, host: Option<&HeaderValue>) -> Option<&'static str> {
    let authority = parts.uri.authority().map(Authority::as_str);
    // RFC 9110, 4.2.4; RFC 9113, 8.3.1.
    let host = host.map(HeaderValue::as_bytes);
    if authority.is_some_and(|authority| authority.contains('@'))
        || host.is_some_and(|host| host.contains(&b'@'))
    {
        return Some("user information in the authority");
    }
    // RFC 9112, 3.2.3: the authority form is for CONNECT.
    if authority.is_some() && parts.uri.scheme().is_none() {
        return Some("the target is an authority");
    }
    let path = parts.uri.path();
    let asterisk = path == "*" && parts.method == Method::OPTIONS;
    if !path.is_empty() && !path.starts_with('/') && !asterisk {
        return Some("the target is no path");
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

/// The head of one attempt at a request: what the client sent, without what was meant for Baton, with
/// what an intermediary adds. Path and query stay as they are, byte for byte.
///
/// `authority` is what [`authority`] said of it. `X-Forwarded-For` grows by the client's address; `-Proto`
/// and `-Host` say what the client used and replace what it claimed.
#[must_use]
pub fn upstream_request(
    parts: &request::Parts,
    authority: &Authority,
    client: ClientFacts<'_>,
    protocol: Protocol,
    scheme: Scheme,
) -> Request<()> {
    let mut headers = parts.headers.clone();
    let trailers = remove_hop_by_hop(&mut headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if protocol == Protocol::Http1 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    // Without an authority in the target this is what it was read from.
    let host = headers.remove(HOST).filter(|_| parts.uri.authority().is_none());
    let host = host.unwrap_or_else(|| {
        HeaderValue::from_str(authority.as_str()).expect("authorities are ASCII")
    });
    add_forwarded(&mut headers, client, &host);
    add_via(&mut headers, parts.version);
    let path = parts.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let (uri, version) = match protocol {
        Protocol::Http1 => {
            headers.insert(HOST, host);
            join_cookies(&mut headers);
            (Uri::from(path), Version::HTTP_11)
        }
        Protocol::Http2 => (absolute(authority, path, scheme), Version::HTTP_2),
    };
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    request
}

/// Removes what was meant for Baton from a response, and adds what an intermediary adds.
pub fn downstream_response(head: &mut response::Parts, client: Version) {
    let received = head.version;
    remove_hop_by_hop(&mut head.headers);
    // RFC 9110, 8.6: a length that is repeated is replaced by one.
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lengths.next().cloned(), lengths.next()) {
        head.headers.insert(CONTENT_LENGTH, length);
    }
    add_via(&mut head.headers, received);
    head.version = client;
    // hyper's own marks of a connection say nothing about this one.
    head.extensions.clear();
}

/// Whether a response never has content, whatever its head says (RFC 9110, 6.4.1).
#[must_use]
pub fn has_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// The length that a head announces.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Whether the connection of an HTTP/1 response ends with it (RFC 9112, 9.3).
#[must_use]
pub fn closes_connection(head: &response::Parts) -> bool {
    let has = |option: &str| {
        list_members(&head.headers, CONNECTION).any(|member| member.eq_ignore_ascii_case(option))
    };
    has("close") || (head.version == Version::HTTP_10 && !has("keep-alive"))
}

fn absolute(authority: &Authority, path: PathAndQuery, scheme: Scheme) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.of_requests());
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).expect("a scheme, an authority and a path are all that it takes")
}

/// The members of a comma-separated list, over all its lines (RFC 9110, 5.6.1).
fn list_members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

/// RFC 9110, 10.1.4: only `trailers` may be passed on, and only it is of use.
fn wants_trailers(headers: &HeaderMap) -> bool {
    list_members(headers, TE).any(|member| member.eq_ignore_ascii_case("trailers"))
}

/// Removes what was meant for Baton, and says whether trailers are welcome. Most heads have nothing of
/// that, and comparing their few names takes less than looking for each.
fn remove_hop_by_hop(headers: &mut HeaderMap) -> bool {
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return false;
    }
    let trailers = wants_trailers(headers);
    let named: Vec<HeaderName> = list_members(headers, CONNECTION)
        .filter_map(|name| HeaderName::try_from(name).ok())
        .filter(|name| !PROTECTED.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    trailers
}

fn add_forwarded(headers: &mut HeaderMap, client: ClientFacts<'_>, host: &HeaderValue) {
    if headers.keys().any(|name| name == X_FORWARDED_FOR) {
        let mut list: Vec<&str> = list_members(headers, X_FORWARDED_FOR).collect();
        list.extend(client.address.to_str());
        let list = list.join(", ");
        let list = HeaderValue::try_from(list).expect("members of valid values are valid");
        headers.insert(X_FORWARDED_FOR, list);
    } else {
        headers.insert(X_FORWARDED_FOR, client.address.clone());
    }
    let scheme = if client.tls {
        const { HeaderValue::from_static("https") }
    } else {
        const { HeaderValue::from_static("http") }
    };
    headers.insert(X_FORWARDED_PROTO, scheme);
    headers.insert(X_FORWARDED_HOST, host.clone());
}

/// RFC 9110, 7.6.3: the version in which the message was received.
fn add_via(headers: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_10 => const { HeaderValue::from_static("1.0 baton") },
        Version::HTTP_2 => const { HeaderValue::from_static("2 baton") },
        _ => const { HeaderValue::from_static("1.1 baton") },
    };
    headers.append(VIA, via);
}

/// RFC 9113, 8.2.3: HTTP/2 may split cookies over lines; HTTP/1.1 has them in one.
fn join_cookies(headers: &mut HeaderMap) {
    let values: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if values.len() > 1 {
        let joined = values.join(&b"; "[..]);
        let joined = HeaderValue::from_bytes(&joined).expect("made of valid values");
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
