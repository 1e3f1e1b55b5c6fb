//! The lingering close (RFC 9112, 9.6): after the last response or GOAWAY, unread bytes of the peer
//! are read and discarded. Otherwise the system would reset the connection, and the peer might lose
//! what was sent last.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::limits::{UNREAD_BYTES_MAX, UNREAD_PIECE_BYTES};
use super::seams::{self, Point};

/// The unread bytes of one connection.
#[derive(Debug, Default)]
pub struct Unread {
    discarded: usize,
    /// True if the next piece has room for one byte only.
    small: bool,
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
            let room = if self.small { 1 } else { UNREAD_PIECE_BYTES };
            let mut piece = ReadBuf::new(&mut piece[..room]);
            let polled = Pin::new(&mut *io).poll_read(context, &mut piece);
            if ready!(polled).is_err() || piece.filled().is_empty() {
                // A later call must not read again.
                self.discarded = UNREAD_BYTES_MAX;
                break;
            }
            self.discarded += piece.filled().len();
            self.small = seams::buggify(Point::SmallBuffer);
        }
        Poll::Ready(())
    }
}

/// Closes a connection: says that nothing more is sent, then discards what the peer still sends.
/// The caller has a deadline.
pub async fn close(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    // The peer may have left.
    if io.shutdown().await.is_ok() {
        let mut unread = Unread::default();
        poll_fn(|context| unread.poll_discard(io, context)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::Waker;

    use super::*;

    /// Fails once; a later read would wait for ever.
    struct FailsOnce(bool);

    impl AsyncRead for FailsOnce {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Pending;
            }
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }

    #[test]
    fn nothing_is_read_after_the_end() {
        let (mut unread, mut io) = (Unread::default(), FailsOnce(false));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert_eq!(unread.poll_discard(&mut io, &mut context), Poll::Ready(()));
        }
    }
}
