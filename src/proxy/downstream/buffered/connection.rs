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
        self.observe(self.worker.clock.now());
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
    fn observe(&self, now: Instant) {
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
        self.stalled_at(self.worker.clock.now())
    }

    fn stalled_at(&self, now: Instant) -> Option<Instant> {
        if decide::may_take_up(self.at_most()) {
            return None;
        }
        self.observe(now);
        let has_taken = self.taken.get() != self.taken_before.get();
        (!has_taken && !decide::may_take_up(self.bytes())).then(|| self.observed_since.get())
    }

    fn look_at(&self, now: Instant) -> Option<(u64, u128)> {
        if self.is_closed.get() || self.at_most() == 0 {
            return None;
        }
        if self.is_fresh.get() {
            self.observe(now);
        }
        let bytes = self.bytes();
        let taken = self.taken.get() - self.taken_before.get();
        let observed = now.since(self.observed_since.get());
        self.observe(now);
        (bytes > 0).then(|| (bytes, decide::stall(bytes, taken, observed)))
    }

    /// True if the connection is to close at once, because it is the most stalled one.
    pub(in super::super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

impl Connection for Buffered {
    fn look(&self) -> Option<(u64, u128)> {
        self.look_at(self.worker.clock.now())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::proxy::downstream::buffered::process::ProcessBuffered;
    use crate::proxy::seams::Clock;

    const LENGTH: usize = 100_000;

    fn connection() -> (Arc<ProcessBuffered>, Rc<WorkerBuffered>, Rc<Buffered>) {
        let process = Arc::new(ProcessBuffered::new(1, 0));
        let worker = WorkerBuffered::new(Arc::clone(&process), 0, Clock::start());
        let connection = Buffered::new(Rc::clone(&worker), Waker::noop().clone());
        (process, worker, connection)
    }

    fn at(seconds: u64) -> Instant {
        Instant::default().after(Duration::from_secs(seconds))
    }

    fn piece(connection: &Rc<Buffered>) -> Piece {
        connection.piece(Bytes::from(vec![b'x'; LENGTH]))
    }

    #[test]
    fn a_piece_counts_until_it_is_written_or_dropped() {
        let (process, worker, connection) = connection();
        let (mut written, dropped) = (piece(&connection), piece(&connection));
        assert_eq!((worker.at_most(), process.excess()), (200_000, 200_000));
        written.advance(40_000);
        assert_eq!((worker.at_most(), connection.taken.get()), (160_000, 40_000));
        assert_eq!(process.excess(), 200_000, "small changes are not published");
        written.advance(60_000);
        assert_eq!((written.remaining(), process.excess()), (0, 100_000));
        drop(dropped);
        drop(written);
        assert_eq!((worker.at_most(), connection.taken.get()), (0, 100_000));
        assert_eq!(process.excess(), 0);
    }

    #[test]
    fn unsent_bytes_of_http1_are_gone_with_their_connection() {
        let (_process, worker, connection) = connection();
        connection.set_unsent(70_000, 10);
        connection.set_unsent(60_000, 10_000);
        assert_eq!((worker.at_most(), connection.taken.get()), (60_000, 10_010));
        drop(connection);
        assert_eq!(worker.at_most(), 0);
    }

    #[test]
    fn a_stall_lasts_from_the_first_byte_that_waits() {
        let (_process, _worker, connection) = connection();
        drop(piece(&connection));
        assert_eq!(connection.look_at(at(100)), None, "nothing waits");
        let mut first = piece(&connection);
        assert_eq!(connection.look_at(at(100)), Some((100_000, 0)), "it was not observed yet");
        let second = piece(&connection);
        assert_eq!(connection.look_at(at(102)), Some((200_000, 200_000 * 2_000_000)));
        first.advance(50_000);
        let slow = 150_000 * 2_000_000 / 50_000;
        assert_eq!(connection.look_at(at(102)), Some((150_000, slow)), "it takes bytes again");
        assert_eq!(
            connection.look_at(at(103)),
            Some((150_000, 150_000 * 1_000_000)),
            "and none since"
        );
        drop((first, second));
        assert_eq!(connection.look(), None);
    }

    #[test]
    fn a_connection_is_stalled_only_while_much_waits() {
        let (_process, _worker, connection) = connection();
        let few: Vec<_> = (0..10).map(|_| piece(&connection)).collect();
        assert!(connection.may_surely_take_up());
        assert_eq!(connection.stalled_at(at(1)), None);
        let more: Vec<_> = (0..10).map(|_| piece(&connection)).collect();
        assert!(!connection.may_surely_take_up() && !connection.may_take_up());
        assert!(connection.holds_back());
        assert_eq!(connection.stalled_at(at(1)), Some(at(1)));
        assert_eq!(connection.stalled_at(at(6)), Some(at(1)));
        drop(more);
        assert!(connection.may_surely_take_up());
        assert!(!connection.holds_back());
        assert_eq!(connection.stalled_at(at(6)), None);
        drop(few);
    }

    #[test]
    fn a_connection_that_is_about_to_close_is_not_chosen_again() {
        let (_process, _worker, connection) = connection();
        let _piece = piece(&connection);
        connection.close();
        assert!(connection.is_closed());
        assert_eq!(connection.look(), None);
    }
}
