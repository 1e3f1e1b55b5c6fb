//! A connection whose owner is the `h2` library, read along: what each side writes is seen frame by
//! frame. The library hides what judges need (the last stream id of a GOAWAY, what was sent) and
//! forgives some of what RFC 9113 forbids.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::arrivals::Arrivals;
use super::frames::{Frame, FrameReader, LARGEST_PAYLOAD, ReadError, TABLE, setting};

/// Bytes that were seen and not yet read as frames. It never ends.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<BytesMut>>);

impl AsyncRead for Seen {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut seen = self.0.borrow_mut();
        let count = seen.len().min(buffer.remaining());
        if count == 0 {
            // It is asked again when there is more: nothing needs to be woken.
            return Poll::Pending;
        }
        buffer.put_slice(&seen[..count]);
        seen.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// One direction of the connection.
struct Direction {
    seen: Seen,
    frames: FrameReader<Seen>,
    /// True once a fault was found: what follows cannot be read.
    spoilt: bool,
}

impl Direction {
    fn new() -> Self {
        let seen = Seen::default();
        Self { frames: FrameReader::new(seen.clone()), seen, spoilt: false }
    }

    /// The next frame; `None` if it is not complete.
    fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        if self.spoilt {
            return Ok(None);
        }
        let next = self.frames.next().now_or_never().unwrap_or(Ok(None));
        self.spoilt = next.is_err();
        next
    }
}

/// All that was seen of a connection.
pub(crate) struct Tap {
    pub(crate) arrivals: Arrivals,
    read: Direction,
    written: Direction,
    preface: bool,
}

impl Tap {
    /// Something arrived from the proxy.
    fn note_read(&mut self, bytes: &[u8]) {
        self.read.seen.0.borrow_mut().extend_from_slice(bytes);
        loop {
            match self.read.next() {
                Ok(Some(frame)) => self.arrivals.read(&frame),
                Ok(None) => return,
                Err(ReadError::Fault(fault)) => self.arrivals.fault(&fault),
                Err(ReadError::Broken | ReadError::EndedInside) => unreachable!("no end"),
            }
        }
    }

    /// The library has written something.
    fn note_written(&mut self, bytes: &[u8]) {
        self.written.seen.0.borrow_mut().extend_from_slice(bytes);
        if !self.preface {
            self.preface = match self.written.frames.preface().now_or_never() {
                None => return,
                Some(preface) => preface.is_ok(),
            };
        }
        while let Some(frame) = self.written.next().expect("the library writes frames") {
            self.sent(&frame);
        }
    }

    fn sent(&mut self, frame: &Frame) {
        let arrivals = &mut self.arrivals;
        match frame {
            Frame::Headers { stream, fields, end } => {
                if let Some(method) = fields.get(":method") {
                    arrivals.open(*stream, method);
                }
                if *end {
                    arrivals.sent(*stream);
                }
            }
            Frame::Data { stream, counted, end, .. } => {
                arrivals.conduct.sent_data(*stream, *counted as usize);
                if *end {
                    arrivals.sent(*stream);
                }
            }
            Frame::Settings(settings) => {
                let value = |name: u16| settings.iter().find(|(own, _)| *own == name);
                let value = |name| value(name).map(|(_, value)| *value as usize);
                let payload = value(setting::MAX_FRAME_SIZE).unwrap_or(LARGEST_PAYLOAD);
                let table = value(setting::HEADER_TABLE_SIZE).unwrap_or(TABLE);
                self.read.frames.allow(payload, table);
                arrivals.conduct.sent_settings(settings);
            }
            Frame::WindowUpdate { stream, by } => arrivals.conduct.grant(*stream, *by),
            Frame::Reset { stream, .. } => arrivals.conduct.reset(*stream),
            Frame::Ping(content) => arrivals.conduct.sent_ping(*content),
            _ => {}
        }
    }
}

/// A connection that is read along.
pub(crate) struct Tapped<S> {
    io: S,
    tap: Rc<RefCell<Tap>>,
}

impl<S> Tapped<S> {
    /// Reads along from the first byte on.
    pub(crate) fn new(io: S, arrivals: Arrivals) -> (Self, Rc<RefCell<Tap>>) {
        let (read, mut written) = (Direction::new(), Direction::new());
        // What the library may write is its own matter.
        written.frames.allow(1 << 24, usize::MAX);
        let tap = Rc::new(RefCell::new(Tap { arrivals, read, written, preface: false }));
        (Self { io, tap: Rc::clone(&tap) }, tap)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.tap.borrow_mut().note_read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
        self.tap.borrow_mut().note_written(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(context, buffers))?;
        let mut left = count;
        for buffer in buffers {
            let part = left.min(buffer.len());
            self.tap.borrow_mut().note_written(&buffer[..part]);
            left -= part;
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
