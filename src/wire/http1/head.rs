//! A head that was read: one buffer, and the positions of its parts in it.

use std::ops::Range;

use bytes::Bytes;

/// The version of a message. Others are malformed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// How the end of a message's content is found (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// The message has no content.
    #[default]
    Nothing,
    /// This many bytes, more than 0.
    Length(u64),
    /// Chunks, and trailers behind them.
    Chunked,
    /// All bytes until the connection closes.
    UntilClose,
}

/// A range of positions in a head. Heads are smaller than 4 GiB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The range, shifted by `offset`.
    pub(super) fn new(range: &Range<usize>, offset: usize) -> Self {
        let position =
            |at: usize| u32::try_from(at + offset).expect("heads are at most HEAD_BYTES_MAX");
        Self { start: position(range.start), end: position(range.end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A head, or the trailers of a message. Its parts are slices of the bytes that were received.
#[derive(Debug, Default)]
pub struct Head {
    pub(super) bytes: Bytes,
    pub(super) version: Version,
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) fields: Vec<(Span, Span)>,
}

impl Head {
    /// Forgets the message, for the next one. Keeps the memory of the list of fields.
    pub(super) fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }

    /// The version of the message.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The method of a request; empty for a response.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        &self.bytes[self.method.range()]
    }

    /// The target of a request, as it was received; empty for a response. The bytes are part of
    /// the head's buffer.
    #[must_use]
    pub fn target(&self) -> Bytes {
        self.bytes.slice(self.target.range())
    }

    /// The status of a response, 100 to 999 and not 101; 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// How the content is framed.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The number of field lines.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// The field lines in order: names as they were received, and values without the white space
    /// around them. The values are part of the head's buffer.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], Bytes)> {
        self.fields
            .iter()
            .map(|(name, value)| (&self.bytes[name.range()], self.bytes.slice(value.range())))
    }
}
