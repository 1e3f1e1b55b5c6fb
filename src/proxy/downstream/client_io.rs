//! A client's socket, and the detection of the protocol that the client speaks.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::deadlines::Watch;
use crate::proxy::seams::{self, NetworkStream};

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

/// A client's socket, which reports to the deadlines whether writes make progress. It is below TLS,
/// which takes bytes into a buffer of its own.
pub(super) struct ClientIo {
    socket: NetworkStream,
    watch: Rc<Watch>,
    /// True if closing the socket resets the connection.
    resets: bool,
}

impl ClientIo {
    /// Reports to `watch`.
    pub(super) fn new(socket: NetworkStream, watch: Rc<Watch>) -> Self {
        Self { socket, watch, resets: false }
    }

    /// However the connection comes to an end, even with the process: that must not complete a
    /// response that is cut short.
    fn prepare_close(&mut self) {
        let resets = self.watch.is_until_close();
        if self.resets != resets {
            self.resets = resets;
            seams::reset_on_close(&self.socket, resets);
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.prepare_close();
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watch.note_write(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.prepare_close();
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, buffers);
        self.watch.note_write(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.prepare_close();
        if self.resets {
            // An end of the stream would complete the response. The close resets the connection.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
