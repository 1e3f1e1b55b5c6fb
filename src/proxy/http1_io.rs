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

/// Reads a connection, and decides how many bytes a read may take: more while the peer fills the
/// buffer, and then at once what is missing of content whose length is known.
#[derive(Debug)]
pub struct Reader {
    /// Bytes of the next read if no length is known.
    size: usize,
    /// True if the last read has filled the buffer: the peer has probably sent more.
    is_filled: bool,
    /// True if the buffer may be part of more memory than its capacity says.
    has_grown: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self { size: HTTP1_READ_BYTES, is_filled: false, has_grown: false }
    }
}

impl Reader {
    /// Reads into the buffer of a decoder. Ready with the number of bytes; 0 at the end of the
    /// stream.
    ///
    /// # Errors
    /// If the stream cannot be read.
    pub fn poll_read(
        &mut self,
        decoder: &mut Decoder,
        io: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // A length alone, without bytes, must not take memory. A read that leaves room needs no
        // further one to find that there is nothing more.
        let known = if self.is_filled { decoder.missing().saturating_add(1) } else { 0 };
        let size = known.clamp(self.size, HTTP1_READ_BYTES_MAX);
        let buffer = decoder.buffer();
        if buffer.capacity() - buffer.len() < size / 2 {
            buffer.reserve(size);
            self.has_grown |= size > HTTP1_READ_BYTES;
        }
        let room = buffer.capacity() - buffer.len();
        let length = ready!(pin!(io.read_buf(buffer)).poll(context))?;
        self.is_filled = length == room;
        if self.is_filled {
            self.size = (2 * self.size).min(HTTP1_READ_BYTES_MAX);
        }
        Poll::Ready(Ok(length))
    }

    /// A message is over: the next one is read into a small buffer again.
    pub fn message_ends(&mut self, decoder: &mut Decoder) {
        self.size = HTTP1_READ_BYTES;
        self.is_filled = false;
        let buffer = decoder.buffer();
        if buffer.is_empty() && (self.has_grown || buffer.capacity() > HTTP1_READ_BYTES) {
            *buffer = BytesMut::new();
            self.has_grown = false;
        }
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::wire::http1::{Expected, HeadLimits, Role};

    /// Reads as much as the stream has. Returns the bytes of each read.
    fn read(reader: &mut Reader, decoder: &mut Decoder, mut stream: &[u8]) -> Vec<usize> {
        let mut reads = Vec::new();
        loop {
            let context = &mut Context::from_waker(Waker::noop());
            match reader.poll_read(decoder, &mut stream, context) {
                Poll::Ready(Ok(0)) => return reads,
                Poll::Ready(Ok(length)) => reads.push(length),
                other => unreachable!("bytes in memory are always ready: {other:?}"),
            }
            while let Ok(Some(_)) = decoder.next_event() {}
        }
    }

    fn response(length: usize) -> (Decoder, Vec<u8>) {
        let mut decoder = Decoder::new(Role::Client, HeadLimits { bytes: 1000, fields: 10 });
        decoder.expect(Expected::Other);
        let head = format!("HTTP/1.1 200 \r\ncontent-length: {length}\r\n\r\n");
        (decoder, head.into_bytes())
    }

    #[test]
    fn content_of_a_known_length_is_read_at_once() {
        let (mut decoder, mut bytes) = response(60_000);
        bytes.resize(bytes.len() + 60_000, b'a');
        let mut reader = Reader::default();
        let rest = bytes.len() - HTTP1_READ_BYTES;
        assert_eq!(read(&mut reader, &mut decoder, &bytes), [HTTP1_READ_BYTES, rest]);
        reader.message_ends(&mut decoder);
        assert_eq!(decoder.buffer().capacity(), 0, "an idle connection has no large buffer");
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let (mut decoder, bytes) = response(1_000_000);
        let mut reader = Reader::default();
        assert_eq!(read(&mut reader, &mut decoder, &bytes), [bytes.len()]);
        assert!(decoder.buffer().capacity() <= HTTP1_READ_BYTES);
    }
}
