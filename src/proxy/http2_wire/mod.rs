//! The HTTP/2 wire: reads the frames that pass between the `h2` crate and the socket. The crate
//! hides facts that the pool decides by: GOAWAY's last stream identifier, the arrival of SETTINGS,
//! the arrival of any frame, and which requests were never written (RFC 9113, 4.1, 6.5, 6.8).
//! Frames pass unchanged, except that consecutive DATA frames are merged (see `merge`).
//!
//! It also counts unsolicited frames. If a peer exceeds a budget, nothing more is read from it: a
//! GOAWAY with the reason is written between two frames, the connection is shut down, and `h2` sees
//! the end of the stream.

mod arriving;
mod budget;
mod merge;
mod scanner;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::budget::Account;
use self::scanner::{
    ACK, CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PREFACE, SETTINGS, Scanner, Seen,
};
use super::limits::DATA_FRAMES_AT_ONCE;
use super::linger::Unread;
use super::metrics::counts::EndFrames;
use super::seams::{self, Clock, Point};
use crate::pool::Instant;
use crate::proxy::client_limits::FrameBudgets;

pub use self::arriving::{Arriving, NotServed};
pub use self::budget::Flood;

const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// Baton's side of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Baton dialled: it writes the preface and the requests.
    #[default]
    Client,
    /// Baton accepted: it reads the preface and the requests.
    Server,
}

/// Facts read from the frames of one connection.
#[derive(Debug, Default)]
pub struct Facts {
    /// The limit of the peer's SETTINGS, until taken; `u32::MAX` if the first SETTINGS had none.
    pub max_streams: Option<u32>,
    /// The largest header list that the peer accepts (RFC 9113, 6.5.2); `None` if it has not said.
    pub header_list_max: Option<u32>,
    /// Last stream identifier and error code of each GOAWAY, in order, until taken.
    pub go_aways: Vec<(u32, u32)>,
    /// Last stream identifier of the last GOAWAY that was received.
    pub last_stream_id: Option<u32>,
    /// True if any part of a frame arrived since this was last taken.
    pub frame_seen: bool,
    /// True if the head of a HEADERS or DATA frame arrived since this was last taken.
    pub message_seen: bool,
    /// The highest stream identifier whose HEADERS frame header was written.
    pub sent_through: u32,
    /// RST_STREAM and GOAWAY frames since these were last taken, for the metrics.
    pub ends: EndFrames,
    /// True if the last write or flush was blocked.
    pub blocked: bool,
    /// The highest stream identifier that the peer has opened.
    pub opened_through: u32,
    /// The peer's requests that `h2` has not handed over.
    pub arriving: Arriving,
    /// Resets sent for errors of the peer, in total.
    pub resets_provoked: u64,
    /// Error code and start of the debug data of a GOAWAY with an error that `h2` has written.
    pub h2_goaway: Option<(Reason, Vec<u8>)>,
    /// When the open header block began; `None` if none is open.
    pub block_open_since: Option<Instant>,
    /// True once the peer's first SETTINGS arrived.
    pub settings_seen: bool,
    /// True once a GOAWAY with a last stream identifier was written: later streams may be ignored.
    pub going_away: bool,
    side: Side,
    account: Account,
    goaway_code: Option<Reason>,
    now: Instant,
}

impl Facts {
    fn new(side: Side, budgets: FrameBudgets) -> Self {
        Self { side, account: Account::new(budgets), ..Self::default() }
    }

    /// The budget that the peer has exceeded, if any. The connection is then about to close.
    #[must_use]
    pub fn flood(&self) -> Option<Flood> {
        self.account.spent()
    }

    /// Closes the connection with this code at its next poll, unless it is already closing.
    fn close_with_goaway(&mut self, code: Reason) {
        self.goaway_code.get_or_insert(code);
    }

    /// Closes the connection because SETTINGS or the rest of a header block did not arrive in time.
    pub fn close_for_timeout(&mut self) {
        let greeted = self.settings_seen;
        self.close_with_goaway(if greeted {
            Reason::ENHANCE_YOUR_CALM
        } else {
            Reason::SETTINGS_TIMEOUT
        });
    }

    /// Closes the connection because the peer takes too little of what it asks for.
    pub fn close_for_calm(&mut self) {
        self.close_with_goaway(Reason::ENHANCE_YOUR_CALM);
    }

    /// True if the connection is about to close with an error of the peer.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.goaway_code.is_some() || self.h2_goaway.is_some()
    }

    /// Counts a request that was refused for its head; a budget limits their number.
    pub fn note_refused_head(&mut self) {
        self.account.refused();
        self.end_if_spent();
    }

    fn end_if_spent(&mut self) {
        if self.account.spent().is_some() {
            self.close_with_goaway(Reason::ENHANCE_YOUR_CALM);
        }
    }

    fn record(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Head { kind, flags, stream_id, length } => {
                self.account.read(kind, flags, length);
                self.message_seen |= matches!(kind, DATA | HEADERS);
                if kind == HEADERS {
                    self.block_open_since = Some(self.now);
                    // `h2` ignores streams beyond the last one of the GOAWAY that it has sent.
                    let may_open = self.side == Side::Server && !self.going_away;
                    let is_new = may_open && stream_id > self.opened_through;
                    self.arriving.begin(is_new.then_some(stream_id));
                    self.opened_through = self.opened_through.max(stream_id);
                }
            }
            Seen::Setting { identifier: MAX_CONCURRENT_STREAMS, value } => {
                self.max_streams = Some(value);
                self.settings_seen = true;
            }
            Seen::Setting { identifier: MAX_HEADER_LIST_SIZE, value } => {
                self.header_list_max = Some(value);
            }
            Seen::Setting { .. } => {}
            Seen::Reset { stream_id, code } => {
                self.arriving.end(stream_id, NotServed::TakenBack);
                self.ends.resets_received.add(code);
            }
            Seen::GoAway { last_stream_id, code, .. } => {
                self.go_aways.push((last_stream_id, code));
                self.last_stream_id = Some(last_stream_id);
                self.ends.go_aways_received.add(code);
            }
            Seen::End { kind: SETTINGS, flags } if flags & ACK == 0 && !self.settings_seen => {
                self.settings_seen = true;
                self.max_streams = Some(u32::MAX);
            }
            Seen::End { kind: HEADERS | CONTINUATION, flags } if flags & END_HEADERS != 0 => {
                self.block_open_since = None;
                self.arriving.complete();
            }
            Seen::End { .. } => {}
        }
        self.end_if_spent();
    }

    fn sent(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Head { kind, stream_id, .. } => {
                self.account.written(kind);
                if kind == HEADERS {
                    self.arriving.end(stream_id, NotServed::Answered);
                    self.sent_through = self.sent_through.max(stream_id);
                }
            }
            Seen::Reset { stream_id, code } => {
                self.ends.resets_sent.add(code);
                self.reset_sent(stream_id, code.into());
            }
            Seen::GoAway { last_stream_id, code, debug } => {
                self.ends.go_aways_sent.add(code);
                self.going_away |= last_stream_id < u32::MAX >> 1;
                if code != u32::from(Reason::NO_ERROR) {
                    self.h2_goaway.get_or_insert((code.into(), debug.to_vec()));
                }
            }
            Seen::Setting { .. } | Seen::End { .. } => {}
        }
    }

    fn reset_sent(&mut self, stream_id: u32, code: Reason) {
        match code {
            // Resets for Baton's own reasons.
            Reason::NO_ERROR | Reason::INTERNAL_ERROR | Reason::CANCEL => return,
            // An honest peer may cause these before it has read the first SETTINGS.
            Reason::REFUSED_STREAM => {
                self.arriving.end(stream_id, NotServed::Refused);
                return;
            }
            _ => self.arriving.end(stream_id, NotServed::Malformed),
        }
        self.resets_provoked += 1;
        self.account.provoked();
        self.end_if_spent();
    }

    /// Takes the RST_STREAM and GOAWAY frames counted since the last call; `None` if there are
    /// none.
    pub fn take_ends(&mut self) -> Option<EndFrames> {
        (self.ends != EndFrames::default()).then(|| std::mem::take(&mut self.ends))
    }

    /// Returns the GOAWAY to close with, if the connection is to close (RFC 9113, 6.8).
    fn goaway_frame(&self) -> Option<[u8; 17]> {
        let code = self.goaway_code?;
        // Backends open no streams: server push is disabled.
        let last_stream_id = if self.side == Side::Server { self.opened_through } else { 0 };
        let mut frame = [0; 17];
        frame[2] = 8;
        frame[3] = GOAWAY;
        frame[9..13].copy_from_slice(&last_stream_id.to_be_bytes());
        frame[13..].copy_from_slice(&u32::from(code).to_be_bytes());
        Some(frame)
    }
}

/// The steps of closing a connection.
#[derive(Debug)]
enum Ending {
    NotYet,
    GoAway { frame: [u8; 17], written: usize },
    Flush,
    Shutdown,
    Linger(Unread),
}

/// A byte stream whose HTTP/2 frames are read.
#[derive(Debug)]
pub struct Http2Wire<Io> {
    io: Io,
    /// Bytes that were received before, and are read first.
    first_bytes: Bytes,
    read: Scanner,
    written: Scanner,
    facts: Rc<RefCell<Facts>>,
    clock: Clock,
    ending: Ending,
    /// DATA frames read since their consumer last ran.
    unread: usize,
}

impl<Io> Http2Wire<Io> {
    /// Wraps a connection, from its first byte on.
    pub fn new(
        io: Io,
        side: Side,
        budgets: FrameBudgets,
        clock: Clock,
    ) -> (Self, Rc<RefCell<Facts>>) {
        let facts = Rc::new(RefCell::new(Facts::new(side, budgets)));
        let (read, written) = match side {
            Side::Client => (Scanner::new(0), Scanner::new(PREFACE)),
            Side::Server => (Scanner::new(PREFACE), Scanner::new(0)),
        };
        let wire = Self {
            io,
            first_bytes: Bytes::new(),
            read,
            written,
            facts: Rc::clone(&facts),
            clock,
            ending: Ending::NotYet,
            unread: 0,
        };
        (wire, facts)
    }

    /// Takes bytes that were received before, which are read first.
    pub fn replay(&mut self, first_bytes: Bytes) {
        self.first_bytes = first_bytes;
    }

    /// Reads the frames of the bytes behind `before`, and merges them.
    fn note_read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let bytes = &buffer.filled()[before..];
        let mut facts = self.facts.borrow_mut();
        facts.now = self.clock.now();
        // A large frame can take long on a slow path: each part shows that the peer is alive.
        facts.frame_seen = true;
        let now = facts.now;
        facts.account.at(now);
        let first = self.read.scan(bytes, |seen| facts.record(seen));
        if facts.goaway_code.is_some() {
            // Bytes that arrived with the frame that exceeded the budget are dropped.
            buffer.set_filled(before);
        } else if let Some(first) = first {
            let (length, data) = merge::merge(&mut buffer.filled_mut()[before..], first);
            buffer.set_filled(before + length);
            let few = data > 0 && seams::buggify(Point::FewFrames);
            self.unread += if few { DATA_FRAMES_AT_ONCE } else { data };
        }
    }

    /// Reads the frames of what was written of `buffers`.
    fn note_written(&mut self, buffers: &[io::IoSlice<'_>], result: &Poll<io::Result<usize>>) {
        let mut facts = self.facts.borrow_mut();
        facts.blocked = result.is_pending();
        let &Poll::Ready(Ok(mut count)) = result else { return };
        for buffer in buffers {
            let part = count.min(buffer.len());
            self.written.scan(&buffer[..part], |seen| facts.sent(seen));
            count -= part;
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Http2Wire<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.facts.borrow().goaway_code.is_some() {
                return self.poll_close(context);
            }
            if self.unread >= DATA_FRAMES_AT_ONCE {
                self.unread = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let before = buffer.filled().len();
            let result = self.poll_bytes(context, buffer);
            if buffer.filled().len() == before {
                // Nothing more to read: the consumer runs now.
                self.unread = 0;
                return result;
            }
            self.note_read(buffer, before);
            // Without a byte the stream would look ended.
            if buffer.filled().len() > before {
                return result;
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Http2Wire<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_closing() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.note_written(&[io::IoSlice::new(bytes)], &result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_closing() {
            return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
        }
        let result = Pin::new(&mut self.io).poll_write_vectored(context, buffers);
        self.note_written(buffers, &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_closing() {
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut self.io).poll_flush(context);
        self.facts.borrow_mut().blocked = result.is_pending();
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Http2Wire<Io> {
    /// Reads what the peer has sent.
    fn poll_bytes(
        &mut self,
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

    /// Closes the connection, then ends the byte stream for `h2`. If `h2` is within a frame, it
    /// must write the rest first; it does so before it shuts down.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.ending, Ending::NotYet) && !self.written.at_boundary() {
            return Poll::Ready(Ok(()));
        }
        self.poll_end(context).map(|_| Ok(()))
    }

    /// True once closing has started: `h2` may write nothing more.
    fn is_closing(&self) -> bool {
        !matches!(self.ending, Ending::NotYet)
    }

    /// Writes the GOAWAY, if there is one, shuts the connection down, and lingers for clients.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.ending = match &mut self.ending {
                Ending::NotYet => {
                    let mut facts = self.facts.borrow_mut();
                    match (facts.goaway_frame(), facts.goaway_code) {
                        (Some(frame), Some(code)) if self.written.at_boundary() => {
                            facts.ends.go_aways_sent.add(code.into());
                            Ending::GoAway { frame, written: 0 }
                        }
                        (Some(_) | None, _) => Ending::Shutdown,
                    }
                }
                Ending::GoAway { frame, written } if *written < frame.len() => {
                    let polled = Pin::new(&mut self.io).poll_write(context, &frame[*written..]);
                    *written += ready!(polled)?;
                    continue;
                }
                Ending::GoAway { .. } => Ending::Flush,
                Ending::Flush => {
                    ready!(Pin::new(&mut self.io).poll_flush(context))?;
                    Ending::Shutdown
                }
                Ending::Shutdown => {
                    ready!(Pin::new(&mut self.io).poll_shutdown(context))?;
                    Ending::Linger(Unread::default())
                }
                Ending::Linger(unread) => {
                    let facts = self.facts.borrow();
                    // Lingering is for clients only; a backend need not be able to read the reason.
                    if facts.is_ending() && facts.side == Side::Server {
                        ready!(unread.poll_discard(&mut self.io, context));
                    }
                    return Poll::Ready(Ok(()));
                }
            };
        }
    }
}

#[cfg(test)]
mod tests;
