//! Heads between the wire and the types of `http`.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, request, response,
};

use crate::wire::http1::{Head, Version as WireVersion};

/// The fields of a head, or of trailers, that was read.
///
/// # Panics
/// Never: the decoder accepts only names and values that `http` accepts.
#[must_use]
pub fn map(head: &Head) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(head.field_count());
    for (name, value) in head.fields() {
        let name = HeaderName::from_bytes(name).expect("the decoder accepts only tokens");
        let value: Result<HeaderValue, _> = HeaderValue::from_maybe_shared::<Bytes>(value);
        fields.append(name, value.expect("the decoder accepts no control characters"));
    }
    fields
}

/// The head of a request that was read; `None` if its target is none that `http` can hold.
///
/// # Panics
/// If it is a response. The decoder accepts only methods that `http` accepts.
#[must_use]
pub fn request(head: &Head) -> Option<request::Parts> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.uri = Uri::from_maybe_shared(head.target()).ok()?;
    parts.method = Method::from_bytes(head.method()).expect("the decoder accepts only tokens");
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
}
