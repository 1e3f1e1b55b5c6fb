//! The connections of the simulated network, as the shell sees them.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream of the simulated network.
pub trait ByteStream: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> ByteStream for T {}

/// A connection, dialled or accepted.
pub struct NetworkStream {
    stream: Pin<Box<dyn ByteStream>>,
    /// True if closing the connection resets it.
    resets: Rc<Cell<bool>>,
    /// As [`NetworkStream::unanswered`].
    unanswered: Box<dyn Fn() -> Option<u32>>,
}

impl NetworkStream {
    /// A connection over this byte stream.
    #[must_use]
    pub fn new(stream: impl ByteStream + 'static) -> Self {
        Self::of_proxy(stream, Rc::default(), || None)
    }

    /// A connection over this byte stream, which resets it when it is dropped if `resets` says so.
    /// `unanswered` returns the segments in a row that the peer's host has left without an
    /// acknowledgement; `None` if the system cannot tell.
    #[must_use]
    pub fn of_proxy(
        stream: impl ByteStream + 'static,
        resets: Rc<Cell<bool>>,
        unanswered: impl Fn() -> Option<u32> + 'static,
    ) -> Self {
        Self { stream: Box::pin(stream), resets, unanswered: Box::new(unanswered) }
    }

    /// Segments in a row without an acknowledgement; `None` if the system cannot tell.
    pub(super) fn unanswered(&self) -> Option<u32> {
        (self.unanswered)()
    }

    /// Makes the close of the connection a reset, or an orderly one again.
    pub(super) fn reset_on_close(&self, resets: bool) {
        self.resets.set(resets);
    }
}

impl fmt::Debug for NetworkStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NetworkStream")
    }
}

impl AsyncRead for NetworkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for NetworkStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}
