//! The bytes that peers write and read over TLS, shown to the observers of the network.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::key::Side;
use super::state::{Id, Shared};
use super::stream::Stream;
use super::tap::{Content, Point};

/// The end of a connection to show bytes of.
struct Shown {
    network: Shared,
    id: Id,
    side: Side,
}

impl Shown {
    fn show(&self, writer: Side, bytes: &[u8]) {
        if !bytes.is_empty() {
            let content = Content::Bytes(bytes);
            self.network.with(|state| state.show(self.id, writer, Point::Decrypted, 0, content));
        }
    }
}

/// A peer's end of a connection, over TLS.
pub(crate) struct Decrypted<Io> {
    io: Io,
    shown: Shown,
}

impl Stream {
    /// Returns a function that shows the bytes of what speaks TLS over this stream; `None` if
    /// there are no observers.
    pub(crate) fn shown<Io>(&self) -> Option<impl FnOnce(Io) -> Decrypted<Io> + use<Io>> {
        let shown = Shown { network: self.network.clone(), id: self.id, side: self.side };
        let observed = shown.network.with(|state| state.tap.is_observed());
        observed.then_some(|io| Decrypted { io, shown })
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Decrypted<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.shown.show(self.shown.side.other(), &buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Decrypted<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
        self.shown.show(self.shown.side, &bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(context, slices))?;
        let mut left = count;
        for slice in slices {
            let taken = left.min(slice.len());
            self.shown.show(self.shown.side, &slice[..taken]);
            left -= taken;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
