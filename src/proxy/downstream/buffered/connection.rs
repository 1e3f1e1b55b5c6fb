//! The bytes that wait for one client connection.

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::rc::{Rc, Weak};
use std::task::Waker;

use bytes::{Buf, Bytes};

use super::decide;
use super::worker::{Connection, WorkerBuffered};
use crate::pool::Instant;
use crate::proxy::exchange::response_body::Waiting;
use crate::proxy::limits::BUFFERED_OBSERVED_TIME;

/// Bytes that wait for one client connection.
pub(in super::super) struct Buffered {
    worker: Rc<WorkerBuffered>,
    /// The task of the connection.
    task: Waker,
    /// The connection's number, once bytes have waited for it.
    number: Cell<Option<u64>>,
    /// Bytes handed to the connection and not yet written.
    unsent: Cell<u64>,
    /// The most that backends may have sent for the responses that wait.
    held_at_most: Cell<u64>,
    /// The responses that wait, with their numbers and the most that each may hold.
    responses: RefCell<Vec<(u32, u64, Waiting)>>,
    next_response: Cell<u32>,
    /// Bytes written to the client in total.
    taken: Cell<u64>,
    /// True if bytes wait since the last observation, and did not before.
    is_fresh: Cell<bool>,
    /// The value of `taken` when the present observation began.
    taken_before: Cell<u64>,
    observed_since: Cell<Instant>,
    is_closed: Cell<bool>,
    /// True while requests are held back.
    holds_back: Cell<bool>,
}

impl Buffered {
    /// Nothing waits yet for a connection with this task.
    pub(in super::super) fn new(worker: Rc<WorkerBuffered>, task: Waker) -> Rc<Self> {
        Rc::new(Self {
            worker,
            task,
            number: Cell::new(None),
            unsent: Cell::new(0),
            held_at_most: Cell::new(0),
            responses: RefCell::default(),
            next_response: Cell::new(0),
            taken: Cell::new(0),
            is_fresh: Cell::new(true),
            taken_before: Cell::new(0),
            observed_since: Cell::new(Instant::default()),
            is_closed: Cell::new(false),
            holds_back: Cell::new(false),
        })
    }

    /// Counts bytes as waiting until the piece is written or dropped.
    pub(in super::super) fn piece(self: &Rc<Self>, bytes: Bytes) -> Piece {
        let length = bytes.len() as u64;
        self.begin();
        self.unsent.set(self.unsent.get() + length);
        self.worker.add(length);
        Piece { bytes, buffered: Some(Rc::clone(self)) }
    }

    /// Bytes of a piece were written.
    fn took(&self, count: u64) {
        self.taken.set(self.taken.get() + count);
        self.dropped(count);
    }

    /// Bytes of a piece wait no more.
    fn dropped(&self, count: u64) {
        self.unsent.set(self.unsent.get() - count);
        self.worker.remove(count);
    }

    /// Bytes begin to wait, perhaps beside others.
    fn begin(self: &Rc<Self>) {
        if self.at_most() == 0 {
            self.is_fresh.set(true);
        }
        if self.number.get().is_none() {
            self.list();
        }
    }

    #[cold]
    fn list(self: &Rc<Self>) {
        let listed: Weak<dyn Connection> = Rc::downgrade(self) as Weak<dyn Connection>;
        self.number.set(Some(self.worker.list(listed)));
    }

    /// Sets the bytes that wait to be written to an HTTP/1.1 connection, and adds those that were
    /// written since the last call.
    pub(in super::super) fn set_unsent(self: &Rc<Self>, unsent: u64, written: u64) {
        self.begin();
        let before = self.unsent.replace(unsent);
        self.taken.set(self.taken.get() + written);
        self.worker.add(unsent);
        self.worker.remove(before);
    }

    /// A response waits for its client until the result is dropped.
    pub(in super::super) fn wait(self: &Rc<Self>, response: Waiting) -> ResponseWaits {
        self.begin();
        self.observe();
        let number = self.next_response.get();
        self.next_response.set(number.wrapping_add(1));
        let most = response.at_most();
        self.held_at_most.set(self.held_at_most.get() + most);
        self.worker.add(most);
        self.responses.borrow_mut().push((number, most, response));
        ResponseWaits { buffered: Rc::clone(self), number }
    }

    fn waits_no_more(&self, number: u32) {
        let mut responses = self.responses.borrow_mut();
        let place = responses.iter().position(|(waiting, ..)| *waiting == number);
        let (_, most, _) = responses.swap_remove(place.expect("it waits once"));
        self.held_at_most.set(self.held_at_most.get() - most);
        self.worker.remove(most);
        if self.holds_back.get() {
            self.task.wake_by_ref();
        }
    }

    /// The most bytes that may wait.
    fn at_most(&self) -> u64 {
        self.unsent.get() + self.held_at_most.get()
    }

    /// The bytes that wait. Asks each response.
    fn bytes(&self) -> u64 {
        let responses = self.responses.borrow();
        let held: u64 =
            responses.iter().map(|(_, most, response)| response.held().min(*most)).sum();
        self.unsent.get() + held
    }

    /// True if the connection may begin another request, whatever the responses that wait hold.
    pub(in super::super) fn may_surely_take_up(&self) -> bool {
        let may = decide::may_take_up(self.at_most());
        if may {
            self.holds_back.set(false);
        }
        may
    }

    /// True if the connection may begin the request that is there. Asks each response that waits.
    pub(in super::super) fn may_take_up(&self) -> bool {
        let may = decide::may_take_up(self.bytes());
        self.holds_back.set(!may);
        may
    }

    /// True if the last request that was about to begin has to wait.
    pub(in super::super) fn holds_back(&self) -> bool {
        self.holds_back.get()
    }

    /// Begins a new observation if nothing has waited for a time, or if the client has taken bytes
    /// in the present one and that is long enough.
    fn observe(&self) {
        let now = self.worker.clock.now();
        let has_taken = self.taken.get() != self.taken_before.get();
        let is_over = has_taken && now.since(self.observed_since.get()) >= BUFFERED_OBSERVED_TIME;
        if self.is_fresh.take() || is_over {
            self.taken_before.set(self.taken.get());
            self.observed_since.set(now);
        }
    }

    /// Returns since when a client has taken nothing for which more waits than a connection may
    /// have; `None` if there is no such stall.
    pub(in super::super) fn stalled_since(&self) -> Option<Instant> {
        if decide::may_take_up(self.at_most()) {
            return None;
        }
        self.observe();
        let has_taken = self.taken.get() != self.taken_before.get();
        (!has_taken && !decide::may_take_up(self.bytes())).then(|| self.observed_since.get())
    }

    /// True if the connection is to close at once, because it is the most stalled one.
    pub(in super::super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

impl Connection for Buffered {
    fn look(&self) -> Option<(u64, u128)> {
        if self.is_closed.get() || self.at_most() == 0 {
            return None;
        }
        let now = self.worker.clock.now();
        let bytes = self.bytes();
        if self.is_fresh.get() {
            self.observe();
        }
        let taken = self.taken.get() - self.taken_before.get();
        let observed = now.since(self.observed_since.get());
        self.observe();
        (bytes > 0).then(|| (bytes, decide::stall(bytes, taken, observed)))
    }

    fn close(&self) {
        self.is_closed.set(true);
        self.task.wake_by_ref();
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        // Pieces and waiting responses keep it, but the bytes of HTTP/1.1 may remain.
        self.worker.remove(self.unsent.get());
        if let Some(number) = self.number.get() {
            self.worker.unlist(number);
        }
    }
}

/// A response that waits for its client.
pub(in super::super) struct ResponseWaits {
    buffered: Rc<Buffered>,
    number: u32,
}

impl Drop for ResponseWaits {
    fn drop(&mut self) {
        self.buffered.waits_no_more(self.number);
    }
}

/// Bytes that count as waiting until they are written to the client's connection, or dropped.
pub(in super::super) struct Piece {
    bytes: Bytes,
    /// `None` for a piece without bytes.
    buffered: Option<Rc<Buffered>>,
}

impl Piece {
    /// A piece without bytes.
    pub(in super::super) fn empty() -> Self {
        Self { bytes: Bytes::new(), buffered: None }
    }
}

impl Buf for Piece {
    #[inline]
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(buffered) = &self.buffered {
            buffered.took(count as u64);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(buffered) = &self.buffered
            && !self.bytes.is_empty()
        {
            buffered.dropped(self.bytes.len() as u64);
        }
    }
}
