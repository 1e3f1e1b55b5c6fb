//! A client's byte stream. It replays the bytes that were read to detect the protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The connection preface of an HTTP/2 client (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The detected protocol, and the bytes that were read for it.
pub(super) enum Spoken {
    /// HTTP/2 with prior knowledge.
    Http2(Bytes),
    /// Anything else, to be parsed as HTTP/1.1.
    Http1(Bytes),
    /// The client closed the connection without a byte.
    Nothing,
}

/// Reads as many bytes as it takes to distinguish HTTP/2 from HTTP/1.1.
pub(super) async fn listen(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Spoken> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    loop {
        let read = io.read(&mut bytes[length..]).await?;
        if read == 0 && length == 0 {
            return Ok(Spoken::Nothing);
        }
        length += read;
        let first_bytes = Bytes::copy_from_slice(&bytes[..length]);
        if read == 0 || !PREFACE.starts_with(&first_bytes) {
            return Ok(Spoken::Http1(first_bytes));
        }
        if length == PREFACE.len() {
            return Ok(Spoken::Http2(first_bytes));
        }
    }
}

/// A client's byte stream that replays its first bytes.
pub(super) struct ClientIo<Io> {
    io: Io,
    first_bytes: Bytes,
}

impl<Io: AsyncRead + Unpin> ClientIo<Io> {
    /// Wraps `io`. `first_bytes` is read again before the rest.
    pub(super) fn new(io: Io, first_bytes: Bytes) -> Self {
        Self { io, first_bytes }
    }

    /// Returns the wrapped stream. The bytes to replay must have been read.
    pub(super) fn into_inner(self) -> Io {
        debug_assert!(self.first_bytes.is_empty(), "bytes would be lost");
        self.io
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for ClientIo<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first_bytes.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let length = self.first_bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.first_bytes.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for ClientIo<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
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
