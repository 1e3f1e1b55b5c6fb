//! Sockets that give and take less than they could, as real ones do at any time: one byte, or half
//! of what is written. Drawn by socket, direction and the number of what was read or written, so
//! that a poll which ends pending draws nothing new.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::draw::{Domain, Draws};

/// A socket that is short of room at times.
pub(crate) struct Short<S> {
    inner: S,
    draws: Draws,
    percent: u64,
    /// The key of its draws.
    socket: u64,
    reads: u64,
    writes: u64,
}

impl<S> Short<S> {
    /// A socket with a number, so many of whose reads and writes are short.
    pub(crate) fn new(inner: S, draws: Draws, percent: u8, socket: u64) -> Self {
        Self { inner, draws, percent: percent.into(), socket, reads: 0, writes: 0 }
    }

    fn is_short(&self, direction: u64, ordinal: u64) -> bool {
        let entity = 2 * self.socket + direction;
        self.draws.between(Domain::Short, entity, ordinal, 0, 99) < self.percent
    }

    /// The bytes of a slice that the next write takes.
    fn taken<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes.len() {
            2.. if self.is_short(1, self.writes) && self.writes.is_multiple_of(2) => &bytes[..1],
            2.. if self.is_short(1, self.writes) => &bytes[..bytes.len() / 2],
            _ => bytes,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Short<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 1 && self.is_short(0, self.reads) {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut one))?;
            buffer.put_slice(one.filled());
        } else {
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        }
        self.reads += 1;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Short<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = self.taken(bytes);
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.writes += 1;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_short(1, self.writes) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, slices))?;
        self.writes += 1;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn short_reads_and_writes_lose_nothing_and_are_drawn_by_progress() {
        let mut sizes = Vec::new();
        for percent in [0, 50, 100] {
            let (one, mut other) = duplex(1_000);
            let mut socket = Short::new(one, Draws::new(1), percent, 3);
            let sent: Vec<u8> = (0..100).collect();
            let first = socket.write(&sent).await.expect("there is room");
            socket.write_all(&sent[first..]).await.expect("there is room");
            let mut seen = vec![0; 100];
            other.read_exact(&mut seen).await.expect("all of it arrives");
            assert_eq!(seen, sent);
            other.write_all(&sent).await.expect("there is room");
            let read = socket.read(&mut seen).await.expect("there are bytes");
            socket.read_exact(&mut seen[read..]).await.expect("all of it arrives");
            assert_eq!(seen, sent);
            sizes.push((first, read, socket.reads > 1));
        }
        assert_eq!(sizes[0], (100, 100, false));
        assert_eq!(sizes[2], (1, 1, true));
    }
}
