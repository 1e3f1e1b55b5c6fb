//! Errors in a file, with their positions.

use std::fmt;
use std::ops::Range;

/// A position in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

/// Converts increasing byte offsets to positions, in one scan of the text.
struct Cursor<'text> {
    rest: &'text [u8],
    offset: usize,
    at: Position,
}

impl<'text> Cursor<'text> {
    fn new(text: &'text [u8]) -> Self {
        Self { rest: text, offset: 0, at: Position { line: 1, column: 1 } }
    }

    /// Returns the position of the byte at `offset`, or of the end of the text if `offset` is
    /// beyond it. `offset` must not be less than in an earlier call.
    fn advance(&mut self, offset: usize) -> Position {
        let (passed, rest) = self.rest.split_at((offset - self.offset).min(self.rest.len()));
        for byte in passed {
            match byte {
                b'\n' => self.at = Position { line: self.at.line + 1, column: 1 },
                // Continuation bytes of a character (RFC 3629, 3).
                0x80..=0xbf => {}
                _ => self.at.column += 1,
            }
        }
        self.offset = offset;
        self.rest = rest;
        self.at
    }
}

/// An error in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// The name of the file, as given.
    pub file: String,
    /// The position of the error; `None` if it is about the whole file.
    pub position: Option<Position>,
    /// A description of the error.
    pub what: String,
    /// A description of a valid value; empty if `what` includes it.
    pub expected: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(formatter, "{line}:{column}:")?;
        }
        write!(formatter, " {}", self.what)?;
        if !self.expected.is_empty() {
            write!(formatter, "; expected {}", self.expected)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// An error at a range of bytes of a text.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) span: Range<usize>,
    /// True if something is missing. It may still be in a part of the file that could not be read.
    pub(super) absence: bool,
    pub(super) what: String,
    pub(super) expected: String,
}

/// Returns the errors of a file in order of position, without duplicates.
pub(super) fn in_file(mut findings: Vec<Finding>, file: &str, bytes: &[u8]) -> Vec<ConfigError> {
    findings.sort_by_key(|finding| finding.span.start);
    let mut cursor = Cursor::new(bytes);
    let placed = findings.into_iter().map(|finding| ConfigError {
        file: file.to_owned(),
        position: Some(cursor.advance(finding.span.start)),
        what: finding.what,
        expected: finding.expected,
    });
    let mut errors: Vec<_> = placed.collect();
    errors.sort();
    errors.dedup();
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let mut cursor = Cursor::new("äb\n\ncd".as_bytes());
        for (offset, line, column) in
            [(0, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 1), (5, 3, 1), (6, 3, 2), (99, 3, 3)]
        {
            assert_eq!(cursor.advance(offset), Position { line, column }, "{offset}");
        }
    }
}
