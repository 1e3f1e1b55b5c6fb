//! A faster path for whole lines of a head. It does not change any result: a result does not depend
//! on how the bytes are split, and single bytes all go through [`Machine::step`].

use super::{CONTENT_LENGTH, Head, Machine, State, TRANSFER_ENCODING, VERSION_LENGTH};
use crate::wire::http1::lexemes::{Kept, is_in_target, is_text, is_token};

/// The end of a head, or of trailers.
const EMPTY_LINE: &[u8] = b"\r\n";
/// Bytes of the smallest SIMD register.
const BLOCK: usize = 16;

impl Machine {
    /// Consumes one whole valid line, as almost every line of a head or of trailers is. Returns its
    /// length in bytes, or 0 if the line is incomplete or invalid: then [`Self::step`] finds out
    /// why.
    pub(super) fn whole_line(&mut self, bytes: &[u8]) -> usize {
        match self.state {
            State::Start => {
                let length = whole_request_line(bytes).unwrap_or(0);
                if length == 0 || length > self.limits.bytes as usize {
                    return 0;
                }
                self.begun += 1;
                self.head = Head { bytes: length as u32, ..Head::default() };
                self.trailers = false;
                self.state = State::FieldStart;
                length
            }
            State::FieldStart if bytes.starts_with(EMPTY_LINE) => self.whole_empty_line(),
            State::FieldStart if self.head.fields < self.limits.fields => {
                self.take_field_line(bytes).unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn whole_empty_line(&mut self) -> usize {
        let length = EMPTY_LINE.len();
        if length > self.bytes_left() {
            return 0;
        }
        self.head.bytes += length as u32;
        self.state = self.head_ends();
        length
    }

    fn take_field_line(&mut self, bytes: &[u8]) -> Option<usize> {
        let (name, value) = whole_field_line(bytes)?;
        let length = name.len() + 1 + value.len() + 2;
        if length > self.bytes_left() {
            return None;
        }
        if is_framing_length(name.len()) {
            self.name = Kept::of(name);
            self.value = Kept::of(value);
            self.state = self.field_ends().ok()?;
        }
        self.head.bytes += length as u32;
        self.head.fields += 1;
        Some(length)
    }

    /// Returns the bytes that the limit leaves for the rest of the head.
    fn bytes_left(&self) -> usize {
        (self.limits.bytes - self.head.bytes) as usize
    }
}

/// Returns the number of leading bytes for which `belongs` is true.
fn run_of(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len())
}

/// Returns the same as [`run_of`], faster if `belongs` only compares bytes: the compiler then
/// checks a whole block at once.
fn long_run_of(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    let all_belong = |block: &&[u8]| block.iter().fold(true, |all, byte| all & belongs(*byte));
    let blocks = bytes.chunks_exact(BLOCK).take_while(all_belong).count();
    let length = blocks * BLOCK;
    length + run_of(&bytes[length..], belongs)
}

/// Returns the length of the request line at the start of these bytes.
fn whole_request_line(bytes: &[u8]) -> Option<usize> {
    let method = run_of(bytes, is_token);
    let target = bytes.get(method..)?.strip_prefix(b" ")?;
    let target_length = long_run_of(target, is_in_target);
    let version = target.get(target_length..)?.strip_prefix(b" ")?;
    let whole =
        starts_with_version(version) && version[VERSION_LENGTH as usize..].starts_with(b"\r\n");
    (whole && method > 0 && target_length > 0)
        .then(|| bytes.len() - version.len() + VERSION_LENGTH as usize + 2)
}

/// Returns the name and the value of the field line at the start of these bytes.
fn whole_field_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = bytes.split_at(run_of(bytes, is_token));
    let value = rest.strip_prefix(b":")?;
    let (value, end) = value.split_at(long_run_of(value, is_text));
    (end.starts_with(b"\r\n") && !name.is_empty()).then_some((name, value))
}

fn starts_with_version(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1") || bytes.starts_with(b"HTTP/1.0")
}

/// True if a field name of this length could be one that determines the framing.
fn is_framing_length(length: usize) -> bool {
    length == CONTENT_LENGTH.len() || length == TRANSFER_ENCODING.len()
}
