//! Reading frames from bytes that somebody else has read or written.

use bytes::{Buf, Bytes};
use tokio::io::{Empty, empty};

use super::{Fault, Frame, FrameReader, GREATEST, PREFACE};

/// The largest payload that a length of 24 bits can state.
const PAYLOAD_MAX: usize = (1 << 24) - 1;

impl FrameReader<Empty> {
    /// A reader of what is put into it, whatever sizes the two sides agree on.
    pub(crate) fn fed() -> Self {
        let mut reader = Self::with_read(empty(), Bytes::new());
        reader.allow(PAYLOAD_MAX, GREATEST as usize);
        reader
    }

    /// Puts bytes behind those that are there.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the first bytes of a client, if they are there.
    pub(crate) fn take_preface(&mut self) -> bool {
        let whole = self.buffer.starts_with(PREFACE);
        if whole {
            self.buffer.advance(PREFACE.len());
        }
        whole
    }

    /// Takes the next frame, if all of it is there.
    ///
    /// # Errors
    /// If the bytes are none that RFC 9113 allows.
    pub(crate) fn take(&mut self) -> Result<Option<Frame>, Fault> {
        while let Some((head, payload)) = self.cut()? {
            if let Some(frame) = self.frame(head, payload)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// True if a part of a head or of trailers is there.
    pub(crate) fn is_inside_fields(&self) -> bool {
        self.block.is_some() || self.buffer.get(3) == Some(&super::kind::HEADERS)
    }
}
