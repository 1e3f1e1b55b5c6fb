//! What is wrong with a file, and where.

use std::fmt;
use std::ops::Range;

/// A place in a text, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

/// Walks a text forward and says where it is, so that a file with many errors is walked once.
struct Cursor<'text> {
    rest: &'text [u8],
    offset: usize,
    at: Position,
}

impl<'text> Cursor<'text> {
    fn new(text: &'text [u8]) -> Self {
        Self { rest: text, offset: 0, at: Position { line: 1, column: 1 } }
    }

    /// The place of a byte that is not before the last one asked for; the end of the text if it lies
    /// behind that.
    fn advance(&mut self, offset: usize) -> Position {
        let (passed, rest) = self.rest.split_at((offset - self.offset).min(self.rest.len()));
        for byte in passed {
            match byte {
                b'\n' => self.at = Position { line: self.at.line + 1, column: 1 },
                // The bytes of a character after its first (RFC 3629, 3).
                0x80..=0xbf => {}
                _ => self.at.column += 1,
            }
        }
        self.offset = offset;
        self.rest = rest;
        self.at
    }
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// Where in it; nowhere in particular if `None`.
    pub position: Option<Position>,
    /// What is wrong.
    pub what: String,
    /// What would be right.
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

/// Something wrong at some bytes of a text.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) span: Range<usize>,
    /// Whether it is that something is not there. It may be, in a part that could not be read.
    pub(super) absence: bool,
    pub(super) what: String,
    pub(super) expected: String,
}

/// The errors in a file, in its order, each once.
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
