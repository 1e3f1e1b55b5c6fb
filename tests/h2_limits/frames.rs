//! Frames and header blocks, byte by byte.

use std::fmt;

use h2::Reason;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY_FRAME: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// The flag ACK of SETTINGS.
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
/// The flag PRIORITY of HEADERS.
pub(crate) const PRIORITY: u8 = 0x20;

/// A parameter of SETTINGS.
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;

/// A request without content.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
/// A request with content to come.
pub(crate) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
/// A response head.
pub(crate) const OK: [(&str, &str); 1] = [(":status", "200")];

/// A frame that `h2` has written. It displays as its name, its stream, and its error code if it has
/// one.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Takes the first frame of `bytes`, if it is complete.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let head: [u8; 9] = *bytes.first_chunk()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = bytes.get(9..9 + length)?.to_vec();
        bytes.drain(..9 + length);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Self { kind: head[3], flags: head[4], stream, payload })
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(*self.payload[at..].first_chunk().expect("four bytes"))
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = self.stream;
        match self.kind {
            DATA => write!(formatter, "DATA {stream}"),
            HEADERS => write!(formatter, "HEADERS {stream}"),
            RST_STREAM => {
                write!(formatter, "RST_STREAM {stream} {:?}", Reason::from(self.number(0)))
            }
            SETTINGS => formatter.write_str("SETTINGS"),
            GOAWAY => write!(formatter, "GOAWAY {:?}", Reason::from(self.number(4))),
            WINDOW_UPDATE => write!(formatter, "WINDOW_UPDATE {stream}"),
            kind => write!(formatter, "frame of type {kind}"),
        }
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

pub(crate) fn data(stream: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, content)
}

/// A whole header block in one HEADERS frame.
pub(crate) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, block)
}

/// A request without content.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &block(&GET))
}

/// The head of a request with content.
pub(crate) fn post(stream: u32) -> Vec<u8> {
    headers(stream, 0, &block(&POST))
}

/// Trailers that end a stream.
pub(crate) fn trailers(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &block(&[("x-trailer", "1")]))
}

/// One parameter of SETTINGS.
pub(crate) fn setting(identifier: u16, value: u32) -> Vec<u8> {
    let payload = [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

pub(crate) fn goaway(last_stream: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), [0; 4]].concat())
}

/// A header block of literals without indexing, as the bytes are.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value.as_bytes())).collect()
}

/// A literal without indexing (RFC 7541, 6.2.2).
pub(crate) fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    [&[0][..], &string(name.as_bytes()), &string(value)].concat()
}

/// A literal that enters the dynamic table (RFC 7541, 6.2.1).
pub(crate) fn indexing_literal(name: &str, value: &str) -> Vec<u8> {
    [&[0x40][..], &string(name.as_bytes()), &string(value.as_bytes())].concat()
}

/// A string without Huffman coding (RFC 7541, 5.2).
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let mut string = Vec::new();
    if let Some(mut rest) = length.checked_sub(127) {
        string.push(127);
        while rest >= 128 {
            string.push(0x80 | (rest & 127) as u8);
            rest >>= 7;
        }
        string.push(rest as u8);
    } else {
        string.push(length as u8);
    }
    string.extend_from_slice(bytes);
    string
}
