//! The line before each chunk: its size and extensions (RFC 9112, 7.1).

use super::lexemes::is_text;
use super::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, CONTENT_BYTES_MAX, Violation};

/// A chunk's line that is read byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkLine {
    /// After this many digits of the size.
    Size { digits: u8, size: u64 },
    /// After this many bytes of extensions.
    Extension { length: u16, size: u64 },
    /// After the CR.
    LineFeed { size: u64 },
}

/// The part of the message that follows a byte of the line.
pub(crate) enum Next {
    /// More of the line.
    Line(ChunkLine),
    /// The chunk, with this many bytes.
    Chunk(u64),
}

impl ChunkLine {
    /// The line before its first byte.
    pub(crate) const START: Self = Self::Size { digits: 0, size: 0 };

    /// Reads a byte.
    pub(crate) fn step(self, byte: u8) -> Result<Next, Violation> {
        let line = match (self, byte) {
            (Self::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                match size.checked_mul(16).map(|size| size + digit) {
                    Some(size) if digits < CHUNK_SIZE_DIGITS_MAX && size <= CONTENT_BYTES_MAX => {
                        Self::Size { digits: digits + 1, size }
                    }
                    _ => return Err(Violation::Chunk),
                }
            }
            (Self::Size { digits, size }, b';') if digits > 0 => {
                Self::Extension { length: 0, size }
            }
            (Self::Size { digits, size }, b'\r') if digits > 0 => Self::LineFeed { size },
            (Self::Extension { size, .. }, b'\r') => Self::LineFeed { size },
            (Self::Extension { length, size }, _)
                if is_text(byte) && length < CHUNK_EXTENSION_BYTES_MAX =>
            {
                Self::Extension { length: length + 1, size }
            }
            (Self::LineFeed { size }, b'\n') => return Ok(Next::Chunk(size)),
            _ => return Err(Violation::Chunk),
        };
        Ok(Next::Line(line))
    }
}
