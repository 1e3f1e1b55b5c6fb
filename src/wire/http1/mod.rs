//! HTTP/1.1 messages (RFC 9112), read and written without I/O.
//!
//! | item | what it is |
//! |---|---|
//! | [`Decoder`] | reads the messages of one direction of a connection |
//! | [`Head`] | a head that was read: slices of one buffer |
//! | [`BodyEncoder`], [`request_head`], [`response_head`] | write messages |
//! | [`Outgoing`] | the bytes that wait to be written |
//!
//! The decoder is stricter than most: anything that two recipients could read differently is an
//! error, because requests can be smuggled between two that do (RFC 9112, 11.2).
//!
//! | where | what is accepted |
//! |---|---|
//! | before a request | one empty line |
//! | request line | `token SP target SP HTTP/1.0-or-1 CRLF`, single spaces, no control characters |
//! | status line | `HTTP/1.0-or-1 SP 3DIGIT [SP reason] CRLF` |
//! | field line | `token ":" value CRLF`; no folding, no space before ":", no controls but HTAB |
//! | length | one Content-Length of digits, or one `Transfer-Encoding: chunked`, or neither |
//! | chunk | `1*16HEXDIG [";" extension] CRLF data CRLF`; no spaces around the size |
//! | trailers | field lines that are not about framing |
//!
//! A bare CR or a bare LF is an error everywhere but in content.

pub(crate) mod chunk;
#[cfg(test)]
mod compared;
mod decoder;
mod encode;
mod head;
pub(crate) mod lexemes;
pub(crate) mod lines;
mod outgoing;

pub use decoder::{Decoder, EndOfInput, Event, Expected, Role};
pub use encode::{BodyEncoder, BodyError, BodyFraming, request_head, response_head};
pub use head::{Framing, Head, Version};
pub use outgoing::Outgoing;

use crate::words;

/// Bytes of content that a length may announce.
pub const CONTENT_BYTES_MAX: u64 = i64::MAX as u64;
/// Bytes of the extensions of one chunk.
pub const CHUNK_EXTENSION_BYTES_MAX: u16 = 256;
/// Hexadecimal digits of a chunk size.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of a field name. The types of `http` hold no longer one.
pub const NAME_BYTES_MAX: usize = (1 << 16) - 1;
/// Bytes of a head that a [`Decoder`] can be asked to accept: offsets in it are 32 bits wide.
pub const HEAD_BYTES_MAX: u32 = 1 << 24;

words! {
    /// The kind of error in a message.
    pub enum Violation {
        /// The request line or status line is malformed.
        StartLine = "malformed start line",
        /// A field line of the head is malformed.
        Field = "malformed field line",
        /// The head's lengths conflict, or the framing is not supported.
        Framing = "conflicting or unknown message length",
        /// A chunk is malformed.
        Chunk = "malformed chunk",
        /// A trailer is malformed, or the trailers are too many or too large.
        Trailer = "malformed trailer",
        /// The head has too many bytes.
        HeadBytes = "head too large",
        /// The head has too many field lines.
        HeadFields = "too many fields",
        /// An unsolicited response, or bytes after a response.
        Unsolicited = "unsolicited bytes",
    }
}

impl std::error::Error for Violation {}

/// The limits of a head and of trailers.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of a head, or of all trailers, at most [`HEAD_BYTES_MAX`].
    pub bytes: u32,
    /// Field lines of a head, or of all trailers.
    pub fields: usize,
}
