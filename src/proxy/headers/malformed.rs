//! Fields that make a message malformed although a library accepts them.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};

use crate::wire::http1::lexemes::number;

/// True if white space surrounds the value of a field, which makes a message over HTTP/2 malformed
/// (RFC 9113, 8.2.1). Over HTTP/1.1 it is not part of the value.
#[must_use]
pub fn has_padded_value(fields: &HeaderMap) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    fields
        .values()
        .map(HeaderValue::as_bytes)
        .any(|value| is_space(value.first()) || is_space(value.last()))
}

/// True if a message has a length that is no number, or two that differ (RFC 9110, 8.6). `h2` looks
/// at the first one only, and takes an empty one for 0.
#[must_use]
pub fn has_wrong_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let Some(first) = lengths.next() else { return false };
    number(first).is_none() || lengths.any(|length| length != first)
}
