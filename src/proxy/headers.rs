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
const HOP_BY_HOP: [HeaderName; 8] = [
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
const PROTECTED: [HeaderName; 8] = [
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
#[derive(Clone, Debug)]
pub struct ClientFacts {
    address: HeaderValue,
    tls: bool,
    version: Version,
}

impl ClientFacts {
    /// The client at an address as [`client_address`] writes it, over TLS or not, with this version of
    /// HTTP.
    #[must_use]
    pub fn new(address: HeaderValue, tls: bool, version: Version) -> Self {
        Self { address, tls, version }
    }
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

/// Why a request cannot be passed on, if it cannot.
#[must_use]
pub fn refuse(parts: &request::Parts) -> Option<(StatusCode, &'static str)> {
    if parts.method == Method::CONNECT {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not supported"));
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Some((StatusCode::BAD_REQUEST, "more than one Host field"));
    }
    // RFC 9112, 3.2: HTTP/1.1 requires Host; RFC 9113, 8.3.1: HTTP/2 one of the two. HTTP/1.0 does
    // not, but nothing could be sent on over HTTP/2 without an authority.
    if parts.uri.authority().is_none() && host.is_none() {
        return Some((StatusCode::BAD_REQUEST, "no authority: expected Host or :authority"));
    }
    if host.is_some_and(|host| Authority::try_from(host.as_bytes()).is_err()) {
        return Some((StatusCode::BAD_REQUEST, "Host is not an authority"));
    }
    refuse_target(parts, host)
}

/// What is wrong with the target of a request, if anything: what would mean something else to the
/// next reader, above all after a change of protocol.
fn refuse_target(
    parts: &request::Parts,
    host: Option<&HeaderValue>,
) -> Option<(StatusCode, &'static str)> {
    let bad = |line| Some((StatusCode::BAD_REQUEST, line));
    let authority = parts.uri.authority().map(Authority::as_str);
    // RFC 9110, 4.2.4; RFC 9113, 8.3.1.
    let host = host.map(HeaderValue::as_bytes);
    if authority.is_some_and(|authority| authority.contains('@'))
        || host.is_some_and(|host| host.contains(&b'@'))
    {
        return bad("user information in the authority");
    }
    // RFC 9112, 3.2.3: the authority form is for CONNECT.
    if authority.is_some() && parts.uri.scheme().is_none() {
        return bad("the target is an authority");
    }
    let path = parts.uri.path();
    let asterisk = path == "*" && parts.method == Method::OPTIONS;
    if !path.is_empty() && !path.starts_with('/') && !asterisk {
        return bad("the target is no path");
    }
    // RFC 9113, 8.3.1. In HTTP/1.1 a target with an authority replaces Host (RFC 9112, 3.2.2).
    if parts.version == Version::HTTP_2
        && let (Some(authority), Some(host)) = (authority, host)
        && !authority.as_bytes().eq_ignore_ascii_case(host)
    {
        return bad(":authority and Host disagree");
    }
    None
}

/// The head of one attempt at a request: what the client sent, without what was meant for Baton, with
/// what an intermediary adds. Path and query stay as they are, byte for byte.
///
/// The authority is that of the request target if it has one, or else of `Host` (RFC 9112, 3.2.2).
/// `X-Forwarded-For` grows by the client's address; `-Proto` and `-Host` say what the client used and
/// replace what it claimed.
#[must_use]
pub fn upstream_request(
    parts: &request::Parts,
    client: &ClientFacts,
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
    let host = headers.remove(HOST);
    let authority = parts
        .uri
        .authority()
        .map(|authority| HeaderValue::from_str(authority.as_str()).expect("authorities are ASCII"))
        .or(host);
    add_forwarded(&mut headers, client, authority.as_ref());
    add_via(&mut headers, client.version);
    let path = parts.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let (uri, version) = match protocol {
        Protocol::Http1 => {
            let host = authority.unwrap_or_else(|| HeaderValue::from_static(""));
            headers.insert(HOST, host);
            join_cookies(&mut headers);
            (Uri::from(path), Version::HTTP_11)
        }
        Protocol::Http2 => (absolute(authority.as_ref(), path, scheme), Version::HTTP_2),
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

fn absolute(authority: Option<&HeaderValue>, path: PathAndQuery, scheme: Scheme) -> Uri {
    let mut parts = http::uri::Parts::default();
    let authority = authority.and_then(|value| Authority::try_from(value.as_bytes()).ok());
    parts.scheme = authority.is_some().then(|| scheme.of_requests());
    parts.authority = authority;
    parts.path_and_query = Some(path.clone());
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(path))
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

fn add_forwarded(headers: &mut HeaderMap, client: &ClientFacts, host: Option<&HeaderValue>) {
    if headers.keys().any(|name| name == X_FORWARDED_FOR) {
        let mut list: Vec<&str> = list_members(headers, X_FORWARDED_FOR).collect();
        list.extend(client.address.to_str());
        let list = list.join(", ");
        let list = HeaderValue::try_from(list).expect("members of valid values are valid");
        headers.insert(X_FORWARDED_FOR, list);
    } else {
        headers.insert(X_FORWARDED_FOR, client.address.clone());
    }
    let scheme = if client.tls { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    match host {
        Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
        None => headers.remove(X_FORWARDED_HOST),
    };
}

/// RFC 9110, 7.6.3: the version in which the message was received.
fn add_via(headers: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_10 => "1.0 baton",
        Version::HTTP_2 => "2 baton",
        _ => "1.1 baton",
    };
    headers.append(VIA, HeaderValue::from_static(via));
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
