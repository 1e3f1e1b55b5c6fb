//! Checks the bytes that `hyper` reads from a client's HTTP/1.1 connection: only bytes that are
//! HTTP in the strict reading of [`machine`] pass. `hyper` accepts more (bare LF, spaces after a
//! chunk size, a length beside a transfer coding), and requests can be smuggled if two recipients
//! read the same bytes differently (RFC 9112, 11.2).
//!
//! Nothing passes from the first wrong byte on. `hyper` then reads a few bytes that no parser can
//! accept, so that it sends the responses that are still due, sends a 400, and closes.

pub mod machine;

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::seams::Clock;
use crate::pool::Instant;

use self::machine::Machine;
use crate::wire::http1::{HeadLimits, Violation};

/// A bare CR and a NUL: an error wherever a violation can be found. The end of a head follows,
/// because `hyper` parses an incomplete head only once.
const POISON: &[u8] = b"\r\0\r\n\r\n";
/// At the start of a field line: one field more than `hyper` accepts, so that it responds with 431.
const FIELD_TOO_MANY: &[u8] = b"x:\r\n\r\0\r\n\r\n";

/// Facts that the guard has found on a connection.
#[derive(Debug)]
pub struct GuardFacts {
    /// The first violation, if any.
    pub violation: Cell<Option<Violation>>,
    /// The number of heads begun so far.
    pub heads_begun: Cell<u64>,
    /// When the open head began; `None` if no head is open.
    pub head_open_since: Cell<Option<Instant>>,
    machine: RefCell<Machine>,
}

impl GuardFacts {
    /// True if every message read so far is complete.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.violation.get().is_none() && self.machine.borrow().is_between_messages()
    }
}

/// The guard's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GuardVerdict {
    /// No violation so far.
    Clean,
    /// A violation: these bytes are still to be passed on, then nothing.
    Poison(&'static [u8]),
    /// A violation: nothing more is passed on.
    Stopped,
}

/// A byte stream from which only valid HTTP/1.1 is read.
#[derive(Debug)]
pub struct Guarded<Io> {
    io: Io,
    facts: Rc<GuardFacts>,
    clock: Clock,
    verdict: GuardVerdict,
}

impl<Io> Guarded<Io> {
    /// Guards a connection from its first byte on.
    pub fn new(io: Io, limits: HeadLimits, clock: Clock) -> (Self, Rc<GuardFacts>) {
        let facts = Rc::new(GuardFacts {
            violation: Cell::new(None),
            heads_begun: Cell::new(0),
            head_open_since: Cell::new(None),
            machine: RefCell::new(Machine::new(limits)),
        });
        let verdict = GuardVerdict::Clean;
        let guarded = Self { io, facts: Rc::clone(&facts), clock, verdict };
        (guarded, facts)
    }

    /// Returns the byte stream. Bytes read from it are not checked.
    pub fn into_inner(self) -> Io {
        self.io
    }

    /// Checks the bytes just read and keeps those before the first violation.
    fn inspect(&mut self, before: usize, buffer: &mut ReadBuf<'_>) {
        let mut machine = self.facts.machine.borrow_mut();
        let followed = machine.follow(&buffer.filled()[before..]);
        let another = self.facts.heads_begun.replace(machine.begun()) != machine.begun();
        if !machine.in_head() {
            self.facts.head_open_since.set(None);
        } else if another {
            self.facts.head_open_since.set(Some(self.clock.now()));
        }
        drop(machine);
        let Err((right, violation)) = followed else { return };
        buffer.set_filled(before + right);
        self.facts.violation.set(Some(violation));
        self.facts.head_open_since.set(None);
        self.verdict = match violation {
            // hyper counts the same bytes, and responds with 431 to those it has received.
            Violation::HeadBytes => GuardVerdict::Stopped,
            Violation::HeadFields => GuardVerdict::Poison(FIELD_TOO_MANY),
            _ => GuardVerdict::Poison(POISON),
        };
    }
}

impl<Io: AsyncRead + Unpin> Guarded<Io> {
    /// Reads and discards, so that the end of the connection is noticed and the client can finish
    /// sending.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut late = [0; 4096];
            let mut late = ReadBuf::new(&mut late);
            std::task::ready!(Pin::new(&mut self.io).poll_read(context, &mut late))?;
            if late.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Guarded<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.verdict == GuardVerdict::Clean {
            let before = buffer.filled().len();
            std::task::ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
            this.inspect(before, buffer);
            let nothing = buffer.filled().len() == before;
            if !nothing || this.verdict == GuardVerdict::Clean {
                return Poll::Ready(Ok(()));
            }
        }
        match this.verdict {
            GuardVerdict::Clean => Poll::Ready(Ok(())),
            GuardVerdict::Poison(poison) => {
                let (now, later) = poison.split_at(poison.len().min(buffer.remaining()));
                buffer.put_slice(now);
                let done = later.is_empty();
                this.verdict =
                    if done { GuardVerdict::Stopped } else { GuardVerdict::Poison(later) };
                Poll::Ready(Ok(()))
            }
            GuardVerdict::Stopped => this.poll_discard(context),
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
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
