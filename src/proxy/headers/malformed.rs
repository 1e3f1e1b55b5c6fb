//! Fields that make a message malformed although a library accepts them.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};

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

/// True if a message has two lengths that differ. `h2` looks at the first one only.
#[must_use]
pub fn has_different_lengths(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next();
    lengths.any(|length| Some(length) != first)
}
