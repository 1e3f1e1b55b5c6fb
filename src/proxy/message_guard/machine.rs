//! Follows the framing of HTTP/1.1 requests byte by byte (RFC 9112) and finds the first byte that
//! is not HTTP. It is stricter than most parsers: anything that two recipients could read
//! differently is an error.
//!
//! | where | what is accepted |
//! |---|---|
//! | before a request | one empty line |
//! | request line | `token SP target SP HTTP/1.0-or-1 CRLF`, single spaces, no control characters |
//! | field line | `token ":" value CRLF`; no folding, no space before ":", no controls but HTAB |
//! | length | one Content-Length of digits, or one `Transfer-Encoding: chunked`, or neither |
//! | chunk | `1*16HEXDIG [";" extension] CRLF data CRLF`; no spaces around the size |
//! | trailers | field lines that are not about framing |
//!
//! A bare CR or a bare LF is an error everywhere but in content.

mod lines;

use crate::wire::http1::lexemes::{Kept, is_in_target, is_text, is_token, number};
use crate::wire::http1::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, CONTENT_BYTES_MAX};
use crate::wire::http1::{HeadLimits, Violation};

/// Bytes of `HTTP/1.1`.
const VERSION_LENGTH: u32 = 8;
/// The names of the fields that determine the framing.
const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
/// The length of the longer of these names.
const NAME_KEPT: usize = TRANSFER_ENCODING.len();
/// An upper bound of the length of the values that these fields may have.
const VALUE_KEPT: usize = 20;

/// A part of a start line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Method,
    Target,
    Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two messages.
    Start,
    /// CR of an empty line before a request.
    BlankLf,
    /// Within the start line, after this many bytes of the part.
    Line(Part, u32),
    /// After the CR of a start line.
    LineLf,
    /// At the start of a field line or of the empty line.
    FieldStart,
    Name,
    Value,
    ValueLf,
    /// After the CR of the empty line.
    EndLf,
    /// Content of which this many bytes are left.
    Content(u64),
    ChunkSize {
        digits: u8,
        size: u64,
    },
    Extension {
        length: u16,
        size: u64,
    },
    ChunkSizeLf {
        size: u64,
    },
    ChunkData(u64),
    ChunkDataCr,
    ChunkDataLf,
}

/// The parts of a head that determine the framing, and its size.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    bytes: u32,
    fields: usize,
    content_length: Option<u64>,
    chunked: bool,
}

/// The state of one direction of a connection.
#[derive(Debug)]
pub struct Machine {
    limits: HeadLimits,
    state: State,
    head: Head,
    trailers: bool,
    name: Kept<NAME_KEPT>,
    value: Kept<VALUE_KEPT>,
    begun: u64,
}

impl Machine {
    /// Starts before the first message.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            state: State::Start,
            head: Head::default(),
            trailers: false,
            name: Kept::default(),
            value: Kept::default(),
            begun: 0,
        }
    }

    /// The number of heads begun so far.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// True if no byte of the next message was read.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.state == State::Start
    }

    /// True if a head has begun and is incomplete.
    #[must_use]
    pub fn in_head(&self) -> bool {
        match self.state {
            State::BlankLf | State::Line(..) | State::LineLf => true,
            State::FieldStart | State::Name | State::Value | State::ValueLf | State::EndLf => {
                !self.trailers
            }
            State::Start
            | State::Content(_)
            | State::ChunkSize { .. }
            | State::Extension { .. }
            | State::ChunkSizeLf { .. }
            | State::ChunkData(_)
            | State::ChunkDataCr
            | State::ChunkDataLf => false,
        }
    }

    /// Reads these bytes.
    ///
    /// # Errors
    /// The number of bytes before the first wrong one, and the violation. The machine must not be
    /// used afterwards.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<(), (usize, Violation)> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let skipped = self.skip(rest.len());
            let taken = if skipped > 0 { skipped } else { self.whole_line(rest) };
            if taken > 0 {
                at += taken;
                continue;
            }
            self.state = self.step(bytes[at]).map_err(|violation| (at, violation))?;
            at += 1;
        }
        Ok(())
    }

    /// Skips content. Returns how many of the available bytes were content.
    fn skip(&mut self, available: usize) -> usize {
        let (State::Content(left) | State::ChunkData(left)) = self.state else { return 0 };
        let chunk = matches!(self.state, State::ChunkData(_));
        let skipped = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - skipped as u64;
        self.state = match (left, chunk) {
            (0, true) => State::ChunkDataCr,
            (0, false) => State::Start,
            (left, true) => State::ChunkData(left),
            (left, false) => State::Content(left),
        };
        skipped
    }

    fn step(&mut self, byte: u8) -> Result<State, Violation> {
        match self.state {
            State::Start => self.begin(byte),
            State::BlankLf => {
                self.count_byte()?;
                expect(byte, b'\n', Violation::StartLine, State::Line(Part::Method, 0))
            }
            State::Line(part, length) => {
                self.count_byte()?;
                line(part, length, byte)
            }
            State::LineLf => {
                self.count_byte()?;
                expect(byte, b'\n', Violation::StartLine, State::FieldStart)
            }
            State::FieldStart | State::Name | State::Value | State::ValueLf | State::EndLf => {
                self.count_byte()?;
                self.field(byte)
            }
            State::ChunkSize { .. } | State::Extension { .. } | State::ChunkSizeLf { .. } => {
                self.chunk_head(byte)
            }
            State::ChunkDataCr => expect(byte, b'\r', Violation::Chunk, State::ChunkDataLf),
            State::ChunkDataLf => {
                let next = State::ChunkSize { digits: 0, size: 0 };
                expect(byte, b'\n', Violation::Chunk, next)
            }
            State::Content(_) | State::ChunkData(_) => {
                unreachable!("content is skipped")
            }
        }
    }

    /// Reads the first byte of a message.
    fn begin(&mut self, byte: u8) -> Result<State, Violation> {
        self.begun += 1;
        self.head = Head { bytes: 1, ..Head::default() };
        self.trailers = false;
        if byte == b'\r' {
            // RFC 9112, 2.2: one empty line before a request is ignored.
            return Ok(State::BlankLf);
        }
        line(Part::Method, 0, byte)
    }

    fn field(&mut self, byte: u8) -> Result<State, Violation> {
        let wrong = if self.trailers { Violation::Trailer } else { Violation::Field };
        match self.state {
            State::FieldStart if byte == b'\r' => Ok(State::EndLf),
            State::FieldStart if is_token(byte) => {
                self.head.fields += 1;
                if self.head.fields > self.limits.fields {
                    return Err(if self.trailers { wrong } else { Violation::HeadFields });
                }
                self.name = Kept::default();
                self.value = Kept::default();
                self.name.push(byte);
                Ok(State::Name)
            }
            State::Name if byte == b':' => Ok(State::Value),
            State::Name if is_token(byte) => {
                self.name.push(byte);
                Ok(State::Name)
            }
            State::Value if byte == b'\r' => Ok(State::ValueLf),
            State::Value if is_text(byte) => {
                self.value.push(byte);
                Ok(State::Value)
            }
            State::ValueLf if byte == b'\n' => self.field_ends(),
            State::EndLf if byte == b'\n' => Ok(self.head_ends()),
            _ => Err(wrong),
        }
    }

    /// Ends a field line, and records what it says about framing. On an error the head stays as it
    /// was.
    fn field_ends(&mut self) -> Result<State, Violation> {
        let is = |known: &[u8]| self.name.bytes().is_some_and(|it| it.eq_ignore_ascii_case(known));
        let (length, coding) = (is(CONTENT_LENGTH), is(TRANSFER_ENCODING));
        if self.trailers && (length || coding) {
            return Err(Violation::Trailer);
        }
        if coding {
            // An unknown coding hides where the message ends.
            let chunked = self.value.bytes().is_some_and(|v| v.eq_ignore_ascii_case(b"chunked"));
            if !chunked || self.head.chunked || self.head.content_length.is_some() {
                return Err(Violation::Framing);
            }
            self.head.chunked = true;
        }
        if length {
            let value = self.value.bytes().and_then(number).ok_or(Violation::Framing)?;
            if self.head.content_length.is_some() || self.head.chunked {
                return Err(Violation::Framing);
            }
            self.head.content_length = Some(value);
        }
        Ok(State::FieldStart)
    }

    /// Ends a head or the trailers. Returns the state that follows.
    fn head_ends(&self) -> State {
        if self.trailers {
            return State::Start;
        }
        match (self.head.chunked, self.head.content_length) {
            (true, _) => State::ChunkSize { digits: 0, size: 0 },
            (false, Some(length @ 1..)) => State::Content(length),
            (false, Some(0) | None) => State::Start,
        }
    }

    fn chunk_head(&mut self, byte: u8) -> Result<State, Violation> {
        match (self.state, byte) {
            (State::ChunkSize { digits, size }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = size.checked_mul(16).map(|size| size + digit);
                match size {
                    Some(size) if digits < CHUNK_SIZE_DIGITS_MAX && size <= CONTENT_BYTES_MAX => {
                        Ok(State::ChunkSize { digits: digits + 1, size })
                    }
                    _ => Err(Violation::Chunk),
                }
            }
            (State::ChunkSize { digits, size }, b';') if digits > 0 => {
                Ok(State::Extension { length: 0, size })
            }
            (State::ChunkSize { digits, size }, b'\r') if digits > 0 => {
                Ok(State::ChunkSizeLf { size })
            }
            (State::Extension { size, .. }, b'\r') => Ok(State::ChunkSizeLf { size }),
            (State::Extension { length, size }, _)
                if is_text(byte) && length < CHUNK_EXTENSION_BYTES_MAX =>
            {
                Ok(State::Extension { length: length + 1, size })
            }
            (State::ChunkSizeLf { size: 0 }, b'\n') => {
                self.trailers = true;
                self.head = Head::default();
                Ok(State::FieldStart)
            }
            (State::ChunkSizeLf { size }, b'\n') => Ok(State::ChunkData(size)),
            _ => Err(Violation::Chunk),
        }
    }

    fn count_byte(&mut self) -> Result<(), Violation> {
        self.head.bytes += 1;
        let wrong = if self.trailers { Violation::Trailer } else { Violation::HeadBytes };
        if self.head.bytes > self.limits.bytes { Err(wrong) } else { Ok(()) }
    }
}

fn line(part: Part, length: u32, byte: u8) -> Result<State, Violation> {
    let position = length as usize;
    let next = match (part, byte) {
        (Part::Method, b' ') if length > 0 => State::Line(Part::Target, 0),
        (Part::Method, _) if is_token(byte) => State::Line(part, length + 1),
        (Part::Target, b' ') if length > 0 => State::Line(Part::Version, 0),
        (Part::Target, _) if is_in_target(byte) => State::Line(part, length + 1),
        (Part::Version, b'\r') if length == VERSION_LENGTH => State::LineLf,
        (Part::Version, b'0' | b'1') if length == 7 => State::Line(part, 8),
        (Part::Version, _) if b"HTTP/1.".get(position) == Some(&byte) => {
            State::Line(part, length + 1)
        }
        _ => return Err(Violation::StartLine),
    };
    Ok(next)
}

fn expect(byte: u8, wanted: u8, wrong: Violation, next: State) -> Result<State, Violation> {
    if byte == wanted { Ok(next) } else { Err(wrong) }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
