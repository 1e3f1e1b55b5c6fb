//! Coalesces the small pieces of a request body that are available at the same time. Each piece
//! becomes a DATA frame, and backends built on `h2` close a connection on which more than about a
//! hundred tiny frames wait to be read: one client's burst would end the requests of all.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;

use super::replay_body::Upload;
use crate::proxy::limits::{COALESCE_BELOW_BYTES, FRAME_BYTES_DEFAULT};

type Piece = Option<Frame<Bytes>>;

/// An [`Upload`] in fewer pieces.
pub(super) struct Coalesce {
    upload: Upload,
    /// The frame or end that followed the last piece and was not merged into it.
    held: Option<Piece>,
}

impl Coalesce {
    /// Coalesces the pieces of an upload.
    pub(super) fn new(upload: Upload) -> Self {
        Self { upload, held: None }
    }

    /// Polls for the next piece, coalesced from what is available. Waits only until its first part
    /// is available.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        if let Some(held) = self.held.take() {
            return Poll::Ready(held);
        }
        let Some(frame) = ready!(self.upload.poll_next(context)) else {
            return Poll::Ready(None);
        };
        let first = match frame.into_data() {
            Ok(data) if data.len() < COALESCE_BELOW_BYTES && !self.upload.is_at_end() => data,
            Ok(data) => return Poll::Ready(Some(Frame::data(data))),
            Err(trailers) => return Poll::Ready(Some(trailers)),
        };
        let data = self.coalesce(first, context);
        Poll::Ready(Some(Frame::data(data)))
    }

    fn coalesce(&mut self, first: Bytes, context: &mut Context<'_>) -> Bytes {
        let mut coalesced: Option<BytesMut> = None;
        loop {
            let length = coalesced.as_ref().map_or(first.len(), BytesMut::len);
            let Poll::Ready(piece) = self.upload.poll_next(context) else { break };
            let fits = |more: &Bytes| length + more.len() <= FRAME_BYTES_DEFAULT;
            match piece {
                Some(frame) if frame.data_ref().is_some_and(fits) => {
                    let all = coalesced.get_or_insert_with(|| BytesMut::from(&first[..]));
                    all.extend_from_slice(frame.data_ref().map_or(&[], |more| more));
                    if self.upload.is_at_end() {
                        break;
                    }
                }
                other => {
                    self.held = Some(other);
                    break;
                }
            }
        }
        coalesced.map_or(first, BytesMut::freeze)
    }

    /// True if the whole body was read.
    pub(super) fn is_at_end(&self) -> bool {
        match &self.held {
            Some(None) => true,
            Some(Some(_)) => false,
            None => self.upload.is_at_end(),
        }
    }

    /// As [`Upload::note_blocked`].
    pub(super) fn note_blocked(&mut self, is_blocked: bool) {
        self.upload.note_blocked(is_blocked);
    }

    /// Reports that the whole request was handed to the connection. Reports only once.
    pub(super) fn tell_sent(&mut self) {
        self.upload.tell_sent();
    }
}
