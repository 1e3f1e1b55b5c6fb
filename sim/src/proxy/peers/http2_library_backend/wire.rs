//! The bytes between the `h2` library and the network: it can be held back in both directions, and
//! shows which frames pass, which the library does not report.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::ping_rule::PingRule;
use crate::proxy::hub::Hub;
use crate::proxy::peers::exchange::Exchange;
use crate::proxy::peers::frames::{PREFACE, flag, kind};

/// An answer whose frames are awaited.
pub(super) struct Awaited {
    pub(super) exchange: Rc<Exchange>,
    /// The 1xx heads that are still to pass.
    pub(super) informational: Cell<u32>,
    /// The status of the final head, and if trailers follow.
    pub(super) head: Cell<(u16, bool)>,
    /// True if the backend itself resets the stream.
    pub(super) reset: Cell<bool>,
    /// Wakes the application when the final head has passed.
    pub(super) head_passed: Notify,
}

impl Awaited {
    pub(super) fn new(exchange: Rc<Exchange>) -> Self {
        Self {
            exchange,
            informational: Cell::new(0),
            head: Cell::new((0, false)),
            reset: Cell::new(false),
            head_passed: Notify::new(),
        }
    }
}

/// Facts about the frames of a connection.
pub(super) struct Facts {
    hub: Rc<Hub>,
    /// Nothing is read.
    pub(super) deaf: Cell<bool>,
    /// Nothing is written.
    pub(super) mute: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// The answers, by stream.
    pub(super) awaited: RefCell<BTreeMap<u32, Rc<Awaited>>>,
    ping_rule: RefCell<PingRule>,
    /// The strikes of the last PING.
    pub(super) strikes: Cell<u32>,
    /// The code with which the backend itself ends the connection.
    pub(super) own_code: Cell<Option<u32>>,
    /// Error codes of the frames by which the library itself ended a stream or the connection.
    pub(super) verdicts: RefCell<Vec<(u32, u32)>>,
    /// Wakes the task of the connection: something was counted.
    pub(super) counted: Notify,
}

impl Facts {
    pub(super) fn new(hub: &Rc<Hub>) -> Self {
        Self {
            hub: Rc::clone(hub),
            deaf: Cell::default(),
            mute: Cell::default(),
            reader: RefCell::default(),
            writer: RefCell::default(),
            awaited: RefCell::default(),
            ping_rule: RefCell::default(),
            strikes: Cell::default(),
            own_code: Cell::default(),
            verdicts: RefCell::default(),
            counted: Notify::default(),
        }
    }

    /// Holds reading or writing back no longer, if that is so.
    pub(super) fn wake(&self) {
        for waker in [&self.reader, &self.writer] {
            if let Some(waker) = waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    fn passed_in(&self, frame: &Passed) {
        if frame.kind == kind::PING && frame.flags & flag::ACK == 0 {
            self.strikes.set(self.ping_rule.borrow_mut().ping(self.hub.now()));
            self.counted.notify_one();
        }
    }

    fn passed_out(&self, frame: &Passed) {
        if matches!(frame.kind, kind::HEADERS | kind::DATA) {
            self.ping_rule.borrow_mut().message_sent();
        }
        let awaited = self.awaited.borrow().get(&frame.stream).cloned();
        match (frame.kind, awaited) {
            (kind::HEADERS, Some(awaited)) if awaited.informational.get() > 0 => {
                awaited.informational.set(awaited.informational.get() - 1);
            }
            (kind::HEADERS, Some(awaited)) => {
                if !awaited.exchange.has_written_head() {
                    let (status, trailers) = awaited.head.get();
                    awaited.exchange.wrote_head(status, trailers);
                    awaited.head_passed.notify_one();
                }
                self.passed_end(frame, &awaited);
            }
            (kind::DATA, Some(awaited)) => {
                awaited.exchange.wrote(u64::from(frame.length));
                self.passed_end(frame, &awaited);
            }
            (kind::RST_STREAM, awaited) => {
                let own = awaited.is_some_and(|awaited| awaited.reset.get());
                if !own {
                    self.judged(frame.stream, frame.word(0));
                }
            }
            (kind::GOAWAY, _) if self.own_code.get() == Some(frame.word(4)) => {}
            (kind::GOAWAY, _) => self.judged(0, frame.word(4)),
            _ => {}
        }
    }

    fn passed_end(&self, frame: &Passed, awaited: &Awaited) {
        if frame.flags & flag::END_STREAM != 0 {
            awaited.exchange.wrote_end();
        }
    }

    fn judged(&self, stream: u32, code: u32) {
        self.verdicts.borrow_mut().push((stream, code));
        self.counted.notify_one();
    }
}

/// A stream of bytes with a memory of its frames.
pub(super) struct Wire<Io> {
    io: Io,
    /// The bytes that were read before.
    read: Bytes,
    facts: Rc<Facts>,
    inward: Scanner,
    outward: Scanner,
}

impl<Io> Wire<Io> {
    pub(super) fn new(io: Io, read: Bytes, facts: &Rc<Facts>) -> Self {
        let inward = Scanner { skipped: PREFACE.len(), ..Scanner::default() };
        let facts = Rc::clone(facts);
        Self { io, read, facts, inward, outward: Scanner::default() }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Wire<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.facts.deaf.get() {
            *this.facts.reader.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if this.read.is_empty() {
            std::task::ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        } else {
            let length = this.read.len().min(buffer.remaining());
            buffer.put_slice(&this.read.split_to(length));
        }
        let facts = &this.facts;
        this.inward.pass(&buffer.filled()[before..], |frame| facts.passed_in(frame));
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Wire<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.facts.mute.get() {
            *this.facts.writer.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        let written = std::task::ready!(Pin::new(&mut this.io).poll_write(context, bytes))?;
        let facts = &this.facts;
        this.outward.pass(&bytes[..written], |frame| facts.passed_out(frame));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

/// A frame that has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
    /// The beginning of the payload.
    payload: [u8; 8],
}

impl Passed {
    /// The number at a place of the payload.
    fn word(&self, at: usize) -> u32 {
        (&self.payload[at..]).get_u32()
    }
}

/// Finds the frames in bytes that come in any pieces.
#[derive(Default)]
pub(super) struct Scanner {
    /// Bytes before the first frame, or of the rest of a payload.
    skipped: usize,
    /// The head of a frame and the beginning of its payload.
    head: Vec<u8>,
}

impl Scanner {
    const HEAD: usize = 9;

    /// Reads further bytes; `passed` is called for each frame that is complete.
    fn pass(&mut self, mut bytes: &[u8], mut passed: impl FnMut(&Passed)) {
        loop {
            let skipped = self.skipped.min(bytes.len());
            self.skipped -= skipped;
            bytes.advance(skipped);
            if self.skipped > 0 {
                return;
            }
            if self.head.len() >= Self::HEAD && self.head.len() == self.kept() {
                passed(&self.frame());
                self.head.clear();
            }
            let Some((first, rest)) = bytes.split_first() else { return };
            self.head.push(*first);
            bytes = rest;
            if self.head.len() >= Self::HEAD && self.head.len() == self.kept() {
                self.skipped = self.length() - (self.kept() - Self::HEAD);
            }
        }
    }

    fn length(&self) -> usize {
        (&self.head[..3]).get_uint(3) as usize
    }

    /// Bytes of the present frame that are kept.
    fn kept(&self) -> usize {
        Self::HEAD + self.length().min(8)
    }

    fn frame(&self) -> Passed {
        let mut payload = [0; 8];
        payload[..self.kept() - Self::HEAD].copy_from_slice(&self.head[Self::HEAD..]);
        Passed {
            length: self.length() as u32,
            kind: self.head[3],
            flags: self.head[4],
            stream: (&self.head[5..9]).get_u32(),
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::peers::frames::{Fields, FrameWriter};

    #[test]
    fn frames_are_found_in_pieces_of_any_size() {
        let mut writer = FrameWriter::new();
        writer.data(1, &[7; 100], false);
        writer.data(3, b"", true);
        writer.reset(5, 0x0102_0304);
        writer.go_away(9, 11);
        writer.headers(7, &Fields::new().with(":status", "200"), true);
        let bytes = writer.take();
        let expected = [(100, 0, 0, 1), (0, 0, 1, 3), (4, 3, 0, 5), (8, 7, 0, 0), (1, 1, 5, 7)];
        for size in 1..=bytes.len() {
            let mut scanner = Scanner { skipped: 3, ..Scanner::default() };
            let mut found = Vec::new();
            let mut words = Vec::new();
            let all = [b"abc", &bytes[..]].concat();
            for piece in all.chunks(size) {
                scanner.pass(piece, |frame| {
                    found.push((frame.length, frame.kind, frame.flags, frame.stream));
                    words.push((frame.word(0), frame.word(4)));
                });
            }
            assert_eq!(found, expected, "pieces of {size}");
            assert_eq!((words[2].0, words[3].1), (0x0102_0304, 11));
        }
    }
}
