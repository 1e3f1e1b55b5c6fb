//! A comparison with the parser `httparse`: a head that the decoder accepts must mean the same to
//! both. The decoder refuses more, so nothing follows from a refusal.

use super::{Decoder, Event, Expected, Head, HeadLimits, Role, Version};

/// Field lines that are compared.
const FIELDS_MAX: usize = 64;

/// Reads a request head with both parsers. Returns true if the decoder accepted it.
///
/// # Panics
/// If it means something else to the other parser.
pub(crate) fn request(bytes: &[u8], limits: HeadLimits) -> bool {
    let Some((decoder, length)) = read(Decoder::new(Role::Server, limits), bytes) else {
        return false;
    };
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut other = httparse::Request::new(&mut fields);
    // Characters of targets beyond the grammar of RFC 3986 are the business of the recipient.
    let Ok(status) = other.parse(bytes) else {
        assert!(!decoder.head().target().is_ascii(), "refused: {}", bytes.escape_ascii());
        return false;
    };
    assert_eq!(status, httparse::Status::Complete(length), "{}", bytes.escape_ascii());
    let head = decoder.head();
    assert_eq!(other.method.map(str::as_bytes), Some(head.method()));
    assert_eq!(other.path.map(str::as_bytes), Some(&head.target()[..]));
    assert_same(head, other.version, other.headers);
    true
}

/// Reads a response head with both parsers. Returns true if the decoder accepted it.
///
/// # Panics
/// If it means something else to the other parser.
pub(crate) fn response(bytes: &[u8], limits: HeadLimits) -> bool {
    let mut decoder = Decoder::new(Role::Client, limits);
    decoder.expect(Expected::Other);
    let Some((decoder, length)) = read(decoder, bytes) else { return false };
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut other = httparse::Response::new(&mut fields);
    let status = other.parse(bytes).expect("what the decoder accepts is valid");
    assert_eq!(status, httparse::Status::Complete(length), "{}", bytes.escape_ascii());
    assert_eq!(other.code, Some(decoder.head().status()));
    assert_same(decoder.head(), other.version, other.headers);
    true
}

/// Reads one head. Returns the decoder and the bytes of the head.
fn read(mut decoder: Decoder, bytes: &[u8]) -> Option<(Decoder, usize)> {
    decoder.buffer().extend_from_slice(bytes);
    match decoder.next_event() {
        Ok(Some(Event::Head | Event::Interim)) => {
            let length = bytes.len() - decoder.buffer().len();
            Some((decoder, length))
        }
        Ok(_) | Err(_) => None,
    }
}

fn assert_same(head: &Head, version: Option<u8>, fields: &[httparse::Header<'_>]) {
    let minor = match head.version() {
        Version::Http10 => 0,
        Version::Http11 => 1,
    };
    assert_eq!(version, Some(minor));
    assert_eq!(fields.len(), head.field_count());
    for (other, (name, value)) in fields.iter().zip(head.fields()) {
        assert_eq!(other.name.as_bytes(), name);
        assert_eq!(other.value.trim_ascii(), value.trim_ascii());
    }
}
