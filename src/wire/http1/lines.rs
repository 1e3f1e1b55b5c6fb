//! The lines of a head. Each function reads one line from the start of the bytes.
//!
//! A result of `None` means that the line is incomplete and may still become valid. An error is
//! found at the first wrong byte, so it does not depend on where the bytes were cut.

use std::ops::Range;

use super::head::Version;
use super::lexemes::{is_in_target, is_text, is_token};

/// Bytes of the smallest SIMD register.
const BLOCK: usize = 16;

/// The line is malformed.
#[derive(Debug)]
pub(crate) struct Malformed;

/// A line, or a part of one: where it ends, and what it says. `None` if it is incomplete.
type Read<T> = Result<Option<T>, Malformed>;

/// A request line; ranges are positions in it.
pub(crate) struct RequestLine {
    /// Bytes of the line with its CRLF.
    pub(crate) length: usize,
    pub(crate) method: Range<usize>,
    pub(crate) target: Range<usize>,
    pub(crate) version: Version,
}

/// A status line.
pub(crate) struct StatusLine {
    /// Bytes of the line with its CRLF.
    pub(crate) length: usize,
    pub(crate) status: u16,
    pub(crate) version: Version,
}

/// A field line, or the empty line behind the last one.
pub(crate) enum FieldLine {
    Field { length: usize, name: Range<usize>, value: Range<usize> },
    Empty,
}

/// The line behind the fields of a head, or of trailers.
pub(crate) const EMPTY_LINE: &[u8] = b"\r\n";

/// Reads a request line.
pub(crate) fn request_line(bytes: &[u8]) -> Read<RequestLine> {
    let method = run_of(bytes, is_token);
    let Some(target_start) = literal(bytes, method, b" ", method > 0)? else { return Ok(None) };
    let target = long_run_of(&bytes[target_start..], is_in_target);
    let target_end = target_start + target;
    let Some(at) = literal(bytes, target_end, b" ", target > 0)? else { return Ok(None) };
    let Some((at, version)) = version(bytes, at)? else { return Ok(None) };
    let Some(length) = literal(bytes, at, b"\r\n", true)? else { return Ok(None) };
    Ok(Some(RequestLine { length, method: 0..method, target: target_start..target_end, version }))
}

/// Reads a status line.
pub(crate) fn status_line(bytes: &[u8]) -> Read<StatusLine> {
    let Some((at, version)) = version(bytes, 0)? else { return Ok(None) };
    let Some(at) = literal(bytes, at, b" ", true)? else { return Ok(None) };
    let digits = run_of(&bytes[at..bytes.len().min(at + 3)], |byte| byte.is_ascii_digit());
    let status = bytes[at..at + digits]
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let at = at + digits;
    if digits < 3 {
        return if at == bytes.len() { Ok(None) } else { Err(Malformed) };
    }
    let reason = match bytes.get(at) {
        None => return Ok(None),
        Some(b' ') => 1 + long_run_of(&bytes[at + 1..], is_text),
        Some(_) => 0,
    };
    let Some(length) = literal(bytes, at + reason, b"\r\n", true)? else { return Ok(None) };
    Ok(Some(StatusLine { length, status, version }))
}

/// Reads a field line, or the empty line. The value is without the white space around it.
pub(crate) fn field_line(bytes: &[u8]) -> Read<FieldLine> {
    if bytes.first() == Some(&b'\r') {
        return Ok(literal(bytes, 0, b"\r\n", true)?.map(|_| FieldLine::Empty));
    }
    let name = run_of(bytes, is_token);
    let Some(start) = literal(bytes, name, b":", name > 0)? else { return Ok(None) };
    let end = start + long_run_of(&bytes[start..], is_text);
    let Some(length) = literal(bytes, end, b"\r\n", true)? else { return Ok(None) };
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = &bytes[start..end];
    let leading = value.iter().take_while(|byte| is_space(byte)).count();
    let trailing = value[leading..].iter().rev().take_while(|byte| is_space(byte)).count();
    let value = start + leading..end - trailing;
    Ok(Some(FieldLine::Field { length, name: 0..name, value }))
}

/// Reads the version at a position. Returns the position behind it.
fn version(bytes: &[u8], at: usize) -> Read<(usize, Version)> {
    let Some(at) = literal(bytes, at, b"HTTP/1.", true)? else { return Ok(None) };
    match bytes.get(at) {
        None => Ok(None),
        Some(b'0') => Ok(Some((at + 1, Version::Http10))),
        Some(b'1') => Ok(Some((at + 1, Version::Http11))),
        Some(_) => Err(Malformed),
    }
}

/// Reads these bytes at a position. Returns the position behind them. `is_allowed` is false if
/// something must come before them that is missing.
fn literal<const LENGTH: usize>(
    bytes: &[u8],
    at: usize,
    wanted: &[u8; LENGTH],
    is_allowed: bool,
) -> Read<usize> {
    let rest = &bytes[at..];
    if is_allowed && rest.starts_with(wanted) {
        return Ok(Some(at + LENGTH));
    }
    let found = &rest[..rest.len().min(LENGTH)];
    let may_follow = found.is_empty() || (is_allowed && wanted.starts_with(found));
    if may_follow { Ok(None) } else { Err(Malformed) }
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
