//! Parts that peers of every protocol share: pauses, and the pieces of a body over time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::proxy::hub::Hub;

/// The time of the run, in nanoseconds, after so many microseconds from now.
pub(crate) fn after(hub: &Hub, time_us: u64) -> u64 {
    hub.now().saturating_add(time_us.saturating_mul(1_000))
}

/// Sleeps until a time of the run, in nanoseconds. `u64::MAX` never comes.
pub(crate) async fn sleep_until(hub: &Hub, at: u64) {
    let left = at.saturating_sub(hub.now());
    if at == u64::MAX {
        std::future::pending::<()>().await;
    } else if left > 0 {
        tokio::time::sleep(Duration::from_nanos(left)).await;
    }
}

/// Changes of the state of one peer, for its tasks that wait for a certain state.
#[derive(Debug, Default)]
pub(crate) struct Changes(Notify);

impl Changes {
    /// The state has changed.
    pub(crate) fn note(&self) {
        self.0.notify_waiters();
    }

    /// Waits until the state is as wanted.
    pub(crate) async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let changed = self.0.notified();
            if holds() {
                return;
            }
            changed.await;
        }
    }
}

/// Stops a reader for a while. It opens when faults stop.
pub(crate) struct Gate {
    hub: Rc<Hub>,
    opens_at: Cell<u64>,
    changes: Changes,
}

impl Gate {
    /// An open gate.
    pub(crate) fn new(hub: &Rc<Hub>) -> Rc<Self> {
        let hub = Rc::clone(hub);
        Rc::new(Self { hub, opens_at: Cell::new(0), changes: Changes::default() })
    }

    /// Closes the gate for a time in microseconds, or until faults stop.
    pub(crate) fn close_for(&self, for_us: Option<u64>) {
        self.close_until(for_us.map_or(u64::MAX, |time| after(&self.hub, time)));
    }

    /// Closes the gate until a time of the run in nanoseconds, or until faults stop.
    pub(crate) fn close_until(&self, until: u64) {
        self.opens_at.set(until.max(self.opens_at.get()));
        self.changes.note();
    }

    fn is_open(&self) -> bool {
        self.hub.is_healed() || self.opens_at.get() <= self.hub.now()
    }

    /// Waits until the gate is open.
    pub(crate) async fn opened(&self) {
        while !self.is_open() {
            let opens_at = self.opens_at.get();
            tokio::select! {
                biased;
                () = self.hub.healed() => {}
                () = self.changes.until(|| self.opens_at.get() != opens_at) => {}
                () = sleep_until(&self.hub, opens_at) => {}
            }
        }
    }

    /// Waits until the gate is closed.
    pub(crate) async fn closed(&self) {
        self.changes.until(|| !self.is_open()).await;
    }
}

/// A piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The place of its first byte.
    pub(crate) from: u64,
    /// Its bytes.
    pub(crate) length: usize,
    /// When it is due, in nanoseconds from the start of the body.
    pub(crate) due: u64,
}

/// The pieces of a body, spread evenly over a time; the last is due at its end. A body without
/// bytes has no piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    length: u64,
    piece: u64,
    span: u64,
    next: u64,
}

impl Pieces {
    /// The pieces of `length` bytes in `piece_bytes` each (0: a single one) over `span_us`.
    pub(crate) fn new(length: u64, piece_bytes: u16, span_us: u64) -> Self {
        let piece = if piece_bytes == 0 { length.max(1) } else { u64::from(piece_bytes) };
        Self { length, piece, span: span_us.saturating_mul(1_000), next: 0 }
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let from = self.next * self.piece;
        if from >= self.length {
            return None;
        }
        self.next += 1;
        let count = self.length.div_ceil(self.piece);
        let due = u128::from(self.span) * u128::from(self.next) / u128::from(count);
        let length = self.piece.min(self.length - from) as usize;
        Some(Piece { from, length, due: due as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_body_and_the_last_is_due_at_the_end() {
        let pieces: Vec<Piece> = Pieces::new(10, 4, 30).collect();
        let piece = |from, length, due| Piece { from, length, due };
        assert_eq!(pieces, [piece(0, 4, 10_000), piece(4, 4, 20_000), piece(8, 2, 30_000)]);
        assert_eq!(Pieces::new(10, 0, 7).collect::<Vec<_>>(), [piece(0, 10, 7_000)]);
        assert_eq!(Pieces::new(0, 0, 7).count() + Pieces::new(0, 3, 7).count(), 0);
        let most = Pieces::new(u64::from(u32::MAX), 0, u64::MAX).last();
        assert_eq!(most.map(|piece| piece.due), Some(u64::MAX));
    }
}
