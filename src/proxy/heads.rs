//! Heads between the wire and the types of `http`.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, request, response,
};

use crate::wire::http1::{Head, Version as WireVersion};

/// Fields that most heads are given after they were read: of requests the trace, of responses `Via`
/// and, towards HTTP/1.1, how they are framed.
const FIELDS_ADDED: usize = 2;

/// The fields of a head, or of trailers, that was read.
///
/// # Panics
/// Never: the decoder accepts only names and values that `http` accepts.
#[must_use]
pub fn map(head: &Head) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(head.field_count() + FIELDS_ADDED);
    for (name, value) in head.fields() {
        let name = HeaderName::from_bytes(name).expect("the decoder accepts only tokens");
        let value: Result<HeaderValue, _> = HeaderValue::from_maybe_shared::<Bytes>(value);
        fields.append(name, value.expect("the decoder accepts no control characters"));
    }
    fields
}

/// The size of a request's header list as RFC 9113, 6.5.2, counts it: the lengths of names and
/// values, and 32 bytes for each field.
#[must_use]
pub fn list_size(request: &http::Request<()>) -> u64 {
    let uri = request.uri();
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let pseudo_fields = [
        (":method", request.method().as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", |authority| authority.as_str())),
        (":path", target),
    ];
    let size = |name: usize, value: usize| (name + value) as u64 + 32;
    let pseudo_fields = pseudo_fields.iter().map(|(name, value)| size(name.len(), value.len()));
    let fields =
        request.headers().iter().map(|(name, value)| size(name.as_str().len(), value.len()));
    pseudo_fields.chain(fields).sum()
}

/// The head of a request that was read; `None` if its target is none that `http` can hold.
///
/// # Panics
/// If it is a response. The decoder accepts only methods that `http` accepts.
#[must_use]
pub fn request(head: &Head) -> Option<request::Parts> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::from_bytes(head.method()).expect("the decoder accepts only tokens");
    let target = head.target();
    // RFC 9112, 3.2: no form of a target has a fragment. `http` would drop it.
    if target.contains(&b'#') {
        return None;
    }
    parts.uri = match Uri::from_maybe_shared(target.clone()) {
        Ok(uri) if parts.method == Method::OPTIONS && is_server_wide(&target) => asterisk(uri),
        Ok(uri) => uri,
        Err(_) => {
            let uri = Uri::from_maybe_shared(escaped(&target)?).ok()?;
            parts.extensions.insert(RawTarget(origin_form(target)));
            uri
        }
    };
    parts.version = version(head);
    parts.headers = map(head);
    Some(parts)
}

/// The head of a response that was read.
///
/// # Panics
/// If it is a request. The decoder accepts only statuses that `http` accepts.
#[must_use]
pub fn response(head: &Head) -> response::Parts {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(head.status()).expect("100 to 999");
    parts.version = version(head);
    parts.headers = map(head);
    parts
}

/// The target of a request in origin form, as the client sent it. It has characters that `http`
/// does not accept: in the URI they are percent-encoded.
#[derive(Clone, Debug)]
pub struct RawTarget(pub Bytes);

/// Percent-encodes the characters of a query that browsers send and `http` does not accept. `None`
/// if there are none.
fn escaped(target: &[u8]) -> Option<Bytes> {
    let query = target.iter().position(|byte| *byte == b'?')?;
    let (path, query) = target.split_at(query);
    let is_wrong = |byte: &u8| matches!(byte, b'"' | b'<' | b'>');
    if !query.iter().any(is_wrong) {
        return None;
    }
    let mut escaped = path.to_vec();
    for byte in query {
        if is_wrong(byte) {
            escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            escaped.push(*byte);
        }
    }
    Some(escaped.into())
}

/// Returns the part of a target behind its scheme and authority, if it has them. The path that an
/// absolute form lacks is added.
fn origin_form(target: Bytes) -> Bytes {
    let Some(authority) = behind_scheme(&target) else { return target };
    let rest = &target[authority..];
    let path = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    match rest.get(path) {
        Some(b'/') => target.slice(authority + path..),
        _ => [b"/", &rest[path..]].concat().into(),
    }
}

/// Returns the position of the authority in a target in absolute form.
fn behind_scheme(target: &[u8]) -> Option<usize> {
    const SCHEME_END: &[u8] = b"://";
    let is_absolute = target.first().is_some_and(u8::is_ascii_alphabetic);
    let found = target.windows(SCHEME_END.len()).position(|bytes| bytes == SCHEME_END);
    found.filter(|_| is_absolute).map(|at| at + SCHEME_END.len())
}

/// True if a target in absolute form has neither path nor query: an OPTIONS request for it is about
/// the server as a whole (RFC 9112, 3.2.4).
fn is_server_wide(target: &[u8]) -> bool {
    behind_scheme(target).is_some_and(|authority| {
        !target[authority..].iter().any(|byte| matches!(byte, b'/' | b'?'))
    })
}

/// Replaces the path of a URI in absolute form by `*`.
fn asterisk(uri: Uri) -> Uri {
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("*"));
    Uri::from_parts(parts).expect("the URI has a scheme and an authority")
}

fn version(head: &Head) -> Version {
    match head.version() {
        WireVersion::Http10 => Version::HTTP_10,
        WireVersion::Http11 => Version::HTTP_11,
    }
}

/// The fields of a map, to be written.
pub fn fields(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http1::{Decoder, Event, Expected, HeadLimits, Role};

    #[test]
    fn the_size_of_a_list_counts_names_values_and_32_for_each() {
        let request = http::Request::get("https://a.test/b").header("x-one", "two").body(());
        let size = list_size(&request.expect("a request"));
        let lengths = [(7, 3), (7, 5), (10, 6), (5, 2), (5, 3)];
        assert_eq!(size, lengths.iter().map(|(name, value)| name + value + 32).sum::<u64>());
    }

    fn read(bytes: &[u8]) -> Decoder {
        let mut decoder = Decoder::new(Role::Client, HeadLimits { bytes: 65_536, fields: 512 });
        decoder.expect(Expected::Other);
        decoder.buffer().extend_from_slice(bytes);
        assert!(matches!(decoder.next_event(), Ok(Some(Event::Head | Event::Interim))));
        decoder
    }

    /// Whatever byte the decoder accepts in a name or value, `http` accepts.
    #[test]
    fn every_field_that_is_accepted_is_kept() {
        let mut bytes = b"HTTP/1.0 299 \r\n".to_vec();
        let token = |byte: &u8| crate::wire::http1::lexemes::is_token(*byte);
        for byte in (0..=255_u8).filter(token) {
            bytes.extend_from_slice(&[b'x', byte, b':', b'\r', b'\n']);
        }
        let text = |byte: &u8| crate::wire::http1::lexemes::is_text(*byte);
        for byte in (0..=255_u8).filter(text) {
            bytes.extend_from_slice(&[b'y', b':', b'a', byte, b'b', b'\r', b'\n']);
        }
        bytes.extend_from_slice(b"\r\n");
        let decoder = read(&bytes);
        let parts = response(decoder.head());
        assert_eq!((parts.status.as_u16(), parts.version), (299, Version::HTTP_10));
        assert_eq!(parts.headers.len(), decoder.head().field_count());
        let kept = fields(&parts.headers).filter(|(name, _)| *name == b"y").count();
        assert_eq!(kept, (0..=255_u8).filter(text).count());
    }

    fn requested(line: &str) -> Option<request::Parts> {
        let mut decoder = Decoder::new(Role::Server, HeadLimits { bytes: 65_536, fields: 512 });
        decoder.buffer().extend_from_slice(format!("{line} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(matches!(decoder.next_event(), Ok(Some(Event::Head))), "{line}");
        request(decoder.head())
    }

    /// Browsers send these characters in queries.
    #[test]
    fn a_query_with_characters_that_http_refuses_is_kept_beside_its_encoded_form() {
        for (line, encoded, raw) in [
            ("GET /a?q=\"<b>\"", "/a?q=%22%3Cb%3E%22", Some("/a?q=\"<b>\"")),
            ("GET http://a.test?\"", "http://a.test/?%22", Some("/?\"")),
            ("GET http://a.test/b?\"", "http://a.test/b?%22", Some("/b?\"")),
            ("GET /a?q=%22", "/a?q=%22", None),
        ] {
            let parts = requested(line).expect(line);
            assert_eq!(parts.uri.to_string(), encoded);
            let kept = parts.extensions.get().map(|RawTarget(target)| &target[..]);
            assert_eq!(kept, raw.map(str::as_bytes), "{line}");
        }
        for line in ["GET /<a>", "GET /a#b", "GET http://b/a#b", "GET /a?\"#"] {
            assert!(requested(line).is_none(), "{line}");
        }
    }

    #[test]
    fn options_of_a_server_are_asked_with_an_asterisk() {
        for (line, path) in [
            ("OPTIONS http://a.test", "*"),
            ("OPTIONS http://a.test/", "/"),
            ("OPTIONS http://a.test?x", "/"),
            ("OPTIONS *", "*"),
            ("GET http://a.test", "/"),
        ] {
            assert_eq!(requested(line).expect(line).uri.path(), path, "{line}");
        }
    }
}
