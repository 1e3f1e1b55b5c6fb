//! The changes that an intermediary makes to requests and responses (RFC 9110, 7.6).

mod keep_alive;
mod malformed;
mod target;

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, MAX_FORWARDS, TE,
    TRAILER, VIA,
};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, request, response};

pub use self::keep_alive::keep_alive;
pub use self::malformed::{has_padded_value, has_wrong_length};
pub use self::target::authority;

use self::target::origin_form;
use super::backend_url::Scheme;
use crate::pool::Protocol;
use crate::wire::http1::lexemes::number;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields that most requests do not have before Baton adds them: `Host`, `Via` and three about
/// forwarding.
const REQUEST_FIELDS_ADDED: usize = 5;
/// Fields that `Connection` must not remove: the message is invalid without them, or they say where
/// it came from.
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

/// The client of a request, as reported to the backend.
#[derive(Clone, Copy, Debug)]
pub struct ClientFacts<'a> {
    /// The client's address, as written by [`client_address`].
    pub address: &'a HeaderValue,
    /// True if the client uses TLS.
    pub tls: bool,
}

/// True for fields about one connection, not about the message (RFC 9110, 7.6.1), or for the first
/// proxy only. That includes `Expect`: Baton sends 100 (Continue) itself when it starts to read the
/// body.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    // This is faster than to compare names: most strings differ in length.
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authorization"
            | "expect"
    )
}

/// Formats a client's address for `X-Forwarded-For`.
///
/// # Panics
/// Never: addresses are ASCII.
#[must_use]
pub fn client_address(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_canonical().to_string()).expect("addresses are ASCII")
}

/// True if a method is idempotent (RFC 9110, 9.2.2).
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE]
        .contains(method)
}

/// Returns the head to send to a backend: the client's, without the fields for Baton and with those
/// that an intermediary adds. Path and query stay the same, byte for byte.
///
/// `authority` is the result of [`authority`]. `X-Forwarded-For` is extended by the client's
/// address; `X-Forwarded-Proto` and `X-Forwarded-Host` are replaced by what the client used.
#[must_use]
pub fn upstream_request(
    parts: &request::Parts,
    authority: &Authority,
    client: ClientFacts<'_>,
    protocol: Protocol,
    scheme: Scheme,
) -> Request<()> {
    let mut headers = end_to_end_fields(&parts.headers);
    if wants_trailers(&parts.headers) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if protocol == Protocol::Http1 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    // If the target has no authority, `authority` was read from this field.
    let host = parts.headers.get(HOST).filter(|_| parts.uri.authority().is_none());
    let host = host.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(authority.as_str()).expect("authorities are ASCII")
    });
    if let Some(left) = max_forwards(parts) {
        headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    repeat_no_length(&mut headers);
    add_forwarded(&mut headers, client, &host);
    add_via(&mut headers, parts.version);
    let path = origin_form(parts).expect("`authority` has refused others");
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

/// Copies the fields of a request that are neither for Baton nor `Host`, with room for those that
/// Baton adds.
fn end_to_end_fields(received: &HeaderMap) -> HeaderMap {
    let mut copied = HeaderMap::with_capacity(received.keys_len() + REQUEST_FIELDS_ADDED);
    for (name, value) in received {
        if name != HOST && !is_hop_by_hop(name) {
            copied.append(name, value.clone());
        }
    }
    // A client may name as many as fit its head.
    for name in connection_options(received) {
        copied.remove(name);
    }
    copied
}

/// Removes the fields for Baton from a response head, and adds those that an intermediary adds.
pub fn downstream_response(head: &mut response::Parts, client: Version) {
    let received = head.version;
    remove_hop_by_hop(&mut head.headers);
    repeat_no_length(&mut head.headers);
    add_via(&mut head.headers, received);
    head.version = client;
}

/// True if a field has several lines. Counting them is faster than looking for those of one field.
fn has_repeated_field(headers: &HeaderMap) -> bool {
    headers.len() > headers.keys_len()
}

/// Replaces a repeated length by a single one (RFC 9110, 8.6).
fn repeat_no_length(headers: &mut HeaderMap) {
    if !has_repeated_field(headers) {
        return;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lengths.next().cloned(), lengths.next()) {
        headers.insert(CONTENT_LENGTH, length);
    }
}

/// Returns how often an OPTIONS or TRACE request may still be forwarded, if that is limited (RFC
/// 9110, 7.6.2).
#[must_use]
pub fn max_forwards(head: &request::Parts) -> Option<u64> {
    if ![Method::OPTIONS, Method::TRACE].contains(&head.method) {
        return None;
    }
    head.headers.get(MAX_FORWARDS)?.to_str().ok()?.trim().parse().ok()
}

/// True if a response never has content, whatever its head says (RFC 9110, 6.4.1). `to_head` is
/// true if it answers a HEAD request.
#[must_use]
pub fn has_no_body(to_head: bool, status: StatusCode) -> bool {
    to_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// The length of a response's content, as its head says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentLength {
    /// There is no content, whatever the head says.
    NoContent,
    /// This many bytes.
    Bytes(u64),
    /// Nothing: the framing marks the end.
    Unknown,
}

/// Makes the head of a response to a client say the length of its content, in bytes, if its own
/// length or `known` gives it. `to_head` is true if it answers a HEAD request.
pub fn set_length(head: &mut response::Parts, to_head: bool, known: Option<u64>) -> ContentLength {
    let fields = &mut head.headers;
    if has_no_body(to_head, head.status) {
        if head.status == StatusCode::NO_CONTENT {
            // RFC 9110, 8.6.
            fields.remove(CONTENT_LENGTH);
        }
        return ContentLength::NoContent;
    }
    if let Some(length) = content_length(fields) {
        return ContentLength::Bytes(length);
    }
    let Some(length) = known else {
        // A value that is no number says nothing, and may contradict the framing.
        fields.remove(CONTENT_LENGTH);
        return ContentLength::Unknown;
    };
    fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    ContentLength::Bytes(length)
}

/// Returns the value of Content-Length, in bytes.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(headers.get(CONTENT_LENGTH)?.as_bytes())
}

/// True if the connection closes after an HTTP/1 message with these fields (RFC 9112, 9.3).
#[must_use]
pub fn closes_connection(fields: &HeaderMap, version: Version) -> bool {
    let has = |option: &[u8]| {
        list_members(fields, CONNECTION).any(|member| member.eq_ignore_ascii_case(option))
    };
    has(b"close") || (version == Version::HTTP_10 && !has(b"keep-alive"))
}

/// True if the client may wait for 100 (Continue) before it sends the body (RFC 9110, 10.1.1). A
/// client that speaks HTTP/1.0 does not.
#[must_use]
pub fn expects_continue(head: &request::Parts) -> bool {
    let expects = |member: &[u8]| member.eq_ignore_ascii_case(b"100-continue");
    head.version != Version::HTTP_10 && list_members(&head.headers, EXPECT).any(expects)
}

fn absolute(authority: &Authority, path: PathAndQuery, scheme: Scheme) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.of_requests());
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).expect("scheme, authority and path make a URI")
}

/// Returns the members of a comma-separated list, over all its field lines (RFC 9110, 5.6.1). A
/// member may have bytes that are not ASCII, which does not change the others.
fn list_members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// True if TE has `trailers`, the only member that may be forwarded (RFC 9110, 10.1.4).
fn wants_trailers(headers: &HeaderMap) -> bool {
    list_members(headers, TE).any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

/// Removes the fields for Baton.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let present = headers.keys().filter(|name| is_hop_by_hop(name));
    let present: Vec<HeaderName> = present.cloned().collect();
    if present.is_empty() {
        return;
    }
    let named = connection_options(headers);
    for name in named.iter().chain(&present) {
        headers.remove(name);
    }
}

/// Returns the fields that `Connection` names: they are for Baton (RFC 9110, 7.6.1).
#[must_use]
pub fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    list_members(headers, CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !PROTECTED.contains(name))
        .collect()
}

/// Removes the fields that trailers must not have: those for Baton, which the head may have
/// `named`, and those about the framing or the routing of the message (RFC 9110, 6.5.1; RFC 9113,
/// 8.2.2).
pub fn filter_trailers(trailers: &mut HeaderMap, named: &[HeaderName]) {
    remove_hop_by_hop(trailers);
    for name in named.iter().chain(&[CONTENT_LENGTH, HOST, TRAILER]) {
        trailers.remove(name);
    }
}

fn add_forwarded(headers: &mut HeaderMap, client: ClientFacts<'_>, host: &HeaderValue) {
    if headers.keys().any(|name| name == X_FORWARDED_FOR) {
        let mut list: Vec<&[u8]> = list_members(headers, X_FORWARDED_FOR).collect();
        list.push(client.address.as_bytes());
        let list = list.join(&b", "[..]);
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

/// Adds `Via` with the version in which the message was received (RFC 9110, 7.6.3).
fn add_via(headers: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_10 => const { HeaderValue::from_static("1.0 baton") },
        Version::HTTP_2 => const { HeaderValue::from_static("2 baton") },
        _ => const { HeaderValue::from_static("1.1 baton") },
    };
    headers.append(VIA, via);
}

/// RFC 9113, 8.2.3: HTTP/2 may split cookies over field lines; HTTP/1.1 needs a single one.
fn join_cookies(headers: &mut HeaderMap) {
    if !has_repeated_field(headers) {
        return;
    }
    let values: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if values.len() > 1 {
        let joined = values.join(&b"; "[..]);
        let joined = HeaderValue::from_bytes(&joined).expect("made of valid values");
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
