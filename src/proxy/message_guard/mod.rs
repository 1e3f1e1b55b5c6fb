//! Stands between `hyper` and the socket of an HTTP/1.1 connection and lets only bytes through that
//! are HTTP in the strict reading of [`machine`]. `hyper` accepts more (bare LF, spaces after a chunk
//! size, a length beside a transfer coding), and what one reader accepts and the next reads
//! differently is how requests are smuggled (RFC 9112, 11.2).
//!
//! At the first byte that is wrong nothing more is passed on. From a client, `hyper` gets a few bytes
//! instead that no reader can accept, so that it answers 400 in its turn, after the responses that
//! are still due, and closes. From a backend it gets an error.

mod lexemes;
pub mod machine;

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::seams::Clock;
use crate::pool::Instant;

use self::machine::{Asked, HeadLimits, Machine, Messages, Violation};

/// A bare CR and a NUL: wrong at every place where a violation can be found. What looks like the end
/// of a head follows, because `hyper` does not look at an incomplete head twice.
const POISON: &[u8] = b"\r\0\r\n\r\n";
/// At the start of a field line: one more than `hyper` takes, which it answers with 431.
const FIELD_TOO_MANY: &[u8] = b"x:\r\n\r\0\r\n\r\n";

/// What the guard has seen, for whoever looks after the connection.
#[derive(Debug)]
pub struct GuardFacts {
    /// What was wrong, if anything.
    pub violation: Cell<Option<Violation>>,
    /// Heads begun so far.
    pub heads_begun: Cell<u64>,
    /// Since when a head is open: begun and not finished.
    pub head_open_since: Cell<Option<Instant>>,
    machine: RefCell<Machine>,
}

impl GuardFacts {
    /// A request was sent whose response is to be read next.
    pub fn asked(&self, asked: Asked) {
        self.machine.borrow_mut().asked(asked);
    }
}

/// What is done about a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// None so far.
    Clean,
    /// This is still to be passed on, and then nothing.
    Poison(&'static [u8]),
    /// Read no more.
    Stopped,
    /// Fail.
    Error(Violation),
}

/// A connection that carries HTTP/1.1 or nothing.
#[derive(Debug)]
pub struct Guarded<Io> {
    io: Io,
    messages: Messages,
    facts: Rc<GuardFacts>,
    clock: Clock,
    verdict: Verdict,
}

impl GuardFacts {
    /// Whether all that was read belongs to messages that are complete.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.violation.get().is_none() && self.machine.borrow().is_between_messages()
    }
}

impl<Io> Guarded<Io> {
    /// Guards a connection from its first byte on.
    pub fn new(
        io: Io,
        messages: Messages,
        limits: HeadLimits,
        clock: Clock,
    ) -> (Self, Rc<GuardFacts>) {
        let facts = Rc::new(GuardFacts {
            violation: Cell::new(None),
            heads_begun: Cell::new(0),
            head_open_since: Cell::new(None),
            machine: RefCell::new(Machine::new(messages, limits)),
        });
        let verdict = Verdict::Clean;
        let guarded = Self { io, messages, facts: Rc::clone(&facts), clock, verdict };
        (guarded, facts)
    }

    /// What was guarded. Bytes that are taken from it are not looked at.
    pub fn into_inner(self) -> Io {
        self.io
    }

    /// Looks at what was read; keeps what is right of it.
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
        self.verdict = match (self.messages, violation) {
            (Messages::Responses, _) => Verdict::Error(violation),
            // hyper counts the same bytes, and answers 431 to what it has got.
            (Messages::Requests, Violation::HeadBytes) => Verdict::Stopped,
            (Messages::Requests, Violation::HeadFields) => Verdict::Poison(FIELD_TOO_MANY),
            (Messages::Requests, _) => Verdict::Poison(POISON),
        };
    }
}

impl<Io: AsyncRead + Unpin> Guarded<Io> {
    /// Reads on, so that the end of the connection is noticed and the client can send what it was
    /// about to send; passes nothing on.
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
        if this.verdict == Verdict::Clean {
            let before = buffer.filled().len();
            std::task::ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
            this.inspect(before, buffer);
            let nothing = buffer.filled().len() == before;
            if !nothing || this.verdict == Verdict::Clean {
                return Poll::Ready(Ok(()));
            }
        }
        match this.verdict {
            Verdict::Clean => Poll::Ready(Ok(())),
            Verdict::Poison(poison) => {
                let (now, later) = poison.split_at(poison.len().min(buffer.remaining()));
                buffer.put_slice(now);
                let done = later.is_empty();
                this.verdict = if done { Verdict::Stopped } else { Verdict::Poison(later) };
                Poll::Ready(Ok(()))
            }
            Verdict::Stopped => this.poll_discard(context),
            Verdict::Error(violation) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)))
            }
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
