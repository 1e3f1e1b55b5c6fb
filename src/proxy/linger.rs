//! The lingering close (RFC 9112, 9.6): after the last response, unread bytes of the peer are read
//! and discarded. Otherwise the system would reset the connection, and the peer might lose that
//! response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::limits::{UNREAD_BYTES_MAX, UNREAD_PIECE_BYTES};

/// The unread bytes of one connection.
#[derive(Debug, Default)]
pub struct Unread {
    discarded: usize,
}

impl Unread {
    /// Discards what the peer still sends, at most [`UNREAD_BYTES_MAX`]. Ready at the end of the
    /// stream, at that limit, or when reading fails.
    pub fn poll_discard(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        while self.discarded < UNREAD_BYTES_MAX {
            let mut piece = [0; UNREAD_PIECE_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            let polled = Pin::new(&mut *io).poll_read(context, &mut piece);
            if ready!(polled).is_err() || piece.filled().is_empty() {
                break;
            }
            self.discarded += piece.filled().len();
        }
        Poll::Ready(())
    }
}
