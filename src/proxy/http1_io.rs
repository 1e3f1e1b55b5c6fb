//! Moves bytes between a byte stream and the codec of [`wire::http1`](crate::wire::http1), which
//! does no I/O.

use std::future::Future as _;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::limits::{HTTP1_READ_BYTES, HTTP1_READ_BYTES_MAX, HTTP1_SLICES_MAX};
use crate::wire::http1::{Decoder, EndOfInput, Event, Outgoing};

/// Writes what waits. Ready once nothing does.
///
/// # Errors
/// If it cannot be written.
pub fn poll_write(
    outgoing: &mut Outgoing,
    io: &mut (impl AsyncWrite + Unpin),
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut io = Pin::new(io);
    while !outgoing.is_empty() {
        let mut slices = [IoSlice::new(&[]); HTTP1_SLICES_MAX];
        let count = outgoing.slices(&mut slices);
        let written = ready!(io.as_mut().poll_write_vectored(context, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        outgoing.advance(written);
    }
    io.poll_flush(context)
}

/// Bytes that the next read of a connection may take: more while its peer fills the buffer.
#[derive(Debug)]
pub struct ReadSize(usize);

impl Default for ReadSize {
    fn default() -> Self {
        Self(HTTP1_READ_BYTES)
    }
}

impl ReadSize {
    /// Reads into a buffer. Ready with the number of bytes; 0 at the end of the stream.
    ///
    /// # Errors
    /// If the stream cannot be read.
    pub fn poll_read(
        &mut self,
        buffer: &mut BytesMut,
        io: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if buffer.capacity() - buffer.len() < self.0 / 2 {
            buffer.reserve(self.0);
        }
        let room = buffer.capacity() - buffer.len();
        let length = ready!(pin!(io.read_buf(buffer)).poll(context))?;
        if length == room {
            // A message that fills the buffer is large.
            self.0 = (2 * self.0).min(HTTP1_READ_BYTES_MAX);
        }
        Poll::Ready(Ok(length))
    }
}

/// Reads the next event of a message that is expected.
///
/// # Errors
/// Why there is none, in one line.
pub async fn next_event(
    decoder: &mut Decoder,
    io: &mut (impl AsyncRead + Unpin),
) -> Result<Event, String> {
    loop {
        if let Some(event) = decoder.next_event().map_err(|violation| violation.to_string())? {
            return Ok(event);
        }
        let buffer = decoder.buffer();
        buffer.reserve(HTTP1_READ_BYTES);
        let read = io.read_buf(buffer).await.map_err(|error| error.to_string())?;
        if read == 0 && decoder.end_of_input() != EndOfInput::EndsContent {
            return Err("the connection was closed".to_owned());
        }
    }
}
